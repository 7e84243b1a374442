//! The buffers of a queue, and how they go round.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use bitflags::bitflags;
use rustix::fs::OFlags;
use rustix::io;

use super::BufType;
use super::format::Field;
use super::request::{
    Request, VIDIOC_DQBUF, VIDIOC_EXPBUF, VIDIOC_QBUF, VIDIOC_QUERYBUF, VIDIOC_REQBUFS,
    VIDIOC_STREAMOFF, VIDIOC_STREAMON, call, call_with_pointers,
};
use super::videodev2::{
    Plain, VIDEO_MAX_PLANES, v4l2_buffer, v4l2_exportbuffer, v4l2_plane, v4l2_requestbuffers,
};

/// `V4L2_BUF_FLAG_ERROR`.
const BUF_FLAG_ERROR: u32 = 0x40;

/// `V4L2_BUF_FLAG_TIMESTAMP_COPY`.
const BUF_FLAG_TIMESTAMP_COPY: u32 = 0x4000;

/// Where the buffers of a queue come from, all of them from the same place: `enum v4l2_memory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// `V4L2_MEMORY_MMAP`: the driver, which lets them be mapped and exported.
    Mmap = 1,
    /// `V4L2_MEMORY_DMABUF`: elsewhere, as dma-bufs.
    DmaBuf = 4,
}

bitflags! {
    /// What a queue's buffers may be: `V4L2_BUF_CAP_*`. Nothing before Linux 4.20.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct BufferCapabilities: u32 {
        /// The driver's own.
        const SUPPORTS_MMAP = 0x1;
        /// Dma-bufs.
        const SUPPORTS_DMABUF = 0x4;
        /// There are others.
        const _ = !0;
    }
}

/// What became of a request for buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requested {
    /// The buffers that there are now: fewer or more than were asked for, as the driver can and
    /// needs.
    pub count: u32,
    /// What the queue's buffers may be.
    pub capabilities: BufferCapabilities,
}

/// Makes this many buffers, in place of those that the queue had; 0 gives them back. `EBUSY` while
/// another open file has buffers there, `EINVAL` for a memory that the driver does not take.
pub fn reqbufs(
    node: BorrowedFd<'_>,
    queue: BufType,
    memory: Memory,
    count: u32,
) -> io::Result<Requested> {
    let mut request = v4l2_requestbuffers {
        count,
        type_: queue as u32,
        memory: memory as u32,
        ..v4l2_requestbuffers::zeroed()
    };
    call(node, &VIDIOC_REQBUFS, &mut request)?;
    let capabilities = BufferCapabilities::from_bits_retain(request.capabilities);
    Ok(Requested { count: request.count, capabilities })
}

/// Where a memory of one of the driver's buffers is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappedPlane {
    /// The offset that stands for it, for [`Mapping::new`](crate::mmap::Mapping::new).
    pub mem_offset: u32,
    /// Bytes of it.
    pub length: u32,
}

/// The memories of one of the queue's buffers, which are [the driver's](Memory::Mmap).
pub fn querybuf(node: BorrowedFd<'_>, queue: BufType, index: u32) -> io::Result<Vec<MappedPlane>> {
    let mut buffer = Buffer::new(queue, Memory::Mmap);
    buffer.raw.index = index;
    buffer.call(node, &VIDIOC_QUERYBUF)?;
    let length = buffer.raw.length;
    Ok(match queue.is_mplane() {
        true => {
            let planes = buffer.planes.iter().take(length as usize);
            let place = |plane: &v4l2_plane| MappedPlane {
                // SAFETY: any bits are a number.
                mem_offset: unsafe { plane.m.mem_offset },
                length: plane.length,
            };
            planes.map(place).collect()
        }
        // SAFETY: any bits are a number.
        false => vec![MappedPlane { mem_offset: unsafe { buffer.raw.m.offset }, length }],
    })
}

/// A memory that is queued.
#[derive(Debug, Clone, Copy)]
pub struct QueuedPlane<'a> {
    /// The dma-buf; `None` for the driver's own memory.
    pub fd: Option<BorrowedFd<'a>>,
    /// Bytes of it.
    pub length: u32,
    /// Bytes of the picture in it.
    pub bytesused: u32,
}

/// Hands a picture to the device: this is where its dma-bufs are attached and mapped.
///
/// `timestamp` is the picture's own, which drivers with `V4L2_BUF_FLAG_TIMESTAMP_COPY` hand on to
/// whoever captures it; the others set their own. A single-planar queue takes the first of
/// `planes`, a multi-planar one up to eight; `bytesused` counts on an output queue only. Allocates
/// nothing.
pub fn qbuf<'a>(
    node: BorrowedFd<'_>,
    queue: BufType,
    index: u32,
    timestamp: Duration,
    planes: impl IntoIterator<Item = QueuedPlane<'a>>,
) -> io::Result<()> {
    let mut buffer = Buffer::filled(queue, index, timestamp, planes);
    buffer.call(node, &VIDIOC_QBUF)
}

/// A picture that the device is done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dequeued {
    /// The index of its buffer.
    pub index: u32,
    /// Whether the device says that the picture is broken (`V4L2_BUF_FLAG_ERROR`).
    pub error: bool,
}

/// Takes the next picture back; `EAGAIN` if the device is done with none and the node does not
/// wait. Allocates nothing.
pub fn dqbuf(node: BorrowedFd<'_>, queue: BufType, memory: Memory) -> io::Result<Dequeued> {
    let mut buffer = Buffer::new(queue, memory);
    buffer.call(node, &VIDIOC_DQBUF)?;
    let Buffer { raw, .. } = buffer;
    Ok(Dequeued { index: raw.index, error: raw.flags & BUF_FLAG_ERROR != 0 })
}

