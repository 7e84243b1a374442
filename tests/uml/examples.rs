//! The examples that need devices.
//!
//! `cargo xtask test --only uml examples`

use vcam_testing::example::run;

#[test]
fn dma_bufs_are_imported_both_ways() {
    let printed = run("import");
    for name in ["udmabuf", "system"] {
        assert!(printed.contains(&format!("{name}: imported as a texture")), "{printed}");
        assert!(printed.contains(&format!("{name}: imported as a target")), "{printed}");
    }
    assert!(printed.contains("memfd: no texture: egl-texture:llvmpipe"), "{printed}");
}

#[test]
fn frames_are_scanned_out_with_their_fences() {
    let printed = run("scan_out");
    assert!(printed.contains("30 frames shown by Import, 3 imports"), "{printed}");
}

#[test]
fn the_camera_makes_thirty_frames_of_udmabuf() {
    let printed = run("camera");
    assert_eq!(printed.lines().filter(|line| line.starts_with("frame ")).count(), 30, "{printed}");
}
