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

cases! {
    the_wrong_state_is_a_typed_error
    a_configuration_must_be_valid
    a_raw_stream_and_two_of_pictures_show_the_same_frame
    not_every_request_wants_every_stream
    controls_of_the_isp_count_for_their_frame
    a_crop_and_a_turn_are_seen
    a_test_pattern_takes_the_scene_s_place
    frames_last_as_long_as_is_asked
    a_sensor_of_its_own_pace_drops_what_nobody_asked_for
    buffers_of_the_application_s_own_are_written
    a_sensor_that_sends_pictures_needs_no_isp
    completed_requests_can_be_polled_for
    exposure_and_white_follow_the_light
    two_cameras_run_at_once
    who_lets_go_of_a_running_camera_leaves_nothing_behind
}

/// In the lab it is a real fence; here, a pipe that nothing comes out of.
#[test]
fn a_fence_that_never_signals_costs_one_picture() {
    let (fake_fence, _writer) = std::io::pipe().unwrap();
    let fence = Fence::pending(fake_fence.into()).unwrap();
    camera_cases::one_fence_never_signals(&with(), fence);
}
