//! The camera as an application has it, with the GPU's ISP and dma-bufs: each case ends with nothing
//! left behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::camera_cases::{self, With};
use support::vcam_camera::VcamCamera;
use support::{books, compliance};
use vcam_allocator::Fence;
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

/// An acquire fence that never signals costs the picture that it stands before, and no other.
#[test]
fn a_fence_that_never_signals_costs_one_picture() {
    let timeline = support::raw::Timeline::new();
    let fence = Fence::pending(timeline.fence(1)).expect("it is not signalled");
    let run = || camera_cases::one_fence_never_signals(&with(), fence.clone());
    let before = books::after_warming_up(run);
    run();
    before.assert_unchanged();
}
