//! udmabuf: dma-bufs made of ordinary memory.
//!
//! This is mainline's `CONFIG_UDMABUF`. The out-of-tree module of the same name is another thing:
//! see [`u_dma_buf`].
//!
//! A buffer is the pages of a memfd that was made for it, or of memfds that somebody has already
//! ([`Udmabuf::of_ranges`]): that turns memory which a program computed into, or got from another,
//! into a buffer for devices without a copy. `udmabuf:huge` takes pages of 2 MiB where the
//! administrator set some aside, which shortens the list that a device has to walk; where there are
//! none it gives ordinary ones, and [`Dmabuf::heap`] says which.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use vcam_uapi::memfd::{Pages, SealFlags};
use vcam_uapi::node::open_read_only;

use crate::dmabuf::Dmabuf;
use crate::heap::{AllocError, Capabilities, Heap, OpenError, RangeError};
use crate::heaps::{memfd, u_dma_buf};
use crate::layout::Layout;

/// The heap's name.
pub const NAME: &str = "udmabuf";

/// The name of the heap that prefers pages of 2 MiB.
pub const HUGE: &str = "udmabuf:huge";

/// The most ranges that become one buffer, unless the module is told otherwise (`list_limit` in
/// `drivers/dma-buf/udmabuf.c`).
pub const MAX_RANGES: usize = 1024;

/// The device node.
pub const NODE: &str = "/dev/udmabuf";

/// What the module allows unless told otherwise (`size_limit_mb` in `drivers/dma-buf/udmabuf.c`).
const DEFAULT_LIMIT: u64 = 64 << 20;

/// Bytes of a huge page, as [`Pages::Huge`] asks for it.
const HUGE_PAGE: u64 = 2 << 20;

/// Buffers of sealed memfd pages, shared as dma-bufs.
#[derive(Debug)]
pub struct Udmabuf {
    /// What buffers of ordinary pages say they are from.
    ordinary: Arc<str>,
    /// What buffers of huge pages say they are from, if such are wanted.
    huge: Option<Arc<str>>,
    device: File,
    /// The limit of a buffer's bytes when it was opened.
    limit: u64,
}

/// A range of a memfd, to be joined with others to one buffer.
#[derive(Debug, Clone, Copy)]
pub struct MemfdRange<'a> {
    /// The memory: a memfd with `F_SEAL_SHRINK` and without write seals.
    pub memfd: BorrowedFd<'a>,
    /// Where the range starts, in whole pages.
    pub offset: u64,
    /// Bytes of the range, in whole pages.
    pub size: u64,
}

impl Udmabuf {
    /// Opens `/dev/udmabuf`.
    pub fn open() -> Result<Self, OpenError> {
        Self::open_as(NAME)
    }

    /// Opens `/dev/udmabuf` for buffers of huge pages where there are any.
    pub fn open_huge() -> Result<Self, OpenError> {
        Ok(Self { huge: Some(HUGE.into()), ..Self::open_as(HUGE)? })
    }

    fn open_as(name: &str) -> Result<Self, OpenError> {
        let node = Path::new(NODE);
        let device = open_read_only(node)
            .map_err(|errno| OpenError::of(name, node, errno, &missing_advice()))?;
        Ok(Self {
            ordinary: NAME.into(),
            huge: None,
            device,
            limit: size_limit().unwrap_or(DEFAULT_LIMIT),
        })
    }

