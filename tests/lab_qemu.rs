//! The same on PCI displays: bochs, which takes foreign buffers, and virtio-gpu, which refuses
//! them; read back as screen dumps from outside of the machine. And CMA. In the lab's `qemu`
//! machine: `cargo xtask test --only qemu`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Command;

use support::books;
use support::command::{assert_zero_copy, link, vcam};
use support::qmp::Qmp;
use support::step::Step;
use vcam_allocator::Method;
use vcam_sinks::{KmsSink, Sink};

const SIZE: (u32, u32) = (640, 480);

/// The machine computes GPU, display and all on one slow CPU.
const FRAMES: u64 = 12;

/// What a screen of exactly the picture's size shows once the last frame is on it.
fn dump<'a>(qmp: &'a mut Qmp, device: &'a str) -> impl FnMut(&mut KmsSink) -> Vec<u8> + 'a {
    |sink| {
        sink.wait_flip().unwrap();
        let (width, pixels) = qmp.screen(device);
        assert_eq!(width, SIZE.0 as usize);
        pixels
    }
}

#[test]
fn bochs_scans_out_udmabuf_and_system_heap_frames() {
    let mut qmp = Qmp::open();
    for heap in ["udmabuf", "dma_heap:system"] {
        let mut step = Step::new(heap, "bochs-drm", SIZE);
        step.compare(0..FRAMES, dump(&mut qmp, "bochs"));
        step.assert_imported();
    }
}

#[test]
fn cma_frames_are_scanned_out_as_they_should_be() {
    let run = |frames| {
        let mut step = Step::new("dma_heap:cma", "vkms", SIZE);
        step.sink.enable_capture().unwrap();
        step.compare(0..frames, |sink| sink.capture().unwrap().rgb);
        step
    };
    let before = books::after_warming_up(|| drop(run(3)));
    let step = run(60);
    step.assert_imported();
    drop(step);
    before.assert_unchanged();
    let ran = vcam(
        "--heap cma --isp gpu --display --card vkms --size 640x480 --frames 10 --json --strict",
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_zero_copy(&ran.report(), 10, "dma_heap:default_cma_region");
}

#[test]
fn auto_renders_into_the_memory_of_a_display_that_takes_no_other() {
    let ran =
        vcam("--isp gpu --display --card virtio_gpu --size 320x240 --frames 10 --json --strict");
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.report();
    assert_eq!(report["heaps"]["raw"], "udmabuf", "{report:#}");
    let output = report["heaps"]["output"].as_str().unwrap_or_default();
    assert!(output.starts_with("dumb:"), "{report:#}");
    assert_eq!(link(&report, 1)["bytes_copied"], 0, "{report:#}");
    assert_eq!(link(&report, 1)["method"], "import", "{report:#}");
    assert_eq!(report["frames"]["displayed"], 10, "{report:#}");
    let rejected = report["plan"]["rejected"].to_string();
    assert!(rejected.contains("PRIME_FD_TO_HANDLE: ENODEV"), "{report:#}");
}

#[test]
fn virtio_gpu_refuses_and_shows_every_frame_all_the_same() {
    let mut qmp = Qmp::open();
    let mut step = Step::new("udmabuf", "virtio_gpu", SIZE);
    step.compare(0..FRAMES, dump(&mut qmp, "virtio-gpu"));
    let end = step.sink.link_end();
    assert_eq!(end.method, Method::Copy);
    let bytes = u64::from(SIZE.0) * u64::from(SIZE.1) * 4;
    assert_eq!((end.bytes_copied, end.since_frame), (FRAMES * bytes, 0), "{end:?}");
    drop(step);

    let ran = vcam(
        "--heap udmabuf --isp gpu --display --card virtio_gpu --size 320x240 --frames 10 --json",
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.report();
    let (raw, shown) = (link(&report, 0), link(&report, 1));
    assert_eq!(raw["method"], "import", "{report:#}");
    assert_eq!(shown["method"], "copy", "{report:#}");
    let reason = shown["reason"].as_str().unwrap_or_default();
    for words in ["virtio_gpu", "PRIME_FD_TO_HANDLE", "ENODEV"] {
        assert!(reason.contains(words), "{report:#}");
    }
    assert_eq!(report["frames"]["displayed"], 10, "{report:#}");
    assert_eq!(report["frames"]["dropped"], 0, "{report:#}");

    vcam(
        "--heap udmabuf --isp gpu --display --card virtio_gpu --size 640x480 --frames 10 --strict",
    )
    .failed_with(3, &["copies", "PRIME_FD_TO_HANDLE", "ENODEV"]);
}

#[test]
fn system_calls_are_counted_as_strace_counts_them() {
    let arguments = |frames: u32| {
        format!(
            "--isp cpu --heap udmabuf --display --card vkms --size 160x120 --fps 20 --json \
             --frames {frames}"
        )
    };
    let report = vcam(&arguments(120)).report();
    let own = report["steady"]["syscalls_per_frame"].as_f64().expect("root may count");
    // From the difference of two runs, so that starting and ending count for nothing.
    let strace = |frames| {
        let counts = std::env::temp_dir().join(format!("strace-{frames}"));
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-o"]).arg(&counts).arg(env!("CARGO_BIN_EXE_vcam"));
        let output = command.args(arguments(frames).split_whitespace()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = std::fs::read_to_string(counts).unwrap();
        let total = text.lines().rev().find(|line| line.ends_with(" total")).unwrap().to_owned();
        total.split_whitespace().nth(3).unwrap().parse::<f64>().unwrap()
    };
    let traced = (strace(120) - strace(60)) / 60.0;
    println!("{own:.1} system calls a frame, and {traced:.1} by strace");
    // How often threads wait for each other is never twice the same.
    assert!((0.6..1.6).contains(&(own / traced)), "{own} and {traced}");
}
