//! A virtual camera whose frames reach the screen without a copy, and which says why when they
//! cannot. This is the library; the command `vcam` is made of it.
//!
//! It is four crates under one name. The pipeline uses the ISP and the sinks, and all use the
//! allocator:
//!
//! - [`allocator`]: buffers, the heaps that they come from, and what devices need of them.
//! - [`isp`]: pictures from raw frames, on the GPU or on the CPU.
//! - [`sinks`]: displays, V4L2 nodes, files and terminals that take pictures.
//! - [`pipeline`]: the sensor and the camera that join all of it.
//!
//! The [`prelude`] has the names that most programs need.
//!
//! # Allocate
//!
//! A [`Heap`](allocator::Heap) gives buffers with a layout. A program writes to one through a
//! guard, which keeps the CPU's caches right.
//!
//! ```
//! use vcam::prelude::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layout = Layout::linear(Fourcc::XRGB8888, 640, 480, Alignment::default())?;
//! let buffer = heaps::open("memfd")?.allocate(&layout, "example")?;
//! let mut pixels = buffer.cpu_access(CpuAccess::Write)?;
//! pixels.plane_mut(0).fill(0xff);
//! pixels.end()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Prove
//!
//! Whether a device takes a buffer is only known once it has been asked: an
//! [`Importer`](allocator::Importer) says yes, or refuses with the step and the reason. So a
//! program tries its heaps in order of preference and keeps the first whose buffers are taken.
//!
//! ```
//! use vcam::prelude::*;
//!
//! /// A buffer that the device takes, and the refusals before it.
//! fn prove(device: &mut dyn Importer, layout: &Layout) -> (Option<Dmabuf>, Vec<Refusal>) {
//!     let mut refusals = Vec::new();
//!     for name in ["udmabuf", "system", "cma"] {
//!         let Ok(heap) = heaps::open(name) else { continue };
//!         let Ok(buffer) = heap.allocate(layout, "example") else { continue };
//!         match device.try_import(&buffer) {
//!             Ok(()) => return (Some(buffer), refusals),
//!             Err(refusal) => refusals.push(refusal),
//!         }
//!     }
//!     (None, refusals)
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Strides of 256 bytes suit every GPU that is known.
//! let wide = Alignment { stride: 256, ..Alignment::default() };
//! let layout = Layout::linear(Fourcc::XRGB8888, 640, 480, wide)?;
//! if let Ok(mut gpu) = GpuIsp::new(None) {
//!     let (proven, refusals) = prove(gpu.target_importer(), &layout);
//!     println!("{}", proven.map_or("no heap".to_owned(), |buffer| buffer.heap().to_string()));
//!     refusals.iter().for_each(|refusal| println!("refused: {refusal}"));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Fall back
//!
//! If no heap is taken, the frame is copied, and the link says so. Sinks and ISPs of this library
//! do that by themselves, in the same frame; here a CPU that copies in place of an import:
//!
//! ```
//! use vcam::prelude::*;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layout = Layout::linear(Fourcc::XRGB8888, 640, 480, Alignment::default())?;
//! let heap = heaps::open("memfd")?;
//! let (from, to) = (heap.allocate(&layout, "from")?, heap.allocate(&layout, "to")?);
//! let refusal = Refusal::because("kms:example", "import", "the memory is no dma-buf");
//!
//! let mut link = LinkEnd::import();
//! let (read, mut written) = (from.cpu_access(CpuAccess::Read)?, to.cpu_access(CpuAccess::Write)?);
//! written.plane_mut(0).copy_from_slice(read.plane(0));
//! link.copied(0, &refusal, read.plane(0).len() as u64);
//! read.end()?;
//! written.end()?;
//! assert_eq!((link.method, link.bytes_copied), (Method::Copy, 640 * 480 * 4));
//! println!("copied, because {}", link.reason.as_deref().unwrap_or_default());
//! # Ok(())
//! # }
//! ```
//!
//! A whole camera does the three steps before its first frame, for every stream and every device:
//! see [`pipeline`].

pub use vcam_allocator as allocator;
pub use vcam_isp_gpu as isp;
pub use vcam_pipeline as pipeline;
pub use vcam_sinks as sinks;

/// The names that most programs need: `use vcam::prelude::*`.
pub mod prelude {
    pub use vcam_allocator::constraints::{Constraints, CpuUse, Rule, Statement};
    pub use vcam_allocator::{
        Alignment, AllocError, CpuAccess, Dmabuf, Fence, Fourcc, Heap, Importer, Knowledge, Layout,
        LinkEnd, Method, Modifier, Pool, Refusal, heaps,
    };
    pub use vcam_isp_gpu::{CpuIsp, GpuIsp, Isp, View};
    pub use vcam_pipeline::controls::ControlList;
    pub use vcam_pipeline::{
        Camera, CameraManager, Config, CopyPolicy, HeapOrder, IspChoice, PauseHandle, Prepared,
        Request, Size, StopHandle,
    };
    pub use vcam_sinks::{
        Frame, KmsOptions, KmsSink, NullSink, Sink, SinkCounts, SinkError, TerminalSink,
    };
}
