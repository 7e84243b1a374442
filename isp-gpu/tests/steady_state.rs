//! Once streaming, a frame allocates nothing: not even where it is copied.

#![allow(clippy::unwrap_used)]

use std::slice;

use vcam_allocator::heaps::memfd::Memfd;
use vcam_allocator::{Alignment, Fourcc, Heap, Layout};
use vcam_isp_gpu::{CpuIsp, GpuIsp, Isp, IspParams, Job, Output, RawFormat};
use vcam_testing::allocations::{self, CountingAllocator};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn allocations(isp: &mut dyn Isp) -> u64 {
    let allocate = |format| {
        let layout = Layout::linear(format, 64, 48, Alignment::default()).unwrap();
        Memfd::new().allocate(&layout, "test").unwrap()
    };
    let (raw, output) = (allocate(Fourcc::R8), allocate(Fourcc::XRGB8888));
    isp.prepare(slice::from_ref(&raw), slice::from_ref(&output));
    let params = IspParams::default();
    let outputs = [Output::new(&output)];
    let (format, size) = (RawFormat::SRGGB8, (64, 48));
    let mut before = 0;
    for sequence in 0..100 {
        // The first frames make what the others use; a ring of statistics is one of them.
        if sequence == 8 {
            before = allocations::of_this_thread();
        }
        let (raw, outputs, params) = (&raw, &outputs, &params);
        let job = Job { sequence, format, size, raw, outputs, params, measure: true };
        isp.process(&job).unwrap();
    }
    allocations::of_this_thread() - before
}

#[test]
fn the_cpu_allocates_nothing() {
    assert_eq!(allocations(&mut CpuIsp::new()), 0);
}

#[test]
fn the_gpu_allocates_nothing() {
    match GpuIsp::new(None) {
        Ok(mut isp) => assert_eq!(allocations(&mut isp), 0),
        Err(error) => eprintln!("RAN WITHOUT A GPU ISP: {error}"),
    }
}
