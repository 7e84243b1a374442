//! The kernel's interfaces, one file per device: the ioctl and nothing else.
//!
//! Each function takes safe parameters and returns owned results, so that nothing above this
//! module needs `unsafe`. Opcodes come from [`linux_raw_sys`], which is generated from the kernel's
//! own headers; the sizes of our argument structures are checked against them at compile time.

pub(crate) mod dma_buf;
pub(crate) mod dma_heap;
pub(crate) mod drm;
#[cfg(not(any(test, feature = "fault")))]
pub(crate) mod fault;
#[cfg(any(test, feature = "fault"))]
pub mod fault;
pub(crate) mod memfd;
mod retry;
pub(crate) mod udmabuf;
#[cfg(feature = "v4l")]
pub(crate) mod v4l2;
