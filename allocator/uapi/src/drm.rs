//! The ioctls of a DRM card that make buffers and hand them on: dumb buffers, GEM and PRIME.
//!
//! Source: `include/uapi/drm/drm.h`, `drm_mode.h` and `Documentation/gpu/drm-mm.rst`.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::{self, Errno};

use crate::retry::{finished, retried};

/// `DRM_CAP_DUMB_BUFFER`.
const CAP_DUMB_BUFFER: u64 = 1;

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// Makes a DRM call of [`drm_ffi`] until it is neither interrupted nor to be made again, as
/// libdrm's `drmIoctl` does.
pub fn retry<T>(mut call: impl FnMut() -> std::io::Result<T>) -> io::Result<T> {
    finished(|| call().map_err(errno))
}

/// As [`retry`], for a call that a test can make fail by this name.
fn call<T>(name: &'static str, mut call: impl FnMut() -> std::io::Result<T>) -> io::Result<T> {
    retried(name, || call().map_err(errno))
}

/// The driver's name, such as `vkms`.
pub fn driver(card: BorrowedFd<'_>) -> io::Result<String> {
    let name = call("DRM_IOCTL_VERSION", || {
        let mut name = Vec::new();
        drm_ffi::get_version(card, Some(&mut name), None, None)?;
        Ok(name)
    })?;
    let bytes: Vec<u8> = name.into_iter().map(|byte| byte as u8).take_while(|b| *b != 0).collect();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Lets others control the displays of the card.
///
/// Whoever opens a card while nobody controls it does so from then on, without having asked; an
/// allocator has no business with that. For all others this is `EINVAL`, and no error here.
pub fn drop_master(card: BorrowedFd<'_>) {
    let _ = drm_ffi::auth::release_master(card);
}

/// Whether the card makes dumb buffers; one without displays (`EOPNOTSUPP`) does not.
pub fn has_dumb(card: BorrowedFd<'_>) -> io::Result<bool> {
    match call("DRM_IOCTL_GET_CAP", || drm_ffi::get_capability(card, CAP_DUMB_BUFFER)) {
        Ok(capability) => Ok(capability.value != 0),
        Err(Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error),
    }
}

/// A dumb buffer by its GEM handle, which is closed with this.
#[derive(Debug)]
pub struct Dumb<'a> {
    card: BorrowedFd<'a>,
    handle: u32,
    /// Bytes from one row to the next, of the driver's choice.
    pub pitch: u32,
    /// Bytes of the buffer.
    pub size: u64,
}

impl<'a> Dumb<'a> {
    /// Makes one of `width` times `rows` pixels of `bits` bits; `ENOSYS` from a driver without.
    pub fn create(card: BorrowedFd<'a>, width: u32, rows: u32, bits: u32) -> io::Result<Self> {
        let made = call("DRM_IOCTL_MODE_CREATE_DUMB", || {
            drm_ffi::mode::dumbbuffer::create(card, width, rows, bits, 0)
        })?;
        Ok(Self { card, handle: made.handle, pitch: made.pitch, size: made.size })
    }

    /// A dma-buf of it, which keeps the memory when the handle is closed.
    pub fn export(&self) -> io::Result<OwnedFd> {
        let flags = (OFlags::CLOEXEC | OFlags::RDWR).bits();
        let made = call("DRM_IOCTL_PRIME_HANDLE_TO_FD", || {
            drm_ffi::gem::handle_to_fd(self.card, self.handle, flags)
        })?;
        // SAFETY: the call succeeded, so `fd` is a new descriptor that belongs to nobody else.
        Ok(unsafe { OwnedFd::from_raw_fd(made.fd) })
    }
}

impl Drop for Dumb<'_> {
    fn drop(&mut self) {
        if let Err(error) = drm_ffi::mode::dumbbuffer::destroy(self.card, self.handle) {
            tracing::error!(%error, "a dumb buffer's handle could not be closed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_call_is_made_again() {
        let mut answers = [4, 11, 22].into_iter();
        let result: Result<(), _> =
            retry(|| Err(std::io::Error::from_raw_os_error(answers.next().unwrap())));
        assert_eq!(result, Err(Errno::INVAL));
    }
}
