//! Whatever EGL this machine has makes the picture of the CPU's reference.
//!
//! The buffers are memfds, which every machine has and no driver imports: this is the path of
//! upload and read-back. Real imports need a kernel with udmabuf, and are tested in the lab with
//! `examples/import_roundtrip.rs`.

// Clippy knows tests by their attribute, and not the functions that help them.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::slice;

use vcam_allocator::heaps::memfd::Memfd;
use vcam_allocator::{
    Alignment, CpuAccess, Dmabuf, Fourcc, Heap, Importer, Layout, Method, Modifier, PlaneLayout,
};
use vcam_isp_gpu::{Cfa, GpuIsp, Isp, IspError, IspParams, reference};

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

fn linear(format: Fourcc, width: u32, height: u32) -> Layout {
    Layout::linear(format, width, height, Alignment::default()).unwrap()
}

fn allocate(layout: &Layout) -> Dmabuf {
    Memfd::new().allocate(layout, "test").unwrap()
}

/// Fills a raw frame with noise, over all bytes.
fn fill(raw: &Dmabuf, seed: u32) {
    let mut guard = raw.cpu_access(CpuAccess::Write).unwrap();
    let mut state = seed.wrapping_mul(2) | 1;
    for byte in guard.plane_mut(0) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        *byte = (state >> 11) as u8;
    }
}

/// The largest difference of any byte between a picture and the reference of its raw frame.
fn difference(cfa: Cfa, raw: &Dmabuf, output: &Dmabuf, params: &IspParams) -> u8 {
    let (width, height) = (raw.layout().width(), raw.layout().height());
    let stride = |buffer: &Dmabuf| buffer.layout().planes()[0].stride as usize;
    let raw_guard = raw.cpu_access(CpuAccess::Read).unwrap();
    let guard = output.cpu_access(CpuAccess::Read).unwrap();
    let (pixels, row) = (guard.plane(0), width as usize * 4);
    let mut expected = vec![0; pixels.len()];
    let format = output.format();
    reference(
        cfa,
        raw_guard.plane(0),
        stride(raw),
        width,
        height,
        params,
        format,
        &mut expected,
        stride(output),
    );
    let rows = pixels.chunks(stride(output)).zip(expected.chunks(stride(output)));
    rows.flat_map(|(is, should)| is[..row].iter().zip(&should[..row]))
        .map(|(is, should)| is.abs_diff(*should))
        .max()
        .unwrap()
}

fn fds() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn every_size_order_and_format_is_within_a_level() {
    let Some(mut isp) = isp() else { return };
    println!("{}: {}", isp.name(), isp.describe());
    let formats = [Fourcc::XRGB8888, Fourcc::ARGB8888, Fourcc::XBGR8888, Fourcc::ABGR8888];
    let all_params = [
        IspParams::default(),
        IspParams { black_level: 0.0, gains: [1.0; 3], gamma: 1.0 },
        IspParams { black_level: 0.1, gains: [1.9, 1.0, 8.5], gamma: 2.4 },
        IspParams { black_level: 0.0, gains: [0.01, 0.5, 100.0], gamma: 0.5 },
    ];
    let mut sequence = 0;
    for (width, height) in [(2, 2), (3, 2), (2, 3), (33, 17), (257, 5), (640, 480)] {
        let raw = allocate(&linear(Fourcc::R8, width, height));
        for format in formats {
            let output = allocate(&linear(format, width, height));
            for cfa in Cfa::ALL {
                for params in &all_params {
                    fill(&raw, sequence as u32);
                    let fence = isp.process(sequence, cfa, &raw, &output, params).unwrap();
                    assert!(fence.is_none(), "a picture that was read back is done");
                    let difference = difference(cfa, &raw, &output, params);
                    let case = format!("{width}x{height} {format} {cfa} {params:?}");
                    assert!(difference <= 1, "{case}: off by {difference}");
                    sequence += 1;
                }
            }
        }
    }
    assert_eq!(isp.raw_end().method, Method::Copy);
    assert_eq!(isp.raw_end().imports, 0);
    assert_eq!(isp.raw_end().since_frame, 0);
    assert_eq!(isp.output_end().bytes_copied, 4 * isp.raw_end().bytes_copied);
    let reason = isp.raw_end().reason.unwrap();
    assert!(reason.contains("EGL_EXT_image_dma_buf_import: "), "{reason}");
}

