//! EGL devices: renderers that EGL lists by itself.
//!
//! Sources: `EGL_EXT_device_enumeration`, `EGL_EXT_device_query`, `EGL_MESA_device_software`.

use std::ffi::{CStr, c_char, c_void};
use std::mem::transmute;
use std::ptr;

use khronos_egl as egl;

use super::{EglError, EglErrorCode, Extensions, Library};

/// Whether EGL lists devices and makes displays of them.
pub(super) fn are_listed(client: Extensions) -> bool {
    let lists = client.has("EGL_EXT_device_enumeration") || client.has("EGL_EXT_device_base");
    client.has("EGL_EXT_platform_device") && lists
}

/// Returns the first device of the list; [`are_listed`] must be true.
pub(super) fn first(library: &Library) -> Result<*mut c_void, EglError> {
    let found = list(library)?;
    found.first().copied().ok_or(EglError::without_code("eglQueryDevicesEXT"))
}

/// The devices of the list; [`are_listed`] must be true.
fn list(library: &Library) -> Result<Vec<*mut c_void>, EglError> {
    type QueryDevices =
        unsafe extern "system" fn(egl::Int, *mut *mut c_void, *mut egl::Int) -> egl::Boolean;
    let query = library
        .get_proc_address("eglQueryDevicesEXT")
        .ok_or(EglError::without_code("eglQueryDevicesEXT"))?;
    // SAFETY: this is the function's signature in `EGL_EXT_device_enumeration`, which the caller
    // has found to be listed.
    let query = unsafe { transmute::<extern "system" fn(), QueryDevices>(query) };
    let mut found = [ptr::null_mut(); 32];
    let mut count = 0;
    // SAFETY: there is room for as many devices as are asked for, and for the count.
    let done = unsafe { query(found.len() as egl::Int, found.as_mut_ptr(), &mut count) };
    if done != egl::TRUE {
        let code = EglErrorCode::last(library);
        return Err(EglError::Call { call: "eglQueryDevicesEXT", code });
    }
    let count = usize::try_from(count).unwrap_or_default().min(found.len());
    Ok(found[..count].to_vec())
}

/// Returns the device that is a program on the CPU (`EGL_MESA_device_software`).
pub(super) fn software(library: &Library) -> Result<*mut c_void, EglError> {
    type QueryString = unsafe extern "system" fn(*mut c_void, egl::Int) -> *const c_char;
    let missing = EglError::Missing {
        extension: "EGL_MESA_device_software",
        purpose: "to choose the renderer on the CPU",
    };
    if !are_listed(Extensions::of(library, None)) {
        return Err(missing);
    }
    let Some(query) = library.get_proc_address("eglQueryDeviceStringEXT") else {
        return Err(missing);
    };
    // SAFETY: this is the function's signature in `EGL_EXT_device_query`, without which there is no
    // enumeration.
    let query = unsafe { transmute::<extern "system" fn(), QueryString>(query) };
    let is_software = |device: &*mut c_void| {
        // SAFETY: the device is one that EGL lists.
        let list = unsafe { query(*device, egl::EXTENSIONS) };
        // SAFETY: EGL's strings end with a zero, and live as long as EGL.
        !list.is_null()
            && unsafe { CStr::from_ptr(list) }
                .to_str()
                .is_ok_and(|list| Extensions(list).has("EGL_MESA_device_software"))
    };
    list(library)?.into_iter().find(is_software).ok_or(missing)
}
