//! Memory of a device's driver, mapped through the device's node.

use std::io;
use std::os::fd::BorrowedFd;
use std::slice;

use vcam_uapi::mmap;

/// A mapping that is read and written by the rules of borrowing.
#[derive(Debug)]
pub(crate) struct Mapping(mmap::Mapping);

impl Mapping {
    /// Maps `len` bytes at the offset that the node's driver gave for a memory of this length.
    pub(crate) fn new(node: BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Self> {
        Ok(Self(mmap::Mapping::new(node, offset, len)?))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is as long as it says and lives as long as `self`; `&self` keeps
        // writers of this process away, and a device that shows pictures only reads.
        unsafe { slice::from_raw_parts(self.0.start().as_ptr(), self.0.len()) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `&mut self` makes this the only slice of it.
        unsafe { slice::from_raw_parts_mut(self.0.start().as_ptr(), self.0.len()) }
    }
}
