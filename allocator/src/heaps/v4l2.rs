//! V4L2 buffers: the memory that a camera or an encoder allocates itself, exported as dma-bufs.
//!
//! A device without an IOMMU may take no memory but its own driver's, whose allocator (`vmalloc`,
//! scatter-gather or contiguous) no interface tells. So: `VIDIOC_REQBUFS` on its node, then
//! `VIDIOC_EXPBUF`.
//!
//! A queue has one format and one owner. So each allocation opens the node anew, sets the format,
//! makes one buffer, exports it, and leaves the node as it was: the dma-buf keeps the memory. While
//! somebody streams from the node that is `EBUSY`.
//!
//! A multi-planar node may keep the planes of a picture in memories of their own, each a dma-buf.
//! Where it can do both, they share one memory, which more devices import, unless the heap's name
//! ends with [`SPLIT`].
//!
//! Source: `Documentation/userspace-api/media/v4l/dmabuf.rst`.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::{self, Errno};
use vcam_uapi::fault;
use vcam_uapi::node::{numbered, open_read_write};
use vcam_uapi::v4l2::{self, BufType, Field, Format, Memory, PlaneFormat, Rectangle, Target};

use crate::constraints::FormatSet;
use crate::dmabuf::Dmabuf;
use crate::format::{Fourcc, Modifier};
use crate::heap::{AllocError, Capabilities, Heap, OpenError};
use crate::layout::{Layout, PlaneLayout, adjoining};

/// What the names of these heaps start with.
pub const PREFIX: &str = "v4l2:";

/// What follows a node's name where each plane of a picture is to be a memory of its own.
pub const SPLIT: &str = ":split";

/// DRM's formats, and what V4L2 calls the same bytes, with the number of memories.
const FORMATS: [(Fourcc, PixelFormat); 12] = [
    (Fourcc::XRGB8888, PixelFormat::new(*b"XR24", 1)),
    (Fourcc::ARGB8888, PixelFormat::new(*b"AR24", 1)),
    (Fourcc::XBGR8888, PixelFormat::new(*b"XB24", 1)),
    (Fourcc::ABGR8888, PixelFormat::new(*b"AB24", 1)),
    (Fourcc::RGB565, PixelFormat::new(*b"RGBP", 1)),
    (Fourcc::R8, PixelFormat::new(*b"GREY", 1)),
    (Fourcc::R16, PixelFormat::new(*b"Y16 ", 1)),
    (Fourcc::NV12, PixelFormat::new(*b"NV12", 1)),
    (Fourcc::NV12, PixelFormat::new(*b"NM12", 2)),
    (Fourcc::NV21, PixelFormat::new(*b"NV21", 1)),
    (Fourcc::YUV420, PixelFormat::new(*b"YU12", 1)),
    (Fourcc::YUYV, PixelFormat::new(*b"YUYV", 1)),
];

/// How V4L2 has a format of DRM.
///
/// To DRM, which memory a plane lies in is a matter of the buffer; to V4L2, of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelFormat {
    /// The code of `videodev2.h`.
    pub code: u32,
    /// The memories that a picture's planes are spread over: 1, or one for each plane, which only
    /// multi-planar nodes have.
    pub memories: usize,
}

impl PixelFormat {
    const fn new(code: [u8; 4], memories: usize) -> Self {
        Self { code: Fourcc::new(code).0, memories }
    }
}

/// V4L2's names for a format, that with the fewest memories first; none for one that it lacks.
pub fn pixel_formats(format: Fourcc) -> impl Iterator<Item = PixelFormat> {
    FORMATS.into_iter().filter(move |(drm, _)| *drm == format).map(|(_, pixel)| pixel)
}

/// The heaps of all video nodes that stream pictures, by node.
pub fn names() -> Vec<String> {
    nodes()
        // A node that cannot be asked stays in the list, with the reason.
        .filter(|node| {
            open_read_write(&Path::new("/dev").join(node))
                .and_then(|file| queue(file.as_fd()))
                .map_or(true, |queue| queue.is_some())
        })
        .map(|node| format!("{PREFIX}{node}"))
        .collect()
}

/// The names of all video nodes, by number, whatever they do.
pub fn nodes() -> impl Iterator<Item = String> {
    let paths = numbered(Path::new("/dev"), "video").into_iter();
    paths.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
}

/// The queue of a node that streams video; `None` if it has none, or works from memory to memory.
fn queue(node: BorrowedFd<'_>) -> io::Result<Option<BufType>> {
    let has = v4l2::querycap(node)?.capabilities;
    let mut queues = has.queues();
    Ok(match (queues.next(), queues.next()) {
        (Some(queue), None) if has.contains(v4l2::Capabilities::STREAMING) => Some(queue),
        _ => None,
    })
}

