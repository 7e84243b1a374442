//! A V4L2 node: the ioctls of streaming, and nothing else.
//!
//! Single-planar and multi-planar nodes alike. To the former a picture is one memory, with its
//! planes one after the other; to the latter it may be several, each with a plane.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::raw::c_int;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use vcam_allocator::Permission;

use super::ioctl::{ioctl, sys, text, vidioc, zeroed};
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

/// What a picture is to the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) pixelformat: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    /// The memories that the planes are spread over: one, or one for each plane.
    pub(super) memories: Vec<MemoryFormat>,
}

/// What a memory is to the device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct MemoryFormat {
    /// Of the first plane in it; those of the others follow from it. In a wish, 0 leaves it to the
    /// driver.
    pub(super) bytes_per_line: u32,
    /// Bytes of the memory. Ignored in a wish.
    pub(super) size: u32,
}

/// Where the buffers of a queue come from: all of them from the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Memory {
    /// Somebody else, as dma-bufs.
    DmaBuf,
    /// The driver, which lets them be mapped.
    Own,
}

impl Memory {
    fn code(self) -> u32 {
        match self {
            Self::DmaBuf => sys::v4l2_memory_V4L2_MEMORY_DMABUF,
            Self::Own => sys::v4l2_memory_V4L2_MEMORY_MMAP,
        }
    }
}

/// A memory that is queued.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueuedMemory<'a> {
    /// The dma-buf; `None` for the driver's own memory.
    pub(super) fd: Option<BorrowedFd<'a>>,
    /// Bytes of it.
    pub(super) length: u32,
    /// Bytes of the picture in it.
    pub(super) used: u32,
}

/// What the queue streams from, as `VIDIOC_REQBUFS` tells it since Linux 4.20.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemoryKinds {
    pub(super) mmap: bool,
    pub(super) dma_buf: bool,
}

/// A range of sizes in pixels, as `VIDIOC_ENUM_FRAMESIZES` gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) min: (u32, u32),
    pub(super) max: (u32, u32),
}

