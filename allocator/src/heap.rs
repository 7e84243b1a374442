//! Where buffers come from.

use std::fmt;
use std::path::{Path, PathBuf};

use bitflags::bitflags;
use rustix::io;

use crate::constraints::FormatSet;
use crate::dmabuf::{Dmabuf, JoinError, WrapError};
use crate::format::Fourcc;
use crate::free::BudgetOf;
use crate::gbm::GbmError;
use crate::layout::{Alignment, Layout, LayoutError};
use crate::permission::Permission;
use crate::shortage::Shortage;

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
    /// The name, as [`heaps::open`](crate::heaps::open) takes it and reports print it.
    fn name(&self) -> &str;

    /// What its buffers can be relied on for.
    fn capabilities(&self) -> Capabilities;

    /// The largest buffer that it gives, in bytes; `None` if there is no fixed limit.
    fn max_size(&self) -> Option<u64> {
        None
    }

    /// The formats and modifiers that it allocates; `None` for every format, as LINEAR.
    fn formats(&self) -> Option<FormatSet> {
        None
    }

    /// Whether its driver decides on strides and offsets.
    ///
    /// Such a heap takes format and size from the layout that it is asked for; its buffers come
    /// with a layout of their own, which the caller has to read from them.
    fn chooses_layout(&self) -> bool {
        false
    }

    /// Allocates a buffer with this layout, or, where the heap
    /// [chooses](Heap::chooses_layout), with this format and size.
    ///
    /// `name` tells buffers apart in the kernel's books, such as `sensor-raw-0`. What the memory
    /// holds is unspecified, but never another process's data. On an error nothing is left behind.
    fn allocate(&self, layout: &Layout, name: &str) -> Result<Dmabuf, AllocError>;
}

/// Why a heap has no buffer to give.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    /// The heap has no pictures of this format.
    #[error("{heap}: does not allocate {format}")]
    Format {
        /// The heap.
        heap: String,
        /// The format that was asked for.
        format: Fourcc,
    },
    /// The driver does not have pictures of this size, or not in this format.
    #[error(
        "{heap}: has no pictures of {}x{} in {format}, the nearest is {}x{}",
        asked.0, asked.1, got.0, got.1
    )]
    Adjusted {
        /// The heap.
        heap: String,
        /// The format that was asked for.
        format: Fourcc,
        /// Width and height that were asked for.
        asked: (u32, u32),
        /// Width and height of what the driver offers instead, maybe in another format.
        got: (u32, u32),
    },
    /// The driver chose a layout that makes no sense.
    #[error("{heap}: the driver's layout is not one of a picture")]
    Layout {
        /// The heap.
        heap: String,
        /// What is wrong with it.
        source: LayoutError,
    },
    /// Planes were allocated that do not make a picture.
    #[error("the planes of {heap} do not make a picture")]
    Join {
        /// The heaps.
        heap: String,
        /// What is wrong with them.
        source: JoinError,
    },
    /// The ranges of memfds that were to be joined are no buffer.
    #[error("{heap}: the ranges of memory cannot become one buffer")]
    Ranges {
        /// The heap.
        heap: String,
        /// What is wrong with them.
        source: RangeError,
    },
    /// The buffers would take more memory than the pool was given.
    #[error(
        "{count} buffers of {heap} take {needed} bytes, and there is room for {budget}{}",
        of.words()
    )]
    OverBudget {
        /// The heap.
        heap: String,
        /// Buffers that were asked for.
        count: usize,
        /// Bytes that they take.
        needed: u64,
        /// Bytes that they may take.
        budget: u64,
        /// What those are a part of.
        of: BudgetOf,
    },
    /// The buffers would take more descriptors than there may be.
    #[error(
        "{count} buffers of {heap} take {needed} file descriptors, and only {left} are left{}",
        if *of_process { " to this process" } else { " in the pool's budget" }
    )]
    Descriptors {
        /// The heap.
        heap: String,
        /// Buffers that were asked for.
        count: usize,
        /// Descriptors that they take.
        needed: u64,
        /// Descriptors that may still be opened.
        left: u64,
        /// Whether it is the process that has no more (`RLIMIT_NOFILE`), or the pool.
        of_process: bool,
    },
    /// The heap has less memory left than was asked for.
    #[error("{heap}: {size} bytes were asked for, and {left} are left")]
    Exhausted {
        /// The heap.
        heap: String,
        /// Bytes that were asked for.
        size: u64,
        /// Bytes that it could still give.
        left: u64,
    },
    /// A heap outside this crate failed in a way of its own.
    #[error("{heap}: could not allocate")]
    Other {
        /// The heap.
        heap: String,
        /// The heap's own error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl AllocError {
    /// Returns the resource that ran out, or `None` if something else is wrong.
    pub fn shortage(&self) -> Option<Shortage> {
        Some(match self {
            Self::System { source, .. } => match *source {
                io::Errno::NOMEM | io::Errno::NOSPC => Shortage::Memory,
                io::Errno::MFILE => Shortage::ProcessDescriptors,
                io::Errno::NFILE => Shortage::SystemDescriptors,
                _ => return None,
            },
            Self::Exhausted { .. } => Shortage::Memory,
            Self::TooLarge { .. } => Shortage::BufferSize,
            Self::OverBudget { of, .. } => match of {
                BudgetOf::Caller => Shortage::PoolBudget,
                BudgetOf::Machine => Shortage::Memory,
                BudgetOf::Group => Shortage::ControlGroup,
            },
            Self::Descriptors { of_process: true, .. } => Shortage::ProcessDescriptors,
            Self::Descriptors { of_process: false, .. } => Shortage::PoolBudget,
            _ => return None,
        })
    }
}

