//! Raw frames in, pictures out.
//!
//! An [`Isp`] turns the raw frame of a sensor into pictures, and measures it on the way if asked to.
//! What it does is defined once, in plain words, by the [`reference`](mod@reference); there are two that do
//! it:
//!
//! - [`GpuIsp`] imports the buffers into EGL and renders from one into the others, so that no byte
//!   is copied. A driver that refuses a buffer gets its pixels by upload, or gives them by
//!   read-back, and [`Isp::raw_end`] and [`Isp::output_end`] say so and why.
//! - [`CpuIsp`] reads and writes the mapped buffers in place, on all cores.
//!
//! Both are within one level of the reference on every pixel, and within two where a picture is
//! scaled. Row 0 of the raw buffer is row 0 of an upright picture, in memory.

pub mod choose;
mod cpu;
mod egl;
mod external;
#[cfg(not(any(test, feature = "fault")))]
mod fault;
#[cfg(any(test, feature = "fault"))]
pub mod fault;
mod frame;
mod gl;
mod gpu;
mod image;
mod import;
mod mirror;
mod params;
pub mod probe;
pub mod raw;
pub mod reference;
pub mod stats;
mod sync;
mod targets;
mod tone;
pub mod view;

use vcam_allocator::constraints::Constraints;
use vcam_allocator::{Dmabuf, Fence, Fourcc, Importer, LinkEnd};

pub use choose::{Choice, choose};
pub use cpu::CpuIsp;
pub use egl::{EglError, EglFault};
pub use frame::{IspError, Job, Output};
pub use gl::GlFault;
pub use gpu::GpuIsp;
pub use import::{TargetImporter, TextureImporter};
pub use params::{Cfa, Colour, Defects, Demosaic, Denoise, IspParams, ParamsError, Shading, Tone};
pub use raw::RawFormat;
pub use reference::{RawImage, reference};
pub use stats::{Statistics, Zone};
pub use view::{Crop, Orientation, View};

/// Makes pictures of raw frames.
///
/// An ISP stands between two links: it has one end of the link from the sensor, and one of the link
/// to the sink.
pub trait Isp {
    /// The name that reports use: `cpu`, or `gpu:` and the renderer, as in `gpu:llvmpipe`.
    fn name(&self) -> String;

    /// All there is to say about what does the work: renderer, driver and versions.
    fn describe(&self) -> String;

    /// What it needs of raw buffers, whose frames travel in one of these formats
    /// ([`RawFormat::carrier`]).
    fn raw_constraints(&self, carriers: &[Fourcc]) -> Constraints;

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

    /// Makes the pictures of one frame, and measures it if it is to be measured.
    ///
    /// The fence signals when all buffers are done with; without one, they are already. On an
    /// error no output holds a picture: there is no frame that is silently black.
    fn process(&mut self, job: &Job<'_>) -> Result<Option<Fence>, IspError>;

    /// The statistics of the latest frame whose statistics are there, and its number; a frame that
    /// is not measured changes nothing.
    ///
    /// A GPU is not waited for: its statistics may be some frames late.
    fn statistics(&self) -> Option<(u64, &Statistics)>;

    /// This end of the link from the sensor.
    fn raw_end(&self) -> LinkEnd;

    /// This end of the link to the sink.
    fn output_end(&self) -> LinkEnd;
}
