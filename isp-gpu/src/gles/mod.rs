//! GLES 3 as safe functions: the few that are needed, and objects that delete themselves.
//!
//! Above EGL, below all that knows of buffers and frames. In order:
//!
//! - [`context`]: a [`GlesContext`], and [`CurrentContext`], the proof that it is current on this
//!   thread. All that calls GL takes that proof;
//! - [`texture`] and [`external`]: what is sampled;
//! - [`framebuffer`]: what is rendered to;
//! - [`program`]: shaders, and the [`ActiveProgram`] that draws and computes;
//! - [`buffer`]: memory that compute shaders write and the CPU reads;
//! - [`sync`]: a point in GL's commands, to be polled.
//!
//! Source: the OpenGL ES 3.1 specification; each file names its extensions.

mod buffer;
mod context;
mod error;
mod external;
mod framebuffer;
mod object;
mod program;
mod sync;
mod texture;

pub(crate) use self::buffer::StorageBuffer;
pub(crate) use self::context::{CurrentContext, GlesContext};
pub use self::error::{GlError, ShaderError};
pub(crate) use self::external::ExternalTexture;
pub(crate) use self::framebuffer::Framebuffer;
pub(crate) use self::program::{Program, ShaderSource, Uniform};
pub(crate) use self::sync::GlSync;
pub(crate) use self::texture::{Texture, TextureFormat};
