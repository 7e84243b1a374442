//! Every example runs, and prints the results that it promises; those that need devices run in the
//! lab (`tests/uml/examples.rs`).

use vcam_testing::example::run;

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

#[test]
fn a_buffer_is_imported_or_the_refusal_told() {
    let printed = run("import");
    assert!(printed.contains("memfd: no texture: egl-texture:"), "{printed}");
    assert!(printed.contains("memfd: no target: egl-target:"), "{printed}");
}

#[test]
fn frames_of_memory_that_nobody_imports_arrive_by_copy() {
    let printed = run("fall_back");
    assert!(printed.contains("sensor to gpu:"), "{printed}");
    assert_eq!(printed.matches("Copy, ").count(), 2, "{printed}");
    assert!(printed.contains("30 of 30 frames arrived"), "{printed}");
}

#[test]
fn a_sink_of_one_s_own_sees_every_frame() {
    let printed = run("own_sink");
    assert_eq!(printed.lines().filter(|line| line.starts_with("frame ")).count(), 20, "{printed}");
    // 18 % grey, in the tone curve's levels.
    let last = printed.lines().last().and_then(|line| line.split_whitespace().nth(2));
    let level: f64 = last.and_then(|level| level.parse().ok()).expect("a number");
    assert!((80.0..160.0).contains(&level), "{printed}");
}
