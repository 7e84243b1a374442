//! A buffer: a picture's layout over the memory that holds it.

use std::ffi::CString;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io;
use vcam_uapi::dma_buf::{self, Direction};

use crate::access::{AccessError, CpuAccess, CpuGuard};
use crate::fence::{self, Fence, FenceError};
use crate::format::{Fourcc, Modifier};
use crate::layout::{Layout, LayoutError, PlaneLayout};
use crate::memory::{Memory, MemoryId, MemoryKind};

/// A buffer that devices share without copying: planes over one dma-buf or several.
///
/// A clone is one more holder of the same buffer. The memory is given back when the last holder is
/// gone, and not before the devices that imported it let go as well: that is the kernel's doing,
/// since each import holds a reference of its own.
///
/// Where a machine has no exporter of dma-bufs the memory is a plain memfd
/// ([`Dmabuf::kind`] says so): the CPU can use it, and every device refuses it.
///
/// `Dmabuf` may be used from any thread. CPU access goes through [`Dmabuf::cpu_access`] alone.
#[derive(Clone)]
pub struct Dmabuf(Arc<Inner>);

struct Inner {
    name: String,
    heap: Arc<str>,
    layout: Layout,
    /// Shared with the buffers that this one was joined of, so that all of them agree on who
    /// accesses it.
    memories: Vec<Arc<Memory>>,
    /// For each plane, the index of its memory.
    plane_memory: Vec<usize>,
}

/// Who a buffer is: the identity of the memory under each of its planes.
///
/// This is the key of an import cache. It stays the same for every descriptor of the buffer and
/// is never that of another buffer that lives at the same time; see [`WeakDmabuf`] for what
/// happens afterwards.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BufferId([Option<MemoryId>; MAX_PLANES]);

/// The most planes a buffer has (as in DRM and V4L2).
pub const MAX_PLANES: usize = 4;

/// Why descriptors and a layout do not make a buffer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WrapError {
    /// The kernel does not answer for the descriptor.
    #[error("could not ask the kernel about the buffer's descriptor")]
    Stat(#[source] io::Errno),
    /// The memory ends before the picture does.
    #[error("plane {plane} ends at byte {needed}, but its memory has {size}")]
    TooSmall {
        /// Index of the plane.
        plane: usize,
        /// First byte after the plane.
        needed: u64,
        /// Bytes of the memory.
        size: u64,
    },
    /// Neither one memory for all planes nor one for each, or more planes than there can be.
    #[error("{planes} planes cannot be spread over {memories} descriptors")]
    MemoryCount {
        /// Planes of the layout.
        planes: usize,
        /// Descriptors given.
        memories: usize,
    },
}

