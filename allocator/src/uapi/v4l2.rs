//! The ioctls of a V4L2 node that make buffers and hand them on.
//!
//! Source: `include/uapi/linux/videodev2.h` and `Documentation/userspace-api/media/v4l/dmabuf.rst`,
//! "Exporting DMABUF".

use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::{self, Errno};
use rustix::ioctl::opcode;
use v4l::v4l_sys::{
    v4l2_capability, v4l2_exportbuffer, v4l2_format, v4l2_plane_pix_format, v4l2_rect,
    v4l2_requestbuffers, v4l2_selection,
};
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
    /// Whether a picture's planes may be memories of their own.
    pub(crate) fn is_mplane(self) -> bool {
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
/// `VIDIOC_G_SELECTION` and `VIDIOC_S_SELECTION`, which the bindings lack.
const G_SELECTION: vidioc::_IOC_TYPE =
    opcode::read_write::<v4l2_selection>(b'V', 94) as vidioc::_IOC_TYPE;
const S_SELECTION: vidioc::_IOC_TYPE =
    opcode::read_write::<v4l2_selection>(b'V', 95) as vidioc::_IOC_TYPE;

/// A picture's format, as a driver has or changes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    /// The code of `videodev2.h`, which is not always DRM's.
    pub(crate) code: u32,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// The memories that its planes are spread over: one, or one for each plane.
    pub(crate) memories: Vec<PictureMemory>,
}

/// A memory of a picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PictureMemory {
    /// Bytes from one row of its first plane to the next; 0 lets the driver choose.
    pub(crate) stride: u32,
    /// Bytes of it; 0 lets the driver choose.
    pub(crate) size: u32,
}

/// A part of the picture, by its `V4L2_SEL_TGT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// What is taken of the source.
    Crop = 0,
    /// Where it is put in the target.
    Compose = 0x100,
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

/// Where a part of the picture is.
pub(crate) fn part(node: BorrowedFd<'_>, queue: Queue, part: Part) -> io::Result<v4l2_rect> {
    let mut selection = raw_selection(queue, part);
    // SAFETY: the argument is the request's `struct v4l2_selection`.
    unsafe { call(node, "VIDIOC_G_SELECTION", G_SELECTION, &mut selection)? };
    Ok(selection.r)
}

/// Asks for a part of the picture; the driver may take another.
pub(crate) fn set_part(
    node: BorrowedFd<'_>,
    queue: Queue,
    part: Part,
    wish: v4l2_rect,
) -> io::Result<()> {
    let mut selection = v4l2_selection { r: wish, ..raw_selection(queue, part) };
    // SAFETY: the argument is the request's `struct v4l2_selection`.
    unsafe { call(node, "VIDIOC_S_SELECTION", S_SELECTION, &mut selection) }
}

/// Multi-planar queues are asked by the single-planar type as well.
fn raw_selection(queue: Queue, part: Part) -> v4l2_selection {
    // SAFETY: all fields of the structure are integers, for which zero is a value.
    let mut selection: v4l2_selection = unsafe { zeroed() };
    let queue = match queue {
        Queue::Capture | Queue::CaptureMplane => Queue::Capture,
        Queue::Output | Queue::OutputMplane => Queue::Output,
    };
    (selection.type_, selection.target) = (queue as u32, part as u32);
    selection
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

/// A dma-buf of a memory of the queue's first buffer, which keeps it when the queue lets go of it.
pub(crate) fn export_buffer(
    node: BorrowedFd<'_>,
    queue: Queue,
    memory: u32,
) -> io::Result<OwnedFd> {
    export(node, queue, 0, memory)
}

/// Whether the driver exports buffers at all. It is asked for one that no queue has: `ENOTTY` says
/// that it does not know the call, and every other error that it does.
pub(crate) fn exports(node: BorrowedFd<'_>, queue: Queue) -> bool {
    !matches!(export(node, queue, u32::MAX, 0), Err(io::Errno::NOTTY))
}

fn export(node: BorrowedFd<'_>, queue: Queue, index: u32, memory: u32) -> io::Result<OwnedFd> {
    // SAFETY: all fields of the structure are integers, for which zero is a value.
    let mut export: v4l2_exportbuffer = unsafe { zeroed() };
    (export.type_, export.index, export.plane) = (queue as u32, index, memory);
    export.flags = (OFlags::CLOEXEC | OFlags::RDWR).bits();
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
        (pixels.pixelformat, pixels.field) = (wish.code, FIELD_NONE);
        pixels.num_planes = u8::try_from(wish.memories.len()).unwrap_or(u8::MAX);
        for (plane, memory) in pixels.plane_fmt.iter_mut().zip(&wish.memories) {
            (plane.bytesperline, plane.sizeimage) = (memory.stride, memory.size);
        }
    } else {
        let memory = wish.memories.first().copied().unwrap_or_default();
        // SAFETY: `type_` says that this is the union's member; any bits are integers.
        let pixels = unsafe { &mut format.fmt.pix };
        (pixels.width, pixels.height) = (wish.width, wish.height);
        (pixels.pixelformat, pixels.field) = (wish.code, FIELD_NONE);
        (pixels.bytesperline, pixels.sizeimage) = (memory.stride, memory.size);
    }
    format
}

fn picture(queue: Queue, format: &v4l2_format) -> Picture {
    if queue.is_mplane() {
        // SAFETY: the queue's formats are of this member; any bits are integers.
        let pixels = unsafe { &format.fmt.pix_mp };
        let planes = pixels.plane_fmt;
        let memory = |plane: &v4l2_plane_pix_format| PictureMemory {
            stride: plane.bytesperline,
            size: plane.sizeimage,
        };
        Picture {
            code: pixels.pixelformat,
            width: pixels.width,
            height: pixels.height,
            memories: planes.iter().take(pixels.num_planes.into()).map(memory).collect(),
        }
    } else {
        // SAFETY: the queue's formats are of this member; any bits are integers.
        let pixels = unsafe { &format.fmt.pix };
        Picture {
            code: pixels.pixelformat,
            width: pixels.width,
            height: pixels.height,
            memories: vec![PictureMemory { stride: pixels.bytesperline, size: pixels.sizeimage }],
        }
    }
}
