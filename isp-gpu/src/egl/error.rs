//! The errors of EGL.

use std::fmt;
use std::path::PathBuf;

use khronos_egl as egl;
use vcam_allocator::gbm::GbmError;

/// Why there is no EGL display, or no context.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EglError {
    /// There is no EGL on this machine.
    #[error(
        "could not load libEGL; install EGL and GLES (on Debian: libegl1, libgles2, and \
         libgl1-mesa-dri for Mesa's drivers)"
    )]
    Library(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The render node cannot be opened.
    #[error("could not open the render node {}", node.display())]
    Node {
        /// The render node.
        node: PathBuf,
        /// The kernel's error.
        source: std::io::Error,
    },
    /// GBM does not drive the render node.
    #[error("GBM does not drive {}", node.display())]
    Gbm {
        /// The render node.
        node: PathBuf,
        /// GBM's error, or that there is no GBM.
        source: GbmError,
    },
    /// EGL lacks an extension that nothing works without.
    #[error("EGL does not list {extension}, which is needed {purpose}")]
    Missing {
        /// The extension.
        extension: &'static str,
        /// The purpose of the extension.
        purpose: &'static str,
    },
    /// A call failed.
    #[error("{call} failed: {code}")]
    Call {
        /// The call.
        call: &'static str,
        /// EGL's error.
        code: EglErrorCode,
    },
}

impl EglError {
    /// Wraps the error of a call.
    pub(super) fn of_call(call: &'static str) -> impl FnOnce(egl::Error) -> Self {
        move |error| Self::Call { call, code: error.into() }
    }

    /// A call failed, and EGL has no error code for it.
    pub(super) const fn without_code(call: &'static str) -> Self {
        Self::Call { call, code: EglErrorCode(None) }
    }

    /// Whether the context is lost, and with it all that was in it (EGL 1.5, 2.6).
    pub(crate) fn is_loss(&self) -> bool {
        matches!(self, Self::Call { code: EglErrorCode(Some(egl::Error::ContextLost)), .. })
    }
}

/// What `eglGetError` returned after a call that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EglErrorCode(Option<egl::Error>);

impl EglErrorCode {
    /// The error of the last call on this thread.
    pub(super) fn last(library: &super::Library) -> Self {
        Self(library.get_error())
    }
}

impl fmt::Display for EglErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use egl::Error::*;
        let (name, words) = match self.0 {
            None => return f.write_str("EGL gives no reason"),
            Some(NotInitialized) => ("EGL_NOT_INITIALIZED", "the display is not usable"),
            Some(BadAccess) => ("EGL_BAD_ACCESS", "the resource is in use elsewhere"),
            Some(BadAlloc) => ("EGL_BAD_ALLOC", "the driver has no memory for it, or refuses it"),
            Some(BadAttribute) => ("EGL_BAD_ATTRIBUTE", "the driver does not know an attribute"),
            Some(BadContext) => ("EGL_BAD_CONTEXT", "there is no such context"),
            Some(BadConfig) => ("EGL_BAD_CONFIG", "there is no such configuration"),
            Some(BadCurrentSurface) => ("EGL_BAD_CURRENT_SURFACE", "the surface is gone"),
            Some(BadDisplay) => ("EGL_BAD_DISPLAY", "there is no such display"),
            Some(BadSurface) => ("EGL_BAD_SURFACE", "there is no such surface"),
            Some(BadMatch) => ("EGL_BAD_MATCH", "the driver does not take this format or layout"),
            Some(BadParameter) => ("EGL_BAD_PARAMETER", "the driver does not take an argument"),
            Some(BadNativePixmap) => ("EGL_BAD_NATIVE_PIXMAP", "there is no such pixmap"),
            Some(BadNativeWindow) => ("EGL_BAD_NATIVE_WINDOW", "there is no such window"),
            Some(ContextLost) => ("EGL_CONTEXT_LOST", "the GPU was reset"),
        };
        write!(f, "{name} ({words})")
    }
}

impl From<egl::Error> for EglErrorCode {
    fn from(error: egl::Error) -> Self {
        Self(Some(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_words() {
        assert_eq!(
            EglErrorCode(Some(egl::Error::BadMatch)).to_string(),
            "EGL_BAD_MATCH (the driver does not take this format or layout)"
        );
    }
}
