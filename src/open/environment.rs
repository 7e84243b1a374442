//! Environment variables that the libraries which open devices read.

use std::env::{set_var, var_os};

/// Has Mesa say nothing of the GPUs that it tries and passes over: the report says what became of
/// them.
///
/// # Safety
///
/// No other thread of the process may use the environment.
pub(crate) unsafe fn quiet_egl() {
    const LEVEL: &str = "EGL_LOG_LEVEL";
    if var_os(LEVEL).is_none() {
        // SAFETY: the caller keeps other threads from the environment.
        unsafe { set_var(LEVEL, "fatal") };
    }
}

/// Has displays go through the seat, where there is one: libseat takes the name of the seat's
/// manager from the environment.
///
/// # Safety
///
/// As of [`quiet_egl`].
pub(crate) unsafe fn name_seat_manager() {
    const BACKEND: &str = "LIBSEAT_BACKEND";
    if var_os(BACKEND).is_none()
        && let Some(manager) = vcam_sinks::seat_manager()
    {
        // SAFETY: the caller keeps other threads from the environment.
        unsafe { set_var(BACKEND, manager) };
    }
}
