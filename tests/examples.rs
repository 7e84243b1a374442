//! Every example runs, and says what it promises.

use std::path::PathBuf;
use std::process::Command;

/// Runs an example that cargo has built beside this test, and returns what it printed.
fn run(name: &str) -> String {
    let test = std::env::current_exe().expect("a test has a path");
    let folder: PathBuf = test.parent().and_then(|deps| deps.parent()).expect("in deps/").into();
    let output = Command::new(folder.join("examples").join(name)).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}

#[test]
fn the_camera_makes_thirty_frames() {
    let printed = run("camera");
    let taken = |line: &&str| line.starts_with("frame ") && line.contains("µs");
    assert_eq!(printed.lines().filter(taken).count(), 30, "{printed}");
    assert!(printed.contains("frames completed"), "{printed}");
}

#[test]
fn the_plan_takes_contiguous_memory_and_names_the_odd_one_out() {
    let printed = run("plan");
    assert!(printed.contains("NV12 in dma_heap:default_cma_region"), "{printed}");
    assert!(printed.contains("not udmabuf: kms:sun4i-drm needs contiguous memory"), "{printed}");
    assert!(
        printed.contains("kms:odd needs a stride of 1288 to 1290 bytes (hardware)")
            && printed.contains("v4l2-output:cedrus needs a stride that is a multiple of 32"),
        "{printed}"
    );
}

#[test]
fn a_buffer_is_shared_with_another_process_by_plan() {
    let printed = run("share");
    assert!(printed.contains("stride 1536"), "a multiple of 256 and of 512: {printed}");
    assert!(printed.contains("consumer: 320x240, pixels right: true"), "{printed}");
}
