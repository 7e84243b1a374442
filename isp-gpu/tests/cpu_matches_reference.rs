//! The CPU's ISP makes the picture of the reference, in place.

// Clippy knows tests by their attribute, and not the functions that help them.
#![allow(clippy::unwrap_used)]

use vcam_allocator::heaps::memfd::Memfd;
use vcam_allocator::{ColourSpace, CpuAccess, Fourcc, Method};
use vcam_isp_gpu::reference::{alike, statistics};
use vcam_isp_gpu::{
    CpuIsp, Crop, Demosaic, Isp, IspError, IspParams, Job, Output, ParamsError, RawFormat, Tone,
    View,
};
use vcam_testing::isp_cases::{self, RawFrame, allocate};

#[test]
fn every_raw_format_is_within_a_level() {
    isp_cases::every_raw_format(&mut CpuIsp::with_threads(3), &Memfd::new());
}

#[test]
fn every_output_format_is_within_a_level() {
    isp_cases::every_output_format(&mut CpuIsp::with_threads(2), &Memfd::new());
}

#[test]
fn two_outputs_turned_cropped_and_scaled_are_within_two_levels() {
    isp_cases::two_views(&mut CpuIsp::with_threads(2), &Memfd::new());
}

#[test]
fn statistics_are_those_of_the_reference() {
    isp_cases::measures(&mut CpuIsp::with_threads(5), &Memfd::new());
}

#[test]
fn frames_are_measured_where_that_is_asked_for() {
    isp_cases::measures_what_it_is_told_to(&mut CpuIsp::with_threads(2), &Memfd::new());
}

#[test]
fn padding_is_left_alone() {
    let frame = RawFrame::new(&Memfd::new(), RawFormat::SRGGB8, (33, 17), 1);
    let output = allocate(&Memfd::new(), Fourcc::XRGB8888, (33, 17));
    output.cpu_access(CpuAccess::Write).unwrap().plane_mut(0).fill(7);
    let mut isp = CpuIsp::new();
    frame.make(&mut isp, 0, &[Output::new(&output)], &IspParams::default());
    let guard = output.cpu_access(CpuAccess::Read).unwrap();
    for row in guard.plane(0).chunks(output.layout().planes()[0].stride as usize) {
        assert!(row[33 * 4..].iter().all(|byte| *byte == 7), "padding was written to");
    }
    assert_eq!(isp.raw_end().method, Method::Native);
    assert_eq!(isp.output_end().bytes_copied, 0);
}

#[test]
fn a_frame_without_outputs_is_measured() {
    let frame = RawFrame::new(&Memfd::new(), RawFormat::SRGGB8, (64, 48), 1);
    let (mut isp, params) = (CpuIsp::new(), IspParams::default());
    frame.make(&mut isp, 3, &[], &params);
    let (sequence, is) = isp.statistics().unwrap();
    assert_eq!(sequence, 3);
    alike(is, &statistics(&frame.image(), &params)).unwrap();
}

#[test]
fn frames_that_cannot_be_made_are_errors() {
    let mut isp = CpuIsp::new();
    let buffer = |format, size| allocate(&Memfd::new(), format, size);
    let (r8, xr24) = (buffer(Fourcc::R8, (4, 4)), buffer(Fourcc::XRGB8888, (4, 4)));
    let params = IspParams::default();
    let (format, size) = (RawFormat::SRGGB8, (4, 4));
    let outputs = [Output::new(&xr24)];
    let (raw, measure) = (&r8, true);
    let job = Job { sequence: 0, format, size, raw, outputs: &outputs, params: &params, measure };
    let mut error = |job: &Job<'_>| isp.process(job).unwrap_err();
    assert!(matches!(error(&Job { raw: &xr24, ..job }), IspError::Carrier { .. }));
    assert!(matches!(error(&Job { size: (4, 5), ..job }), IspError::Carrier { .. }));
    let ten: RawFormat = "SRGGB10".parse().unwrap();
    let words = error(&Job { format: ten, ..job }).to_string();
    assert!(words.contains("a frame of 4x4 in SRGGB10 travels as 4x4 of R16"), "{words}");
    let wrong = [Output::new(&r8)];
    let words = error(&Job { outputs: &wrong, ..job }).to_string();
    assert!(words.contains("is R8, but the ISP makes XR24, AR24"), "{words}");
    let crop = Some(Crop { x: 1, y: 0, width: 4, height: 4 });
    let outside = [Output { buffer: &xr24, view: View { crop, ..View::default() } }];
    assert!(matches!(error(&Job { outputs: &outside, ..job }), IspError::Crop { .. }));
    let limited = Some(ColourSpace::REC709);
    let coloured = View { colour_space: limited, ..View::default() };
    let words = error(&Job { outputs: &[Output { buffer: &xr24, view: coloured }], ..job });
    let words = words.to_string();
    assert_eq!(words, "the ISP makes no XR24 in Rec709: its colours are those of sRGB");
    let thin = buffer(Fourcc::R8, (1, 4));
    assert!(matches!(error(&Job { size: (1, 4), raw: &thin, ..job }), IspError::TooSmall { .. }));
    let bad = IspParams { gains: [1.0, f32::NAN, 1.0], ..params };
    let bad = error(&Job { params: &bad, ..job });
    assert!(matches!(bad, IspError::Params(ParamsError::Gain { colour: "green", .. })));
    let held = xr24.cpu_access(CpuAccess::Read).unwrap();
    assert!(matches!(error(&job), IspError::Access(_)));
    drop(held);
}

#[test]
fn the_shortest_way_measures_every_frame() {
    let linear = Tone { gamma: 1.0, contrast: 1.0 };
    let demosaic = Demosaic::Bilinear;
    let params = IspParams { black_level: 0.0, tone: linear, demosaic, ..IspParams::default() };
    for threads in [1, 3] {
        let mut isp = CpuIsp::with_threads(threads);
        let mut frame = RawFrame::new(&Memfd::new(), RawFormat::SRGGB8, (66, 50), 1);
        let output = allocate(&Memfd::new(), Fourcc::XBGR8888, (66, 50));
        for sequence in 0..9 {
            frame.fill(sequence);
            let off = frame.make(&mut isp, sequence.into(), &[Output::new(&output)], &params);
            assert!(off <= 1, "off by {off}");
            let (of, is) = isp.statistics().unwrap();
            assert_eq!(of, u64::from(sequence));
            alike(is, &statistics(&frame.image(), &params)).unwrap();
        }
    }
}
