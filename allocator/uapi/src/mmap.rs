//! Memory behind a descriptor, mapped for as long as its owner lives.
//!
//! Source: `include/uapi/asm-generic/mman-common.h`, mmap(2).

use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, null_mut};

use rustix::io;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::fault;

/// A shared mapping for reading and writing, which is removed when it is dropped.
///
/// It says where the memory is, not who may touch it when: that is for its owner to decide.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is memory of the process, not of a thread, and all that this type does is say
// where it is.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes from `offset`, at an address of the kernel's choice.
    ///
    /// The offset of a device's memory is one that its driver gave; of other memory it is a
    /// multiple of the page size, or the answer is `EINVAL`, as it is for a length of 0.
    pub fn new(fd: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Self> {
        fault::call("mmap")?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh shared mapping at an address of the kernel's choice aliases nothing.
        let start = unsafe { mmap(null_mut(), len, access, MapFlags::SHARED, fd, offset)? };
        Ok(Self { start: NonNull::new(start.cast()).ok_or(io::Errno::FAULT)?, len })
    }

    /// The first byte. It is valid, as are the `len` bytes from there, until this is dropped.
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Bytes of the mapping; never 0.
    #[expect(clippy::len_without_is_empty, reason = "no mapping is empty")]
    pub fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the one that `mmap` returned, and whoever uses an address of it
        // sees to it that this lives as long.
        if let Err(error) = unsafe { munmap(self.start.as_ptr().cast(), self.len) } {
            tracing::error!(%error, "a mapping could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::memfd::{self, Pages};

    #[test]
    fn what_is_written_is_in_the_memory_and_nothing_is_mapped_afterwards() {
        let fd = memfd::create("test", Pages::Ordinary).unwrap();
        memfd::set_size(fd.as_fd(), 4096).unwrap();
        let mapping = Mapping::new(fd.as_fd(), 0, 4096).unwrap();
        let start = mapping.start().as_ptr();
        // SAFETY: within the mapping, which nothing else uses.
        unsafe { start.add(4095).write(7) };
        let mut last = [0];
        rustix::io::pread(&fd, &mut last, 4095).unwrap();
        assert_eq!((last, mapping.len()), ([7], 4096));
        let maps = || std::fs::read_to_string("/proc/self/maps").unwrap();
        assert!(maps().contains("memfd:test"));
        drop(mapping);
        assert!(!maps().contains("memfd:test"));
        assert_eq!(Mapping::new(fd.as_fd(), 1, 4096).unwrap_err(), io::Errno::INVAL);
        assert_eq!(Mapping::new(fd.as_fd(), 0, 0).unwrap_err(), io::Errno::INVAL);
    }
}
