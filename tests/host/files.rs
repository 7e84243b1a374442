//! Pictures in files and down pipes, as a user gets them; no device is needed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use vcam_testing::command::{self, Ran, vcam};

/// The command without GPU and display, at full speed unless `more` says otherwise.
fn camera(more: &[&str]) -> Command {
    let mut command = command::command("--isp cpu --heap memfd --size 128x48");
    command.args(more);
    command
}

fn ran(command: &mut Command) -> Ran {
    command.output().unwrap().into()
}

/// The luma planes of a stream whose header says this.
fn luma(stream: &[u8], header: &str) -> Vec<Vec<u8>> {
    assert!(stream.starts_with(header.as_bytes()), "{:?}", &stream[..stream.len().min(90)]);
    let mut decoder = y4m::decode(stream).unwrap();
    let mut frames = Vec::new();
    loop {
        match decoder.read_frame() {
            Ok(frame) => frames.push(frame.get_y_plane().to_vec()),
            Err(y4m::Error::EOF) => return frames,
            Err(error) => panic!("{error}"),
        }
    }
}

const HEADER: &str = "YUV4MPEG2 W128 H48 F30:1 XCOLORRANGE=LIMITED C420jpeg\nFRAME\n";

/// The names in a folder, hidden ones too.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_stream_a_file_and_pictures_show_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| format!("file:{}", dir.path().join(name).display());
    let (png, ppm, y4m, yuv) = (path("%02d.png"), path("last.ppm"), path("a.y4m"), path("a.YUV"));
    let output = camera(&["--frames", "5", "--output", "-"])
        .args(["--output", &png, "--output", &ppm, "--output", &y4m, "--output", &yuv])
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{stderr}");
    // The report makes room for the stream.
    assert!(stderr.starts_with("5 frames of 128x48 at "), "{stderr}");
    assert_eq!(
        names(dir.path()),
        ["00.png", "01.png", "02.png", "03.png", "04.png", "a.YUV", "a.y4m", "last.ppm"]
    );

    let frames = luma(&output.stdout, HEADER);
    assert_eq!(frames.len(), 5);
    assert_eq!(fs::read(dir.path().join("a.y4m")).unwrap(), output.stdout);
    let planes = fs::read(dir.path().join("a.YUV")).unwrap();
    let mut told = 0;
    for (index, frame) in frames.iter().enumerate() {
        let picture = image::open(dir.path().join(format!("{index:02}.png"))).unwrap().into_rgb8();
        assert_eq!(picture.dimensions(), (128, 48));
        for (pixel, luma) in picture.pixels().zip(frame) {
            let [red, green, blue] = pixel.0.map(f64::from);
            let exact = 16.0 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255.0;
            assert!((exact - f64::from(*luma)).abs() < 0.51, "{pixel:?} {luma}");
        }
        assert_eq!(planes[index * 128 * 48 * 3 / 2..][..128 * 48], frame[..]);
        told += usize::from(index > 0 && frames[index - 1] != *frame);
    }
    assert_eq!(told, 4, "the picture moves");
    let last = image::open(dir.path().join("04.png")).unwrap().into_rgb8();
    assert_eq!(image::open(dir.path().join("last.ppm")).unwrap().into_rgb8(), last);
}

