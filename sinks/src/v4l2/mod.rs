//! V4L2 nodes that stream from and into dma-bufs.
//!
//! Source: `Documentation/userspace-api/media/v4l/dmabuf.rst`.

pub mod constraints;
mod ioctl;
mod looped;
mod node;
pub mod probe;
mod settings;

pub use node::{Direction, NodeError};
