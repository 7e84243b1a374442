//! The errors of GL.

use std::fmt;

/// A call of GL failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{step}: {}", CodeName(*.code))]
#[non_exhaustive]
pub struct GlError {
    /// The call that failed, or the purpose of several calls.
    pub step: &'static str,
    /// The code, from `glGetError` or `glCheckFramebufferStatus`; 0 if there is none.
    pub code: u32,
}

impl GlError {
    /// Whether the GPU was reset, and the context and all in it are lost.
    pub(crate) fn is_loss(&self) -> bool {
        self.code == glow::CONTEXT_LOST
    }
}

/// Why there is no program of shaders.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShaderError {
    /// The driver's compiler refused a shader.
    #[error("the driver does not compile {shader}: {log}")]
    Compile {
        /// The shader's file.
        shader: &'static str,
        /// The compiler's log.
        log: String,
    },
    /// The driver's linker refused a program.
    #[error("the driver does not link the program of {shader}: {log}")]
    Link {
        /// The file of the program's last shader.
        shader: &'static str,
        /// The linker's log.
        log: String,
    },
    /// GL has no more shaders or programs.
    #[error(transparent)]
    Gl(#[from] GlError),
}

/// Writes the name of an error or status code.
struct CodeName(u32);

impl fmt::Display for CodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            glow::INVALID_ENUM => "GL_INVALID_ENUM",
            glow::INVALID_VALUE => "GL_INVALID_VALUE",
            glow::INVALID_OPERATION => "GL_INVALID_OPERATION",
            glow::OUT_OF_MEMORY => "GL_OUT_OF_MEMORY",
            glow::INVALID_FRAMEBUFFER_OPERATION => "GL_INVALID_FRAMEBUFFER_OPERATION",
            glow::CONTEXT_LOST => "GL_CONTEXT_LOST",
            glow::FRAMEBUFFER_INCOMPLETE_ATTACHMENT => {
                "GL_FRAMEBUFFER_INCOMPLETE_ATTACHMENT (the driver does not render to this buffer)"
            }
            glow::FRAMEBUFFER_INCOMPLETE_MISSING_ATTACHMENT => {
                "GL_FRAMEBUFFER_INCOMPLETE_MISSING_ATTACHMENT"
            }
            glow::FRAMEBUFFER_UNSUPPORTED => {
                "GL_FRAMEBUFFER_UNSUPPORTED (the driver does not render to this format)"
            }
            0 => "there is no error code",
            other => return write!(f, "error {other:#06x}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_words() {
        let error = GlError { step: "glDrawArrays", code: glow::OUT_OF_MEMORY };
        assert_eq!(error.to_string(), "glDrawArrays: GL_OUT_OF_MEMORY");
        let error = GlError { step: "glDrawArrays", code: 0xffff };
        assert_eq!(error.to_string(), "glDrawArrays: error 0xffff");
    }
}
