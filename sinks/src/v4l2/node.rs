//! A V4L2 node: the ioctls of streaming with dma-bufs, and nothing else.
//!
//! Single-planar nodes only: a picture is one dma-buf, with its planes one after the other.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use v4l::v4l_sys as sys;
use v4l::v4l2::vidioc;
use vcam_allocator::Permission;

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
    /// It keeps the planes of a picture apart.
    #[error("{} ({driver}) is a multi-planar device, and only single-planar ones are probed", path.display())]
    MultiPlanar {
        /// The device node.
        path: PathBuf,
        /// The driver.
        driver: String,
    },
}

/// What a picture is to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) pixelformat: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) bytes_per_line: u32,
    pub(super) size: u32,
}

/// An open node that streams pictures.
#[derive(Debug)]
pub(super) struct Node {
    file: File,
    pub(super) driver: String,
    pub(super) direction: Direction,
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// All that an ioctl's argument may be: plain numbers, for which zero is a value like any other.
///
/// # Safety
///
/// Every pattern of bits must be a value of the type, and it must be the one that the kernel
/// expects for the ioctls that it is used with.
unsafe trait Argument {}
// SAFETY: all of these are the kernel's own structures of numbers, raw pointers and unions.
unsafe impl Argument for sys::v4l2_capability {}
// SAFETY: as above.
unsafe impl Argument for sys::v4l2_fmtdesc {}
// SAFETY: as above.
unsafe impl Argument for sys::v4l2_format {}
// SAFETY: as above.
unsafe impl Argument for sys::v4l2_requestbuffers {}
// SAFETY: as above.
unsafe impl Argument for sys::v4l2_buffer {}
// SAFETY: as above.
unsafe impl Argument for sys::v4l2_streamparm {}
// SAFETY: as above.
unsafe impl Argument for std::os::raw::c_int {}

fn zeroed<T: Argument>() -> T {
    // SAFETY: `Argument` promises that zeros are a value.
    unsafe { std::mem::zeroed() }
}

fn ioctl<T: Argument>(
    file: &File,
    request: vidioc::_IOC_TYPE,
    argument: &mut T,
) -> Result<(), Errno> {
    loop {
        // SAFETY: `Argument` promises that the kernel expects this type; it is writable and lives
        // through the call, and our requests carry its size.
        match unsafe { v4l::v4l2::ioctl(file.as_raw_fd(), request, (&raw mut *argument).cast()) } {
            Ok(()) => return Ok(()),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::INTR) => {}
                errno => return Err(errno.unwrap_or(Errno::IO)),
            },
        }
    }
}