/// A dma-buf of a memory of one of the driver's buffers, which keeps it when the queue lets go of
/// it; `ENOTTY` from a driver that exports none.
pub fn expbuf(node: BorrowedFd<'_>, queue: BufType, index: u32, plane: u32) -> io::Result<OwnedFd> {
    let mut export = v4l2_exportbuffer {
        type_: queue as u32,
        index,
        plane,
        flags: (OFlags::CLOEXEC | OFlags::RDWR).bits(),
        ..v4l2_exportbuffer::zeroed()
    };
    call(node, &VIDIOC_EXPBUF, &mut export)?;
    // SAFETY: the call succeeded, so `fd` is a new descriptor that belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(export.fd) })
}

/// Starts to stream.
pub fn streamon(node: BorrowedFd<'_>, queue: BufType) -> io::Result<()> {
    call(node, &VIDIOC_STREAMON, &mut (queue as c_int))
}

/// Stops; the device lets go of every buffer that it still has.
pub fn streamoff(node: BorrowedFd<'_>, queue: BufType) -> io::Result<()> {
    call(node, &VIDIOC_STREAMOFF, &mut (queue as c_int))
}

/// A `struct v4l2_buffer`, with room for all the planes that it may have.
struct Buffer {
    queue: BufType,
    raw: v4l2_buffer,
    planes: [v4l2_plane; VIDEO_MAX_PLANES],
}

impl Buffer {
    fn new(queue: BufType, memory: Memory) -> Self {
        let mut raw =
            v4l2_buffer { type_: queue as u32, memory: memory as u32, ..v4l2_buffer::zeroed() };
        if queue.is_mplane() {
            raw.length = VIDEO_MAX_PLANES as u32;
        }
        Self { queue, raw, planes: [v4l2_plane::zeroed(); VIDEO_MAX_PLANES] }
    }

    fn filled<'a>(
        queue: BufType,
        index: u32,
        timestamp: Duration,
        planes: impl IntoIterator<Item = QueuedPlane<'a>>,
    ) -> Self {
        let mut buffer = Self::new(queue, Memory::Mmap);
        let mut count = 0;
        for (plane, queued) in buffer.planes.iter_mut().zip(planes) {
            if let Some(fd) = queued.fd {
                buffer.raw.memory = Memory::DmaBuf as u32;
                plane.m.fd = fd.as_raw_fd();
            }
            plane.length = queued.length;
            plane.bytesused = if queue.is_output() { queued.bytesused } else { 0 };
            count += 1;
        }
        let raw = &mut buffer.raw;
        raw.index = index;
        raw.field = Field::NONE.0;
        raw.flags = BUF_FLAG_TIMESTAMP_COPY;
        raw.timestamp.tv_sec = timestamp.as_secs() as _;
        raw.timestamp.tv_usec = timestamp.subsec_micros() as _;
        if queue.is_mplane() {
            raw.length = count;
        } else {
            let [first, ..] = buffer.planes;
            (raw.length, raw.bytesused) = (first.length, first.bytesused);
            if raw.memory == Memory::DmaBuf as u32 {
                // SAFETY: the descriptor is what was written there.
                raw.m.fd = unsafe { first.m.fd };
            }
        }
        buffer
    }

    fn call(&mut self, node: BorrowedFd<'_>, request: &Request<v4l2_buffer>) -> io::Result<()> {
        if self.queue.is_mplane() {
            self.raw.m.planes = self.planes.as_mut_ptr();
        }
        // SAFETY: the kernel follows `m.planes` of a multi-planar queue, for `length` planes or
        // fewer: the address of that many, as `length` is never set to more. Of a single-planar
        // queue, whose memory is never `USERPTR`, it follows nothing.
        unsafe { call_with_pointers(node, request, &mut self.raw) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_picture_is_described_as_its_queue_wants_it() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let plane = |length| QueuedPlane { fd: Some(file.as_fd()), length, bytesused: 7 };
        let time = Duration::new(3, 5_999);
        let of = |queue| Buffer::filled(queue, 2, time, [plane(100), plane(200)]);
        let Buffer { raw, .. } = of(BufType::VideoOutput);
        assert_eq!((raw.index, raw.memory, raw.length, raw.bytesused), (2, 4, 100, 7));
        assert_eq!((raw.timestamp.tv_sec, raw.timestamp.tv_usec), (3, 5));
        // SAFETY: the descriptor was written there.
        assert_eq!(unsafe { raw.m.fd }, file.as_raw_fd());
        let Buffer { raw, planes, .. } = of(BufType::VideoCaptureMplane);
        assert_eq!((raw.length, raw.bytesused), (2, 0), "planes, and nothing");
        assert_eq!((planes[1].length, planes[1].bytesused), (200, 0));
        let own = QueuedPlane { fd: None, length: 100, bytesused: 7 };
        let Buffer { raw, .. } = Buffer::filled(BufType::VideoOutput, 0, time, [own]);
        assert_eq!(raw.memory, 1);
    }

    #[test]
    fn more_planes_than_there_are_places_for_are_left_out() {
        let planes = std::iter::repeat_n(QueuedPlane { fd: None, length: 1, bytesused: 1 }, 20);
        let buffer = Buffer::filled(BufType::VideoOutputMplane, 0, Duration::ZERO, planes);
        assert_eq!(buffer.raw.length, 8);
    }
}
