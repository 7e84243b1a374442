//! The camera as an application has it, with the GPU's ISP and dma-bufs: each case ends with nothing
//! left behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "a test program is no library")]

#[path = "support/camera_cases.rs"]
mod camera_cases;
#[path = "support/compliance.rs"]
mod compliance;
mod support;
#[path = "support/vcam_camera.rs"]
mod vcam_camera;

use camera_cases::With;
use support::books;
use vcam_allocator::Fence;
use vcam_camera::VcamCamera;
use vcam_pipeline::IspChoice;

fn with() -> With {
    With { heap: "udmabuf", isp: IspChoice::Gpu(None) }
}

#[test]
fn it_complies_and_leaves_nothing_behind() {
    let examine = || {
        compliance::examine(&mut VcamCamera::new("udmabuf", IspChoice::Gpu(None)));
    };
    let before = books::after_warming_up(examine);
    examine();
    before.assert_unchanged();
}

macro_rules! cases {
    ($($name:ident)+) => {
        $(#[test]
        fn $name() {
            let run = || camera_cases::$name(&with());
            let before = books::after_warming_up(run);
            run();
            before.assert_unchanged();
        })+
    };
}

camera_cases::with_all_cases!(cases);

/// An acquire fence that never signals costs the frame that it stands before, raw or a picture, and
/// no other.
#[test]
fn a_fence_that_never_signals_costs_one_frame() {
    let timeline = support::raw::Timeline::new();
    let fence = Fence::pending(timeline.fence(1)).expect("it is not signalled");
    for stream in 0..2 {
        let run = || camera_cases::one_fence_never_signals(&with(), fence.clone(), stream);
        let before = books::after_warming_up(run);
        run();
        before.assert_unchanged();
    }
}
