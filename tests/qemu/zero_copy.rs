//! Zero copy on PCI displays: bochs, which takes foreign buffers, and virtio-gpu, which refuses
//! them; read back as screen dumps from outside of the machine. And CMA.
//!
//! `cargo xtask test --only qemu zero_copy`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use vcam_allocator::Method;
use vcam_sinks::{KmsSink, Sink};
use vcam_testing::accounting;
use vcam_testing::command::{Child, assert_zero_copy, command, link, vcam};
use vcam_testing::qmp::Qmp;
use vcam_testing::stepped_camera::SteppedCamera;

const SIZE: (u32, u32) = (640, 480);

/// The machine computes GPU, display and all on one slow CPU.
const FRAMES: u64 = 12;

/// The picture on a screen of exactly the picture's size once the last frame is on it.
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
        let mut step = SteppedCamera::new(heap, "bochs-drm", SIZE);
        step.compare(0..FRAMES, dump(&mut qmp, "bochs"));
        step.assert_imported();
    }
}

#[test]
fn cma_frames_are_scanned_out_as_they_should_be() {
    let run = |frames| {
        let mut step = SteppedCamera::new("dma_heap:cma", "vkms", SIZE);
        step.sink.enable_capture().unwrap();
        step.compare(0..frames, |sink| sink.capture().unwrap().rgb);
        step
    };
    let before = accounting::after_warming_up(|| drop(run(3)));
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
    let mut step = SteppedCamera::new("udmabuf", "virtio_gpu", SIZE);
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
fn system_calls_are_few_and_are_counted_as_strace_counts_them() {
    let mut vcam = command(
        "--isp gpu --heap udmabuf --display --card vkms --size 128x32 --fps 20 --json \
         --frames 300",
    );
    // The renderer's own threads belong to the driver, and not to the camera.
    vcam.env("LP_NUM_THREADS", "0");
    // The machine covers its tracepoints (lab/qemu.sh).
    let run = |words: &str| {
        let mut words = words.split_whitespace();
        let done = Command::new(words.next().unwrap()).args(words).status().unwrap();
        assert!(done.success(), "{done}");
    };
    run("umount /sys/kernel/debug/tracing");
    let running = Child::spawn(vcam);
    let tasks = format!("/proc/{}/task", running.pid());
    let is_sink = |task: &fs::DirEntry| {
        fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "sink")
    };
    while !fs::read_dir(&tasks).unwrap().flatten().any(|task| is_sink(&task)) {
        std::thread::sleep(Duration::from_millis(100));
    }
    let log = std::env::temp_dir().join("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o"]).arg(&log).args(["-p", &running.pid().to_string()]);
    assert!(strace.output().unwrap().status.success(), "it ends with vcam");
    let report = running.wait().report();
    run("mount -t tmpfs tmpfs /sys/kernel/debug/tracing");
    let own = report["steady"]["syscalls_per_frame"].as_f64().expect("root may count");

    let log = fs::read_to_string(log).unwrap();
    // A line for each call, and one more for a call that another thread's call interrupted. Signals
    // and ends of threads have lines of their own.
    let is_call =
        |line: &&str| !["resumed>", "+++ ", "--- "].iter().any(|word| line.contains(word));
    let calls: Vec<_> = log.lines().filter(is_call).collect();
    let is_commit = |at: &usize| calls[*at].contains("DRM_IOCTL_MODE_ATOMIC");
    let commits: Vec<_> = (0..calls.len()).filter(is_commit).collect();
    // The last ones put the display back.
    let [first, last] = [110, 10].map(|from_the_end| commits[commits.len() - from_the_end]);
    let traced = (last - first) as f64 / 100.0;
    let mut kinds = BTreeMap::<_, u32>::new();
    for call in &calls[first..last] {
        let name = call.split_whitespace().nth(1).and_then(|call| call.split('(').next());
        *kinds.entry(name.unwrap_or_default()).or_default() += 1;
    }
    println!("{own:.1} system calls a frame, and {traced:.1} by strace; in 100 frames {kinds:?}");
    assert!(own <= 12.0, "{own}");
    // Ours has the end of the run, too.
    assert!((0.9..1.5).contains(&(own / traced)), "{own} and {traced}");
}
