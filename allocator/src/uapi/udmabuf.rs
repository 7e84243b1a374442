//! `/dev/udmabuf`: makes a dma-buf of the pages of a memfd.
//!
//! Source: `include/uapi/linux/udmabuf.h` and `drivers/dma-buf/udmabuf.c`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use linux_raw_sys::ioctl::UDMABUF_CREATE;
use rustix::io;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};

/// The kernel closes the new descriptor on `exec`.
const UDMABUF_FLAGS_CLOEXEC: u32 = 1;

/// `struct udmabuf_create`.
#[repr(C)]
struct CreateArgs {
    memfd: u32,
    flags: u32,
    offset: u64,
    size: u64,
}

const _: () = assert!(size_of::<CreateArgs>() as u32 == (UDMABUF_CREATE >> 16) & 0x3fff);

// SAFETY: the opcode's argument is a `struct udmabuf_create`, which the kernel only reads, and
// `CreateArgs` has its layout (size asserted above). The result of a successful call is a new
// descriptor that belongs to nobody else.
unsafe impl Ioctl for CreateArgs {
    type Output = OwnedFd;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        UDMABUF_CREATE as Opcode
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        std::ptr::from_mut(self).cast()
    }

    unsafe fn output_from_ptr(
        out: IoctlOutput,
        _: *mut std::ffi::c_void,
    ) -> io::Result<Self::Output> {
        // SAFETY: `UDMABUF_CREATE` returned success, so `out` is a descriptor we own.
        Ok(unsafe { OwnedFd::from_raw_fd(out as RawFd) })
    }
}

/// Makes a dma-buf of `size` bytes of `memfd`, from its start.
///
/// The memfd needs `F_SEAL_SHRINK` and must not have a write seal, and `size` must be a multiple
/// of the page size: all else is `EINVAL`, as is a size above the module's `size_limit_mb`.
pub(crate) fn create(
    device: BorrowedFd<'_>,
    memfd: BorrowedFd<'_>,
    size: u64,
) -> io::Result<OwnedFd> {
    let args = CreateArgs {
        memfd: memfd.as_fd().as_raw_fd() as u32,
        flags: UDMABUF_FLAGS_CLOEXEC,
        offset: 0,
        size,
    };
    // SAFETY: see the `Ioctl` implementation; both descriptors are open for the call's duration.
    unsafe { ioctl(device, args) }
}
