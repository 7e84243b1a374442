//! V4L2: the ioctls of a node that streams pictures.
//!
//! Each is a function that takes the node's descriptor. Single-planar and multi-planar queues are
//! handled alike. The kernel's word "plane" means a memory, in which one or all of DRM's planes of
//! a picture lie.
//!
//! A call that a signal interrupts is repeated. All but [`dqbuf`] return at once, or when the
//! driver has finished; [`dqbuf`] waits, unless the node was opened
//! [non-blocking](crate::node::open_nonblocking).
//!
//! Source: `include/uapi/linux/videodev2.h`, `include/uapi/linux/v4l2-controls.h` and
//! `Documentation/userspace-api/media/v4l/`.

mod buffer;
mod capability;
mod colorimetry;
mod connector;
mod control;
mod format;
mod request;
mod selection;
mod videodev2;

pub use buffer::{
    BufferCapabilities, Dequeued, MappedPlane, Memory, QueuedPlane, Requested, dqbuf, expbuf, qbuf,
    querybuf, reqbufs, streamoff, streamon,
};
pub use capability::{Capabilities, Capability, querycap};
pub use colorimetry::{Colorimetry, g_colorimetry, s_colorimetry};
pub use connector::{Connector, enuminput, enumoutput, g_input, g_output, s_input, s_output};
pub use control::{
    Control, ControlFlags, ControlKind, MIN_BUFFERS_FOR_CAPTURE, MIN_BUFFERS_FOR_OUTPUT, g_ctrl,
    next_ctrl, querymenu, s_ctrl,
};
pub use format::{
    Field, Format, Fraction, PlaneFormat, Sizes, enum_fmt, enum_framesizes, g_fmt, g_parm, s_fmt,
    s_parm, try_fmt,
};
pub use selection::{Rectangle, Target, g_selection, s_selection};

/// A queue of pictures: one of the video types of `enum v4l2_buf_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BufType {
    /// `V4L2_BUF_TYPE_VIDEO_CAPTURE`.
    VideoCapture = 1,
    /// `V4L2_BUF_TYPE_VIDEO_OUTPUT`.
    VideoOutput = 2,
    /// `V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE`.
    VideoCaptureMplane = 9,
    /// `V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE`.
    VideoOutputMplane = 10,
}

impl BufType {
    /// Returns `true` if the planes of a picture may be memories of their own.
    pub fn is_mplane(self) -> bool {
        matches!(self, Self::VideoCaptureMplane | Self::VideoOutputMplane)
    }

    /// Returns `true` if the device reads the pictures instead of writing them.
    pub fn is_output(self) -> bool {
        matches!(self, Self::VideoOutput | Self::VideoOutputMplane)
    }
}

/// A text that ends at a zero, or at the end of its array.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::io::Errno;

    use super::*;

    #[test]
    fn what_is_no_video_node_says_so() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let (node, queue) = (file.as_fd(), BufType::VideoCapture);
        assert_eq!(querycap(node).unwrap_err(), Errno::NOTTY);
        assert_eq!(g_fmt(node, queue).unwrap_err(), Errno::NOTTY);
        assert_eq!(dqbuf(node, queue, Memory::Mmap).unwrap_err(), Errno::NOTTY);
    }

    #[test]
    fn a_text_ends_with_its_zero_or_its_array() {
        assert_eq!(text(b"vivid\0\0?"), "vivid");
        assert_eq!(text(b"vivid"), "vivid");
        assert_eq!(text(b"\xff\0"), "\u{fffd}");
    }
}
