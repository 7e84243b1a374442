//! EGL displays: a connection to a renderer.
//!
//! Sources: `EGL_KHR_platform_gbm`, `EGL_MESA_platform_surfaceless`, `EGL_EXT_platform_device`.

use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::ptr;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use khronos_egl as egl;

use super::gbm;
use super::lock::lock_software_renderer;
use super::{EglError, Extensions, Library, device, library};

/// The renderer to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RendererChoice {
    /// EGL's own choice.
    Any,
    /// The GPU of a render node.
    Node(PathBuf),
    /// A program on the CPU, even if there are GPUs.
    Software,
}

const EGL_PLATFORM_SURFACELESS_MESA: egl::Enum = 0x31DD;
const EGL_PLATFORM_DEVICE_EXT: egl::Enum = 0x313F;

/// How many times each display is open in this process, by its handle.
///
/// EGL gives one and the same display to all who ask for a platform, and `eglTerminate` ends it for
/// all of them.
static OPEN: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// An initialised display; terminated when the last `EglDisplay` of its handle is dropped.
pub(crate) struct EglDisplay {
    library: &'static Library,
    raw: egl::Display,
    version: (i32, i32),
    platform: &'static str,
    extensions: Extensions,
    /// The native display of [`gbm`]; dropped after the display is terminated.
    _gbm: Option<vcam_allocator::gbm::Device>,
}

impl EglDisplay {
    /// Opens and initialises the display of a renderer.
    pub(crate) fn open(choice: &RendererChoice) -> Result<Rc<Self>, EglError> {
        let library = library()?;
        let display = match choice {
            RendererChoice::Node(node) => Self::on_gbm(library, node),
            RendererChoice::Any => Self::without_node(library),
            RendererChoice::Software => {
                let device = device::software(library)?;
                let raw = Self::of_platform(library, EGL_PLATFORM_DEVICE_EXT, device)?;
                Self::initialise(library, raw, "software device", None)
            }
        };
        display.map(Rc::new)
    }

    fn on_gbm(library: &'static Library, node: &Path) -> Result<Self, EglError> {
        let client = Extensions::of(library, None);
        if !client.has("EGL_KHR_platform_gbm") && !client.has("EGL_MESA_platform_gbm") {
            let purpose = "to use a render node";
            return Err(EglError::Missing { extension: "EGL_KHR_platform_gbm", purpose });
        }
        let device = gbm::open(node)?;
        let raw = Self::of_platform(library, gbm::EGL_PLATFORM_GBM_KHR, device.as_ptr())?;
        Self::initialise(library, raw, "GBM", Some(device))
    }

    /// Opens the best display that needs no node. If all fail, the first error is returned, which
    /// is that of the platform that should have worked.
    fn without_node(library: &'static Library) -> Result<Self, EglError> {
        let client = Extensions::of(library, None);
        let mut first = None;
        let mut attempt = |display: Result<egl::Display, EglError>, platform| match display
            .and_then(|raw| Self::initialise(library, raw, platform, None))
        {
            Ok(display) => Some(display),
            Err(error) => {
                tracing::debug!(%error, platform, "no EGL display");
                first.get_or_insert(error);
                None
            }
        };
        if client.has("EGL_MESA_platform_surfaceless") {
            let raw = Self::of_platform(library, EGL_PLATFORM_SURFACELESS_MESA, ptr::null_mut());
            if let Some(display) = attempt(raw, "surfaceless") {
                return Ok(display);
            }
        }
        if device::are_listed(client) {
            let raw = device::first(library)
                .and_then(|device| Self::of_platform(library, EGL_PLATFORM_DEVICE_EXT, device));
            if let Some(display) = attempt(raw, "device") {
                return Ok(display);
            }
        }
        let failed = EglError::without_code("eglGetDisplay");
        // SAFETY: `EGL_DEFAULT_DISPLAY` is always valid.
        let raw = unsafe { library.get_display(egl::DEFAULT_DISPLAY) }.ok_or(failed);
        let default = attempt(raw, "default");
        default.ok_or_else(|| first.unwrap_or(EglError::without_code("eglGetDisplay")))
    }

    fn of_platform(
        library: &Library,
        platform: egl::Enum,
        native: *mut c_void,
    ) -> Result<egl::Display, EglError> {
        // SAFETY: the native display belongs to the platform, as the callers in this file see to: a
        // GBM device, an EGL device, or null where the platform has but one.
        unsafe { library.get_platform_display(platform, native, &[egl::ATTRIB_NONE]) }
            .map_err(EglError::of_call("eglGetPlatformDisplay"))
    }

    fn initialise(
        library: &'static Library,
        raw: egl::Display,
        platform: &'static str,
        gbm: Option<vcam_allocator::gbm::Device>,
    ) -> Result<Self, EglError> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let version = library.initialize(raw).map_err(EglError::of_call("eglInitialize"))?;
        let key = raw.as_ptr() as usize;
        match open.iter_mut().find(|(display, _)| *display == key) {
            Some((_, count)) => *count += 1,
            None => open.push((key, 1)),
        }
        let extensions = Extensions::of(library, Some(raw));
        Ok(Self { library, raw, version, platform, extensions, _gbm: gbm })
    }

    pub(crate) fn library(&self) -> &'static Library {
        self.library
    }

    pub(super) fn raw(&self) -> egl::Display {
        self.raw
    }

    pub(crate) fn extensions(&self) -> Extensions {
        self.extensions
    }

    /// Whether it is the display of a render node.
    pub(crate) fn is_on_gbm(&self) -> bool {
        self.platform == "GBM"
    }

    /// The version and the platform, as in `EGL 1.5 surfaceless`.
    pub(crate) fn describe(&self) -> String {
        let (major, minor) = self.version;
        format!("EGL {major}.{minor} {}", self.platform)
    }
}

impl Drop for EglDisplay {
    fn drop(&mut self) {
        let _lock = lock_software_renderer();
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let key = self.raw.as_ptr() as usize;
        let Some(at) = open.iter().position(|(display, _)| *display == key) else { return };
        open[at].1 -= 1;
        if open[at].1 == 0 {
            open.swap_remove(at);
            if let Err(error) = self.library.terminate(self.raw) {
                tracing::warn!(%error, "eglTerminate failed");
            }
        }
    }
}
