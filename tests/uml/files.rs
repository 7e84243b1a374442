//! Files on a disk that is full, and files that other programs read.
//!
//! `cargo xtask test --only uml files`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use vcam_allocator::heaps::memfd::Memfd;
use vcam_allocator::{Alignment, ColourSpace, Fourcc, Layout, Pool};
use vcam_sinks::{
    Colour, FileError, Frame, RawDescription, RawFileSink, RawFrame, Sink, SinkCounts, SinkError,
    XYZ_TO_SRGB, write_dng,
};
use vcam_testing::command::vcam;

/// A file system in memory with this much room, until it goes out of scope.
struct Disk(PathBuf);

impl Disk {
    fn new(name: &str, kib: u32) -> Self {
        let folder = Path::new("/tmp").join(name);
        fs::create_dir_all(&folder).unwrap();
        let size = format!("size={kib}k");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&folder));
        Self(folder)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Runs a program of Debian's to its end, and returns its output.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_full_disk_keeps_the_frames_that_are_whole() {
    let disk = Disk::new("full-stream", 1024);
    let path = disk.0.join("a.y4m");
    let arguments = "--isp cpu --heap memfd --size 320x240 --frames 50 --fps max";
    let failed = vcam(&format!("{arguments} --output file:{}", path.display()));
    assert_eq!(failed.code, 1, "{failed:?}");
    let names = disk.names();
    assert_eq!(names.len(), 1, "{names:?}");
    let part = disk.0.join(&names[0]);
    // A frame is 112.5 KiB and a little.
    let words = format!(
        "only 9 frames are safe, in {}: there is no room for {}; make some, or write elsewhere: \
         No space left on device",
        part.display(),
        path.display()
    );
    assert!(failed.stderr.contains(&words), "{failed:?}");
    let stream = fs::read(&part).unwrap();
    let mut decoder = y4m::decode(&stream[..]).unwrap();
    for _ in 0..9 {
        decoder.read_frame().unwrap();
    }
    assert!(matches!(decoder.read_frame(), Err(y4m::Error::EOF)));
}

#[test]
fn a_full_disk_has_no_half_of_a_picture() {
    let disk = Disk::new("full-pictures", 1024);
    let pattern = disk.0.join("%d.ppm");
    let arguments = "--isp cpu --heap memfd --size 320x240 --frames 50 --fps max";
    let failed = vcam(&format!("{arguments} --output file:{}", pattern.display()));
    assert_eq!(failed.code, 1, "{failed:?}");
    // A picture is 225 KiB and a little.
    let words = format!("only 4 frames are safe, in {}", pattern.display());
    assert!(failed.stderr.contains(&words), "{failed:?}");
    let mut names = disk.names();
    names.sort();
    assert_eq!(names, ["0.ppm", "1.ppm", "2.ppm", "3.ppm"]);
    for name in names {
        assert_eq!(image::open(disk.0.join(name)).unwrap().into_rgb8().dimensions(), (320, 240));
    }
}

#[test]
fn a_picture_that_finds_no_room_leaves_the_one_before() {
    let disk = Disk::new("full-last", 200);
    let path = disk.0.join("last.ppm");
    fs::write(&path, "the one before").unwrap();
    let arguments = "--isp cpu --heap memfd --size 320x240 --frames 3";
    let failed = vcam(&format!("{arguments} --output file:{}", path.display()));
    failed.failed_with(1, &["there is no room for", "last.ppm", "No space left on device"]);
    assert_eq!(fs::read(&path).unwrap(), b"the one before");
    assert_eq!(disk.names(), ["last.ppm"]);
}

#[test]
fn a_full_disk_has_no_half_of_a_raw_frame() {
    for ending in ["raw", "dng"] {
        let disk = Disk::new(&format!("full-{ending}"), 1024);
        let place = disk.0.join(format!("%d.{ending}"));
        let layout = Layout::linear(Fourcc::R16, 320, 240, Alignment::default()).unwrap();
        let pool = Pool::new(&Memfd::new(), &layout, "test", 1).unwrap();
        let description = RawDescription {
            format: "SRGGB12".to_owned(),
            carrier: Fourcc::R16,
            size: (320, 240),
            filters: Some([0, 1, 1, 2]),
            black: 256.0,
            white: 4095,
            row_bytes: 640,
            xyz_to_sensor: XYZ_TO_SRGB,
            unpack: Arc::new(|_, samples| samples.fill(1000)),
        };
        let mut sink = RawFileSink::create(&place, description).unwrap();
        // A frame is 150 KiB, and a page or two more.
        let error = (0..10).find_map(|sequence| {
            let buffer = pool.take(Duration::ZERO).unwrap();
            let (timestamp, colour_space) = (Duration::ZERO, ColourSpace::RAW);
            let frame =
                Frame { sequence, timestamp, buffer, colour_space, ready: None, taken: None };
            sink.present(frame).err()
        });
        let Some(SinkError::File(FileError::Stopped { frames: 6, source, .. })) = &error else {
            panic!("{error:?}")
        };
        assert!(matches!(**source, FileError::Full { .. }), "{source}");
        sink.finish().unwrap();
        assert_eq!(sink.counts(), SinkCounts { displayed: 6, dropped: 0 });
        let mut names = disk.names();
        names.sort();
        let whole = (0..6).flat_map(|number| {
            let document = (ending == "raw").then(|| format!("{number}.raw.json"));
            [format!("{number}.{ending}")].into_iter().chain(document)
        });
        assert_eq!(names, whole.collect::<Vec<_>>());
    }
}