/// Allocates the planes of a picture one by one, each from its own heap.
///
/// Some devices want it so: a decoder with its planes in different memory banks, or a display that
/// fetches luma and chroma over different buses. A heap that stands twice gives two buffers. There
/// must be a heap for each plane of the format.
pub fn allocate_split(
    heaps: &[&dyn Heap],
    format: Fourcc,
    (width, height): (u32, u32),
    alignment: Alignment,
    name: &str,
) -> Result<Dmabuf, AllocError> {
    let all = || heaps.iter().map(|heap| heap.name()).collect::<Vec<_>>().join("+");
    let planes = format.planes().unwrap_or_default();
    if planes.len() != heaps.len() {
        return Err(AllocError::Format { heap: all(), format });
    }
    let mut buffers = Vec::with_capacity(heaps.len());
    for (index, (plane, heap)) in planes.iter().zip(heaps).enumerate() {
        let unknown = || AllocError::Format { heap: heap.name().to_owned(), format };
        let alone = plane.alone().ok_or_else(unknown)?;
        let size = (width.div_ceil(plane.hsub), height.div_ceil(plane.vsub));
        let layout = Layout::linear(alone, size.0, size.1, alignment)
            .map_err(|source| AllocError::Layout { heap: heap.name().to_owned(), source })?;
        buffers.push(heap.allocate(&layout, &format!("{name}-plane{index}"))?);
    }
    Dmabuf::join(name, format, (width, height), &buffers)
        .map_err(|source| AllocError::Join { heap: all(), source })
}

/// Why ranges of memfds cannot become one buffer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RangeError {
    /// There are none, or too many.
    #[error("there are {count} ranges, and there may be 1 to {limit}")]
    Count {
        /// Ranges given.
        count: usize,
        /// The most that the kernel joins.
        limit: usize,
    },
    /// A range does not consist of whole pages.
    #[error("range {index} starts at {offset} and has {size} bytes: not whole pages of {page}")]
    Unaligned {
        /// Index of the range.
        index: usize,
        /// Where it starts.
        offset: u64,
        /// Bytes of it.
        size: u64,
        /// Bytes of a page.
        page: u64,
    },
    /// A range ends after its memory does.
    #[error("range {index} ends after its memory, which has {size} bytes")]
    Outside {
        /// Index of the range.
        index: usize,
        /// Bytes of the memory.
        size: u64,
    },
    /// The memory may still shrink, or may not be written: a dma-buf can be made of neither.
    #[error(
        "range {index} is of memory with the seals {seals:#x}, and needs F_SEAL_SHRINK and no write seal"
    )]
    Seals {
        /// Index of the range.
        index: usize,
        /// The seals it has.
        seals: u32,
    },
    /// The descriptor is not a memfd.
    #[error("range {index} is not of a memfd")]
    NotMemfd {
        /// Index of the range.
        index: usize,
        /// What the kernel says when asked for its seals.
        source: io::Errno,
    },
}

/// Why a heap cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
        permission: Box<Permission>,
    },
    /// The device is something else than its name suggests.
    #[error("'{name}' is not a heap: {reason}")]
    NotAHeap {
        /// The name that was asked for.
        name: String,
        /// What it is, and what would do.
        reason: String,
    },
    /// The device is there, but is of no use as a heap.
    #[error("heap '{name}': {} cannot {what}", node.display())]
    Unsuitable {
        /// The name that was asked for.
        name: String,
        /// The device node.
        node: PathBuf,
        /// What it lacks, such as `make dumb buffers`.
        what: &'static str,
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
    /// libgbm, which such a heap is made with, is of no use.
    #[error("heap '{name}' cannot be used")]
    Gbm {
        /// The name that was asked for.
        name: String,
        /// What is wrong with the library.
        source: GbmError,
    },
}

impl OpenError {
    /// Why a heap's node did not open.
    pub(crate) fn of(name: &str, node: &Path, errno: io::Errno, advice: &str) -> Self {
        let (name, node) = (name.to_owned(), node.to_owned());
        match errno {
            io::Errno::NOENT | io::Errno::NODEV | io::Errno::NXIO => {
                Self::Missing { name, node, advice: advice.to_owned() }
            }
            io::Errno::ACCESS | io::Errno::PERM => {
                Self::Permission { name, permission: Box::new(Permission::of(&node)) }
            }
            source => Self::Open { name, node, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_out_is_named() {
        let heap = || "test".to_owned();
        let system =
            |source| AllocError::System { heap: heap(), step: "do it", size: 1, source }.shortage();
        assert_eq!(system(io::Errno::NOMEM), Some(Shortage::Memory));
        assert_eq!(system(io::Errno::MFILE), Some(Shortage::ProcessDescriptors));
        assert_eq!(system(io::Errno::NFILE), Some(Shortage::SystemDescriptors));
        assert_eq!(system(io::Errno::INVAL), None);
        let budget = |of| {
            AllocError::OverBudget { heap: heap(), count: 1, needed: 2, budget: 1, of }.shortage()
        };
        assert_eq!(budget(BudgetOf::Group), Some(Shortage::ControlGroup));
        assert_eq!(budget(BudgetOf::Caller), Some(Shortage::PoolBudget));
        let other = AllocError::Other { heap: heap(), source: "it is a test".into() };
        assert_eq!(other.shortage(), None);
        assert_eq!(std::error::Error::source(&other).unwrap().to_string(), "it is a test");
    }
}
