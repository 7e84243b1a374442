//! Losses of the GPU's context, on demand.

use vcam_allocator::heaps::memfd::Memfd;
use vcam_allocator::{Alignment, CpuAccess, Heap, Layout, Method};

use super::*;
use crate::fault::{self, Faults};
use crate::frame::{Output, cpu_stride};
use crate::params::IspParams;
use crate::raw::RawFormat;
use crate::reference::{RawImage, off_by};

/// Makes this many frames, one after the other with these faults; each must be right.
fn frames_with(faults: &[Faults]) -> Option<GpuIsp> {
    let mut isp = match GpuIsp::new(None) {
        Ok(isp) => isp,
        Err(error) => {
            eprintln!("RAN WITHOUT A GPU ISP: {error}");
            return None;
        }
    };
    let size = (34, 18);
    let allocate = |format| {
        let layout = Layout::linear(format, size.0, size.1, Alignment::default()).unwrap();
        Memfd::new().allocate(&layout, "test").unwrap()
    };
    let (raw, output) = (allocate(Fourcc::R8), allocate(Fourcc::XRGB8888));
    let (params, outputs) = (IspParams::default(), [Output::new(&output)]);
    let format = RawFormat::SRGGB8;
    for (sequence, faults) in (0u8..).zip(faults) {
        let mut bytes = raw.cpu_access(CpuAccess::Write).unwrap();
        let noise = bytes.plane_mut(0).iter_mut().enumerate();
        noise.for_each(|(at, byte)| *byte = (at * 97) as u8 ^ sequence.wrapping_mul(53));
        bytes.end().unwrap();
        let (raw, outputs, params) = (&raw, &outputs, &params);
        let sequence = sequence.into();
        let job = Job { sequence, format, size, raw, outputs, params, measure: true };
        fault::set(*faults);
        isp.process(&job).unwrap();
        fault::set(Faults::default());
        let bytes = raw.cpu_access(CpuAccess::Read).unwrap();
        let stride = cpu_stride(raw, 0).unwrap();
        let image = RawImage { format, size, stride, bytes: bytes.plane(0) };
        assert!(off_by(&image, params, &outputs[0]).unwrap() <= 1, "frame {sequence}");
    }
    Some(isp)
}

const FINE: Faults = Faults { lost_contexts: 0, no_contexts: false, no_images: false };

#[test]
fn after_a_loss_everything_is_there_again() {
    let lost = Faults { lost_contexts: 1, ..FINE };
    let Some(isp) = frames_with(&[FINE, FINE, lost, FINE]) else { return };
    assert!(isp.fallback.is_none());
    let end = isp.raw_end();
    if end.method == Method::Copy {
        // One of the four frames was made twice; copies before the loss still count.
        assert_eq!((end.bytes_copied, end.since_frame), (5 * 34 * 18, 0), "{end:?}");
    }
}

#[test]
fn a_gpu_that_does_not_come_back_leaves_the_work_to_the_cpu() {
    let gone = Faults { lost_contexts: 1, no_contexts: true, ..FINE };
    let Some(isp) = frames_with(&[FINE, gone, FINE]) else { return };
    let (_, refusal) = isp.fallback.as_ref().unwrap();
    let said = refusal.to_string();
    assert!(said.contains("does not come back: eglCreateContext failed"), "{said}");
    assert_eq!(isp.statistics().unwrap().0, 2, "they are of the latest frame");
}

#[test]
fn a_gpu_that_is_reset_over_and_over_is_given_up() {
    let lost = Faults { lost_contexts: MAX_LOSSES, ..FINE };
    let Some(isp) = frames_with(&[FINE, lost, FINE]) else { return };
    let (_, refusal) = isp.fallback.as_ref().unwrap();
    assert!(refusal.to_string().contains("again and again"), "{refusal}");
}

#[test]
fn versions_begin_with_the_driver() {
    assert_eq!(driver_and_version("OpenGL ES 3.2 Mesa 26.1.0-1"), "Mesa 26.1.0-1, OpenGL ES 3.2");
    assert_eq!(driver_and_version("odd"), "odd");
}
