//! GBM: the native display of a render node.

use std::ffi::c_void;
use std::path::Path;

use khronos_egl as egl;

use super::EglError;

pub(super) const EGL_PLATFORM_GBM_KHR: egl::Enum = 0x31D7;

/// An open GBM device.
#[cfg(feature = "gbm")]
pub(super) type GbmDevice = gbm::Device<std::fs::File>;

/// An open GBM device, of which there is none without the feature `gbm`.
#[cfg(not(feature = "gbm"))]
pub(super) enum GbmDevice {}

/// Opens a render node.
#[cfg(feature = "gbm")]
pub(super) fn open(node: &Path) -> Result<GbmDevice, EglError> {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(node)
        .map_err(|source| EglError::Node { node: node.into(), source })?;
    gbm::Device::new(file).map_err(|source| EglError::Gbm { node: node.into(), source })
}

#[cfg(not(feature = "gbm"))]
pub(super) fn open(node: &Path) -> Result<GbmDevice, EglError> {
    Err(EglError::NoGbm { node: node.into() })
}

/// The device, as EGL takes it for a native display.
#[cfg(feature = "gbm")]
pub(super) fn native_display(device: &GbmDevice) -> *mut c_void {
    gbm::AsRaw::as_raw(device).cast_mut().cast()
}

#[cfg(not(feature = "gbm"))]
pub(super) fn native_display(device: &GbmDevice) -> *mut c_void {
    match *device {}
}