/// Whether the driver exports buffers at all. It is asked for one that no queue has: `ENOTTY` says
/// that it does not know the call, and every other error that it does.
fn exports(node: BorrowedFd<'_>, queue: BufType) -> bool {
    !matches!(v4l2::expbuf(node, queue, u32::MAX, 0), Err(Errno::NOTTY))
}

/// The nodes there are, as the end of a sentence.
fn available() -> String {
    let nodes: Vec<_> = nodes().collect();
    match nodes.is_empty() {
        true => "there are no V4L2 nodes".to_owned(),
        false => format!("there are: {}", nodes.join(", ")),
    }
}

/// The memory that one video node's driver allocates.
#[derive(Debug)]
pub struct V4l2 {
    name: Arc<str>,
    node: PathBuf,
    queue: BufType,
    /// Whether a picture's planes are memories of their own, even where they need not be.
    split: bool,
}

impl V4l2 {
    /// Opens a node by its name, such as `video0`, or by its path; with [`SPLIT`] behind it, only
    /// formats with a memory for each plane are allocated.
    pub fn open(asked: &str) -> Result<Self, OpenError> {
        let name = format!("{PREFIX}{asked}");
        let (asked, split) = match asked.strip_suffix(SPLIT) {
            Some(node) => (node, true),
            None => (asked, false),
        };
        let node = Path::new("/dev").join(asked);
        let file = open_read_write(&node)
            .map_err(|errno| OpenError::of(&name, &node, errno, &available()))?;
        let (name_of, node_of) = (|| name.clone(), || node.clone());
        match queue(file.as_fd()) {
            Ok(Some(queue)) if split && !queue.is_mplane() => {
                let what = "keep the planes of a picture apart";
                Err(OpenError::Unsuitable { name: name_of(), node: node_of(), what })
            }
            Ok(Some(queue)) if !exports(file.as_fd(), queue) => {
                let what = "export its buffers as dma-bufs";
                Err(OpenError::Unsuitable { name: name_of(), node: node_of(), what })
            }
            Ok(Some(queue)) => Ok(Self { name: name.as_str().into(), node, queue, split }),
            Ok(None) => {
                let what = "stream pictures in one direction";
                Err(OpenError::Unsuitable { name: name_of(), node: node_of(), what })
            }
            Err(source) => Err(OpenError::Open { name: name_of(), node: node_of(), source }),
        }
    }
}

/// Gives a queue's buffers and format back, on every way out.
struct Restored<'a> {
    node: BorrowedFd<'a>,
    queue: BufType,
    format: Format,
    /// A smaller format makes them smaller, and the old one does not make them larger again.
    parts: Vec<(Target, Rectangle)>,
    /// Whether there is anything to be put back.
    changed: bool,
}

impl<'a> Restored<'a> {
    /// To be put back as it is now.
    fn of(node: BorrowedFd<'a>, queue: BufType) -> io::Result<Self> {
        let format = v4l2::g_fmt(node, queue)?;
        // The one in the buffer first: it bounds the other. Many nodes have neither.
        let order = match queue.is_output() {
            false => [Target::Compose, Target::Crop],
            true => [Target::Crop, Target::Compose],
        };
        let is = |part| fault::suspended(|| v4l2::g_selection(node, queue, part)).ok();
        let parts = order.into_iter().filter_map(|part| Some((part, is(part)?))).collect();
        Ok(Self { node, queue, format, parts, changed: false })
    }
}

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        let Self { node, queue, format, parts, changed: true } = self else { return };
        let restored = fault::suspended(|| {
            v4l2::reqbufs(*node, *queue, Memory::Mmap, 0)?;
            v4l2::s_fmt(*node, *queue, format)?;
            parts
                .iter()
                .try_for_each(|(part, is)| v4l2::s_selection(*node, *queue, *part, *is).map(drop))
        });
        if let Err(error) = restored {
            tracing::debug!(%error, "a V4L2 node does not get its old format back");
        }
    }
}

