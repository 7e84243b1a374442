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
#[cfg(not(any(test, feature = "fault")))]
mod fault;
#[cfg(any(test, feature = "fault"))]
pub mod fault;
mod formats;
mod frame;
mod gles;
mod gpu;
mod import;
mod isp;
mod mirror;
mod params;
pub mod probe;
pub mod raw;
pub mod reference;
mod renderer;
pub mod stats;
mod tone;
pub mod view;

pub use choose::{Choice, choose};
pub use cpu::CpuIsp;
pub use egl::{EglError, EglErrorCode};
pub use frame::{IspError, Job, OUTPUT_FORMATS, Output};
pub use gles::{GlError, ShaderError};
pub use gpu::{GpuError, GpuIsp};
pub use isp::Isp;
pub use params::{Cfa, Colour, Defects, Demosaic, Denoise, IspParams, ParamsError, Shading, Tone};
pub use raw::RawFormat;
pub use reference::{RawImage, reference};
pub use stats::{Statistics, Zone};
pub use view::{ColourSpace, Crop, Orientation, View};