    /// Makes one buffer of ranges of memfds, which follow each other in it.
    ///
    /// Whoever has the memfds can still reach the pages, beside the buffer: what is written there
    /// is seen here, but no `DMA_BUF_IOCTL_SYNC` orders it.
    pub fn of_ranges(
        &self,
        layout: &Layout,
        name: &str,
        ranges: &[MemfdRange<'_>],
    ) -> Result<Dmabuf, AllocError> {
        let wrong = |source| AllocError::Ranges { heap: NAME.to_owned(), source };
        let most = parameter("list_limit").unwrap_or(MAX_RANGES);
        if ranges.is_empty() || ranges.len() > most {
            return Err(wrong(RangeError::Count { count: ranges.len(), limit: most }));
        }
        for (index, range) in ranges.iter().enumerate() {
            check(index, range).map_err(wrong)?;
        }
        let size = ranges.iter().map(|range| range.size).fold(0, u64::saturating_add);
        self.check_size(size)?;
        let items = ranges.iter().map(|range| (range.memfd.as_raw_fd(), range.offset, range.size));
        let fd = vcam_uapi::udmabuf::create_list(self.device.as_fd(), items).map_err(|source| {
            let (heap, step) = (NAME.to_owned(), "call UDMABUF_CREATE_LIST");
            AllocError::System { heap, step, size, source }
        })?;
        wrap(&self.ordinary, layout, name, fd)
    }

    /// A buffer of pages of this kind. The memory may be larger than the layout.
    fn allocate_pages(
        &self,
        heap: &Arc<str>,
        pages: Pages,
        layout: &Layout,
        name: &str,
    ) -> Result<Dmabuf, AllocError> {
        let page = match pages {
            Pages::Ordinary => rustix::param::page_size() as u64,
            Pages::Huge => HUGE_PAGE,
        };
        let size = layout.size().checked_next_multiple_of(page).unwrap_or(u64::MAX);
        self.check_size(size)?;
        let memfd = memfd::sealed(NAME, name, size, pages)?;
        let fd = vcam_uapi::udmabuf::create(self.device.as_fd(), memfd.as_fd(), size).map_err(
            |source| {
                let (heap, step) = (NAME.to_owned(), "call UDMABUF_CREATE");
                AllocError::System { heap, step, size, source }
            },
        )?;
        // The dma-buf keeps the pages; with the memfd gone, the dma-buf is the only way to them,
        // so that no access can go round DMA_BUF_IOCTL_SYNC.
        drop(memfd);
        wrap(heap, layout, name, fd)
    }

    /// The limit of a buffer's bytes. It is asked anew, since it counts from when it is set.
    fn limit(&self) -> u64 {
        size_limit().unwrap_or(self.limit)
    }

    /// Whether the module gives a buffer of this size, where the kernel's answer is a bare `EINVAL`.
    fn check_size(&self, size: u64) -> Result<(), AllocError> {
        let limit = self.limit();
        if size <= limit {
            return Ok(());
        }
        let advice = "raise it in /sys/module/udmabuf/parameters/size_limit_mb";
        Err(AllocError::TooLarge { heap: NAME.to_owned(), size, limit, advice })
    }
}

/// Says what is wrong with a range, where the kernel's answer is a bare `EINVAL`.
fn check(index: usize, range: &MemfdRange<'_>) -> Result<(), RangeError> {
    let &MemfdRange { memfd, offset, size } = range;
    let page = rustix::param::page_size() as u64;
    if size == 0 || offset % page != 0 || size % page != 0 {
        return Err(RangeError::Unaligned { index, offset, size, page });
    }
    let not_memfd = |source| RangeError::NotMemfd { index, source };
    let seals = vcam_uapi::memfd::seals(memfd).map_err(not_memfd)?;
    if !seals.contains(SealFlags::SHRINK)
        || seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE)
    {
        return Err(RangeError::Seals { index, seals: seals.bits() });
    }
    let there = vcam_uapi::memfd::size(memfd).map_err(not_memfd)?;
    match offset.checked_add(size) {
        Some(end) if end <= there => Ok(()),
        _ => Err(RangeError::Outside { index, size: there }),
    }
}

fn wrap(heap: &Arc<str>, layout: &Layout, name: &str, fd: OwnedFd) -> Result<Dmabuf, AllocError> {
    Dmabuf::new(heap.clone(), name, layout.clone(), vec![fd])
        .map_err(|source| AllocError::Wrap { heap: NAME.to_owned(), source })
}

fn missing_advice() -> String {
    let mut advice = "try: sudo modprobe udmabuf (CONFIG_UDMABUF)".to_owned();
    if let Some(other) = u_dma_buf::names().first() {
        advice.push_str(&format!("; {other} is another thing: the out-of-tree u-dma-buf"));
    }
    advice
}

fn size_limit() -> Option<u64> {
    parameter::<u64>("size_limit_mb")?.checked_mul(1 << 20)
}

/// A parameter of the module.
fn parameter<T: FromStr>(name: &str) -> Option<T> {
    let path = Path::new("/sys/module/udmabuf/parameters").join(name);
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

impl Heap for Udmabuf {
    fn name(&self) -> &str {
        self.huge.as_ref().unwrap_or(&self.ordinary)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::DMA_BUF | Capabilities::CPU_MAP | Capabilities::CPU_CACHED
    }

    fn max_size(&self) -> Option<u64> {
        Some(self.limit())
    }

    fn allocate(&self, layout: &Layout, name: &str) -> Result<Dmabuf, AllocError> {
        if let Some(huge) = &self.huge {
            match self.allocate_pages(huge, Pages::Huge, layout, name) {
                Ok(buffer) => return Ok(buffer),
                // The kernel has none, none are left, or a limit stands in the way of whole ones.
                Err(error) => {
                    tracing::debug!(%error, name, "no huge pages, takes ordinary ones");
                }
            }
        }
        self.allocate_pages(&self.ordinary, Pages::Ordinary, layout, name)
    }
}