impl Node {
    /// Opens a node; `None` if it streams no pictures, or does so both ways at once, as codecs do.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, NodeError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags((OFlags::CLOEXEC | OFlags::NONBLOCK).bits() as i32)
            .open(path)
            .map_err(|source| match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    NodeError::Permission(Box::new(Permission::of(path)))
                }
                _ => NodeError::Open { path: path.to_owned(), source },
            })?;
        let mut caps: sys::v4l2_capability = zeroed();
        ioctl(&file, vidioc::VIDIOC_QUERYCAP, &mut caps).map_err(|errno| {
            NodeError::Capabilities { path: path.to_owned(), source: errno.into() }
        })?;
        let driver = text(&caps.driver);
        let bits = match caps.capabilities & sys::V4L2_CAP_DEVICE_CAPS {
            0 => caps.capabilities,
            _ => caps.device_caps,
        };
        let multi = sys::V4L2_CAP_VIDEO_CAPTURE_MPLANE | sys::V4L2_CAP_VIDEO_OUTPUT_MPLANE;
        let direction = match (
            bits & sys::V4L2_CAP_STREAMING != 0,
            bits & sys::V4L2_CAP_VIDEO_CAPTURE != 0,
            bits & sys::V4L2_CAP_VIDEO_OUTPUT != 0,
        ) {
            (true, true, false) => Direction::Capture,
            (true, false, true) => Direction::Output,
            (true, false, false) if bits & multi != 0 => {
                return Err(NodeError::MultiPlanar { path: path.to_owned(), driver });
            }
            _ => return Ok(None),
        };
        Ok(Some(Self { file, driver, direction }))
    }

    fn kind(&self) -> u32 {
        match self.direction {
            Direction::Capture => sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE,
            Direction::Output => sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_OUTPUT,
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

    /// The format that is set.
    pub(super) fn format(&self) -> Result<Format, Errno> {
        let mut format = sys::v4l2_format { type_: self.kind(), ..zeroed::<sys::v4l2_format>() };
        ioctl(&self.file, vidioc::VIDIOC_G_FMT, &mut format)?;
        Ok(read(&format))
    }

    /// Sets a format; the device answers with what it makes of it.
    pub(super) fn set_format(&self, wish: Format) -> Result<Format, Errno> {
        let mut format = sys::v4l2_format { type_: self.kind(), ..zeroed::<sys::v4l2_format>() };
        let pix = sys::v4l2_pix_format {
            width: wish.width,
            height: wish.height,
            pixelformat: wish.pixelformat,
            field: sys::v4l2_field_V4L2_FIELD_ANY,
            bytesperline: wish.bytes_per_line,
            // SAFETY: `v4l2_format` was zeroed whole, and zeros are a `v4l2_pix_format`.
            ..unsafe { format.fmt.pix }
        };
        format.fmt.pix = pix;
        ioctl(&self.file, vidioc::VIDIOC_S_FMT, &mut format)?;
        Ok(read(&format))
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

    /// Makes places for so many dma-bufs; none gives everything back. The device may want more.
    pub(super) fn request(&self, count: u32) -> Result<u32, Errno> {
        let mut request = sys::v4l2_requestbuffers {
            count,
            type_: self.kind(),
            memory: sys::v4l2_memory_V4L2_MEMORY_DMABUF,
            ..zeroed::<sys::v4l2_requestbuffers>()
        };
        ioctl(&self.file, vidioc::VIDIOC_REQBUFS, &mut request)?;
        Ok(request.count)
    }

    /// Hands a dma-buf to the device: this is where it is attached and mapped.
    pub(super) fn queue(
        &self,
        index: u32,
        fd: BorrowedFd<'_>,
        length: u32,
        used: u32,
    ) -> Result<(), Errno> {
        let mut buffer = self.buffer();
        buffer.index = index;
        buffer.field = sys::v4l2_field_V4L2_FIELD_NONE;
        buffer.length = length;
        if self.direction == Direction::Output {
            buffer.bytesused = used;
        }
        buffer.m.fd = fd.as_raw_fd();
        ioctl(&self.file, vidioc::VIDIOC_QBUF, &mut buffer)
    }

    /// Takes the next dma-buf back: its index, and whether the device is content with it.
    pub(super) fn dequeue(&self, deadline: Instant) -> Result<(u32, bool), Errno> {
        loop {
            let mut buffer = self.buffer();
            match ioctl(&self.file, vidioc::VIDIOC_DQBUF, &mut buffer) {
                Ok(()) => return Ok((buffer.index, buffer.flags & sys::V4L2_BUF_FLAG_ERROR == 0)),
                Err(Errno::AGAIN) => self.wait(deadline)?,
                Err(errno) => return Err(errno),
            }
        }
    }

    fn buffer(&self) -> sys::v4l2_buffer {
        let mut buffer: sys::v4l2_buffer = zeroed();
        buffer.type_ = self.kind();
        buffer.memory = sys::v4l2_memory_V4L2_MEMORY_DMABUF;
        buffer
    }

    fn wait(&self, deadline: Instant) -> Result<(), Errno> {
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
        let mut kind = self.kind() as std::os::raw::c_int;
        ioctl(&self.file, vidioc::VIDIOC_STREAMON, &mut kind)
    }

    /// Stops; the device lets go of every buffer that it still has.
    pub(super) fn stop(&self) -> Result<(), Errno> {
        let mut kind = self.kind() as std::os::raw::c_int;
        ioctl(&self.file, vidioc::VIDIOC_STREAMOFF, &mut kind)
    }
}

fn read(format: &sys::v4l2_format) -> Format {
    // SAFETY: for a single-planar type, which `Node::kind` always is, the kernel fills `pix`.
    let pix = unsafe { format.fmt.pix };
    Format {
        pixelformat: pix.pixelformat,
        width: pix.width,
        height: pix.height,
        bytes_per_line: pix.bytesperline,
        size: pix.sizeimage,
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
