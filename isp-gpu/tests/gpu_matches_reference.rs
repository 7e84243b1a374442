//! Whatever EGL this machine has makes the picture of the reference.
//!
//! The buffers are memfds, which every machine has and no driver imports: this is the path of
//! upload and read-back. Imports need a kernel with udmabuf, and are tested in the lab.

// Clippy knows tests by their attribute, and not the functions that help them.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::slice;

use vcam_allocator::heaps::memfd::Memfd;
use vcam_allocator::{CpuAccess, Fourcc, Heap, Layout, Method, Modifier, PlaneLayout};
use vcam_isp_gpu::{GpuIsp, Isp, IspError, IspParams, Job, Output, RawFormat};
use vcam_testing::isp_cases::{self, RawFrame, allocate};

/// The ISP of this machine; says so where there is none.
fn isp() -> Option<GpuIsp> {
    match GpuIsp::new(None) {
        Ok(isp) => Some(isp),
        Err(error) => {
            eprintln!("RAN WITHOUT A GPU ISP: {error}");
            None
        }
    }
}

#[test]
fn every_raw_format_is_within_a_level() {
    let Some(mut isp) = isp() else { return };
    println!("{}: {}", isp.name(), isp.describe());
    isp_cases::every_raw_format(&mut isp, &Memfd::new());
    assert_eq!(isp.raw_end().method, Method::Copy);
    assert_eq!(isp.raw_end().imports, 0);
    assert_eq!(isp.raw_end().since_frame, 1);
    let reason = isp.raw_end().reason.unwrap();
    assert!(reason.contains("EGL_EXT_image_dma_buf_import: "), "{reason}");
}

#[test]
fn every_output_format_is_within_a_level() {
    let Some(mut isp) = isp() else { return };
    isp_cases::every_output_format(&mut isp, &Memfd::new());
}

#[test]
fn two_outputs_turned_cropped_and_scaled_are_within_two_levels() {
    let Some(mut isp) = isp() else { return };
    isp_cases::two_views(&mut isp, &Memfd::new());
}

#[test]
fn statistics_are_those_of_the_reference() {
    let Some(mut isp) = isp() else { return };
    isp_cases::measures(&mut isp, &Memfd::new());
}

#[test]
fn frames_are_measured_where_that_is_asked_for() {
    let Some(mut isp) = isp() else { return };
    isp_cases::measures_what_it_is_told_to(&mut isp, &Memfd::new());
}

#[test]
fn strides_that_gl_cannot_express_are_copied_row_by_row() {
    let Some(mut isp) = isp() else { return };
    let allocate = |format, width, offset, stride| {
        let planes = vec![PlaneLayout { offset, stride }];
        let layout = Layout::given(format, Modifier::LINEAR, width, 20, planes).unwrap();
        Memfd::new().allocate(&layout, "test").unwrap()
    };
    for (format, strides) in [("SGBRG8", [30, 31, 37, 64]), ("SGBRG10", [60, 61, 67, 128])] {
        let format: RawFormat = format.parse().unwrap();
        for (raw_stride, output_stride) in strides.into_iter().zip([120, 121, 126, 256]) {
            let (carrier, columns) = format.carrier(30);
            let raw = allocate(carrier, columns, 3, raw_stride);
            let frame = RawFrame::on(raw, format, (30, 20), 1);
            let output = allocate(Fourcc::XRGB8888, 30, 5, output_stride);
            output.cpu_access(CpuAccess::Write).unwrap().plane_mut(0).fill(7);
            let off = frame.make(&mut isp, 0, &[Output::new(&output)], &IspParams::default());
            assert!(off <= 1, "{format} {raw_stride}: off by {off}");
            let guard = output.cpu_access(CpuAccess::Read).unwrap();
            for row in guard.plane(0).chunks(output_stride as usize) {
                assert!(row[120..].iter().all(|byte| *byte == 7), "padding was written to");
            }
        }
    }
}

#[test]
fn what_is_refused_is_known_before_streaming() {
    let Some(mut isp) = isp() else { return };
    let raw = allocate(&Memfd::new(), Fourcc::R8, (16, 16));
    let output = allocate(&Memfd::new(), Fourcc::XRGB8888, (16, 16));
    assert_eq!(isp.raw_end().method, Method::Import);
    isp.prepare(slice::from_ref(&raw), slice::from_ref(&output));
    for end in [isp.raw_end(), isp.output_end()] {
        assert_eq!((end.method, end.bytes_copied), (Method::Copy, 0));
    }
    let name = isp.name().replace("gpu:", "egl-texture:");
    assert_eq!(isp.texture_importer().name(), name);
    let refusal = isp.texture_importer().try_import(&raw).unwrap_err();
    assert_eq!(*isp.raw_end().reason.unwrap(), *refusal.to_string());
    let refusal = isp.target_importer().try_import(&output).unwrap_err();
    assert_eq!(*isp.output_end().reason.unwrap(), *refusal.to_string());
}

#[test]
fn a_frame_that_cannot_be_copied_is_an_error_that_says_why_it_was_to_be() {
    let Some(mut isp) = isp() else { return };
    let frame = RawFrame::new(&Memfd::new(), RawFormat::SRGGB8, (16, 16), 1);
    let output = allocate(&Memfd::new(), Fourcc::XRGB8888, (16, 16));
    let params = IspParams::default();
    let (outputs, params) = (&[Output::new(&output)], &params);
    let RawFrame { format, size, buffer: ref raw, .. } = frame;
    let job = Job { sequence: 0, format, size, raw, outputs, params, measure: true };
    let held = output.cpu_access(CpuAccess::Read).unwrap();
    let error = isp.process(&job).unwrap_err();
    assert!(matches!(error, IspError::Copy { .. }), "{error}");
    assert_eq!(isp.output_end().bytes_copied, 0);
    drop(held);
    isp.process(&job).unwrap();

    let raw = allocate(&Memfd::new(), Fourcc::R8, (100_000, 2));
    let error = isp.process(&Job { size: (100_000, 2), raw: &raw, ..job }).unwrap_err();
    assert!(matches!(error, IspError::TooLarge { .. }), "{error}");
}

#[test]
fn isps_of_one_thread_and_of_several_do_not_disturb_each_other() {
    let check = |isp: &mut GpuIsp, seed| {
        let frame = RawFrame::new(&Memfd::new(), RawFormat::SRGGB8, (33, 17), seed);
        let output = allocate(&Memfd::new(), Fourcc::XRGB8888, (33, 17));
        assert!(frame.make(isp, 0, &[Output::new(&output)], &IspParams::default()) <= 1);
    };
    std::thread::scope(|scope| {
        for seed in 0..3 {
            scope.spawn(move || {
                let (Some(mut one), Some(mut two)) = (isp(), isp()) else { return };
                check(&mut one, seed);
                check(&mut two, seed);
                check(&mut one, seed + 1);
                drop(two);
                check(&mut one, seed + 2);
            });
        }
    });
}

fn fds() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn starting_and_stopping_leaks_no_descriptor() {
    let Some(first) = isp() else { return };
    drop(first);
    let frame = RawFrame::new(&Memfd::new(), RawFormat::SRGGB8, (16, 16), 1);
    let output = allocate(&Memfd::new(), Fourcc::XRGB8888, (16, 16));
    // Other tests of this process open and close descriptors meanwhile, but none for long.
    let before = fds();
    for sequence in 0..20 {
        let Some(mut isp) = isp() else { return };
        frame.make(&mut isp, sequence, &[Output::new(&output)], &IspParams::default());
    }
    assert!(fds() < before + 20, "{before} became {}", fds());
}
