//! Memory of a descriptor, as another process maps it.

use std::os::fd::BorrowedFd;

use rustix::io;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// A shared mapping of a descriptor's memory, which others may change at any time.
#[derive(Debug)]
pub struct SharedMapping {
    start: *mut u8,
    len: usize,
}

impl SharedMapping {
    /// Maps so many bytes from the beginning.
    pub fn new(fd: BorrowedFd<'_>, len: u64) -> io::Result<Self> {
        let len = usize::try_from(len).unwrap();
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing.
        let start = unsafe { mmap(std::ptr::null_mut(), len, access, MapFlags::SHARED, fd, 0)? };
        Ok(Self { start: start.cast(), len })
    }

    /// Writes a byte all over a range.
    pub fn fill(&self, range: std::ops::Range<u64>, byte: u8) {
        assert!(range.end <= self.len as u64);
        let len = usize::try_from(range.end - range.start).unwrap();
        // SAFETY: the range lies within the mapping, as just checked, of which there are no slices.
        unsafe { self.start.add(range.start as usize).write_bytes(byte, len) }
    }

    /// Reads a byte.
    pub fn read(&self, at: u64) -> u8 {
        assert!(at < self.len as u64);
        // SAFETY: as in `fill`; volatile, since others write to it.
        unsafe { self.start.add(at as usize).read_volatile() }
    }
}

impl Drop for SharedMapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made.
        unsafe { munmap(self.start.cast(), self.len) }.unwrap();
    }
}
