//! The ioctls of a V4L2 node that make buffers and hand them on.
//!
//! Source: `include/uapi/linux/videodev2.h` and `Documentation/userspace-api/media/v4l/dmabuf.rst`,
//! "Exporting DMABUF".

use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::{self, Errno};
use v4l::v4l_sys::{v4l2_capability, v4l2_exportbuffer, v4l2_format, v4l2_requestbuffers};
use v4l::v4l2::vidioc;

use super::fault;

/// The queue that pictures go through, by its `V4L2_BUF_TYPE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queue {
    /// `V4L2_BUF_TYPE_VIDEO_CAPTURE`.
    Capture = 1,
    /// `V4L2_BUF_TYPE_VIDEO_OUTPUT`.
    Output = 2,
    /// `V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE`.
    CaptureMplane = 9,
    /// `V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE`.
    OutputMplane = 10,
}

impl Queue {
    fn is_mplane(self) -> bool {
        matches!(self, Self::CaptureMplane | Self::OutputMplane)
    }
}

const CAP_VIDEO_CAPTURE: u32 = 0x1;
const CAP_VIDEO_OUTPUT: u32 = 0x2;
const CAP_VIDEO_CAPTURE_MPLANE: u32 = 0x1000;
const CAP_VIDEO_OUTPUT_MPLANE: u32 = 0x2000;
const CAP_STREAMING: u32 = 0x0400_0000;
const CAP_DEVICE_CAPS: u32 = 0x8000_0000;
const MEMORY_MMAP: u32 = 1;
const FIELD_NONE: u32 = 1;

/// A picture's format, as a driver has or changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Picture {
    /// The code of `videodev2.h`, which is not always DRM's.
    pub(crate) code: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Bytes from one row to the next; 0 lets the driver choose.
    pub(crate) stride: u32,
    /// Bytes of the buffer; 0 lets the driver choose.
    pub(crate) size: u32,
}

