//! The ioctls of a dma-buf itself: CPU access, its name, and its fences.
//!
//! Source: `include/uapi/linux/dma-buf.h` and `Documentation/driver-api/dma-buf.rst`.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use linux_raw_sys::ioctl::{DMA_BUF_IOCTL_SYNC, DMA_BUF_SET_NAME_B};
use rustix::fs::fstatfs;
use rustix::io;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

use crate::fault;
use crate::retry::retried;

/// `DMA_BUF_MAGIC`: what `fstatfs` says of a dma-buf (`include/uapi/linux/magic.h`).
const DMA_BUF_MAGIC: i64 = 0x444d_4142;

/// The longest name the kernel keeps, its terminating zero included.
pub const NAME_LEN: usize = 32;

/// What the CPU is about to do, or has done: `DMA_BUF_SYNC_READ`, `_WRITE` or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direction(u64);

impl Direction {
    /// It reads.
    pub const READ: Self = Self(1);
    /// It writes.
    pub const WRITE: Self = Self(2);
    /// It does both.
    pub const READ_WRITE: Self = Self(3);
}

/// `DMA_BUF_SYNC_END`; its absence is START.
const END: u64 = 4;

const _: () = assert!(size_of::<u64>() == crate::argument_size(DMA_BUF_IOCTL_SYNC));

/// Whether the descriptor is a dma-buf, whoever exported it.
pub fn is_dma_buf(fd: BorrowedFd<'_>) -> io::Result<bool> {
    fault::call("fstatfs")?;
    Ok(fstatfs(fd)?.f_type == DMA_BUF_MAGIC)
}

/// Starts CPU access: waits for the devices that use the buffer and makes caches coherent.
pub fn sync_start(fd: BorrowedFd<'_>, direction: Direction) -> io::Result<()> {
    sync(fd, direction.0)
}

/// Ends CPU access: makes what the CPU wrote visible to devices.
pub fn sync_end(fd: BorrowedFd<'_>, direction: Direction) -> io::Result<()> {
    sync(fd, direction.0 | END)
}

fn sync(fd: BorrowedFd<'_>, flags: u64) -> io::Result<()> {
    retried("DMA_BUF_IOCTL_SYNC", || {
        // SAFETY: the opcode's argument is a `struct dma_buf_sync`, a single `__u64` of flags that
        // the kernel only reads.
        unsafe { ioctl(fd, Setter::<{ DMA_BUF_IOCTL_SYNC as Opcode }, u64>::new(flags)) }
    })
}

/// Names the buffer for `/proc/*/fdinfo` and debugfs `dma_buf/bufinfo`.
///
/// The name must be shorter than [`NAME_LEN`]; a longer one is `EINVAL`.
pub fn set_name(fd: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    fault::call("DMA_BUF_SET_NAME")?;
    // SAFETY: the opcode's argument is a NUL-terminated string of at most `NAME_LEN` bytes, which
    // the kernel copies (`strndup_user`); a `CStr` is one. `_B` is the variant whose size is that
    // of a 64-bit pointer.
    unsafe { ioctl(fd, PointerArg::<{ DMA_BUF_SET_NAME_B as Opcode }>(name.as_ptr().cast())) }
}

/// An ioctl whose third argument is a pointer to bytes that the kernel only reads.
struct PointerArg<const OPCODE: Opcode>(*const u8);

// SAFETY: the pointer is passed on unchanged; the caller of `ioctl` vouches for what it points at.
unsafe impl<const OPCODE: Opcode> rustix::ioctl::Ioctl for PointerArg<OPCODE> {
    type Output = ();

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        OPCODE
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        self.0.cast_mut().cast()
    }

    unsafe fn output_from_ptr(
        _: rustix::ioctl::IoctlOutput,
        _: *mut std::ffi::c_void,
    ) -> io::Result<()> {
        Ok(())
    }
}

/// Not in [`linux_raw_sys`] yet: `_IOWR('b', 2, struct dma_buf_export_sync_file)`.
const DMA_BUF_IOCTL_EXPORT_SYNC_FILE: Opcode = opcode::read_write::<SyncFile>(b'b', 2);

/// Not in [`linux_raw_sys`] yet: `_IOW('b', 3, struct dma_buf_import_sync_file)`.
const DMA_BUF_IOCTL_IMPORT_SYNC_FILE: Opcode = opcode::write::<SyncFile>(b'b', 3);

/// `struct dma_buf_export_sync_file` and `struct dma_buf_import_sync_file`.
#[repr(C)]
struct SyncFile {
    flags: u32,
    fd: i32,
}

/// A sync file of the fences that access in this direction has to wait for.
///
/// `ENOTTY` before Linux 6.0.
pub fn export_sync_file(fd: BorrowedFd<'_>, direction: Direction) -> io::Result<OwnedFd> {
    fault::call("DMA_BUF_IOCTL_EXPORT_SYNC_FILE")?;
    let mut args = SyncFile { flags: direction.0 as u32, fd: -1 };
    // SAFETY: the opcode's argument is a `struct dma_buf_export_sync_file`, two 32-bit words that
    // the kernel reads and writes.
    unsafe {
        ioctl(fd, Updater::<DMA_BUF_IOCTL_EXPORT_SYNC_FILE, _>::new(&mut args))?;
    }
    // SAFETY: the call succeeded, so `fd` is a new descriptor that belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(args.fd as RawFd) })
}

/// Adds a sync file's fences to the buffer, so that other users wait for them implicitly.
///
/// `ENOTTY` before Linux 6.0.
pub fn import_sync_file(
    fd: BorrowedFd<'_>,
    sync_file: BorrowedFd<'_>,
    direction: Direction,
) -> io::Result<()> {
    fault::call("DMA_BUF_IOCTL_IMPORT_SYNC_FILE")?;
    let args = SyncFile { flags: direction.0 as u32, fd: sync_file.as_raw_fd() };
    // SAFETY: the opcode's argument is a `struct dma_buf_import_sync_file`, two 32-bit words that
    // the kernel only reads.
    unsafe { ioctl(fd, Setter::<DMA_BUF_IOCTL_IMPORT_SYNC_FILE, _>::new(args)) }
}
