//! The errors of the GPU's ISP while it is set up.

use crate::egl::EglError;
use crate::gles::{GlError, ShaderError};

/// Why the GPU makes no pictures.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// There is no EGL display, or no context.
    #[error(transparent)]
    Egl(#[from] EglError),
    /// There is no program of shaders.
    #[error(transparent)]
    Shader(#[from] ShaderError),
    /// GL failed while the ISP was set up.
    #[error("GL could not be set up")]
    Gl(#[from] GlError),
}