#[test]
fn strides_that_gl_cannot_express_are_copied_row_by_row() {
    let Some(mut isp) = isp() else { return };
    let layout = |format, offset, stride| {
        let planes = vec![PlaneLayout { offset, stride }];
        Layout::given(format, Modifier::LINEAR, 30, 20, planes).unwrap()
    };
    let params = IspParams::default();
    for (raw_stride, output_stride) in [(30, 120), (31, 121), (37, 126), (64, 256)] {
        let raw = allocate(&layout(Fourcc::R8, 3, raw_stride));
        let output = allocate(&layout(Fourcc::XRGB8888, 5, output_stride));
        fill(&raw, 1);
        output.cpu_access(CpuAccess::Write).unwrap().plane_mut(0).fill(7);
        isp.process(0, Cfa::Gbrg, &raw, &output, &params).unwrap();
        assert!(difference(Cfa::Gbrg, &raw, &output, &params) <= 1, "{raw_stride}");
        let guard = output.cpu_access(CpuAccess::Read).unwrap();
        for row in guard.plane(0).chunks(output_stride as usize) {
            assert!(row[120..].iter().all(|byte| *byte == 7), "padding was written to");
        }
    }
}

#[test]
fn what_is_refused_is_known_before_streaming() {
    let Some(mut isp) = isp() else { return };
    let raw = allocate(&linear(Fourcc::R8, 16, 16));
    let output = allocate(&linear(Fourcc::XRGB8888, 16, 16));
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
    let raw = allocate(&linear(Fourcc::R8, 16, 16));
    let output = allocate(&linear(Fourcc::XRGB8888, 16, 16));
    let params = IspParams::default();
    let held = output.cpu_access(CpuAccess::Read).unwrap();
    let error = isp.process(0, Cfa::Rggb, &raw, &output, &params).unwrap_err();
    assert!(matches!(error, IspError::Copy { .. }), "{error}");
    assert_eq!(isp.output_end().bytes_copied, 0);
    drop(held);
    isp.process(1, Cfa::Rggb, &raw, &output, &params).unwrap();

    let raw = allocate(&linear(Fourcc::R8, 100_000, 2));
    let output = allocate(&linear(Fourcc::XRGB8888, 100_000, 2));
    let error = isp.process(2, Cfa::Rggb, &raw, &output, &params).unwrap_err();
    assert!(matches!(error, IspError::TooLarge { .. }), "{error}");
}

#[test]
fn isps_of_one_thread_and_of_several_do_not_disturb_each_other() {
    let check = |isp: &mut GpuIsp, seed| {
        let raw = allocate(&linear(Fourcc::R8, 33, 17));
        let output = allocate(&linear(Fourcc::XRGB8888, 33, 17));
        let params = IspParams::default();
        fill(&raw, seed);
        isp.process(0, Cfa::Bggr, &raw, &output, &params).unwrap();
        assert!(difference(Cfa::Bggr, &raw, &output, &params) <= 1);
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

#[test]
fn starting_and_stopping_leaks_no_descriptor() {
    let Some(first) = isp() else { return };
    drop(first);
    let raw = allocate(&linear(Fourcc::R8, 16, 16));
    let output = allocate(&linear(Fourcc::XRGB8888, 16, 16));
    // Other tests of this process open and close descriptors meanwhile, but none for long.
    let before = fds();
    for sequence in 0..20 {
        let Some(mut isp) = isp() else { return };
        isp.process(sequence, Cfa::Rggb, &raw, &output, &IspParams::default()).unwrap();
    }
    assert!(fds() < before + 20, "{before} became {}", fds());
}
