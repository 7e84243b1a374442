//! What can go wrong with a V4L2 node that takes pictures.

use std::fmt::Write;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use vcam_allocator::{AccessError, FenceError, Fourcc};

use super::node::NodeError;

/// Why a node does not take pictures, or stopped taking them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum V4l2Error {
    /// The node cannot be opened, or is no V4L2 device.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// There is no node of this name.
    #[error("there is no {}; the nodes that take pictures are: {}", path.display(), or_none(nodes))]
    Missing {
        /// The device node.
        path: PathBuf,
        /// The nodes that would do.
        nodes: Vec<String>,
    },
    /// The node does not take pictures.
    #[error("{} {is}; the nodes that take pictures are: {}", path.display(), or_none(nodes))]
    NotOutput {
        /// The device node.
        path: PathBuf,
        /// What it does instead.
        is: &'static str,
        /// The nodes that would do.
        nodes: Vec<String>,
    },
    /// Somebody else streams into the node.
    #[error("another program uses {}; end it, or choose another node", path.display())]
    Busy {
        /// The device node.
        path: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
    /// The node does not take the pictures' format.
    #[error("{device} does not take {format}; it takes: {}", or_none(formats))]
    Format {
        /// The device.
        device: String,
        /// The format of the pictures.
        format: Fourcc,
        /// The formats that it takes.
        formats: Vec<String>,
    },
    /// The node does not take pictures of this size.
    #[error(
        "{device} does not take pictures of {}x{}; it takes {}x{} in their place{}", size.0, size.1,
        offered.0, offered.1, range(*sizes)
    )]
    Size {
        /// The device.
        device: String,
        /// Width and height of the pictures.
        size: (u32, u32),
        /// Width and height that it makes of them.
        offered: (u32, u32),
        /// The smallest and the largest size that it lists.
        sizes: Option<((u32, u32), (u32, u32))>,
    },
    /// A frame differs in size, format or colour space from what the sink was opened for.
    #[error("a frame is {got}, but the node was set up for {expected}")]
    WrongFrame {
        /// Size, format and colour space of the frame.
        got: String,
        /// Size, format and colour space that were announced.
        expected: String,
    },
    /// The device was unplugged, or its driver unloaded.
    #[error("{device} is gone")]
    Gone {
        /// The device.
        device: String,
        /// What the kernel said.
        source: Errno,
    },
    /// The node refuses a call that it should not.
    #[error("{device}: {step} failed")]
    Call {
        /// The device.
        device: String,
        /// The ioctl.
        step: &'static str,
        /// What the kernel said.
        source: Errno,
    },
    /// The driver's own memory cannot be mapped.
    #[error("{device}: could not map a buffer")]
    Map {
        /// The device.
        device: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The device keeps its pictures.
    #[error("{device}: no picture was taken within {limit:?}; perhaps nobody looks at them")]
    Stuck {
        /// The device.
        device: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The device that draws a frame does not finish.
    #[error("the drawing of a frame was not finished in time")]
    Fence(#[source] FenceError),
    /// A frame that had to be copied cannot be read.
    #[error("could not read the frame that had to be copied")]
    Access(#[source] AccessError),
}

impl V4l2Error {
    /// A call that failed; that the device is gone or in use stands for itself.
    pub(super) fn call(
        device: &str,
        path: &std::path::Path,
        step: &'static str,
        source: Errno,
    ) -> Self {
        match source {
            Errno::NODEV => Self::Gone { device: device.to_owned(), source },
            Errno::BUSY => Self::Busy { path: path.to_owned(), source },
            _ => Self::Call { device: device.to_owned(), step, source },
        }
    }
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn range(sizes: Option<((u32, u32), (u32, u32))>) -> String {
    let mut text = String::new();
    if let Some((min, max)) = sizes.filter(|(min, max)| min != max) {
        // Writing to a string cannot fail.
        let _ = write!(text, ", of sizes from {}x{} to {}x{}", min.0, min.1, max.0, max.1);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_taken_comes_with_what_is() {
        let error = V4l2Error::Format {
            device: "v4l2-output:test".into(),
            format: Fourcc::XRGB8888,
            formats: vec!["NV12".into(), "YUYV".into()],
        };
        let words = "v4l2-output:test does not take XR24; it takes: NV12, YUYV";
        assert_eq!(error.to_string(), words);
        let size = |sizes| V4l2Error::Size {
            device: "v4l2-output:test".into(),
            size: (10, 10),
            offered: (16, 16),
            sizes,
        };
        let words =
            "v4l2-output:test does not take pictures of 10x10; it takes 16x16 in their place";
        assert_eq!(size(None).to_string(), words);
        let error = size(Some(((16, 16), (640, 480)))).to_string();
        assert_eq!(error, format!("{words}, of sizes from 16x16 to 640x480"));
    }
}
