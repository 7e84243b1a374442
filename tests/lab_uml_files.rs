//! Files on a disk that is full, in the lab's `uml` machine: `cargo xtask test --only uml`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use support::command::vcam;
use vcam_allocator::heaps::memfd::Memfd;
use vcam_allocator::{Alignment, Fourcc, Layout, Pool};
use vcam_sinks::{
    FileError, Frame, RawDescription, RawFileSink, Sink, SinkCounts, SinkError, XYZ_TO_SRGB,
};

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

/// Runs a program of Debian's to its end; what it printed.
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
        // A frame is 150 KiB, and a page or two beside it.
        let error = (0..10).find_map(|sequence| {
            let buffer = pool.take(Duration::ZERO).unwrap();
            let timestamp = Duration::ZERO;
            sink.present(Frame { sequence, timestamp, buffer, ready: None, taken: None }).err()
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
