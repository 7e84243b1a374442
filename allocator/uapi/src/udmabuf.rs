//! `/dev/udmabuf`: makes a dma-buf of the pages of a memfd, or of several.
//!
//! Source: `include/uapi/linux/udmabuf.h` and `drivers/dma-buf/udmabuf.c`.

use std::ffi::c_void;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use linux_raw_sys::ioctl::{UDMABUF_CREATE, UDMABUF_CREATE_LIST};
use rustix::io;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};

use crate::fault;

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

/// Words of 64 bits in a `struct udmabuf_create_list`: flags and count.
const HEAD_WORDS: usize = 1;

/// Words of 64 bits in a `struct udmabuf_create_item`: memfd and padding, offset, size.
const ITEM_WORDS: usize = 3;

const _: () = assert!(size_of::<CreateArgs>() == crate::argument_size(UDMABUF_CREATE));
const _: () = assert!(HEAD_WORDS * 8 == crate::argument_size(UDMABUF_CREATE_LIST));

/// An ioctl whose argument is only read, and whose result is a new descriptor.
struct Create<const OPCODE: Opcode>(*const c_void);

// SAFETY: the argument is passed on unchanged; whoever calls `ioctl` vouches for its contents. The
// result of a successful call is a new descriptor that belongs to nobody else.
unsafe impl<const OPCODE: Opcode> Ioctl for Create<OPCODE> {
    type Output = OwnedFd;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        OPCODE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.0.cast_mut()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> io::Result<Self::Output> {
        // SAFETY: the ioctl returned success, so `out` is a descriptor we own.
        Ok(unsafe { OwnedFd::from_raw_fd(out as RawFd) })
    }
}

/// Two 32-bit fields as the word of memory that they share.
fn word(first: u32, second: u32) -> u64 {
    let [a, b] = [first.to_ne_bytes(), second.to_ne_bytes()];
    u64::from_ne_bytes([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]])
}

/// Makes a dma-buf of `size` bytes of `memfd`, from its start.
///
/// The memfd needs `F_SEAL_SHRINK` and must not have a write seal, and `size` must be a multiple
/// of the page size: all else is `EINVAL`, as is a size above the module's `size_limit_mb`.
pub fn create(device: BorrowedFd<'_>, memfd: BorrowedFd<'_>, size: u64) -> io::Result<OwnedFd> {
    fault::call("UDMABUF_CREATE")?;
    let args = CreateArgs {
        memfd: memfd.as_raw_fd() as u32,
        flags: UDMABUF_FLAGS_CLOEXEC,
        offset: 0,
        size,
    };
    // SAFETY: the opcode's argument is a `struct udmabuf_create`, which the kernel only reads, and
    // `CreateArgs` has its layout (size asserted above); both descriptors are open.
    unsafe { ioctl(device, Create::<{ UDMABUF_CREATE as Opcode }>((&raw const args).cast())) }
}

/// Makes one dma-buf of ranges of memfds (each with its offset and size), one after the other.
///
/// For each range holds what holds for [`create`]; more ranges than the module's `list_limit`
/// (1024) are `EINVAL`.
pub fn create_list(
    device: BorrowedFd<'_>,
    ranges: impl ExactSizeIterator<Item = (RawFd, u64, u64)>,
) -> io::Result<OwnedFd> {
    fault::call("UDMABUF_CREATE_LIST")?;
    let count = u32::try_from(ranges.len()).map_err(|_| io::Errno::INVAL)?;
    let mut args = vec![word(UDMABUF_FLAGS_CLOEXEC, count)];
    args.extend(ranges.flat_map(|(memfd, offset, size)| [word(memfd as u32, 0), offset, size]));
    // An iterator may be wrong about its length, and the kernel reads as much as `count` says.
    if args.len() != HEAD_WORDS + count as usize * ITEM_WORDS {
        return Err(io::Errno::INVAL);
    }
    // SAFETY: `args` are the words of a `struct udmabuf_create_list` and its `count` items (as just
    // checked), which the kernel only reads. A descriptor that is not open is `EBADF`.
    unsafe { ioctl(device, Create::<{ UDMABUF_CREATE_LIST as Opcode }>(args.as_ptr().cast())) }
}