/// A picture of 66x50 samples, each different from its neighbours.
fn samples(white: u16) -> Vec<u16> {
    (0..66 * 50_u32).map(|at| (at.wrapping_mul(40503) >> 4) as u16 & white).collect()
}

fn raw_frame(colour: Option<[u8; 4]>, white: u16) -> RawFrame {
    RawFrame {
        size: (66, 50),
        colour: colour.map(|filters| Colour {
            filters,
            neutral: [0.5, 1.0, 0.625],
            xyz_to_sensor: XYZ_TO_SRGB,
        }),
        black: f32::from(white / 16),
        white,
        sequence: 7,
        timestamp: Duration::from_secs(1),
        exposure: None,
        gain: None,
    }
}

#[test]
fn a_raw_converter_reads_every_sample_of_a_dng() {
    let folder = tempfile::tempdir().unwrap();
    for (filters, name) in [
        (Some([0, 1, 1, 2]), "RGGB"),
        (Some([1, 0, 2, 1]), "GRBG"),
        (Some([1, 2, 0, 1]), "GBRG"),
        (Some([2, 1, 1, 0]), "BGGR"),
        (None, ""),
    ] {
        for white in [255, 1023, 4095, 65535] {
            let path = folder.path().join(format!("{name}-{white}.dng"));
            let samples = samples(white);
            write_dng(&path, &raw_frame(filters, white), &samples).unwrap();

            let told = run(Command::new("raw-identify").arg("-v").arg(&path));
            let pattern = format!("Filter pattern: {name}");
            let pattern = if filters.is_some() { &pattern } else { "Raw colors: 1" };
            for words in ["Camera: vcam", "DNG Version: 1.4.0.0", " 66 x 50", pattern] {
                assert!(told.contains(words), "'{words}' is not in: {told}");
            }

            // As they are: no black level, no colour, no demosaicing.
            run(Command::new("unprocessed_raw").arg(&path));
            let read = pgm(&folder.path().join(format!("{name}-{white}.dng.pgm")));
            assert!(read == samples, "{name} {white}: samples differ");
        }
    }
}

/// The samples of a 16-bit PGM.
fn pgm(path: &Path) -> Vec<u16> {
    let picture = image::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    picture.into_luma16().into_raw()
}

#[test]
fn a_raw_converter_balances_white_as_the_dng_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("white.dng");
    // White paper at half of saturation, in the light that the frame names.
    let (frame, levels) = (raw_frame(Some([0, 1, 1, 2]), 1023), [0.5, 1.0, 0.625]);
    let black = frame.black;
    let samples: Vec<u16> = (0..66 * 50)
        .map(|at| {
            let colour = (at % 66) % 2 + (at / 66) % 2;
            (black + (1023.0 - black) * 0.5 * levels[colour]).round() as u16
        })
        .collect();
    write_dng(&path, &frame, &samples).unwrap();
    // As shot, 16 bits, linear, sRGB primaries.
    run(Command::new("dcraw_emu").args(["-w", "-4", "-o", "1"]).arg(&path));
    let picture = image::open(folder.path().join("white.dng.ppm")).unwrap().into_rgb16();
    for pixel in picture.pixels() {
        let [red, green, blue] = pixel.0.map(f64::from);
        for part in [red, green, blue] {
            assert!((part / 65535.0 - 0.5).abs() < 0.005, "not half of white: {pixel:?}");
        }
    }
}

#[test]
fn a_raw_converter_sees_the_colours_that_the_camera_saw() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chart.dng");
    let ran = vcam(&format!(
        "--isp cpu --heap memfd --size 320x240 --scene solid --sensor-format SRGGB12 --fps max \
         --frames 30 --output file:{}",
        path.display()
    ));
    assert_eq!(ran.code, 0, "{ran:?}");
    run(Command::new("dcraw_emu").args(["-w", "-4", "-o", "1"]).arg(&path));
    let picture = image::open(folder.path().join("chart.dng.ppm")).unwrap().into_rgb16();
    // A grey card is grey, in the white that the camera's own balance found.
    let (mut sum, middle) = ([0.0; 3], 100..140);
    for (x, y) in middle.clone().flat_map(|y| middle.clone().map(move |x| (x, y))) {
        let pixel = picture.get_pixel(x, y).0;
        sum.iter_mut().zip(pixel).for_each(|(sum, part)| *sum += f64::from(part));
    }
    let [red, green, blue] = sum;
    assert!((red / green - 1.0).abs() < 0.03, "{sum:?}");
    assert!((blue / green - 1.0).abs() < 0.03, "{sum:?}");
}
