//! Zero copy and its failures on real udmabuf, real dma-heaps and real KMS (vkms).
//!
//! `cargo xtask test --only uml zero_copy`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::unix::process::CommandExt;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use vcam_allocator::{Fourcc, heaps};
use vcam_pipeline::{Config, CopyPolicy, IspChoice, Prepared};
use vcam_sinks::{KmsOptions, KmsSink};
use vcam_testing::accounting;
use vcam_testing::command::{Child, Ran, assert_zero_copy, command, link, vcam};
use vcam_testing::display_state;
use vcam_testing::lab_output;
use vcam_testing::stepped_camera::{self, SteppedCamera, assert_equal};

/// Sixty frames, each compared on every pixel with the CPU reference through vkms' writeback.
fn sixty_frames_are_scanned_out_as_they_should_be(heap: &str) {
    let run = |frames| {
        let mut step = SteppedCamera::new(heap, "vkms", (640, 480));
        step.sink.enable_capture().unwrap();
        step.compare(0..frames, |sink| sink.capture().unwrap().rgb);
        step
    };
    let before = accounting::after_warming_up(|| drop(run(3)));
    let state = display_state::of_driver("vkms");
    let step = run(60);
    step.assert_imported();

    // The kernel's own books: the display is attached to each buffer that the ISP renders into.
    let books = accounting::dma_bufs();
    for inode in step.output_inodes() {
        let buffer = books.iter().find(|buffer| buffer.inode == inode).expect("it is in the books");
        assert!(buffer.name.starts_with("test-output"), "{buffer:?}");
        assert!(buffer.devices.iter().any(|device| device.contains("vkms")), "{buffer:?}");
    }
    drop(step);
    before.assert_unchanged();
    assert_eq!(display_state::of_driver("vkms"), state);
}

#[test]
fn udmabuf_frames_are_scanned_out_as_they_should_be() {
    sixty_frames_are_scanned_out_as_they_should_be("udmabuf");
}

#[test]
fn system_heap_frames_are_scanned_out_as_they_should_be() {
    sixty_frames_are_scanned_out_as_they_should_be("dma_heap:system");
}

#[test]
fn the_main_job_copies_nothing() {
    let ran = vcam("--heap udmabuf --isp gpu --display --frames 120 --json");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stderr, "");
    let report = ran.report();
    assert_zero_copy(&report, 120, "udmabuf");
    assert_eq!(report["steady"]["imports_per_frame"], 0.0, "{report:#}");
    // A channel may grow its list of waiters once; nothing allocates for each frame.
    let allocs = report["steady"]["heap_allocs_per_frame"].as_f64();
    assert!(allocs.is_some_and(|allocs| allocs < 0.1), "{report:#}");
    // Only the sensor accesses a buffer with the CPU: once a frame.
    assert_eq!(report["sync"]["begin"], 120, "{report:#}");
    let ran = vcam("--heap system --isp gpu --display --frames 30 --json --strict --size 640x480");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_zero_copy(&ran.report(), 30, "dma_heap:system");
}

