//! Memory behind descriptors: memfds and their seals, and what any descriptor says of itself.
//!
//! Source: `include/uapi/linux/memfd.h`, memfd_create(2), fcntl(2) "File Sealing".

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{self, MemfdFlags, SeekFrom, Stat};
use rustix::io;

pub use rustix::fs::SealFlags;

use crate::fault;
use crate::retry::retried;

/// The pages that a memfd is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// The machine's smallest.
    Ordinary,
    /// 2 MiB each, from the pool that the administrator set aside.
    Huge,
}

/// A memfd that may be sealed.
///
/// `EINVAL` or `ENODEV` for huge pages on a kernel without them.
pub fn create(name: &str, pages: Pages) -> io::Result<OwnedFd> {
    fault::call("memfd_create")?;
    let mut flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    if pages == Pages::Huge {
        flags |= MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
    }
    fs::memfd_create(name, flags)
}

/// Makes the memory `size` bytes large; what is new of it is zero.
pub fn set_size(fd: BorrowedFd<'_>, size: u64) -> io::Result<()> {
    retried("ftruncate", || fs::ftruncate(fd, size))
}

/// Adds seals, for good; `EPERM` for a memfd with `F_SEAL_SEAL`.
pub fn add_seals(fd: BorrowedFd<'_>, seals: SealFlags) -> io::Result<()> {
    fault::call("F_ADD_SEALS")?;
    fs::fcntl_add_seals(fd, seals)
}

/// The seals of a memfd; `EINVAL` for what is none.
pub fn seals(fd: BorrowedFd<'_>) -> io::Result<SealFlags> {
    fault::call("F_GET_SEALS")?;
    fs::fcntl_get_seals(fd)
}

/// How large the memory is; `ESPIPE` for what has no size, such as a pipe.
pub fn size(fd: BorrowedFd<'_>) -> io::Result<u64> {
    fault::call("lseek")?;
    fs::seek(fd, SeekFrom::End(0))
}

/// The inode and device behind a descriptor.
pub fn stat(fd: BorrowedFd<'_>) -> io::Result<Stat> {
    fault::call("fstat")?;
    fs::fstat(fd)
}