impl Heap for V4l2 {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        // Whether reads are cached depends on the driver's allocator, which it does not tell.
        Capabilities::DMA_BUF | Capabilities::CPU_MAP
    }

    fn formats(&self) -> Option<FormatSet> {
        let can = FORMATS.iter().filter(|(_, pixel)| self.has(pixel));
        Some(can.map(|(format, _)| (*format, [Modifier::LINEAR].into())).collect())
    }

    fn chooses_layout(&self) -> bool {
        true
    }

    fn allocate(&self, layout: &Layout, name: &str) -> Result<Dmabuf, AllocError> {
        let heap = || self.name.to_string();
        let (format, width, height) = (layout.format(), layout.width(), layout.height());
        let failed = |step| {
            move |source| AllocError::System { heap: heap(), step, size: layout.size(), source }
        };
        let mut pixels = pixel_formats(format)
            .filter(|pixel| self.has(pixel) && layout.modifier() == Modifier::LINEAR)
            .peekable();
        if pixels.peek().is_none() {
            return Err(AllocError::Format { heap: heap(), format });
        }
        let file = open_read_write(&self.node).map_err(failed("open the node"))?;
        let (node, queue) = (file.as_fd(), self.queue);
        let mut restored = Restored::of(node, queue).map_err(failed("call VIDIOC_G_FMT"))?;
        let (pixel, got) = loop {
            // A driver that lacks a format sets another, and the next may be one that it has.
            let Some(pixel) = pixels.next() else {
                return Err(AllocError::Format { heap: heap(), format });
            };
            let wish = wish(layout, pixel);
            let got = v4l2::s_fmt(node, queue, &wish).map_err(failed("call VIDIOC_S_FMT"))?;
            restored.changed = true;
            if got.pixelformat == pixel.code && got.planes.len() == pixel.memories {
                break (pixel, got);
            }
        };
        if (got.width, got.height) != (width, height) {
            let (asked, got) = ((width, height), (got.width, got.height));
            return Err(AllocError::Adjusted { heap: heap(), format, asked, got });
        }
        let strides: Vec<_> = got.planes.iter().map(|memory| memory.bytesperline).collect();
        let planes = planes(format, height, &strides);
        let size = got.planes.iter().map(|memory| u64::from(memory.sizeimage)).max().unwrap_or(0);
        let given = Layout::given(format, Modifier::LINEAR, width, height, planes)
            .map_err(|source| AllocError::Layout { heap: heap(), source })?
            .with_size(size);
        v4l2::reqbufs(node, queue, Memory::Mmap, 1).map_err(failed("call VIDIOC_REQBUFS"))?;
        let fds = (0..)
            .take(pixel.memories)
            .map(|memory| v4l2::expbuf(node, queue, 0, memory))
            .collect::<Result<_, _>>()
            .map_err(failed("call VIDIOC_EXPBUF"))?;
        drop(restored);
        Dmabuf::new(self.name.clone(), name, given, fds)
            .map_err(|source| AllocError::Wrap { heap: heap(), source })
    }
}

impl V4l2 {
    /// Whether buffers of this form come from here, if the driver has them.
    fn has(&self, pixel: &PixelFormat) -> bool {
        let several = pixel.memories > 1;
        if self.split { several } else { !several || self.queue.is_mplane() }
    }
}

/// A layout as a driver may be asked for it; one that cannot have such strides takes others.
fn wish(layout: &Layout, pixel: PixelFormat) -> Format {
    let narrow = |bytes: u64| u32::try_from(bytes).unwrap_or(0);
    let sizeimage = if pixel.memories == 1 { narrow(layout.size()) } else { 0 };
    let strides = layout.planes().iter().map(|plane| narrow(plane.stride));
    let memories = strides.map(|bytesperline| PlaneFormat { bytesperline, sizeimage });
    Format {
        pixelformat: pixel.code,
        width: layout.width(),
        height: layout.height(),
        field: Field::NONE,
        planes: memories.take(pixel.memories).collect(),
    }
}

/// Where V4L2 has the planes of a picture: each at the start of its memory, or, where they share
/// one, right below each other, with rows that are as long as the first plane's stride makes them.
///
/// `strides` are those of the memories, in bytes.
pub fn planes(format: Fourcc, height: u32, strides: &[u32]) -> Vec<PlaneLayout> {
    match strides {
        [] => Vec::new(),
        [stride] => adjoining(format, height, (*stride).into()),
        apart => {
            let alone = |stride: &u32| PlaneLayout { offset: 0, stride: (*stride).into() };
            apart.iter().map(alone).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chroma_follows_luma_without_a_gap() {
        let together = planes(Fourcc::NV12, 480, &[640]);
        assert_eq!(together[1], PlaneLayout { offset: 640 * 480, stride: 640 });
        let apart = planes(Fourcc::NV12, 480, &[640, 768]);
        assert_eq!(apart[1], PlaneLayout { offset: 0, stride: 768 });
        let [_, blue, red] = planes(Fourcc::YUV420, 480, &[640])[..] else { panic!("3 planes") };
        assert_eq!(blue, PlaneLayout { offset: 640 * 480, stride: 320 });
        assert_eq!(red, PlaneLayout { offset: 640 * 480 + 320 * 240, stride: 320 });
    }

    #[test]
    fn the_form_with_the_fewest_memories_comes_first() {
        let memories: Vec<_> = pixel_formats(Fourcc::NV12).map(|pixel| pixel.memories).collect();
        assert_eq!(memories, [1, 2]);
        assert_eq!(pixel_formats(Fourcc::GR88).count(), 0);
    }

    #[test]
    fn a_missing_node_is_named() {
        let error = V4l2::open("video4294967295").unwrap_err();
        assert!(error.to_string().contains("/dev/video4294967295"), "{error}");
    }
}