/// Makes an ioctl call whose argument the kernel reads and writes.
///
/// # Safety
///
/// `T` is the structure that the request's number stands for.
unsafe fn call<T>(
    fd: BorrowedFd<'_>,
    name: &'static str,
    request: vidioc::_IOC_TYPE,
    argument: &mut T,
) -> io::Result<()> {
    fault::call(name)?;
    // SAFETY: the caller vouches for the argument's type; it lives for the duration of the call.
    unsafe { v4l::v4l2::ioctl(fd.as_raw_fd(), request, (&raw mut *argument).cast()) }
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// The queue of a node that streams video; `None` if it has none, or works from memory to memory.
pub(crate) fn queue(node: BorrowedFd<'_>) -> io::Result<Option<Queue>> {
    // SAFETY: all fields of the structure are integers, for which zero is a value.
    let mut caps: v4l2_capability = unsafe { zeroed() };
    // SAFETY: the argument is the request's `struct v4l2_capability`.
    unsafe { call(node, "VIDIOC_QUERYCAP", vidioc::VIDIOC_QUERYCAP, &mut caps)? };
    let caps = match caps.capabilities & CAP_DEVICE_CAPS {
        0 => caps.capabilities,
        _ => caps.device_caps,
    };
    let queues = [
        (CAP_VIDEO_CAPTURE, Queue::Capture),
        (CAP_VIDEO_CAPTURE_MPLANE, Queue::CaptureMplane),
        (CAP_VIDEO_OUTPUT, Queue::Output),
        (CAP_VIDEO_OUTPUT_MPLANE, Queue::OutputMplane),
    ];
    let mut has = queues.iter().filter(|(bit, _)| caps & bit != 0).map(|(_, queue)| *queue);
    Ok(match (has.next(), has.next()) {
        (Some(queue), None) if caps & CAP_STREAMING != 0 => Some(queue),
        _ => None,
    })
}

/// The format that the queue has now.
pub(crate) fn format(node: BorrowedFd<'_>, queue: Queue) -> io::Result<Picture> {
    let mut format = raw_format(queue, None);
    // SAFETY: the argument is the request's `struct v4l2_format`.
    unsafe { call(node, "VIDIOC_G_FMT", vidioc::VIDIOC_G_FMT, &mut format)? };
    Ok(picture(queue, &format))
}

/// Asks for a format and returns what the driver made of it.
pub(crate) fn set_format(
    node: BorrowedFd<'_>,
    queue: Queue,
    wish: &Picture,
) -> io::Result<Picture> {
    let mut format = raw_format(queue, Some(wish));
    // SAFETY: the argument is the request's `struct v4l2_format`.
    unsafe { call(node, "VIDIOC_S_FMT", vidioc::VIDIOC_S_FMT, &mut format)? };
    Ok(picture(queue, &format))
}

/// Makes this many buffers, in place of those that the queue had.
pub(crate) fn request_buffers(node: BorrowedFd<'_>, queue: Queue, count: u32) -> io::Result<u32> {
    // SAFETY: all fields of the structure are integers, for which zero is a value.
    let mut request: v4l2_requestbuffers = unsafe { zeroed() };
    (request.count, request.type_, request.memory) = (count, queue as u32, MEMORY_MMAP);
    // SAFETY: the argument is the request's `struct v4l2_requestbuffers`.
    unsafe { call(node, "VIDIOC_REQBUFS", vidioc::VIDIOC_REQBUFS, &mut request)? };
    Ok(request.count)
}

/// A dma-buf of the queue's first buffer, which keeps the memory when the queue lets go of it.
pub(crate) fn export_buffer(node: BorrowedFd<'_>, queue: Queue) -> io::Result<OwnedFd> {
    // SAFETY: all fields of the structure are integers, for which zero is a value.
    let mut export: v4l2_exportbuffer = unsafe { zeroed() };
    (export.type_, export.flags) = (queue as u32, (OFlags::CLOEXEC | OFlags::RDWR).bits());
    // SAFETY: the argument is the request's `struct v4l2_exportbuffer`.
    unsafe { call(node, "VIDIOC_EXPBUF", vidioc::VIDIOC_EXPBUF, &mut export)? };
    // SAFETY: the call succeeded, so `fd` is a new descriptor that belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(export.fd) })
}

fn raw_format(queue: Queue, wish: Option<&Picture>) -> v4l2_format {
    // SAFETY: all fields of the structure are integers, for which zero is a value.
    let mut format: v4l2_format = unsafe { zeroed() };
    format.type_ = queue as u32;
    let Some(wish) = wish else { return format };
    if queue.is_mplane() {
        // SAFETY: `type_` says that this is the union's member; any bits are integers.
        let pixels = unsafe { &mut format.fmt.pix_mp };
        (pixels.width, pixels.height) = (wish.width, wish.height);
        (pixels.pixelformat, pixels.field, pixels.num_planes) = (wish.code, FIELD_NONE, 1);
        (pixels.plane_fmt[0].bytesperline, pixels.plane_fmt[0].sizeimage) =
            (wish.stride, wish.size);
    } else {
        // SAFETY: `type_` says that this is the union's member; any bits are integers.
        let pixels = unsafe { &mut format.fmt.pix };
        (pixels.width, pixels.height) = (wish.width, wish.height);
        (pixels.pixelformat, pixels.field) = (wish.code, FIELD_NONE);
        (pixels.bytesperline, pixels.sizeimage) = (wish.stride, wish.size);
    }
    format
}

fn picture(queue: Queue, format: &v4l2_format) -> Picture {
    if queue.is_mplane() {
        // SAFETY: the queue's formats are of this member; any bits are integers.
        let pixels = unsafe { &format.fmt.pix_mp };
        let plane = pixels.plane_fmt[0];
        Picture {
            code: pixels.pixelformat,
            width: pixels.width,
            height: pixels.height,
            stride: plane.bytesperline,
            size: plane.sizeimage,
        }
    } else {
        // SAFETY: the queue's formats are of this member; any bits are integers.
        let pixels = unsafe { &format.fmt.pix };
        Picture {
            code: pixels.pixelformat,
            width: pixels.width,
            height: pixels.height,
            stride: pixels.bytesperline,
            size: pixels.sizeimage,
        }
    }
}