/// An open node that streams pictures.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) driver: String,
    /// Where the device is: nodes of one device have the same.
    pub(super) bus: String,
    pub(super) direction: Direction,
    pub(super) multi_planar: bool,
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
        let mut caps: sys::v4l2_capability = zeroed();
        ioctl(&file, vidioc::VIDIOC_QUERYCAP, &mut caps).map_err(|errno| {
            NodeError::Capabilities { path: path.to_owned(), source: errno.into() }
        })?;
        let mut bits = match caps.capabilities & sys::V4L2_CAP_DEVICE_CAPS {
            0 => caps.capabilities,
            _ => caps.device_caps,
        };
        let (driver, bus) = (text(&caps.driver), text(&caps.bus_info));
        if driver == LOOPBACK && wanted == Some(Direction::Output) {
            bits |= sys::V4L2_CAP_VIDEO_OUTPUT;
        }
        let kinds = [
            (sys::V4L2_CAP_VIDEO_CAPTURE, Direction::Capture, false),
            (sys::V4L2_CAP_VIDEO_OUTPUT, Direction::Output, false),
            (sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE, Direction::Capture, true),
            (sys::V4L2_CAP_VIDEO_OUTPUT_MPLANE, Direction::Output, true),
        ];
        let is_wanted = |direction| wanted.is_none_or(|wanted| wanted == direction);
        let mut has = kinds
            .into_iter()
            .filter(|(bit, direction, _)| bits & bit != 0 && is_wanted(*direction));
        let streams = bits & sys::V4L2_CAP_STREAMING != 0
            && bits & (sys::V4L2_CAP_VIDEO_M2M | sys::V4L2_CAP_VIDEO_M2M_MPLANE) == 0;
        let (direction, multi_planar) = match (has.next(), has.next()) {
            (Some((_, direction, multi)), None) if streams => (direction, multi),
            _ => return Ok(None),
        };
        Ok(Some(Self { file, path: path.to_owned(), driver, bus, direction, multi_planar }))
    }

    /// The node as reports name it, such as `v4l2-capture:vivid`.
    pub(super) fn name(&self) -> String {
        let kind = match self.direction {
            Direction::Capture => "v4l2-capture",
            Direction::Output => "v4l2-output",
        };
        format!("{kind}:{}", self.driver)
    }

    pub(super) fn kind(&self) -> u32 {
        match (self.direction, self.multi_planar) {
            (Direction::Capture, false) => sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE,
            (Direction::Output, false) => sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_OUTPUT,
            (Direction::Capture, true) => sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE,
            (Direction::Output, true) => sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE,
        }
    }

    /// The pixel formats that the device lists.
    pub(super) fn formats(&self) -> Vec<u32> {
        // More than any driver lists.
        (0..256)
            .map_while(|index| {
                let mut format = sys::v4l2_fmtdesc {
                    index,
                    type_: self.kind(),
                    ..zeroed::<sys::v4l2_fmtdesc>()
                };
                ioctl(&self.file, vidioc::VIDIOC_ENUM_FMT, &mut format).ok()?;
                Some(format.pixelformat)
            })
            .collect()
    }

    /// The smallest and the largest size of a format, where the device lists sizes.
    pub(super) fn sizes(&self, pixelformat: u32) -> Option<Sizes> {
        // More than any driver lists.
        (0..256)
            .map_while(|index| {
                let mut found: sys::v4l2_frmsizeenum = zeroed();
                (found.index, found.pixel_format) = (index, pixelformat);
                ioctl(&self.file, vidioc::VIDIOC_ENUM_FRAMESIZES, &mut found).ok()?;
                Some(if found.type_ == sys::v4l2_frmsizetypes_V4L2_FRMSIZE_TYPE_DISCRETE {
                    // SAFETY: the type says that this is the union's member, and it is numbers.
                    let size = unsafe { found.__bindgen_anon_1.discrete };
                    Sizes { min: (size.width, size.height), max: (size.width, size.height) }
                } else {
                    // SAFETY: all other types have this member, and it is numbers.
                    let range = unsafe { found.__bindgen_anon_1.stepwise };
                    Sizes {
                        min: (range.min_width, range.min_height),
                        max: (range.max_width, range.max_height),
                    }
                })
            })
            .reduce(|all, next| Sizes {
                min: (all.min.0.min(next.min.0), all.min.1.min(next.min.1)),
                max: (all.max.0.max(next.max.0), all.max.1.max(next.max.1)),
            })
    }

    /// The format that is set.
    pub(super) fn format(&self) -> Result<Format, Errno> {
        let mut format = sys::v4l2_format { type_: self.kind(), ..zeroed::<sys::v4l2_format>() };
        ioctl(&self.file, vidioc::VIDIOC_G_FMT, &mut format)?;
        Ok(self.read(&format))
    }

    /// Asks what the device would make of a format, and changes nothing.
    pub(super) fn try_format(&self, wish: &Format) -> Result<Format, Errno> {
        self.wish(vidioc::VIDIOC_TRY_FMT, wish)
    }

    /// Sets a format; the device answers with what it makes of it.
    pub(super) fn set_format(&self, wish: &Format) -> Result<Format, Errno> {
        self.wish(vidioc::VIDIOC_S_FMT, wish)
    }

    fn wish(&self, request: vidioc::_IOC_TYPE, wish: &Format) -> Result<Format, Errno> {
        let mut format = sys::v4l2_format { type_: self.kind(), ..zeroed::<sys::v4l2_format>() };
        let strides = wish.memories.iter().map(|memory| memory.bytes_per_line);
        if self.multi_planar {
            // SAFETY: `v4l2_format` was zeroed whole, and zeros are a `v4l2_pix_format_mplane`.
            let pix = unsafe { &mut format.fmt.pix_mp };
            (pix.width, pix.height) = (wish.width, wish.height);
            (pix.pixelformat, pix.field) = (wish.pixelformat, sys::v4l2_field_V4L2_FIELD_ANY);
            pix.num_planes = u8::try_from(wish.memories.len()).unwrap_or(u8::MAX);
            for (plane, stride) in pix.plane_fmt.iter_mut().zip(strides) {
                plane.bytesperline = stride;
            }
        } else {
            // SAFETY: `v4l2_format` was zeroed whole, and zeros are a `v4l2_pix_format`.
            let pix = unsafe { &mut format.fmt.pix };
            (pix.width, pix.height) = (wish.width, wish.height);
            (pix.pixelformat, pix.field) = (wish.pixelformat, sys::v4l2_field_V4L2_FIELD_ANY);
            pix.bytesperline = strides.into_iter().next().unwrap_or(0);
        }
        ioctl(&self.file, request, &mut format)?;
        Ok(self.read(&format))
    }

    fn read(&self, format: &sys::v4l2_format) -> Format {
        if self.multi_planar {
            // SAFETY: for a multi-planar type the kernel fills `pix_mp`, which is numbers.
            let pix = unsafe { &format.fmt.pix_mp };
            let planes = pix.plane_fmt;
            let memories = planes.iter().take(pix.num_planes.into()).map(|plane| MemoryFormat {
                bytes_per_line: plane.bytesperline,
                size: plane.sizeimage,
            });
            Format {
                pixelformat: pix.pixelformat,
                width: pix.width,
                height: pix.height,
                memories: memories.collect(),
            }
        } else {
            // SAFETY: for a single-planar type the kernel fills `pix`, which is numbers.
            let pix = unsafe { &format.fmt.pix };
            Format {
                pixelformat: pix.pixelformat,
                width: pix.width,
                height: pix.height,
                memories: vec![MemoryFormat {
                    bytes_per_line: pix.bytesperline,
                    size: pix.sizeimage,
                }],
            }
        }
    }

    /// The time from one picture to the next, as numerator and denominator of a second.
    pub(super) fn interval(&self) -> Option<(u32, u32)> {
        let mut parameters =
            sys::v4l2_streamparm { type_: self.kind(), ..zeroed::<sys::v4l2_streamparm>() };
        ioctl(&self.file, vidioc::VIDIOC_G_PARM, &mut parameters).ok()?;
        // SAFETY: `capture` and `output` have the interval at the same place, and are numbers.
        let interval = unsafe { parameters.parm.capture.timeperframe };
        Some((interval.numerator, interval.denominator))
    }

    /// Asks for an interval; many devices have but one.
    pub(super) fn set_interval(&self, (numerator, denominator): (u32, u32)) {
        let mut parameters =
            sys::v4l2_streamparm { type_: self.kind(), ..zeroed::<sys::v4l2_streamparm>() };
        parameters.parm.capture.timeperframe = sys::v4l2_fract { numerator, denominator };
        let _ = ioctl(&self.file, vidioc::VIDIOC_S_PARM, &mut parameters);
    }

    /// The value of a control; `None` if the device does not have it.
    pub(super) fn control(&self, id: u32) -> Option<i32> {
        let mut control = sys::v4l2_control { id, value: 0 };
        ioctl(&self.file, vidioc::VIDIOC_G_CTRL, &mut control).ok()?;
        Some(control.value)
    }

    /// Sets a control.
    pub(super) fn set_control(&self, id: u32, value: i32) -> Result<(), Errno> {
        ioctl(&self.file, vidioc::VIDIOC_S_CTRL, &mut sys::v4l2_control { id, value })
    }

    /// What the queue streams from: `None` before Linux 4.20, which does not tell. `EBUSY` while
    /// somebody else has buffers there.
    pub(super) fn memory_kinds(&self) -> Result<Option<MemoryKinds>, Errno> {
        let (_, bits) = self.request_of(Memory::Own, 0)?;
        Ok((bits != 0).then_some(MemoryKinds {
            mmap: bits & sys::V4L2_BUF_CAP_SUPPORTS_MMAP != 0,
            dma_buf: bits & sys::V4L2_BUF_CAP_SUPPORTS_DMABUF != 0,
        }))
    }

    /// Makes places for so many dma-bufs; none gives everything back. The device may want more.
    pub(super) fn request(&self, count: u32) -> Result<u32, Errno> {
        Ok(self.request_of(Memory::DmaBuf, count)?.0)
    }

    /// Makes so many buffers in the driver's own memory; the device may want more.
    pub(super) fn request_own(&self, count: u32) -> Result<u32, Errno> {
        Ok(self.request_of(Memory::Own, count)?.0)
    }

    fn request_of(&self, memory: Memory, count: u32) -> Result<(u32, u32), Errno> {
        let mut request: sys::v4l2_requestbuffers = zeroed();
        (request.count, request.type_, request.memory) = (count, self.kind(), memory.code());
        ioctl(&self.file, vidioc::VIDIOC_REQBUFS, &mut request)?;
        Ok((request.count, request.capabilities))
    }

    /// Where the memories of one of the driver's own buffers are mapped: offset and bytes of each.
    pub(super) fn own_memories(&self, index: u32) -> Result<Vec<(u32, u32)>, Errno> {
        let mut planes: Planes = std::array::from_fn(|_| zeroed());
        let mut buffer = self.buffer(Memory::Own, &mut planes);
        buffer.index = index;
        ioctl(&self.file, vidioc::VIDIOC_QUERYBUF, &mut buffer)?;
        let count = buffer.length as usize;
        // SAFETY: of the driver's own buffers the kernel fills in the offset.
        let single = unsafe { buffer.m.offset };
        // SAFETY: likewise of each of their planes.
        let place = |plane: &sys::v4l2_plane| (unsafe { plane.m.mem_offset }, plane.length);
        Ok(match self.multi_planar {
            true => planes.iter().take(count).map(place).collect(),
            false => vec![(single, buffer.length)],
        })
    }

    /// Hands a picture to the device: this is where its dma-bufs are attached and mapped.
    ///
    /// `time` is the picture's own, which drivers with `V4L2_BUF_FLAG_TIMESTAMP_COPY` hand on to
    /// whoever captures it; the others set their own.
    pub(super) fn queue<'a>(
        &self,
        index: u32,
        time: Duration,
        memories: impl IntoIterator<Item = QueuedMemory<'a>>,
    ) -> Result<(), Errno> {
        let mut planes: Planes = std::array::from_fn(|_| zeroed());
        let (mut count, mut memory) = (0, Memory::Own);
        for (plane, queued) in planes.iter_mut().zip(memories) {
            if let Some(fd) = queued.fd {
                memory = Memory::DmaBuf;
                plane.m.fd = fd.as_raw_fd();
            }
            plane.length = queued.length;
            plane.bytesused = match self.direction {
                Direction::Capture => 0,
                Direction::Output => queued.used,
            };
            count += 1;
        }
        let [first, ..] = planes;
        let mut buffer = self.buffer(memory, &mut planes);
        buffer.index = index;
        buffer.field = sys::v4l2_field_V4L2_FIELD_NONE;
        buffer.flags = sys::V4L2_BUF_FLAG_TIMESTAMP_COPY;
        buffer.timestamp.tv_sec = time.as_secs() as _;
        buffer.timestamp.tv_usec = time.subsec_micros().into();
        if self.multi_planar {
            buffer.length = count;
        } else {
            (buffer.length, buffer.bytesused) = (first.length, first.bytesused);
            if memory == Memory::DmaBuf {
                // SAFETY: the descriptor is what was written there.
                buffer.m.fd = unsafe { first.m.fd };
            }
        }
        ioctl(&self.file, vidioc::VIDIOC_QBUF, &mut buffer)
    }

    /// Takes the next dma-buf back: its index, and whether the device is content with it.
    pub(super) fn dequeue(&self, deadline: Instant) -> Result<(u32, bool), Errno> {
        loop {
            match self.try_dequeue(Memory::DmaBuf) {
                Err(Errno::AGAIN) => self.wait(deadline)?,
                result => return result,
            }
        }
    }

    /// Takes the next picture back if the device is done with it; `EAGAIN` if not.
    pub(super) fn try_dequeue(&self, memory: Memory) -> Result<(u32, bool), Errno> {
        let mut planes: Planes = std::array::from_fn(|_| zeroed());
        let mut buffer = self.buffer(memory, &mut planes);
        ioctl(&self.file, vidioc::VIDIOC_DQBUF, &mut buffer)?;
        Ok((buffer.index, buffer.flags & sys::V4L2_BUF_FLAG_ERROR == 0))
    }

    /// A buffer's description, with room for all the planes that it may have.
    fn buffer(&self, memory: Memory, planes: &mut Planes) -> sys::v4l2_buffer {
        let mut buffer: sys::v4l2_buffer = zeroed();
        buffer.type_ = self.kind();
        buffer.memory = memory.code();
        if self.multi_planar {
            buffer.m.planes = planes.as_mut_ptr();
            buffer.length = sys::VIDEO_MAX_PLANES;
        }
        buffer
    }

    /// Waits until a picture may be taken back; `ETIMEDOUT` after the deadline.
    pub(super) fn wait(&self, deadline: Instant) -> Result<(), Errno> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left == Duration::ZERO {
            return Err(Errno::TIMEDOUT);
        }
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let events = match self.direction {
            Direction::Capture => PollFlags::IN,
            Direction::Output => PollFlags::OUT,
        };
        match poll(&mut [PollFd::new(&self.file, events)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Starts to stream.
    pub(super) fn start(&self) -> Result<(), Errno> {
        let mut kind = self.kind() as c_int;
        ioctl(&self.file, vidioc::VIDIOC_STREAMON, &mut kind)
    }

    /// Stops; the device lets go of every buffer that it still has.
    pub(super) fn stop(&self) -> Result<(), Errno> {
        let mut kind = self.kind() as c_int;
        ioctl(&self.file, vidioc::VIDIOC_STREAMOFF, &mut kind)
    }
}

/// As many planes as a picture can have.
type Planes = [sys::v4l2_plane; sys::VIDEO_MAX_PLANES as usize];
