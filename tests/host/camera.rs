//! The camera as an application has it, with the CPU's ISP and memory of the process; the lab runs
//! the same with the GPU's on dma-bufs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use vcam_allocator::Fence;
use vcam_pipeline::IspChoice;
use vcam_testing::camera_cases::{self, Setup};
use vcam_testing::compliance;
use vcam_testing::vcam_camera::VcamCamera;

fn setup() -> Setup {
    Setup { heap: "memfd", isp: IspChoice::Cpu }
}

#[test]
fn it_complies() {
    compliance::examine(&mut VcamCamera::new("memfd", IspChoice::Cpu));
}

macro_rules! cases {
    ($($name:ident)+) => {
        $(#[test]
        fn $name() {
            camera_cases::$name(&setup());
        })+
    };
}

vcam_testing::with_all_camera_cases!(cases);

/// In the lab it is a real fence; here, a pipe that nothing comes out of.
#[test]
fn a_fence_that_never_signals_costs_one_frame() {
    let (fake_fence, _writer) = std::io::pipe().unwrap();
    let fence = Fence::pending(fake_fence.into()).unwrap();
    for stream in 0..2 {
        camera_cases::one_fence_never_signals(&setup(), fence.clone(), stream);
    }
}
