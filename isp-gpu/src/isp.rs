//! The interface of every ISP.

use vcam_allocator::constraints::Constraints;
use vcam_allocator::{Dmabuf, Fence, Fourcc, Importer, LinkEnd};

use crate::frame::{IspError, Job};
use crate::stats::Statistics;

/// Makes pictures of raw frames.
///
/// An ISP stands between two links: it is one end of the link from the sensor, and one of the link
/// to the sink.
///
/// # How to use
///
/// 1. Ask for its constraints ([`raw_constraints`](Isp::raw_constraints),
///    [`output_constraints`](Isp::output_constraints)), and allocate buffers that meet them.
/// 2. [`prepare`](Isp::prepare) it with all buffers, so that no frame waits for an import.
/// 3. Call [`process`](Isp::process) for each frame, and hand its fence on with the outputs.
/// 4. Read [`raw_end`](Isp::raw_end) and [`output_end`](Isp::output_end) for what became of each
///    link: an import, or a copy and why.
pub trait Isp {
    /// The name that reports use: `cpu`, or `gpu:` and the renderer, as in `gpu:llvmpipe`.
    fn name(&self) -> String;

    /// A description of what does the work: renderer, driver and versions.
    fn describe(&self) -> String;

    /// The ISP's constraints on raw buffers, whose frames travel in one of these formats
    /// ([`RawFormat::carrier`](crate::RawFormat::carrier)).
    fn raw_constraints(&self, carriers: &[Fourcc]) -> Constraints;

    /// The ISP's constraints on the buffers that it renders into, in one of these formats.
    fn output_constraints(&self, formats: &[Fourcc]) -> Constraints;

    /// The importer that says whether a raw buffer is taken; `None` where the CPU does the work.
    fn raw_importer(&mut self) -> Option<&mut dyn Importer>;

    /// The importer that says whether a buffer can be rendered into; `None` where the CPU does the
    /// work.
    fn output_importer(&mut self) -> Option<&mut dyn Importer>;

    /// Imports the buffers, or finds out that they are refused, so that streaming need not.
    ///
    /// A refusal is no error here: it makes that end of the link a copy, as
    /// [`raw_end`](Isp::raw_end) and [`output_end`](Isp::output_end) report from then on.
    fn prepare(&mut self, raw: &[Dmabuf], output: &[Dmabuf]);

    /// Makes the pictures of one frame, and measures it if [`Job::measure`] says so.
    ///
    /// The fence signals when all buffers are done with; without one, they are already.
    ///
    /// # Errors
    ///
    /// On an error no output holds a picture: no frame is silently black.
    fn process(&mut self, job: &Job<'_>) -> Result<Option<Fence>, IspError>;

    /// The latest statistics that are ready, and the number of their frame; a frame that is not
    /// measured changes nothing.
    ///
    /// A GPU is not waited for: its statistics may be some frames late.
    fn statistics(&self) -> Option<(u64, &Statistics)>;

    /// This end of the link from the sensor.
    fn raw_end(&self) -> LinkEnd;

    /// This end of the link to the sink.
    fn output_end(&self) -> LinkEnd;
}
