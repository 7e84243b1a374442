//! EGL contexts of GLES 3, without a surface: pictures go to buffers.
//!
//! Sources: `EGL_KHR_surfaceless_context`, `EGL_KHR_no_config_context`,
//! `EGL_EXT_create_context_robustness`.

use std::ptr;
use std::rc::Rc;

use khronos_egl as egl;

use super::lock::lock_software_renderer;
use super::{EglDisplay, EglError};
use crate::fault;

const EGL_CONTEXT_OPENGL_RESET_NOTIFICATION_STRATEGY_EXT: egl::Int = 0x3138;
const EGL_LOSE_CONTEXT_ON_RESET_EXT: egl::Int = 0x31BF;

/// A context of GLES 3; destroyed when dropped, and released first if it is current.
pub(crate) struct EglContext {
    display: Rc<EglDisplay>,
    raw: egl::Context,
    robust: bool,
}

impl EglContext {
    /// Creates a context of GLES 3.1, or of 3.0 where there is no other, and a robust one if the
    /// driver has such.
    pub(crate) fn new(display: Rc<EglDisplay>) -> Result<Self, EglError> {
        let (library, extensions) = (display.library(), display.extensions());
        if !extensions.has("EGL_KHR_surfaceless_context") {
            let purpose = "to render into buffers without a window";
            return Err(EglError::Missing { extension: "EGL_KHR_surfaceless_context", purpose });
        }
        library.bind_api(egl::OPENGL_ES_API).map_err(EglError::of_call("eglBindAPI"))?;
        let config = if extensions.has("EGL_KHR_no_config_context") {
            // SAFETY: this is `EGL_NO_CONFIG_KHR`, which the extension allows.
            unsafe { egl::Config::from_ptr(ptr::null_mut()) }
        } else {
            let wanted =
                [egl::SURFACE_TYPE, 0, egl::RENDERABLE_TYPE, egl::OPENGL_ES3_BIT, egl::NONE];
            library
                .choose_first_config(display.raw(), &wanted)
                .map_err(EglError::of_call("eglChooseConfig"))?
                .ok_or(EglError::without_code("eglChooseConfig"))?
        };
        // 3.1 computes statistics; 3.0 has all else.
        let create = |(minor, robust): (egl::Int, bool)| {
            let version = [egl::CONTEXT_MAJOR_VERSION, 3, egl::CONTEXT_MINOR_VERSION, minor];
            let reset =
                [EGL_CONTEXT_OPENGL_RESET_NOTIFICATION_STRATEGY_EXT, EGL_LOSE_CONTEXT_ON_RESET_EXT];
            let mut attributes = version.to_vec();
            attributes.extend(reset.into_iter().filter(|_| robust));
            attributes.push(egl::NONE);
            let raw = library.create_context(display.raw(), config, None, &attributes)?;
            Ok((raw, robust))
        };
        if fault::context_is_refused() {
            return Err(EglError::of_call("eglCreateContext")(egl::Error::BadAlloc));
        }
        let reports_resets = extensions.has("EGL_EXT_create_context_robustness");
        let kinds = [(1, true), (1, false), (0, true), (0, false)];
        let mut made = Err(egl::Error::BadMatch);
        for kind in kinds.into_iter().filter(|(_, robust)| reports_resets || !robust) {
            made = create(kind);
            if made.is_ok() {
                break;
            }
        }
        let (raw, robust) = made.map_err(EglError::of_call("eglCreateContext"))?;
        Ok(Self { display, raw, robust })
    }

    pub(crate) fn display(&self) -> &Rc<EglDisplay> {
        &self.display
    }

    /// Whether the context reports resets of the GPU.
    pub(crate) fn is_robust(&self) -> bool {
        self.robust
    }

    fn is_current(&self) -> bool {
        self.display.library().get_current_context() == Some(self.raw)
    }

    /// Makes the context current on this thread, unless it is already.
    pub(crate) fn make_current(&self) -> Result<(), EglError> {
        if self.is_current() {
            return Ok(());
        }
        self.display
            .library()
            .make_current(self.display.raw(), None, None, Some(self.raw))
            .map_err(EglError::of_call("eglMakeCurrent"))
    }
}

impl Drop for EglContext {
    fn drop(&mut self) {
        let _lock = lock_software_renderer();
        let (library, display) = (self.display.library(), self.display.raw());
        let released = if self.is_current() {
            library.make_current(display, None, None, None)
        } else {
            Ok(())
        };
        if let Err(error) = released.and_then(|()| library.destroy_context(display, self.raw)) {
            tracing::warn!(%error, "an EGL context was not destroyed");
        }
    }
}
