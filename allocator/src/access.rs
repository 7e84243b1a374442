//! CPU access to a buffer, between `DMA_BUF_IOCTL_SYNC` START and END.
//!
//! Source: `Documentation/driver-api/dma-buf.rst`, "CPU Access to DMA Buffer Objects".

use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io;
use vcam_uapi::dma_buf::{self, Direction};

use crate::dmabuf::Dmabuf;
use crate::memory::{Memory, MemoryKind};

use std::os::fd::AsFd;

/// What the CPU does with a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuAccess {
    /// It reads.
    Read,
    /// It writes, and what was there before does not matter.
    Write,
    /// It reads and writes.
    ReadWrite,
}

impl CpuAccess {
    fn writes(self) -> bool {
        self != Self::Read
    }
}

impl From<CpuAccess> for Direction {
    fn from(access: CpuAccess) -> Self {
        match access {
            CpuAccess::Read => Self::READ,
            CpuAccess::Write => Self::WRITE,
            CpuAccess::ReadWrite => Self::READ_WRITE,
        }
    }
}

/// Why the CPU cannot touch a buffer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// Another guard of this process is in the way.
    #[error("buffer '{0}' is already being accessed by this process")]
    Busy(String),
    /// Its exporter does not let it be mapped.
    #[error("could not map buffer '{name}'")]
    Map {
        /// The buffer's name.
        name: String,
        /// What the kernel said.
        source: io::Errno,
    },
    /// `DMA_BUF_IOCTL_SYNC` failed.
    #[error("DMA_BUF_IOCTL_SYNC {edge} failed on buffer '{name}'")]
    Sync {
        /// `START` or `END`.
        edge: &'static str,
        /// The buffer's name.
        name: String,
        /// What the kernel said.
        source: io::Errno,
    },
}

static STARTS: AtomicU64 = AtomicU64::new(0);
static ENDS: AtomicU64 = AtomicU64::new(0);

/// How many `DMA_BUF_IOCTL_SYNC` calls this process made that started and that ended an access.
///
/// The two are equal whenever no guard is alive.
pub fn sync_counts() -> (u64, u64) {
    (STARTS.load(Ordering::Relaxed), ENDS.load(Ordering::Relaxed))
}

/// CPU access to a buffer: the pixels may be touched while it lives.
///
/// Within this process a guard that writes is alone and guards that read share, as with a lock;
/// against devices and other processes it is the kernel's fences that order accesses. Each memory
/// of the buffer gets exactly one START and one END.
#[derive(Debug)]
#[must_use = "the access ends when the guard is dropped"]
pub struct CpuGuard<'a> {
    buffer: &'a Dmabuf,
    access: CpuAccess,
    /// How many of the buffer's memories are locked and between START and END.
    started: usize,
}

impl<'a> CpuGuard<'a> {
    pub(crate) fn start(buffer: &'a Dmabuf, access: CpuAccess) -> Result<Self, AccessError> {
        let name = || buffer.name().to_owned();
        // The guard exists from the start, so that a failure half-way ends what had begun.
        let mut guard = Self { buffer, access, started: 0 };
        for memory in buffer.memories() {
            memory.map().map_err(|source| AccessError::Map { name: name(), source })?;
            if !memory.lock(access.writes()) {
                return Err(AccessError::Busy(name()));
            }
            if let Err(source) = start(memory, access) {
                memory.unlock(access.writes());
                return Err(AccessError::Sync { edge: "START", name: name(), source });
            }
            guard.started += 1;
        }
        Ok(guard)
    }

    /// The bytes of a plane, from its first pixel to its last; empty if there is no such plane.
    ///
    /// Rows are [`PlaneLayout::stride`](crate::PlaneLayout::stride) bytes apart; the last one ends
    /// with its last pixel.
    pub fn plane(&self, plane: usize) -> &[u8] {
        let Some((start, len)) = self.range(plane) else { return &[] };
        // SAFETY: `range` lies within the mapping, which lives as long as the buffer that `self`
        // borrows; `Memory::lock` keeps every writer of this process away.
        unsafe { slice::from_raw_parts(start, len) }
    }

    /// The bytes of a plane, to write; empty if there is no such plane or the guard only reads.
    pub fn plane_mut(&mut self, plane: usize) -> &mut [u8] {
        let Some((start, len)) = self.range(plane).filter(|_| self.access.writes()) else {
            return &mut [];
        };
        // SAFETY: as in `plane`; this guard is the only one (`Memory::lock` for writing), and
        // `&mut self` keeps a second slice of it away.
        unsafe { slice::from_raw_parts_mut(start, len) }
    }

    fn range(&self, plane: usize) -> Option<(*mut u8, usize)> {
        let at = self.buffer.layout().planes().get(plane)?;
        let memory = &self.buffer.memories()[self.buffer.plane_memory(plane)?];
        // Mapped in `start`, so this neither maps nor fails.
        let mapping = memory.map().ok()?;
        let layout = self.buffer.layout();
        let rows = u64::from(layout.rows(plane)).checked_sub(1)?;
        let offset = usize::try_from(at.offset).ok()?;
        let len = usize::try_from(at.stride * rows + layout.row_bytes(plane)).ok()?;
        // `Dmabuf::new` has checked this; it is what the `unsafe` above stands on.
        assert!(offset.checked_add(len)? <= mapping.len(), "a plane lies outside of its memory");
        // SAFETY: `offset` is within the mapping, as just checked.
        Some((unsafe { mapping.start().as_ptr().add(offset) }, len))
    }

    /// Ends the access and says whether the kernel agreed; dropping the guard only logs.
    pub fn end(mut self) -> Result<(), AccessError> {
        self.finish()
    }

    fn finish(&mut self) -> Result<(), AccessError> {
        let mut result = Ok(());
        while self.started > 0 {
            self.started -= 1;
            let memory = &self.buffer.memories()[self.started];
            if let Err(source) = end(memory, self.access) {
                let name = self.buffer.name().to_owned();
                result = Err(AccessError::Sync { edge: "END", name, source });
            }
            memory.unlock(self.access.writes());
        }
        result
    }
}

impl Drop for CpuGuard<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!("{error}");
        }
    }
}

fn start(memory: &Memory, access: CpuAccess) -> io::Result<()> {
    // A memfd has no caches to be made coherent with, and answers ENOTTY.
    if memory.kind() == MemoryKind::DmaBuf {
        dma_buf::sync_start(memory.as_fd(), access.into())?;
        STARTS.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn end(memory: &Memory, access: CpuAccess) -> io::Result<()> {
    if memory.kind() == MemoryKind::DmaBuf {
        dma_buf::sync_end(memory.as_fd(), access.into())?;
        ENDS.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
