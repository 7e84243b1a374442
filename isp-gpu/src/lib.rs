//! Raw frames in, pictures out.
//!
//! An [`Isp`] turns the raw frames of a sensor into pictures, and measures them on the way if asked
//! to. Its maths is defined once, in plain words, by the [`reference`](mod@reference). Two ISPs
//! implement it, each within one level of the reference on every pixel, and within two where a
//! picture is scaled:
//!
//! - [`GpuIsp`] imports the buffers into EGL and renders from one into the others, so that no byte
//!   is copied. If a driver refuses a buffer, its pixels are uploaded or read back instead, and
//!   [`Isp::raw_end`] and [`Isp::output_end`] say so and why.
//! - [`CpuIsp`] reads and writes the mapped buffers in place, on all cores.
//!
//! Row 0 of the raw buffer is row 0 of an upright picture, in memory.
//!
//! # Import, render, fence
//!
//! The life of a frame, on the GPU:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use vcam_allocator::{Alignment, Fourcc, Layout, heaps};
//! use vcam_isp_gpu::{GpuIsp, Isp, IspParams, Job, Output, RawFormat};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Two dma-bufs that no GPU allocated. A raw frame travels in a format that drivers know: eight
//! // bits a sample are the one channel of R8. Strides of 256 bytes suit every known GPU.
//! let heap = heaps::open("udmabuf")?;
//! let wide = Alignment { stride: 256, ..Alignment::default() };
//! let (format, size) = (RawFormat::SRGGB8, (1920, 1080));
//! let (carrier, columns) = format.carrier(size.0);
//! let raw = heap.allocate(&Layout::linear(carrier, columns, size.1, wide)?, "raw")?;
//! let layout = Layout::linear(Fourcc::XRGB8888, size.0, size.1, wide)?;
//! let picture = heap.allocate(&layout, "picture")?;
//!
//! // Import: once for each buffer, before the first frame. A refusal is no error; it makes that
//! // end of the link a copy, and says why.
//! let mut isp = GpuIsp::new(None)?;
//! isp.prepare(std::slice::from_ref(&raw), std::slice::from_ref(&picture));
//! println!("{}: {:?}, {:?}", isp.name(), isp.raw_end().method, isp.output_end().method);
//!
//! for sequence in 0..100 {
//!     // (Here the sensor writes the next frame into `raw`.)
//!
//!     // Render: one raw frame into one or more outputs.
//!     let (outputs, params) = ([Output::new(&picture)], IspParams::default());
//!     let (raw, outputs, params) = (&raw, &outputs, &params);
//!     let job = Job { sequence, format, size, raw, outputs, params, measure: true };
//!     let fence = isp.process(&job)?;
//!
//!     // Fence: the picture is ready when it signals, so hand it on with the picture. A display
//!     // takes it as IN_FENCE_FD; the CPU waits. Without a fence the picture is ready now.
//!     if let Some(fence) = fence {
//!         fence.wait(Duration::from_secs(1))?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # The layers
//!
//! A module uses those above it in this table, and none below:
//!
//! | layer | what it knows |
//! |---|---|
//! | [`raw`], [`view`], [`stats`], `params`, `tone` | formats and parameters; no device |
//! | `egl` | libEGL: displays, contexts, images of dma-bufs, fences; no GL |
//! | `gles` | a current context, textures, framebuffers, programs; no buffers |
//! | `import` | which buffers become textures and framebuffers, and why others do not |
//! | `frame`, `isp` | what an ISP is asked for, how it may fail, and its interface |
//! | [`reference`](mod@reference) | the maths, slow and plain |
//! | `cpu` | [`CpuIsp`] |
//! | `gpu` | [`GpuIsp`]: the passes, and the recovery from a reset |
//! | [`probe`], [`select`] | the proof of an import by its pixels; the faster of both ISPs |
//!
//! To read it: `frame` and `isp` for the question, [`reference`](mod@reference) for the answer;
//! then `cpu`, or for the way of a dma-buf through a GPU `egl/image`, `gles/texture`, `import` and
//! `gpu/frame_renderer`, in this order.

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
pub mod select;
pub mod stats;
mod tone;
pub mod view;

pub use cpu::CpuIsp;
pub use egl::{EglError, EglErrorCode};
pub use frame::{IspError, Job, Output};
pub use gles::{GlError, ShaderError};
pub use gpu::{GpuError, GpuIsp};
pub use isp::Isp;
pub use params::{
    ColourCorrection, Defects, Demosaic, Denoise, IspParams, ParamsError, Shading, Tone,
};
pub use raw::{Cfa, RawFormat};
pub use reference::{RawImage, reference};
pub use stats::{Statistics, Zone};
pub use view::{Crop, Orientation, View};
