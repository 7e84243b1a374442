//! The camera as an application has it, with the GPU's ISP and dma-bufs: each case ends with
//! nothing left behind.
//!
//! `cargo xtask test --only uml camera`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use vcam_allocator::{Alignment, Fence, Fourcc, Heap, Layout, heaps};
use vcam_pipeline::camera::{CameraManager, FrameStatus, Resources, Start, StreamRole};
use vcam_pipeline::{CopyPolicy, IspChoice, Size};
use vcam_testing::accounting;
use vcam_testing::camera_cases::{self, Setup};
use vcam_testing::compliance;
use vcam_testing::raw;
use vcam_testing::vcam_camera::{VcamCamera, resources};

fn setup() -> Setup {
    Setup { heap: "udmabuf", isp: IspChoice::Gpu(None) }
}

#[test]
fn it_complies_and_leaves_nothing_behind() {
    let examine = || {
        compliance::examine(&mut VcamCamera::new("udmabuf", IspChoice::Gpu(None)));
    };
    let before = accounting::after_warming_up(examine);
    examine();
    before.assert_unchanged();
}

macro_rules! cases {
    ($($name:ident)+) => {
        $(#[test]
        fn $name() {
            let run = || camera_cases::$name(&setup());
            let before = accounting::after_warming_up(run);
            run();
            before.assert_unchanged();
        })+
    };
}

vcam_testing::with_all_camera_cases!(cases);

/// An acquire fence that never signals costs the frame that it stands before, raw or a picture, and
/// no other.
#[test]
fn a_fence_that_never_signals_costs_one_frame() {
    let timeline = raw::SwSyncTimeline::new();
    let fence = Fence::pending(timeline.fence(1)).expect("it is not signalled");
    for stream in 0..2 {
        let run = || camera_cases::one_fence_never_signals(&setup(), fence.clone(), stream);
        let before = accounting::after_warming_up(run);
        run();
        before.assert_unchanged();
    }
}

/// The GPU does not import memory of the process. By default the frames are copied; to a strict
/// camera that is an error, of the plan or of the frame.
#[test]
fn a_strict_camera_copies_nothing() {
    let limit = Duration::from_secs(60);
    let camera = CameraManager::new().get("vcam").unwrap();
    let with = |heap, copies| Resources { copies, ..resources(heap, IspChoice::Gpu(None)) };
    for (heap, copies, works) in [
        ("udmabuf", CopyPolicy::Forbid, true),
        ("memfd", CopyPolicy::Fallback, true),
        ("memfd", CopyPolicy::Forbid, false),
    ] {
        camera.acquire(with(heap, copies)).unwrap();
        camera.configure(&camera.generate_configuration(&[StreamRole::Viewfinder])).unwrap();
        match camera.allocate::<vcam_allocator::constraints::Constraints>(Vec::new()) {
            Ok(_) => assert!(works, "{heap}"),
            Err(error) => {
                assert!(!works, "{heap}: {error}");
                assert!(error.to_string().contains("copies"), "{error}");
            }
        }
        camera.release().unwrap();
    }
    // Buffers that the application brings are known to be refused when a frame is made.
    camera.acquire(with("udmabuf", CopyPolicy::Forbid)).unwrap();
    let configuration = camera.generate_configuration(&[StreamRole::Viewfinder]);
    camera.configure(&configuration).unwrap();
    let stream = configuration.stream_ids().next().unwrap();
    let Size { width, height } = configuration.streams[0].size;
    let layout = Layout::linear(Fourcc::XRGB8888, width, height, Alignment::default()).unwrap();
    let memfd: Box<dyn Heap> = heaps::open("memfd").unwrap();
    let buffers = (0..2).map(|_| memfd.allocate(&layout, "application").unwrap()).collect();
    camera.adopt(stream, buffers).unwrap();
    camera.start(Start::default()).unwrap();
    let mut request = camera.create_request(0).unwrap();
    let buffer = camera.buffers(stream).unwrap().take(limit).unwrap();
    request.add_buffer(stream, buffer, None).unwrap();
    camera.queue_request(request).unwrap();
    let done = camera.next_completed(limit).unwrap();
    assert_eq!(done.buffer(stream).unwrap().status(), FrameStatus::Error);
    drop(done);
    camera.stop().unwrap();
    camera.release().unwrap();
}
