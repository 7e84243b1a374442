//! Fences that leave EGL as sync files.
//!
//! Source: `EGL_ANDROID_native_fence_sync` (and `EGL_KHR_fence_sync`, which it extends).

use std::ffi::c_void;
use std::mem::transmute;
use std::os::fd::{FromRawFd, OwnedFd};
use std::rc::Rc;

use khronos_egl as egl;

use super::{EglDisplay, function};

const EGL_SYNC_NATIVE_FENCE_ANDROID: egl::Enum = 0x3144;

type CreateSync =
    unsafe extern "system" fn(egl::EGLDisplay, egl::Enum, *const egl::Int) -> *mut c_void;
type DestroySync = unsafe extern "system" fn(egl::EGLDisplay, *mut c_void) -> egl::Boolean;
type DupNativeFenceFd = unsafe extern "system" fn(egl::EGLDisplay, *mut c_void) -> egl::Int;

/// The functions of native fences.
pub(crate) struct NativeFences {
    display: Rc<EglDisplay>,
    create: CreateSync,
    destroy: DestroySync,
    dup: DupNativeFenceFd,
}

impl NativeFences {
    /// Loads the functions, if the display lists their extension.
    pub(crate) fn load(display: &Rc<EglDisplay>) -> Option<Self> {
        if !display.extensions().has("EGL_ANDROID_native_fence_sync") {
            return None;
        }
        let library = display.library();
        let create = function(library, "eglCreateSyncKHR")?;
        let destroy = function(library, "eglDestroySyncKHR")?;
        let dup = function(library, "eglDupNativeFenceFDANDROID")?;
        // SAFETY: these are the signatures of the extension, which the display lists.
        unsafe {
            Some(Self {
                display: display.clone(),
                create: transmute::<extern "system" fn(), CreateSync>(create),
                destroy: transmute::<extern "system" fn(), DestroySync>(destroy),
                dup: transmute::<extern "system" fn(), DupNativeFenceFd>(dup),
            })
        }
    }

    /// Inserts a sync behind all commands of the current context; `None` if the driver makes none.
    pub(crate) fn insert(&self) -> Option<EglSync<'_>> {
        let display = self.display.raw().as_ptr();
        // SAFETY: the display is initialised as long as `self.display` lives. Without a current
        // context the call fails. The list of attributes is empty.
        let raw =
            unsafe { (self.create)(display, EGL_SYNC_NATIVE_FENCE_ANDROID, [egl::NONE].as_ptr()) };
        (!raw.is_null()).then_some(EglSync { fences: self, raw })
    }
}

/// A sync object; destroyed when dropped.
pub(crate) struct EglSync<'a> {
    fences: &'a NativeFences,
    raw: *mut c_void,
}

impl EglSync<'_> {
    /// Exports the sync as a sync file. It has none before the commands in front of it are flushed;
    /// `None` then, or if the driver refuses.
    pub(crate) fn export(&self) -> Option<OwnedFd> {
        let display = self.fences.display.raw().as_ptr();
        // SAFETY: the sync is one of this display, and alive.
        let fd = unsafe { (self.fences.dup)(display, self.raw) };
        // EGL_NO_NATIVE_FENCE_FD_ANDROID is -1.
        if fd < 0 {
            return None;
        }
        // SAFETY: the call succeeded, so `fd` is a new descriptor that nothing else owns.
        Some(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

impl Drop for EglSync<'_> {
    fn drop(&mut self) {
        // SAFETY: the sync is one of this display, and destroyed only here.
        unsafe { (self.fences.destroy)(self.fences.display.raw().as_ptr(), self.raw) };
    }
}
