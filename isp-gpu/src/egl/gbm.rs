//! GBM: the native display of a render node.

use std::path::Path;

use khronos_egl as egl;
use vcam_allocator::gbm::Device;

use super::EglError;

pub(super) const EGL_PLATFORM_GBM_KHR: egl::Enum = 0x31D7;

/// Opens a render node.
pub(super) fn open(node: &Path) -> Result<Device, EglError> {
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(node)
        .map_err(|source| EglError::Node { node: node.into(), source })?;
    Device::new(file).map_err(|source| EglError::Gbm { node: node.into(), source })
}
