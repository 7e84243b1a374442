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
//! Source: `Documentation/userspace-api/media/v4l/dmabuf.rst`.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::constraints::FormatSet;
use crate::dmabuf::Dmabuf;
use crate::format::{Fourcc, Modifier};
use crate::heap::{AllocError, Capabilities, Heap, OpenError};
use crate::layout::{Layout, PlaneLayout};
use crate::permission::open_read_write;
use crate::uapi::fault;
use crate::uapi::v4l2::{self, Picture, Queue};

/// What the names of these heaps start with.
pub const PREFIX: &str = "v4l2:";

/// DRM's formats, and what V4L2 calls the same bytes.
const FORMATS: [(Fourcc, Fourcc); 8] = [
    (Fourcc::XRGB8888, Fourcc::new(*b"XR24")),
    (Fourcc::ARGB8888, Fourcc::new(*b"AR24")),
    (Fourcc::XBGR8888, Fourcc::new(*b"XB24")),
    (Fourcc::ABGR8888, Fourcc::new(*b"AB24")),
    (Fourcc::RGB565, Fourcc::new(*b"RGBP")),
    (Fourcc::R8, Fourcc::new(*b"GREY")),
    (Fourcc::R16, Fourcc::new(*b"Y16 ")),
    (Fourcc::NV12, Fourcc::new(*b"NV12")),
];

/// The heaps of all video nodes that stream pictures, by node.
pub fn names() -> Vec<String> {
    let mut nodes: Vec<(u32, PathBuf)> = fs::read_dir("/dev")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some((name.strip_prefix("video")?.parse().ok()?, entry.path()))
        })
        .collect();
    nodes.sort();
    nodes
        .into_iter()
        // A node that cannot be asked stays in the list, with the reason.
        .filter(|(_, node)| {
            open_read_write(node)
                .and_then(|file| v4l2::queue(file.as_fd()))
                .map_or(true, |queue| queue.is_some())
        })
        .map(|(number, _)| format!("{PREFIX}video{number}"))
        .collect()
}

/// The memory that one video node's driver allocates.
#[derive(Debug)]
pub struct V4l2 {
    name: Arc<str>,
    node: PathBuf,
    queue: Queue,
}

impl V4l2 {
    /// Opens a node by its name, such as `video0`, or by its path.
    pub fn open(asked: &str) -> Result<Self, OpenError> {
        let name = format!("{PREFIX}{asked}");
        let node = Path::new("/dev").join(asked);
        let file = open_read_write(&node)
            .map_err(|errno| OpenError::of(&name, &node, errno, "vcam list shows the nodes"))?;
        let (name_of, node_of) = (|| name.clone(), || node.clone());
        match v4l2::queue(file.as_fd()) {
            Ok(Some(queue)) => Ok(Self { name: name.as_str().into(), node, queue }),
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
    queue: Queue,
    format: Picture,
}

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        let freed = fault::suspended(|| {
            v4l2::request_buffers(self.node, self.queue, 0)?;
            v4l2::set_format(self.node, self.queue, &self.format)
        });
        if let Err(error) = freed {
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
        Some(FORMATS.iter().map(|(format, _)| (*format, [Modifier::LINEAR].into())).collect())
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
        let (_, code) = FORMATS
            .iter()
            .find(|(drm, _)| *drm == format && layout.modifier() == Modifier::LINEAR)
            .ok_or_else(|| AllocError::Format { heap: heap(), format })?;
        let file = open_read_write(&self.node).map_err(failed("open the node"))?;
        let (node, queue) = (file.as_fd(), self.queue);
        let before = v4l2::format(node, queue).map_err(failed("call VIDIOC_G_FMT"))?;
        // Wishes: a driver that cannot have such a stride takes another.
        let stride = layout.planes().first().map_or(0, |plane| plane.stride);
        let wish = Picture {
            code: code.0,
            width,
            height,
            stride: u32::try_from(stride).unwrap_or(0),
            size: u32::try_from(layout.size()).unwrap_or(0),
        };
        let got = v4l2::set_format(node, queue, &wish).map_err(failed("call VIDIOC_S_FMT"))?;
        let restored = Restored { node, queue, format: before };
        if (got.code, got.width, got.height) != (wish.code, width, height) {
            let (asked, got) = ((width, height), (got.width, got.height));
            return Err(AllocError::Adjusted { heap: heap(), format, asked, got });
        }
        let planes = planes(format, height, got.stride.into());
        let given = Layout::given(format, Modifier::LINEAR, width, height, planes)
            .map_err(|source| AllocError::Layout { heap: heap(), source })?
            .with_size(got.size.into());
        v4l2::request_buffers(node, queue, 1).map_err(failed("call VIDIOC_REQBUFS"))?;
        let fd = v4l2::export_buffer(node, queue).map_err(failed("call VIDIOC_EXPBUF"))?;
        drop(restored);
        Dmabuf::new(self.name.clone(), name, given, vec![fd])
            .map_err(|source| AllocError::Wrap { heap: heap(), source })
    }
}

/// Where V4L2 has the planes of a format that lies in one memory: right below each other, and with
/// the same width in bytes.
fn planes(format: Fourcc, height: u32, stride: u64) -> Vec<PlaneLayout> {
    let mut offset = 0u64;
    let mut planes = Vec::new();
    for plane in format.planes().unwrap_or_default() {
        planes.push(PlaneLayout { offset, stride });
        let rows = u64::from(height.div_ceil(plane.vsub));
        offset = offset.saturating_add(stride.saturating_mul(rows));
    }
    planes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chroma_follows_luma_without_a_gap() {
        let planes = planes(Fourcc::NV12, 480, 640);
        assert_eq!(planes[1], PlaneLayout { offset: 640 * 480, stride: 640 });
    }

    #[test]
    fn a_missing_node_is_named() {
        let error = V4l2::open("video4294967295").unwrap_err();
        assert!(error.to_string().contains("/dev/video4294967295"), "{error}");
    }
}