#[test]
fn a_program_for_a_gpu_is_measured_and_the_faster_one_taken() {
    let mut first = command("--heap udmabuf --display --size 640x480 --frames 10 --json --strict");
    let report = Ran::from(first.output().unwrap()).report();
    let reason = report["isp"]["reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.contains("ms on gpu:llvmpipe and "), "{report:#}");
    assert!(report["isp"]["name"].as_str().unwrap().starts_with("the CPU"), "{report:#}");
    assert_eq!(link(&report, 0)["method"], "native", "{report:#}");
    assert_eq!(link(&report, 1)["method"], "import", "{report:#}");
    // Once is enough: the second run reports the same numbers.
    let again = Ran::from(first.output().unwrap()).report();
    assert_eq!(again["isp"]["reason"], reason.as_str(), "{again:#}");

    // Asked for by name, it is taken, with a warning.
    let ran = Ran::from(first.args(["--gpu", "software"]).output().unwrap());
    let report = ran.report();
    assert!(report["isp"]["name"].as_str().unwrap().contains("llvmpipe"), "{report:#}");
    assert!(ran.stderr.contains("would be faster"), "{ran:?}");
    assert_zero_copy(&report, 10, "udmabuf");
}

#[test]
fn a_sensor_s_own_pictures_reach_the_display_without_an_isp() {
    for format in ["NV12", "XR24"] {
        let ran = vcam(&format!(
            "--heap udmabuf --display --sensor-format {format} --scene bars --size 640x480 \
             --frames 20 --json --strict"
        ));
        assert_eq!(ran.code, 0, "{ran:?}");
        let report = ran.report();
        assert_eq!(report["frames"]["displayed"], 20, "{report:#}");
        assert_eq!(report["links"].as_array().unwrap().len(), 1, "{report:#}");
        let link = link(&report, 0);
        assert_eq!((&link["from"], &link["method"]), (&"sensor".into(), &"import".into()));
        assert_eq!(link["format"], format);
    }
    vcam("--sensor-format NV12 --format XR24").failed_with(2, &["NV12", "XR24", "no ISP"]);
}

#[test]
fn a_plan_is_what_a_run_does_and_shows_nothing() {
    let state = display_state::of_driver("vkms");
    let ran = vcam("plan --isp gpu --display --size 640x480 --json");
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.report();
    assert_eq!(report["frames"]["completed"], 0, "{report:#}");
    assert_eq!(report["heaps"]["raw"], "udmabuf", "{report:#}");
    for index in 0..2 {
        assert_eq!(link(&report, index)["method"], "import", "{report:#}");
    }
    assert_eq!(display_state::of_driver("vkms"), state);

    // memfd is asked for by name, so it is taken, and the plan names the devices that refuse it.
    let ran = vcam("plan --heap memfd --isp gpu --display --size 640x480 --json");
    let report = ran.report();
    assert_eq!(link(&report, 0)["method"], "copy", "{report:#}");
    let conflict = report["plan"]["conflicts"][0]["reason"].as_str().unwrap_or_default();
    assert!(conflict.contains("egl-texture:llvmpipe needs a dma-buf"), "{report:#}");
    // In order, the first heap that all devices take.
    let ran = vcam("plan --heap memfd,system --isp gpu --display --size 640x480 --json");
    let report = ran.report();
    assert_eq!(report["heaps"]["output"], "dma_heap:system", "{report:#}");
    assert_eq!(report["plan"]["rejected"][0]["heap"], "memfd", "{report:#}");
}

#[test]
fn a_gpu_on_a_render_node_copies_nothing_either() {
    let node = std::fs::read_dir("/dev/dri")
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains("renderD"))
        .expect("the lab has a render node");
    let arguments = format!(
        "--heap udmabuf --display --frames 20 --size 640x480 --json --gpu {}",
        node.display()
    );
    let ran = vcam(&arguments);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_zero_copy(&ran.report(), 20, "udmabuf");
}

#[test]
fn the_display_capture_is_the_last_frame() {
    let picture = lab_output("capture.png");
    let ran = command("--heap udmabuf --isp gpu --display --frames 25 --size 640x480 --json")
        .arg("--display-capture")
        .arg(&picture)
        .output()
        .map(Ran::from)
        .unwrap();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_is_frame(&picture, (640, 480), 24);
}

/// Asserts that a PNG is this frame of the sensor, rendered as the reference does.
fn assert_is_frame(picture: &std::path::Path, size: (u32, u32), sequence: u64) {
    let shown = image::open(picture).unwrap().into_rgb8();
    assert_eq!(shown.dimensions(), size);
    let expected = stepped_camera::expected(size, sequence);
    assert_equal(shown.as_raw(), &expected, size.0 as usize, sequence);
}

#[test]
fn an_egl_without_import_copies_and_shows_the_same_pixels() {
    let picture = lab_output("softpipe.png");
    let ran =
        command("--heap udmabuf --isp gpu --display --frames 10 --size 640x480 --fps max --json")
            .arg("--display-capture")
            .arg(&picture)
            .env("GALLIUM_DRIVER", "softpipe")
            .output()
            .map(Ran::from)
            .unwrap();
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.report();
    let raw = link(&report, 0);
    assert_eq!(raw["to"], "gpu:softpipe", "{report:#}");
    assert_eq!(raw["method"], "copy", "{report:#}");
    assert_eq!(raw["bytes_copied"], 10 * 640 * 480, "{report:#}");
    let reason = raw["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("EGL_EXT_image_dma_buf_import"), "{report:#}");
    assert_eq!(report["frames"]["displayed"], 10, "{report:#}");
    assert_is_frame(&picture, (640, 480), 9);

    let strict = command("--heap udmabuf --isp gpu --display --frames 10 --size 640x480 --strict")
        .env("GALLIUM_DRIVER", "softpipe")
        .output()
        .map(Ran::from)
        .unwrap();
    strict.failed_with(3, &["copies", "EGL_EXT_image_dma_buf_import"]);
}

#[test]
fn memory_that_is_no_dma_buf_is_copied_and_says_so() {
    let ran = vcam("--heap memfd --isp gpu --display --frames 10 --size 640x480 --json");
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.report();
    for index in 0..2 {
        let link = link(&report, index);
        assert_eq!(link["method"], "copy", "{report:#}");
        assert!(link["reason"].as_str().unwrap_or_default().contains("memfd"), "{report:#}");
    }
    assert_eq!(report["frames"]["displayed"], 10, "{report:#}");
}

#[test]
fn a_picture_smaller_than_every_mode_is_shown_in_its_middle() {
    let ran = vcam("--heap udmabuf --isp gpu --display --frames 5 --size 321x241 --json");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.report()["frames"]["displayed"], 5, "{ran:?}");
}

#[test]
fn two_hundred_starts_and_stops_leak_nothing() {
    let run = || {
        let heap = heaps::open("udmabuf").unwrap();
        let format = Fourcc::XRGB8888;
        let options = KmsOptions::new((640, 480), format);
        let sink = KmsSink::open(&options).unwrap();
        let config = Config::new(format)
            .period(Duration::ZERO)
            .frames(3)
            .isp(IspChoice::Gpu(None))
            .copies(CopyPolicy::Forbid);
        let prepared = Prepared::new(config, vec![heap], vec![Box::new(sink)]).unwrap();
        let (outcome, result) = prepared.start().unwrap().wait();
        result.unwrap();
        assert_eq!((outcome.frames.completed, outcome.frames.displayed), (3, 3));
    };
    // libc keeps thread stacks, and Mesa its caches.
    let before = accounting::after_warming_up(|| (0..10).for_each(|_| run()));
    (0..200).for_each(|_| run());
    before.assert_unchanged();
}

#[test]
fn an_interrupt_ends_the_run_in_good_order() {
    let state = display_state::of_driver("vkms");
    let child = Child::spawn(command("--heap udmabuf --isp gpu --display --size 640x480 --json"));
    // Once the display is ours, the run is in its middle.
    display_state::wait_for_driver("vkms", &state);
    let ran = child.end(Signal::INT);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.report();
    let frames = report["frames"]["completed"].as_u64().unwrap();
    assert!(frames > 0, "{report:#}");
    assert_eq!(report["frames"]["displayed"], frames, "{report:#}");
    assert_eq!(display_state::of_driver("vkms"), state);
}

#[test]
fn what_is_not_there_is_named_with_what_is() {
    vcam("--heap nonsense --frames 1")
        .failed_with(2, &["'nonsense'", "udmabuf", "dma_heap:system"]);
    vcam("--heap dma_heap:vendor --frames 1").failed_with(4, &["dma_heap:vendor", "system"]);
    vcam("--heap cma --frames 1").failed_with(4, &["cma"]);
    vcam("--isp gpu --display --card nonsense --frames 1")
        .failed_with(2, &["'nonsense'", "vkms", "Virtual-1"]);
    vcam("--isp gpu --display=HDMI-A-7 --frames 1").failed_with(2, &["'HDMI-A-7'", "Virtual-1"]);
    vcam("--gpu /dev/dri/renderD999 --frames 1").failed_with(4, &["/dev/dri/renderD999"]);
    vcam("--output file:/nonexistent/x.png").failed_with(2, &["/nonexistent"]);
    vcam("--output file:x.gif").failed_with(2, &["x.gif", ".png"]);
    let ran = vcam("--heap nonsense --json");
    assert_eq!(ran.code, 2);
    assert!(ran.report()["error"].as_str().unwrap_or_default().contains("nonsense"), "{ran:?}");
}

#[test]
fn absurd_sizes_are_refused() {
    for size in ["0x0", "1x1", "65536x65536", "4294967295x4294967295", "127x32"] {
        vcam(&format!("--size {size} --frames 1")).failed_with(2, &[size]);
        vcam(&format!("--size {size} --isp gpu --display --frames 1")).failed_with(2, &[size]);
    }
    for size in ["99999999999999x1", "640", "x", "-5x5"] {
        assert_eq!(vcam(&format!("--size={size} --frames 1")).code, 2, "{size}");
    }
    // 16384 x 16384 x 4 bytes are a GiB. Up to Linux 7.2 udmabuf gives 64 MiB; later ones give more
    // than this machine has.
    vcam("--heap udmabuf --size 16384x16384 --frames 1").failed_with(4, &["udmabuf", "bytes"]);
    vcam("--heap memfd --size 16384x16384 --frames 1").failed_with(4, &["memfd", "bytes"]);
    vcam("--heap memfd --isp gpu --display --size 9000x9000 --frames 1")
        .failed_with(2, &["9000x9000", "Virtual-1"]);
}

#[test]
fn no_egl_is_an_error_only_if_the_gpu_was_asked_for() {
    let without_egl = |arguments| {
        let mut command = command(arguments);
        command.env("__EGL_VENDOR_LIBRARY_FILENAMES", "/nonexistent");
        Ran::from(command.output().unwrap())
    };
    let ran = without_egl("--isp gpu --frames 1 --output null");
    assert_eq!(ran.code, 4, "{ran:?}");
    let ran = without_egl("--heap udmabuf --frames 10 --display --size 640x480 --json");
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.report();
    assert_eq!(link(&report, 0)["method"], "native", "{report:#}");
    assert_eq!(link(&report, 1)["method"], "import", "{report:#}");
    assert_ne!(report["isp"]["reason"], Value::Null, "{report:#}");
    assert_eq!(report["frames"]["displayed"], 10, "{report:#}");
}

#[test]
fn who_may_not_is_told_what_mends_it() {
    let as_nobody = |arguments| {
        let mut command = command(arguments);
        Ran::from(command.uid(65534).gid(65534).current_dir("/tmp").output().unwrap())
    };
    as_nobody("--heap udmabuf --frames 1")
        .failed_with(4, &["/dev/udmabuf", "not permitted", "try:"]);
    as_nobody("--heap system --frames 1").failed_with(4, &["/dev/dma_heap/system", "try:"]);
    as_nobody("--isp gpu --display --frames 1").failed_with(4, &["not permitted", "/dev/dri"]);
    // With no wishes at all it still works.
    let ran = as_nobody("--json --frames 3");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.report()["plan"]["chosen"]["raw"], "memfd");
}

#[test]
fn another_master_is_named() {
    let state = display_state::of_driver("vkms");
    let first = Child::spawn(command("--heap udmabuf --isp gpu --display --size 640x480"));
    display_state::wait_for_driver("vkms", &state);
    vcam("--heap udmabuf --isp gpu --display --frames 1 --card vkms")
        .failed_with(4, &["DRM master", "kms:vkms"]);
    assert_eq!(first.end(Signal::TERM).code, 0);
}
