//! Fences that leave EGL as file descriptors.
//!
//! Source: `EGL_ANDROID_native_fence_sync` (and `EGL_KHR_fence_sync`, which it extends).

use std::ffi::c_void;
use std::mem::transmute;
use std::os::fd::{FromRawFd, OwnedFd};

use khronos_egl as egl;

use crate::egl::{Extensions, Library, function};
use crate::gl::Current;

const EGL_SYNC_NATIVE_FENCE_ANDROID: egl::Enum = 0x3144;

type CreateSync =
    unsafe extern "system" fn(egl::EGLDisplay, egl::Enum, *const egl::Int) -> *mut c_void;
type DestroySync = unsafe extern "system" fn(egl::EGLDisplay, *mut c_void) -> egl::Boolean;
type DupNativeFenceFd = unsafe extern "system" fn(egl::EGLDisplay, *mut c_void) -> egl::Int;

/// The functions of native fences.
pub(crate) struct Syncs {
    display: egl::Display,
    create: CreateSync,
    destroy: DestroySync,
    dup: DupNativeFenceFd,
}

impl Syncs {
    /// The functions, if the display lists them.
    pub(crate) fn load(
        library: &Library,
        display: egl::Display,
        extensions: Extensions,
    ) -> Option<Self> {
        if !extensions.has("EGL_ANDROID_native_fence_sync") {
            return None;
        }
        let create = function(library, "eglCreateSyncKHR")?;
        let destroy = function(library, "eglDestroySyncKHR")?;
        let dup = function(library, "eglDupNativeFenceFDANDROID")?;
        // SAFETY: these are the signatures of the extension, which the display lists.
        unsafe {
            Some(Self {
                display,
                create: transmute::<extern "system" fn(), CreateSync>(create),
                destroy: transmute::<extern "system" fn(), DestroySync>(destroy),
                dup: transmute::<extern "system" fn(), DupNativeFenceFd>(dup),
            })
        }
    }

    /// A fence behind all that GL was told so far; `None` if the driver has none to give.
    pub(crate) fn fence(&self, gl: &Current<'_>) -> Option<OwnedFd> {
        let display = self.display.as_ptr();
        // SAFETY: the display is initialised while its context lives, and that is current; the
        // list of attributes is empty.
        let sync =
            unsafe { (self.create)(display, EGL_SYNC_NATIVE_FENCE_ANDROID, [egl::NONE].as_ptr()) };
        if sync.is_null() {
            return None;
        }
        // The fence has no descriptor before the commands in front of it are on their way.
        gl.flush();
        // SAFETY: the sync is one that was created above, and destroyed only here.
        let fd = unsafe {
            let fd = (self.dup)(display, sync);
            (self.destroy)(display, sync);
            fd
        };
        // EGL_NO_NATIVE_FENCE_FD_ANDROID is -1.
        if fd < 0 {
            return None;
        }
        // SAFETY: the call succeeded, so `fd` is a new descriptor that belongs to nobody else.
        Some(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}
