//! The camera as an application has it, with the CPU's ISP and memory of the process; the lab runs
//! the same with the GPU's on dma-bufs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "a test program is no library")]

#[path = "support/camera_cases.rs"]
mod camera_cases;
#[path = "support/compliance.rs"]
mod compliance;
#[path = "support/vcam_camera.rs"]
mod vcam_camera;

use camera_cases::With;
use vcam_allocator::Fence;
use vcam_camera::VcamCamera;
use vcam_pipeline::IspChoice;

fn with() -> With {
    With { heap: "memfd", isp: IspChoice::Cpu }
}

#[test]
fn it_complies() {
    compliance::examine(&mut VcamCamera::new("memfd", IspChoice::Cpu));
}

macro_rules! cases {
    ($($name:ident)+) => {
        $(#[test]
        fn $name() {
            camera_cases::$name(&with());
        })+
    };
}

camera_cases::with_all_cases!(cases);

/// In the lab it is a real fence; here, a pipe that nothing comes out of.
#[test]
fn a_fence_that_never_signals_costs_one_frame() {
    let (fake_fence, _writer) = std::io::pipe().unwrap();
    let fence = Fence::pending(fake_fence.into()).unwrap();
    for stream in 0..2 {
        camera_cases::one_fence_never_signals(&with(), fence.clone(), stream);
    }
}
