//! Buffers that devices share: their layout, the heaps that they come from, and the devices that
//! accept them.
//!
//! A [`Heap`] allocates a [`Dmabuf`] with a [`Layout`]. The CPU accesses it through a [`CpuGuard`];
//! a device imports it or answers with a [`Refusal`]. A [`Pool`] reuses a buffer once all its
//! holders and every [`Fence`] are done with it. Nothing in this crate knows what a camera is.
//!
//! ```
//! use vcam_allocator::{Alignment, CpuAccess, Fourcc, Layout, heaps};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layout = Layout::linear(Fourcc::XRGB8888, 640, 480, Alignment::default())?;
//! // "udmabuf" or "dma_heap:system" where devices are to import it.
//! let heap = heaps::open("memfd")?;
//! let buffer = heap.allocate(&layout, "example")?;
//! let mut pixels = buffer.cpu_access(CpuAccess::Write)?;
//! pixels.plane_mut(0).fill(0xff);
//! pixels.end()?;
//! # Ok(())
//! # }
//! ```

mod access;
mod accounting;
mod colour;
pub mod constraints;
pub mod cost;
mod dmabuf;
mod errno;
mod fence;
pub mod foreign;
mod format;
mod free;
pub mod gbm;
mod heap;
pub mod heaps;
mod import;
pub mod knowledge;
mod layout;
mod link;
mod memory;
mod permission;
pub mod plan;
mod pool;
pub mod probe;
mod shortage;
pub mod socket;
pub mod sysfs;

#[cfg(any(test, feature = "fault"))]
pub use vcam_uapi::fault;

pub use access::{AccessError, CpuAccess, CpuGuard, sync_counts};
pub use accounting::{Accounting, Held};
pub use colour::{ColourSpace, Primaries, Range, TransferFunction, YcbcrEncoding};
pub use dmabuf::{BufferId, Dmabuf, JoinError, MAX_PLANES, WeakDmabuf, WrapError};
pub use errno::errno_name;
pub use fence::{Fence, FenceError};
pub use format::{FORMATS, FormatInfo, Fourcc, Model, Modifier, ParseFourccError, PlaneFormat};
pub use free::BudgetOf;
pub use heap::{AllocError, Capabilities, Heap, OpenError, RangeError, allocate_split};
pub use import::{ImportCache, Importer, Refusal};
pub use knowledge::Knowledge;
pub use layout::{Alignment, Layout, LayoutError, PlaneLayout};
pub use link::{LinkEnd, Method, Reason};
pub use memory::{MemoryId, MemoryKind};
pub use permission::{Membership, Permission, Remedy, uaccess_rule};
pub use pool::{Budget, Pool, PooledBuffer, TakeError};
pub use shortage::Shortage;
