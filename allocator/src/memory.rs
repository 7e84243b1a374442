//! A file descriptor's memory: how large it is, who it is, and its mapping.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicIsize, Ordering};

use rustix::io;
use vcam_uapi::mmap::Mapping;
use vcam_uapi::{dma_buf, memfd};

/// Who a piece of memory is: the inode of its dma-buf, or of its memfd.
///
/// A descriptor's number says nothing: two descriptors may be the same dma-buf, and a number is
/// given anew once it is closed. The kernel gives each dma-buf an inode of its own (since 5.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct MemoryId {
    device: u64,
    inode: u64,
}

impl MemoryId {
    /// The inode, as `/proc/self/fdinfo` and debugfs `dma_buf/bufinfo` print it.
    pub fn inode(self) -> u64 {
        self.inode
    }
}

/// What a descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryKind {
    /// A dma-buf: devices can import it.
    DmaBuf,
    /// Plain memory of a memfd, which only the CPU can use.
    Memfd,
}

/// An owned descriptor of memory, mapped at most once, when the CPU first asks for it.
pub(crate) struct Memory {
    fd: OwnedFd,
    id: MemoryId,
    kind: MemoryKind,
    size: u64,
    mapping: OnceLock<Mapping>,
    /// Readers in progress, or -1 while one writer is.
    users: AtomicIsize,
}

impl Memory {
    /// Takes over a descriptor; asks the kernel what it is and how large.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        let kind =
            if dma_buf::is_dma_buf(fd.as_fd())? { MemoryKind::DmaBuf } else { MemoryKind::Memfd };
        let size = memfd::size(fd.as_fd())?;
        let stat = memfd::stat(fd.as_fd())?;
        Ok(Self {
            fd,
            id: MemoryId { device: stat.st_dev, inode: stat.st_ino },
            kind,
            size,
            mapping: OnceLock::new(),
            users: AtomicIsize::new(0),
        })
    }

    pub(crate) fn id(&self) -> MemoryId {
        self.id
    }

    pub(crate) fn kind(&self) -> MemoryKind {
        self.kind
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The mapping of the whole memory, made on the first call.
    ///
    /// The whole descriptor is mapped at offset 0, because `mmap` refuses the offset of a plane
    /// that does not start on a page. Who may touch it when is decided by [`Memory::lock`].
    pub(crate) fn map(&self) -> io::Result<&Mapping> {
        if let Some(mapping) = self.mapping.get() {
            return Ok(mapping);
        }
        let len = usize::try_from(self.size).map_err(|_| io::Errno::OVERFLOW)?;
        let mapping = Mapping::new(self.fd.as_fd(), 0, len)?;
        Ok(self.mapping.get_or_init(|| mapping))
    }

    /// Notes that the CPU is about to read or write, unless that would alias another access of
    /// this process.
    pub(crate) fn lock(&self, write: bool) -> bool {
        let next = |users: isize| match write {
            true => (users == 0).then_some(-1),
            false => (users >= 0).then_some(users + 1),
        };
        self.users.fetch_update(Ordering::Acquire, Ordering::Relaxed, next).is_ok()
    }

    /// Takes back what [`Memory::lock`] noted.
    pub(crate) fn unlock(&self, write: bool) {
        if write {
            self.users.store(0, Ordering::Release);
        } else {
            self.users.fetch_sub(1, Ordering::Release);
        }
    }
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} inode {} of {} bytes", self.kind, self.id.inode, self.size)
    }
}
