//! Raw Bayer in, picture out.
//!
//! An [`Isp`] turns the raw frame of a sensor into a picture: black level, white balance, bilinear
//! demosaic, gamma. There are two, and they do the same maths:
//!
//! - [`GpuIsp`] imports both buffers into EGL and renders from one into the other, so that no byte
//!   is copied. A driver that refuses a buffer gets its pixels by upload, or gives them by
//!   read-back, and [`Isp::raw_end`] and [`Isp::output_end`] say so and why.
//! - [`CpuIsp`] reads and writes the mapped buffers in place. Its function [`reference()`] is the
//!   yardstick of the tests: the GPU's picture is within one level of it on every pixel.
//!
//! # The maths
//!
//! A colour that the sensor did not see at a pixel is the mean of its neighbours that did: two or
//! four of them. Outside of the picture the mosaic is mirrored at the border pixel, which is not
//! repeated (-1 is 1, the width is the width less 2), since this alone keeps the colour of a site.
//! A mean of bytes is a whole number of quarters, so both sides have it without a rounding error;
//! they differ only in how they round the power that follows:
//!
//! `level = 255 * clamp((mean - black) * gain / (255 - black), 0, 1) ^ (1 / gamma)`
//!
//! Row 0 of the raw buffer is row 0 of the output buffer, in memory.

mod cpu;
mod egl;
mod frame;
mod gl;
mod gpu;
mod image;
mod import;
mod params;
pub mod probe;
pub mod raw;
pub mod stats;
mod sync;

use vcam_allocator::constraints::Constraints;
use vcam_allocator::{Dmabuf, Fence, Fourcc, Importer, LinkEnd};

pub use cpu::{CpuIsp, reference};
pub use egl::{EglError, EglFault};
pub use frame::IspError;
pub use gl::GlFault;
pub use gpu::GpuIsp;
pub use import::{TargetImporter, TextureImporter};
pub use params::{Cfa, IspParams, ParamsError};
pub use raw::RawFormat;
pub use stats::{Statistics, Zone};

/// Makes pictures of raw frames.
///
/// An ISP stands between two links: it has one end of the link from the sensor, and one of the link
/// to the sink.
pub trait Isp {
    /// The name that reports use: `cpu`, or `gpu:` and the renderer, as in `gpu:llvmpipe`.
    fn name(&self) -> String;

    /// All there is to say about what does the work: renderer, driver and versions.
    fn describe(&self) -> String;

    /// What it needs of raw buffers.
    fn raw_constraints(&self) -> Constraints;

    /// What it needs of the buffers that it renders into, in one of these formats.
    fn output_constraints(&self, formats: &[Fourcc]) -> Constraints;

    /// Whom to ask whether a raw buffer is taken; nobody where the CPU does the work.
    fn raw_importer(&mut self) -> Option<Box<dyn Importer + '_>>;

    /// Whom to ask whether a buffer can be rendered into; nobody where the CPU does the work.
    fn output_importer(&mut self) -> Option<Box<dyn Importer + '_>>;

    /// Imports the buffers, or finds out that they are refused, so that streaming need not.
    ///
    /// A refusal is no error here: it makes that end of the link a copy, as
    /// [`raw_end`](Isp::raw_end) and [`output_end`](Isp::output_end) tell from then on.
    fn prepare(&mut self, raw: &[Dmabuf], output: &[Dmabuf]);

    /// Makes the picture of one frame.
    ///
    /// `raw` is linear Bayer in R8; `output` is XRGB8888, ARGB8888, XBGR8888 or ABGR8888 of the
    /// same size, and its fourth byte becomes 255. `sequence` is the frame's number, for the
    /// report.
    ///
    /// The fence signals when both buffers are done with; without one, they are already. On an
    /// error the output holds no picture: there is no frame that is silently black.
    fn process(
        &mut self,
        sequence: u64,
        cfa: Cfa,
        raw: &Dmabuf,
        output: &Dmabuf,
        params: &IspParams,
    ) -> Result<Option<Fence>, IspError>;

    /// This end of the link from the sensor.
    fn raw_end(&self) -> LinkEnd;

    /// This end of the link to the sink.
    fn output_end(&self) -> LinkEnd;
}
