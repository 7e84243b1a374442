//! EGL: the library, displays, contexts without a surface, images of dma-bufs, and fences.
//!
//! This is the lowest layer of the GPU's ISP; nothing here calls GL. In order:
//!
//! - `library` (this file): libEGL, loaded at run time, and its lists of extensions;
//! - [`display`]: an [`EglDisplay`] on a render node ([`gbm`]), on a [`device`], or on neither;
//! - [`context`]: an [`EglContext`] of GLES 3, which draws to buffers and never to a window;
//! - [`image`]: an [`EglImage`] is a dma-buf as EGL sees it;
//! - [`fence`]: an [`EglSync`] leaves EGL as a sync file.
//!
//! The library is loaded at run time, so that a machine without one still runs the CPU's ISP.
//!
//! Source: the EGL 1.5 specification; each file names its extensions.

mod context;
mod device;
mod display;
mod error;
mod fence;
mod gbm;
mod image;
mod lock;

use std::sync::OnceLock;

use khronos_egl as egl;

pub(crate) use self::context::EglContext;
pub(crate) use self::display::{EglDisplay, RendererChoice};
pub use self::error::{EglError, EglErrorCode};
pub(crate) use self::fence::NativeFences;
pub(crate) use self::image::{DmabufImport, EglImage, ImageDescription, ImageError};
pub(crate) use self::lock::{SoftwareGuard, lock_software_renderer};

/// The functions of libEGL.
pub(crate) type Library = egl::DynamicInstance<egl::EGL1_5>;

/// Loads libEGL, once: it stays loaded, since drivers do not survive being unloaded.
fn library() -> Result<&'static Library, EglError> {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    if let Some(library) = LIBRARY.get() {
        return Ok(library);
    }
    let load = |name| {
        // SAFETY: a file of libEGL's name is taken to be libEGL: its initialisers may be run, and
        // its functions have the signatures of the specification.
        unsafe { Library::load_required_from_filename(name) }
    };
    let loaded = load("libEGL.so.1").map_err(|error| EglError::Library(Box::new(error)))?;
    Ok(LIBRARY.get_or_init(|| loaded))
}

/// Returns a function of GL or EGL that the driver must have, since it lists the extension.
fn function(library: &Library, name: &'static str) -> Option<extern "system" fn()> {
    let found = library.get_proc_address(name);
    if found.is_none() {
        tracing::warn!(name, "the driver lists an extension, but has none of its functions");
    }
    found
}

/// The names in an extension string.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extensions(&'static str);

impl Extensions {
    /// The extensions of a display, or without one those of the client.
    fn of(library: &Library, display: Option<egl::Display>) -> Self {
        // Without EGL_EXT_client_extensions a client has no list; it is empty then.
        let list = library.query_string(display, egl::EXTENSIONS).ok();
        Self(list.and_then(|list| list.to_str().ok()).unwrap_or(""))
    }

    /// Whether the list has this name. A function that resolves is no proof of its extension:
    /// dispatch libraries resolve every name that they have heard of.
    pub(crate) fn has(self, extension: &str) -> bool {
        self.0.split_ascii_whitespace().any(|name| name == extension)
    }
}

/// An extension that importing dma-bufs needs, and that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MissingExtension {
    /// The extension.
    pub(crate) extension: &'static str,
    /// The reason in words: which list lacks it, or that its functions are missing.
    pub(crate) reason: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_found_by_whole_names() {
        let list = Extensions("EGL_KHR_image EGL_KHR_image_base");
        assert!(list.has("EGL_KHR_image") && list.has("EGL_KHR_image_base"));
        assert!(!list.has("EGL_KHR_image_bas") && !list.has("EGL_KHR") && !list.has(""));
    }
}