/// A run that streams until a signal ends it, or its reader.
fn streaming() -> Child {
    camera(&["--fps", "max", "--frames", "1000000000", "--output", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn end(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_reader_who_leaves_ends_the_run_in_good_order() {
    let mut child = streaming();
    let mut some = [0; 10_000];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let (code, stderr) = end(child);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains(" frames of 128x48 at ") && !stderr.contains("vcam:"), "{stderr}");
}

#[test]
fn a_reader_who_takes_nothing_does_not_keep_a_run_from_ending() {
    let mut child = streaming();
    let mut stdout = child.stdout.take().unwrap();
    // It has begun; from here on there is no reader.
    stdout.read_exact(&mut [0; 100]).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let (code, stderr) = end(child);
    assert_eq!(code, Some(0), "{stderr}");
}

#[test]
fn an_interrupted_run_leaves_a_whole_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.y4m");
    // The pipe shows when frames flow.
    let mut child = camera(&["--fps", "max", "--frames", "1000000000", "--output", "-"])
        .arg("--output")
        .arg(format!("file:{}", path.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 100_000]).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    let (code, stderr) = end(child);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(names(dir.path()), ["a.y4m"]);
    assert!(luma(&fs::read(&path).unwrap(), HEADER).len() > 10);
}

/// Runs the command where no file may be larger than 100 KiB.
fn limited(output: &str) -> Ran {
    let camera = camera(&["--frames", "100", "--fps", "max", "--output", output]);
    let mut shell = Command::new("bash");
    shell.args(["-c", "ulimit -f 100; exec \"$@\"", "bash"]);
    shell.arg(camera.get_program()).args(camera.get_args());
    for (name, value) in camera.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    ran(&mut shell)
}

#[test]
fn a_stream_that_finds_no_room_says_how_many_frames_are_safe_and_where() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.y4m");
    // A frame is 128 * 48 * 3 / 2 bytes and `FRAME\n`: 11 of them fit.
    let failed = limited(&format!("file:{}", path.display()));
    let part = names(dir.path());
    assert_eq!(part.len(), 1, "{part:?}");
    let part: PathBuf = dir.path().join(&part[0]);
    let words = format!(
        "frame 11 could not be shown: only 11 frames are safe, in {}: there is no room for {}; \
         make some, or write elsewhere: File too large",
        part.display(),
        path.display()
    );
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.stderr.contains(&words), "{failed:?}");
    assert!(!path.exists());
    assert_eq!(luma(&fs::read(&part).unwrap(), HEADER).len(), 11);
}

#[test]
fn one_standard_output_is_for_one() {
    for (arguments, says) in [
        ("--output - --json", "--output - and --json both want the standard output"),
        ("--output terminal --json", "--output terminal and --json both want"),
        ("--output - --output terminal", "--output - and --output terminal both want"),
        ("--output - --output -", "--output - and --output - both want"),
    ] {
        vcam(&format!("--isp cpu {arguments}")).failed_with(2, &[says]);
    }
}

#[test]
fn a_name_that_says_nothing_is_refused_before_anything_is_done() {
    for (name, says) in [
        ("a.jpg", "a.jpg does not end in .png, .ppm, .y4m or .yuv"),
        ("/nowhere/a.y4m", "could not write into the folder /nowhere"),
        ("/dev/a.d/../null.png/", "null.png"),
    ] {
        vcam(&format!("--isp cpu --output file:{name}")).failed_with(2, &[says]);
    }
}

#[test]
fn pictures_are_the_same_in_whatever_format_they_were_made() {
    let dir = tempfile::tempdir().unwrap();
    let picture = |format: &str| {
        let path = dir.path().join(format!("{format}.png"));
        let output = format!("file:{}", path.display());
        let run = ran(&mut camera(&["--frames", "1", "--format", format, "--output", &output]));
        assert_eq!(run.code, 0, "{run:?}");
        image::open(path).unwrap().into_rgb8().into_raw()
    };
    let rgb = picture("XR24");
    // Chroma of YUV stands for two or four pixels.
    for (format, most) in
        [("AB24", 0.0), ("XR30", 1.0), ("RG16", 3.0), ("NV12", 8.0), ("NV21", 8.0), ("YUYV", 8.0)]
    {
        let other = picture(format);
        let sum: u64 = rgb.iter().zip(&other).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let mean = sum as f64 / rgb.len() as f64;
        assert!(other.len() == rgb.len() && mean <= most, "{format} is {mean} off");
    }
}

#[test]
fn formats_that_an_output_cannot_take_are_told_before_the_first_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("film.y4m");
    let output = format!("file:{}", path.display());
    let refused = ran(&mut camera(&["--format", "YU12", "--frames", "3", "--output", &output]));
    refused.failed_with(2, &["takes no pictures in YU12", "it takes", "NV12", "XR24"]);
    assert_eq!(names(folder.path()), [""; 0]);
    let unknown = ran(&mut camera(&["--format", "ABCD", "--output", "null"]));
    unknown.failed_with(2, &["no pictures in ABCD", "NV12"]);
}
