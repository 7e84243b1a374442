//! Anonymous memory: what every machine has, and no device imports.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use vcam_uapi::memfd::{self, Pages, SealFlags};

use crate::dmabuf::Dmabuf;
use crate::heap::{AllocError, Capabilities, Heap};
use crate::layout::Layout;

/// The heap's name.
pub const NAME: &str = "memfd";

/// Buffers in plain shared memory, for the CPU alone.
#[derive(Debug)]
pub struct Memfd {
    name: Arc<str>,
}

impl Memfd {
    /// The heap; there is nothing to open.
    pub fn new() -> Self {
        Self { name: NAME.into() }
    }
}

impl Default for Memfd {
    fn default() -> Self {
        Self::new()
    }
}

impl Heap for Memfd {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::CPU_MAP | Capabilities::CPU_CACHED
    }

    fn allocate(&self, layout: &Layout, name: &str) -> Result<Dmabuf, AllocError> {
        let fd = sealed(NAME, name, layout.size(), Pages::Ordinary)?;
        Dmabuf::new(self.name.clone(), name, layout.clone(), vec![fd])
            .map_err(|source| AllocError::Wrap { heap: NAME.into(), source })
    }
}

/// A memfd that can no longer change its size, so that a mapping of it never faults.
pub(crate) fn sealed(
    heap: &'static str,
    name: &str,
    size: u64,
    pages: Pages,
) -> Result<OwnedFd, AllocError> {
    let failed = |step| move |source| AllocError::System { heap: heap.into(), step, size, source };
    // A size that no file can have is EFBIG or EINVAL, depending on the kernel; name it ourselves.
    if i64::try_from(size).is_err() {
        return Err(failed("size the memfd")(Errno::FBIG));
    }
    let fd = memfd::create(name, pages).map_err(failed("create a memfd"))?;
    memfd::set_size(fd.as_fd(), size).map_err(failed("size the memfd"))?;
    memfd::add_seals(fd.as_fd(), SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
        .map_err(failed("seal the memfd"))?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Alignment, CpuAccess, Fourcc, MemoryKind};

    fn allocate(width: u32, height: u32) -> Dmabuf {
        let layout = Layout::linear(Fourcc::NV12, width, height, Alignment::default()).unwrap();
        Memfd::new().allocate(&layout, "test").unwrap()
    }

    #[test]
    fn what_one_guard_writes_the_next_one_reads() {
        let buffer = allocate(33, 17);
        let mut guard = buffer.cpu_access(CpuAccess::Write).unwrap();
        guard.plane_mut(0).fill(7);
        guard.plane_mut(1).fill(9);
        guard.end().unwrap();
        let guard = buffer.cpu_access(CpuAccess::Read).unwrap();
        assert!(guard.plane(0).iter().all(|byte| *byte == 7));
        assert!(guard.plane(1).iter().all(|byte| *byte == 9));
        assert_eq!(guard.plane(0).len(), 256 * 16 + 33);
        assert!(guard.plane(2).is_empty());
    }

    #[test]
    fn a_writer_is_alone_and_a_reader_cannot_write() {
        let buffer = allocate(16, 16);
        let mut reader = buffer.cpu_access(CpuAccess::Read).unwrap();
        assert!(reader.plane_mut(0).is_empty());
        let second = buffer.cpu_access(CpuAccess::Read).unwrap();
        assert!(buffer.cpu_access(CpuAccess::Write).is_err());
        drop((reader, second));
        let writer = buffer.cpu_access(CpuAccess::ReadWrite).unwrap();
        assert!(buffer.cpu_access(CpuAccess::Read).is_err());
        drop(writer);
        assert!(buffer.cpu_access(CpuAccess::Read).is_ok());
    }

    #[test]
    fn a_memfd_is_known_for_what_it_is() {
        assert_eq!(allocate(16, 16).kind(), MemoryKind::Memfd);
        assert_ne!(allocate(16, 16).id(), allocate(16, 16).id().clone());
    }

    #[test]
    fn each_system_call_may_fail() {
        let layout = Layout::linear(Fourcc::R8, 16, 16, Alignment::default()).unwrap();
        let mut calls = Vec::new();
        for n in 1.. {
            let faulted = crate::fault::inject(n, Errno::NOMEM.raw_os_error(), || {
                Memfd::new().allocate(&layout, "test")
            });
            let Some(call) = faulted.failed else { break };
            assert!(faulted.result.is_err(), "{call} failed and nobody noticed");
            calls.push(call);
        }
        assert_eq!(
            calls,
            ["memfd_create", "ftruncate", "F_ADD_SEALS", "fstatfs", "lseek", "fstat"]
        );
    }

    #[test]
    fn a_size_that_no_file_has_is_an_error() {
        assert!(sealed("memfd", "test", u64::MAX, Pages::Ordinary).is_err());
    }
}
