//! The GPU's ISP: imported buffers in, imported buffers out, and the picture of the reference in
//! all of them.
//!
//! `cargo xtask test --only uml isp_reference`

// Clippy knows tests by their attribute, and not the functions that help them.
#![allow(clippy::unwrap_used)]

use vcam_allocator::{Fourcc, Heap, Method, heaps};
use vcam_isp_gpu::{GpuIsp, Isp, IspParams, Output, RawFormat};
use vcam_testing::isp_cases::{self, RawFrame, allocate};

fn isp() -> GpuIsp {
    GpuIsp::new(None).expect("the lab has EGL")
}

fn udmabuf() -> Box<dyn Heap> {
    heaps::open("udmabuf").expect("the lab has udmabuf")
}

fn assert_imported(isp: &GpuIsp) {
    for end in [isp.raw_end(), isp.output_end()] {
        assert_eq!((end.method, end.bytes_copied), (Method::Import, 0), "{end:?}");
        assert!(end.imports > 0, "{end:?}");
    }
}

#[test]
fn every_raw_format_is_within_a_level() {
    let mut isp = isp();
    isp_cases::every_raw_format(&mut isp, &*udmabuf());
    assert_imported(&isp);
}

#[test]
fn every_output_format_is_rendered_in_place_and_within_a_level() {
    let mut isp = isp();
    isp_cases::every_output_format(&mut isp, &*udmabuf());
    assert_imported(&isp);
}

#[test]
fn two_outputs_turned_cropped_and_scaled_are_within_two_levels() {
    let mut isp = isp();
    isp_cases::two_views(&mut isp, &*udmabuf());
    assert_imported(&isp);
}

#[test]
fn statistics_are_those_of_the_reference() {
    let mut isp = isp();
    isp_cases::measures(&mut isp, &*udmabuf());
    assert_imported(&isp);
}

#[test]
fn frames_are_measured_where_that_is_asked_for() {
    let mut isp = isp();
    isp_cases::measures_what_it_is_told_to(&mut isp, &*udmabuf());
    assert_imported(&isp);
}

#[test]
fn quads_of_pixels_reach_the_whole_of_a_large_picture() {
    let (mut isp, heap) = (isp(), udmabuf());
    for format in ["SRGGB8", "SGBRG12P"] {
        let format: RawFormat = format.parse().unwrap();
        let frame = RawFrame::new(&*heap, format, (640, 480), 1);
        let formats = [Fourcc::XRGB8888, Fourcc::ABGR8888, Fourcc::NV12, Fourcc::NV21];
        for output_format in formats {
            let output = allocate(&*heap, output_format, (640, 480));
            let off = frame.make(&mut isp, 0, &[Output::new(&output)], &IspParams::default());
            assert!(off <= 1, "{format} {output_format}: off by {off}");
        }
    }
    assert_imported(&isp);
}