/// Why buffers do not make the planes of one picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// A buffer with a plane's pixels has several planes itself.
    #[error("buffer '{0}' has several planes, and only one can be a plane of another")]
    Planes(String),
    /// The planes do not make a picture of this format.
    #[error("the buffers do not make a picture")]
    Layout(#[from] LayoutError),
    /// A plane's memory does not hold it.
    #[error("the buffers are not as large as the picture")]
    Wrap(#[from] WrapError),
}

impl Dmabuf {
    /// Takes over descriptors: one that holds all planes, or one for each plane.
    ///
    /// Every claim of the layout is checked against what the kernel says of the memory: an importer
    /// that trusts it would read past the end (llvmpipe does).
    pub fn new(
        heap: Arc<str>,
        name: &str,
        layout: Layout,
        fds: Vec<OwnedFd>,
    ) -> Result<Self, WrapError> {
        let planes = 0..layout.planes().len();
        let plane_memory = match fds.len() {
            1 => planes.map(|_| 0).collect(),
            _ => planes.collect(),
        };
        Self::spread(heap, name, layout, fds, plane_memory)
    }

    /// Takes over descriptors, given the index of the one that holds each plane.
    ///
    /// Descriptors of the same memory become one: a sender may have one for each plane. A
    /// descriptor without a plane is an error, since nobody would know what it is for.
    pub(crate) fn spread(
        heap: Arc<str>,
        name: &str,
        layout: Layout,
        fds: Vec<OwnedFd>,
        mut plane_memory: Vec<usize>,
    ) -> Result<Self, WrapError> {
        let (planes, given) = (layout.planes().len(), fds.len());
        let count = WrapError::MemoryCount { planes, memories: given };
        let every_one_used = (0..given).all(|index| plane_memory.contains(&index));
        let in_range = plane_memory.iter().all(|index| *index < given);
        if planes > MAX_PLANES || plane_memory.len() != planes || !every_one_used || !in_range {
            return Err(count);
        }
        let mut memories: Vec<Arc<Memory>> = Vec::with_capacity(given);
        for (index, fd) in fds.into_iter().enumerate() {
            let memory = Memory::new(fd).map_err(WrapError::Stat)?;
            let known = memories.iter().position(|other| other.id() == memory.id());
            let place = known.unwrap_or(memories.len());
            if known.is_none() {
                memories.push(Arc::new(memory));
            }
            // Places only shrink, so no index is changed twice.
            plane_memory.iter_mut().filter(|at| **at == index).for_each(|at| *at = place);
        }
        Self::assemble(heap, name, layout, memories, plane_memory)
    }

    /// Makes one picture of several buffers, each of which holds one of its planes.
    ///
    /// That is how the planes of a picture come to lie in different heaps: see
    /// [`allocate_split`](crate::allocate_split). The buffers may live on; the memory is shared,
    /// and so is the knowledge of who accesses it.
    pub fn join(
        name: &str,
        format: Fourcc,
        (width, height): (u32, u32),
        buffers: &[Self],
    ) -> Result<Self, JoinError> {
        let mut planes = Vec::with_capacity(buffers.len());
        let mut memories: Vec<Arc<Memory>> = Vec::with_capacity(buffers.len());
        let mut plane_memory = Vec::with_capacity(buffers.len());
        let mut heaps: Vec<&str> = Vec::with_capacity(buffers.len());
        for buffer in buffers {
            let ([plane], [memory]) = (buffer.layout().planes(), buffer.memories()) else {
                return Err(JoinError::Planes(buffer.name().to_owned()));
            };
            planes.push(*plane);
            let known = memories.iter().position(|other| other.id() == memory.id());
            plane_memory.push(known.unwrap_or(memories.len()));
            if known.is_none() {
                memories.push(memory.clone());
            }
            if !heaps.contains(&&**buffer.heap()) {
                heaps.push(buffer.heap());
            }
        }
        let layout = Layout::given(format, Modifier::LINEAR, width, height, planes)?;
        Ok(Self::assemble(heaps.join("+").into(), name, layout, memories, plane_memory)?)
    }

    fn assemble(
        heap: Arc<str>,
        name: &str,
        layout: Layout,
        memories: Vec<Arc<Memory>>,
        plane_memory: Vec<usize>,
    ) -> Result<Self, WrapError> {
        for (plane, (at, memory)) in layout.planes().iter().zip(&plane_memory).enumerate() {
            let size = memories[*memory].size();
            let needed = plane_end(&layout, plane, at);
            if needed > size {
                return Err(WrapError::TooSmall { plane, needed, size });
            }
        }
        let buffer =
            Self(Arc::new(Inner { name: name.to_owned(), heap, layout, memories, plane_memory }));
        buffer.name_in_kernel();
        Ok(buffer)
    }

    /// Makes the name visible in `/proc/*/fdinfo` and debugfs. It only helps to debug, so an old
    /// kernel that cannot is no error.
    fn name_in_kernel(&self) {
        let mut short: Vec<u8> = self.0.name.bytes().filter(|byte| *byte != 0).collect();
        short.truncate(dma_buf::NAME_LEN - 1);
        let Ok(name) = CString::new(short) else { return };
        for memory in self.dma_bufs() {
            if let Err(error) = dma_buf::set_name(memory.as_fd(), &name) {
                tracing::debug!(%error, name = self.0.name, "could not name a dma-buf");
            }
        }
    }

    fn dma_bufs(&self) -> impl Iterator<Item = &Memory> {
        self.0
            .memories
            .iter()
            .map(AsRef::as_ref)
            .filter(|memory| memory.kind() == MemoryKind::DmaBuf)
    }

    /// Who this buffer is.
    pub fn id(&self) -> BufferId {
        let mut id = [None; MAX_PLANES];
        for (slot, memory) in id.iter_mut().zip(&self.0.plane_memory) {
            *slot = Some(self.0.memories[*memory].id());
        }
        BufferId(id)
    }

    /// The name it was given, such as `sensor-raw-0`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The heap it came from, as [`heaps::open`](crate::heaps::open) takes it.
    pub fn heap(&self) -> &Arc<str> {
        &self.0.heap
    }

    /// Where each plane lies.
    pub fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// The pixel format.
    pub fn format(&self) -> Fourcc {
        self.0.layout.format()
    }

    /// How pixels are arranged within a plane.
    pub fn modifier(&self) -> Modifier {
        self.0.layout.modifier()
    }

    /// A dma-buf only if all of its memory is.
    pub fn kind(&self) -> MemoryKind {
        if self.0.memories.iter().all(|memory| memory.kind() == MemoryKind::DmaBuf) {
            MemoryKind::DmaBuf
        } else {
            MemoryKind::Memfd
        }
    }

    /// The inodes of its memory, one for each descriptor.
    pub fn inodes(&self) -> impl Iterator<Item = u64> {
        self.0.memories.iter().map(|memory| memory.id().inode())
    }

    /// Descriptor, offset and stride of each plane, as importers want them.
    ///
    /// The descriptor stays ours: an importer that wants to keep it must duplicate it.
    pub fn planes(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PlaneLayout)> {
        self.0
            .layout
            .planes()
            .iter()
            .zip(&self.0.plane_memory)
            .map(|(plane, memory)| (self.0.memories[*memory].as_fd(), *plane))
    }

    /// Starts CPU access; it ends when the guard is dropped.
    ///
    /// Waits until the devices that use the buffer are done, as `DMA_BUF_IOCTL_SYNC` does.
    pub fn cpu_access(&self, access: CpuAccess) -> Result<CpuGuard<'_>, AccessError> {
        CpuGuard::start(self, access)
    }

    pub(crate) fn memories(&self) -> &[Arc<Memory>] {
        &self.0.memories
    }

    /// Bytes of all of its memory, which may be more than its layout needs.
    pub fn bytes(&self) -> u64 {
        self.0.memories.iter().map(|memory| memory.size()).fold(0, u64::saturating_add)
    }

    pub(crate) fn plane_memory(&self, plane: usize) -> Option<usize> {
        self.0.plane_memory.get(plane).copied()
    }

    /// The fence that whoever accesses the buffer in this way has to wait for, from the kernel's
    /// own books (`DMA_BUF_IOCTL_EXPORT_SYNC_FILE`); `None` if the memory is no dma-buf.
    ///
    /// The kernel answers for one dma-buf; of a buffer with several, the first is asked.
    pub fn export_fence(&self, access: CpuAccess) -> io::Result<Option<Fence>> {
        let Some(memory) = self.dma_bufs().next() else { return Ok(None) };
        let fd = dma_buf::export_sync_file(memory.as_fd(), Direction::from(access))?;
        Ok(Some(Fence::from(fd)))
    }

    /// Waits until the fences in the kernel's books are signalled, those of readers included; no
    /// dma-buf has none.
    ///
    /// Polling the dma-buf for writing does that since Linux 3.17, without a descriptor for a sync
    /// file that nobody needs afterwards.
    pub fn wait_implicit(&self, limit: Duration) -> Result<(), FenceError> {
        self.dma_bufs().try_for_each(|memory| fence::wait(memory.as_fd(), PollFlags::OUT, limit))
    }

    /// Adds a fence to the kernel's books, so that every later user waits for it implicitly.
    pub fn import_fence(&self, fence: &Fence, access: CpuAccess) -> io::Result<()> {
        for memory in self.dma_bufs() {
            dma_buf::import_sync_file(memory.as_fd(), fence.as_fd(), Direction::from(access))?;
        }
        Ok(())
    }

    /// A reference that does not keep the buffer alive, for caches.
    pub fn downgrade(&self) -> WeakDmabuf {
        WeakDmabuf(Arc::downgrade(&self.0))
    }
}

/// The first byte after a plane. Tiled planes without a geometry of their own end at their offset.
fn plane_end(layout: &Layout, plane: usize, at: &PlaneLayout) -> u64 {
    // `Layout` has proven that this does not overflow.
    match layout.rows(plane) {
        0 => at.offset,
        rows => at.offset + at.stride * u64::from(rows - 1) + layout.row_bytes(plane),
    }
}

impl fmt::Debug for Dmabuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dmabuf")
            .field("name", &self.0.name)
            .field("heap", &self.0.heap)
            .field("layout", &self.0.layout)
            .field("memories", &self.0.memories)
            .finish()
    }
}

/// A reference that does not keep the buffer alive.
///
/// An import cache keeps it beside each [`BufferId`]: inodes are given anew after a buffer's death,
/// so an entry counts only while its buffer lives.
#[derive(Clone, Debug)]
pub struct WeakDmabuf(Weak<Inner>);

impl WeakDmabuf {
    /// Whether the last holder is gone.
    pub fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }

    /// Whether this is the same buffer.
    pub fn is(&self, buffer: &Dmabuf) -> bool {
        std::ptr::eq(self.0.as_ptr(), Arc::as_ptr(&buffer.0))
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
