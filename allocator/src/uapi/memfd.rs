//! Memory behind descriptors: memfds and their seals, and what any descriptor says of itself.
//!
//! Source: memfd_create(2), fcntl(2) "File Sealing", mmap(2).

use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::fs::{self, MemfdFlags, SeekFrom, Stat};
use rustix::io;
use rustix::mm::{MapFlags, ProtFlags};

pub(crate) use rustix::fs::SealFlags;

use super::fault;
use super::retry::retried;

/// The pages that a memfd is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pages {
    /// The machine's smallest.
    Ordinary,
    /// 2 MiB each, from the pool that the administrator set aside.
    Huge,
}

/// A memfd that may be sealed.
///
/// `EINVAL` or `ENODEV` for huge pages on a kernel without them.
pub(crate) fn create(name: &str, pages: Pages) -> io::Result<OwnedFd> {
    fault::call("memfd_create")?;
    let mut flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    if pages == Pages::Huge {
        flags |= MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
    }
    fs::memfd_create(name, flags)
}

pub(crate) fn set_size(fd: BorrowedFd<'_>, size: u64) -> io::Result<()> {
    retried("ftruncate", || fs::ftruncate(fd, size))
}

pub(crate) fn add_seals(fd: BorrowedFd<'_>, seals: SealFlags) -> io::Result<()> {
    fault::call("F_ADD_SEALS")?;
    fs::fcntl_add_seals(fd, seals)
}

/// The seals of a memfd; `EINVAL` for what is none.
pub(crate) fn seals(fd: BorrowedFd<'_>) -> io::Result<SealFlags> {
    fault::call("F_GET_SEALS")?;
    fs::fcntl_get_seals(fd)
}

/// How large the memory is; `ESPIPE` for what has no size, such as a pipe.
pub(crate) fn size(fd: BorrowedFd<'_>) -> io::Result<u64> {
    fault::call("lseek")?;
    fs::seek(fd, SeekFrom::End(0))
}

pub(crate) fn stat(fd: BorrowedFd<'_>) -> io::Result<Stat> {
    fault::call("fstat")?;
    fs::fstat(fd)
}

/// Maps the first `len` bytes, shared and writable, at an address of the kernel's choice.
pub(crate) fn map(fd: BorrowedFd<'_>, len: usize) -> io::Result<NonNull<u8>> {
    fault::call("mmap")?;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a fresh shared mapping at an address of the kernel's choice aliases nothing.
    let start =
        unsafe { rustix::mm::mmap(std::ptr::null_mut(), len, access, MapFlags::SHARED, fd, 0)? };
    NonNull::new(start.cast()).ok_or(io::Errno::FAULT)
}
