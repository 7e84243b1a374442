//! A V4L2 node: the ioctls of streaming, and nothing else.
//!
//! Single-planar and multi-planar nodes alike. To the former a picture is one memory, with its
//! planes one after the other; to the latter it may be several, each with a plane.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use vcam_allocator::Permission;
use vcam_uapi::poll;
use vcam_uapi::v4l2::{
    self, BufType, BufferCapabilities, Capabilities, Capability, Dequeued, Format, Fraction,
    MappedPlane, Memory, PlaneFormat, QueuedPlane, Requested, Sizes,
};

use crate::device::{self, Closed};

/// What v4l2loopback calls itself.
const LOOPBACK: &str = "v4l2 loopback";

/// Which way pictures go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The device writes them.
    Capture,
    /// The device reads them.
    Output,
}

/// Why a node cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The node is there, but not for this user.
    #[error("the V4L2 node is not permitted: {0}")]
    Permission(Box<Permission>),
    /// The node cannot be opened.
    #[error("could not open {}", path.display())]
    Open {
        /// The device node.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is no V4L2 device.
    #[error("{} does not answer VIDIOC_QUERYCAP", path.display())]
    Capabilities {
        /// The device node.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// What the queue streams from, as `VIDIOC_REQBUFS` tells it since Linux 4.20.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemoryKinds {
    pub(super) mmap: bool,
    pub(super) dma_buf: bool,
}

/// An open node that streams pictures.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) driver: String,
    /// Where the device is: nodes of one device have the same.
    pub(super) bus: String,
    /// The queue of its pictures.
    pub(super) kind: BufType,
    pub(super) direction: Direction,
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Node {
    /// Opens a node; `None` if it streams no pictures, or does so both ways at once, as codecs do.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, NodeError> {
        Self::open_for(path, None)
    }

    /// Opens a node that takes pictures; `None` if it does not. One that also gives pictures, as
    /// v4l2loopback says of its nodes unless `exclusive_caps` is set, will do, but no codec. With
    /// `exclusive_caps` v4l2loopback says that it gives pictures alone while somebody sends it some
    /// and while its format is kept, and can be asked nevertheless.
    pub(super) fn open_output(path: &Path) -> Result<Option<Self>, NodeError> {
        Self::open_for(path, Some(Direction::Output))
    }

    fn open_for(path: &Path, wanted: Option<Direction>) -> Result<Option<Self>, NodeError> {
        let file = device::open(path).map_err(|closed| match closed {
            Closed::Permission(permission) => NodeError::Permission(permission),
            Closed::Other(source) => NodeError::Open { path: path.to_owned(), source },
        })?;
        let Capability { driver, bus_info: bus, capabilities: mut has } =
            v4l2::querycap(file.as_fd()).map_err(|errno| NodeError::Capabilities {
                path: path.to_owned(),
                source: errno.into(),
            })?;
        if driver == LOOPBACK && wanted == Some(Direction::Output) {
            has |= Capabilities::VIDEO_OUTPUT;
        }
        let is_wanted = |kind: &BufType| wanted.is_none_or(|wanted| wanted == direction(*kind));
        let mut kinds = has.queues().filter(is_wanted);
        let streams = has.contains(Capabilities::STREAMING)
            && !has.intersects(Capabilities::VIDEO_M2M | Capabilities::VIDEO_M2M_MPLANE);
        let kind = match (kinds.next(), kinds.next()) {
            (Some(kind), None) if streams => kind,
            _ => return Ok(None),
        };
        let (path, direction) = (path.to_owned(), direction(kind));
        Ok(Some(Self { file, path, driver, bus, kind, direction }))
    }

    /// The node as reports name it, such as `v4l2-capture:vivid`.
    pub(super) fn name(&self) -> String {
        let kind = match self.direction {
            Direction::Capture => "v4l2-capture",
            Direction::Output => "v4l2-output",
        };
        format!("{kind}:{}", self.driver)
    }

    /// The pixel formats that the device lists.
    pub(super) fn formats(&self) -> Vec<u32> {
        // More than any driver lists.
        (0..256).map_while(|index| v4l2::enum_fmt(self.as_fd(), self.kind, index).ok()).collect()
    }

    /// The smallest and the largest size of a format, where the device lists sizes.
    pub(super) fn sizes(&self, pixelformat: u32) -> Option<Sizes> {
        // More than any driver lists.
        (0..256)
            .map_while(|index| v4l2::enum_framesizes(self.as_fd(), pixelformat, index).ok())
            .reduce(|all, next| Sizes {
                min: (all.min.0.min(next.min.0), all.min.1.min(next.min.1)),
                max: (all.max.0.max(next.max.0), all.max.1.max(next.max.1)),
            })
    }

    /// The format that is set.
    pub(super) fn format(&self) -> Result<Format, Errno> {
        v4l2::g_fmt(self.as_fd(), self.kind)
    }

    /// Asks what the device would make of a format, and changes nothing.
    pub(super) fn try_format(&self, wish: &Format) -> Result<Format, Errno> {
        v4l2::try_fmt(self.as_fd(), self.kind, &sizes_left_open(wish))
    }

    /// Sets a format; the device answers with what it makes of it.
    pub(super) fn set_format(&self, wish: &Format) -> Result<Format, Errno> {
        v4l2::s_fmt(self.as_fd(), self.kind, &sizes_left_open(wish))
    }

    /// The time from one picture to the next.
    pub(super) fn interval(&self) -> Option<Fraction> {
        v4l2::g_parm(self.as_fd(), self.kind).ok()
    }

    /// Asks for an interval; many devices have but one.
    pub(super) fn set_interval(&self, wish: Fraction) {
        let _ = v4l2::s_parm(self.as_fd(), self.kind, wish);
    }

    /// The value of a control; `None` if the device does not have it.
    pub(super) fn control(&self, id: u32) -> Option<i32> {
        v4l2::g_ctrl(self.as_fd(), id).ok()
    }

    /// Sets a control.
    pub(super) fn set_control(&self, id: u32, value: i32) -> Result<(), Errno> {
        v4l2::s_ctrl(self.as_fd(), id, value)
    }

    /// What the queue streams from: `None` before Linux 4.20, which does not tell. `EBUSY` while
    /// somebody else has buffers there.
    pub(super) fn memory_kinds(&self) -> Result<Option<MemoryKinds>, Errno> {
        let Requested { capabilities, .. } = self.request_of(Memory::Mmap, 0)?;
        Ok((!capabilities.is_empty()).then_some(MemoryKinds {
            mmap: capabilities.contains(BufferCapabilities::SUPPORTS_MMAP),
            dma_buf: capabilities.contains(BufferCapabilities::SUPPORTS_DMABUF),
        }))
    }

    /// Makes places for so many dma-bufs; none gives everything back. The device may want more.
    pub(super) fn request(&self, count: u32) -> Result<u32, Errno> {
        Ok(self.request_of(Memory::DmaBuf, count)?.count)
    }

    /// Makes so many buffers in the driver's own memory; the device may want more.
    pub(super) fn request_own(&self, count: u32) -> Result<u32, Errno> {
        Ok(self.request_of(Memory::Mmap, count)?.count)
    }

    fn request_of(&self, memory: Memory, count: u32) -> Result<Requested, Errno> {
        v4l2::reqbufs(self.as_fd(), self.kind, memory, count)
    }

    /// Where the memories of one of the driver's own buffers are mapped.
    pub(super) fn own_memories(&self, index: u32) -> Result<Vec<MappedPlane>, Errno> {
        v4l2::querybuf(self.as_fd(), self.kind, index)
    }

    /// Hands a picture to the device: this is where its dma-bufs are attached and mapped.
    ///
    /// `time` is the picture's own, which drivers with `V4L2_BUF_FLAG_TIMESTAMP_COPY` hand on to
    /// whoever captures it; the others set their own.
    pub(super) fn queue<'a>(
        &self,
        index: u32,
        time: Duration,
        memories: impl IntoIterator<Item = QueuedPlane<'a>>,
    ) -> Result<(), Errno> {
        v4l2::qbuf(self.as_fd(), self.kind, index, time, memories)
    }

    /// Takes the next dma-buf back.
    pub(super) fn dequeue(&self, deadline: Instant) -> Result<Dequeued, Errno> {
        loop {
            match self.try_dequeue(Memory::DmaBuf) {
                Err(Errno::AGAIN) => self.wait(deadline)?,
                result => return result,
            }
        }
    }

    /// Takes the next picture back if the device is done with it; `EAGAIN` if not.
    pub(super) fn try_dequeue(&self, memory: Memory) -> Result<Dequeued, Errno> {
        v4l2::dqbuf(self.as_fd(), self.kind, memory)
    }

    /// Waits until a picture may be taken back; `ETIMEDOUT` after the deadline.
    pub(super) fn wait(&self, deadline: Instant) -> Result<(), Errno> {
        let events = match self.direction {
            Direction::Capture => PollFlags::IN,
            Direction::Output => PollFlags::OUT,
        };
        match poll::wait(self.as_fd(), events, deadline.into())? {
            true => Ok(()),
            false => Err(Errno::TIMEDOUT),
        }
    }

    /// Starts to stream.
    pub(super) fn start(&self) -> Result<(), Errno> {
        v4l2::streamon(self.as_fd(), self.kind)
    }

    /// Stops; the device lets go of every buffer that it still has.
    pub(super) fn stop(&self) -> Result<(), Errno> {
        v4l2::streamoff(self.as_fd(), self.kind)
    }
}

fn direction(kind: BufType) -> Direction {
    if kind.is_output() { Direction::Output } else { Direction::Capture }
}

/// A wish for a format whose memories are as large as its strides make them.
fn sizes_left_open(wish: &Format) -> Format {
    let left_open = |plane: &PlaneFormat| PlaneFormat { sizeimage: 0, ..*plane };
    Format { planes: wish.planes.iter().map(left_open).collect(), ..wish.clone() }
}
