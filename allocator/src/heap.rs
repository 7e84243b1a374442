//! Where buffers come from.

use std::fmt;
use std::path::PathBuf;

use bitflags::bitflags;
use rustix::io;

use crate::dmabuf::{Dmabuf, WrapError};
use crate::layout::Layout;
use crate::permission::Permission;

bitflags! {
    /// What buffers of a heap can be relied on for.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Capabilities: u32 {
        /// They are dma-bufs, so that a device may import them.
        const DMA_BUF = 1;
        /// The CPU can map them.
        const CPU_MAP = 1 << 1;
        /// The CPU reads them through its cache, at the speed of memory.
        const CPU_CACHED = 1 << 2;
        /// They are contiguous in physical memory, for devices without an IOMMU.
        const CONTIGUOUS = 1 << 3;
        /// They are out of the CPU's reach, for protected content.
        const PROTECTED = 1 << 4;
    }
}

/// A place that buffers come from.
///
/// To add one: a file in `heaps/` with a type that implements this, and a line in
/// [`heaps`](crate::heaps). [`memfd`](crate::heaps::memfd) is the shortest example.
///
/// Implementations may be called from any thread.
pub trait Heap: Send + Sync + fmt::Debug {
    /// The name, as `--heap` takes it and reports print it.
    fn name(&self) -> &str;

    /// What its buffers can be relied on for.
    fn capabilities(&self) -> Capabilities;

    /// Allocates a buffer with this layout.
    ///
    /// `name` tells buffers apart in the kernel's books, such as `sensor-raw-0`. What the memory
    /// holds is unspecified, but never another process's data. On an error nothing is left behind.
    fn allocate(&self, layout: &Layout, name: &str) -> Result<Dmabuf, AllocError>;
}

/// Why a heap has no buffer to give.
#[derive(Debug, thiserror::Error)]
pub enum AllocError {
    /// The heap's limit for one buffer is lower.
    #[error("{heap}: a buffer of {size} bytes is over the limit of {limit} bytes; {advice}")]
    TooLarge {
        /// The heap.
        heap: String,
        /// Bytes that were asked for.
        size: u64,
        /// Bytes that it gives at most.
        limit: u64,
        /// How to raise the limit.
        advice: &'static str,
    },
    /// A system call failed.
    #[error("{heap}: could not {step} ({size} bytes)")]
    System {
        /// The heap.
        heap: String,
        /// What was attempted, such as `seal the memfd`.
        step: &'static str,
        /// Bytes that were asked for.
        size: u64,
        /// What the kernel said.
        source: io::Errno,
    },
    /// The descriptor that the kernel gave does not hold what was asked for.
    #[error("{heap}: the kernel's buffer is not what was asked for")]
    Wrap {
        /// The heap.
        heap: String,
        /// What is wrong with it.
        source: WrapError,
    },
}

/// Why a heap cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no heap of this name, here or anywhere.
    #[error("there is no heap '{name}'; on this machine there are: {}", available.join(", "))]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// Names that would do.
        available: Vec<String>,
    },
    /// The kernel offers no such device.
    #[error("heap '{name}' needs {}, which this machine does not have; {advice}", node.display())]
    Missing {
        /// The name that was asked for.
        name: String,
        /// The device node.
        node: PathBuf,
        /// How to get it.
        advice: String,
    },
    /// The device is there, but not for this user.
    #[error("heap '{name}' is not permitted: {permission}")]
    Permission {
        /// The name that was asked for.
        name: String,
        /// Whose it is, and what mends it.
        permission: Permission,
    },
    /// The device is there, but cannot be opened.
    #[error("heap '{name}': could not open {}", node.display())]
    Open {
        /// The name that was asked for.
        name: String,
        /// The device node.
        node: PathBuf,
        /// What the kernel said.
        source: io::Errno,
    },
}
