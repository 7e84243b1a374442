//! The cost of an import against that of a copy, as measured on the GPU.
//!
//! Zero copy is not always faster: a GPU may read ordinary memory over a bus at every fetch, or
//! bypass its caches for it, so one upload can be faster. libcamera measured that on a phone
//! (commit 93f0db16: 14.3 ms a frame by upload, 15.2 ms by import). Both ways are timed,
//! alternating, with frames of the real size in the real buffers.

use std::time::{Duration, Instant};

use vcam_allocator::cost::LinkCost;
use vcam_allocator::knowledge::Asked;
use vcam_allocator::{Dmabuf, Importer, Knowledge, Method, Refusal};
use vcam_isp_gpu::{GpuIsp, Isp, IspError, IspParams, Job, Output, RawFormat};

use super::hint::Hint;
use crate::error::chain;
use crate::size::Size;

/// Each number is the median of this many frames; one more before them warms up.
const ROUNDS: usize = 5;

/// The longest wait for one frame.
const PATIENCE: Duration = Duration::from_secs(5);

/// A frame to measure with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TestFrame<'a> {
    /// At least two of each, or nothing is measured.
    pub(crate) raw: &'a [Dmabuf],
    pub(crate) output: &'a [Dmabuf],
    pub(crate) format: RawFormat,
    pub(crate) size: Size,
    pub(crate) params: &'a IspParams,
}

/// Has the ISP decline the imports that cost more than a copy would.
///
/// `another` makes a second ISP like it, to measure with: what is found out must not be counted as
/// the first one's copies. What was measured before is not measured again.
pub(crate) fn prefer_copies(
    isp: &mut dyn Isp,
    another: &dyn Fn() -> Option<GpuIsp>,
    frame: &TestFrame<'_>,
    knowledge: &mut Knowledge,
) -> Vec<Hint> {
    let mut hints = Vec::new();
    let imports = |method| method == Method::Import;
    let ([raw, _, ..], [output, _, ..]) = (frame.raw, frame.output) else { return hints };
    if !imports(isp.raw_end().method) || !imports(isp.output_end().method) {
        return hints;
    }
    let (Some(of_raw), Some(of_output)) = (
        isp.raw_importer().map(|device| Asked::of(&*device)),
        isp.output_importer().map(|device| Asked::of(&*device)),
    ) else {
        return hints;
    };
    let known = |knowledge: &Knowledge, asked: &Asked, buffer: &Dmabuf| {
        knowledge.link(asked, buffer.heap(), buffer.format(), size(buffer))
    };
    let costs = known(knowledge, &of_raw, raw).zip(known(knowledge, &of_output, output));
    let [raw_cost, output_cost] = match costs {
        Some((raw, output)) => [raw, output],
        None => match another().map(|scratch| measure(scratch, frame)) {
            Some(Ok(measured)) => {
                let [of_raw_cost, of_output_cost] = measured;
                let mut note = |asked, buffer: &Dmabuf, cost| {
                    knowledge.note_link(asked, buffer.heap(), buffer.format(), size(buffer), cost);
                };
                note(&of_raw, raw, of_raw_cost);
                note(&of_output, output, of_output_cost);
                measured
            }
            Some(Err(error)) => {
                tracing::debug!(error = chain(&error), "a copy's cost is not known");
                return hints;
            }
            None => return hints,
        },
    };
    if let Some(device) = isp.raw_importer() {
        hints.extend(decline(&mut *device, frame.raw, raw_cost));
    }
    if let Some(device) = isp.output_importer() {
        hints.extend(decline(&mut *device, frame.output, output_cost));
    }
    isp.prepare(frame.raw, frame.output);
    hints
}

fn size(buffer: &Dmabuf) -> (u32, u32) {
    (buffer.layout().width(), buffer.layout().height())
}

/// Declines the buffers of a link on which a copy is cheaper.
fn decline(device: &mut dyn Importer, buffers: &[Dmabuf], cost: LinkCost) -> Option<Hint> {
    let LinkCost { import_us, copy_us } = cost;
    tracing::info!(device = device.name(), import_us, copy_us, "a frame costs");
    if !cost.copy_is_cheaper() {
        return None;
    }
    for buffer in buffers {
        let detail =
            format!("a frame takes {copy_us} µs by copy and {import_us} µs by import, as measured");
        device.decline(buffer, Refusal::because(&device.name(), "cost", detail));
    }
    Some(Hint::CheaperCopy { device: device.name(), import_us, copy_us })
}

/// Measures a frame by import, and by copy at either end.
fn measure(mut isp: GpuIsp, frame: &TestFrame<'_>) -> Result<[LinkCost; 2], IspError> {
    let by_copy = |device: &mut dyn Importer, buffer: &Dmabuf| {
        device.decline(buffer, Refusal::because(&device.name(), "cost", "being measured"));
    };
    by_copy(isp.texture_importer(), &frame.raw[1]);
    by_copy(isp.target_importer(), &frame.output[1]);
    let mut times = [const { Vec::new() }; 3];
    for round in 0..=ROUNDS {
        for (times, (raw, output)) in times.iter_mut().zip([(0, 0), (1, 0), (0, 1)]) {
            let begun = Instant::now();
            let (raw, output) = (&frame.raw[raw], &frame.output[output]);
            let done = isp.process(&Job {
                sequence: 0,
                format: frame.format,
                size: frame.size.into(),
                raw,
                outputs: &[Output::new(output)],
                params: frame.params,
                // Statistics cost as much either way.
                measure: false,
            })?;
            if let Some(fence) = done {
                // A frame that does not get done in time is as dear as it looks.
                let _ = fence.wait(PATIENCE);
            }
            if round > 0 {
                times.push(begun.elapsed());
            }
        }
    }
    let [import_us, raw_us, output_us] = times.map(|mut times| {
        times.sort();
        u64::try_from(times[times.len() / 2].as_micros()).unwrap_or(u64::MAX)
    });
    Ok([LinkCost { import_us, copy_us: raw_us }, LinkCost { import_us, copy_us: output_us }])
}
