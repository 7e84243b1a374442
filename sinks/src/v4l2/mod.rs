//! V4L2 nodes that stream from and into dma-bufs.
//!
//! Source: `Documentation/userspace-api/media/v4l/dmabuf.rst`.

mod node;
pub mod probe;

pub use node::{Direction, NodeError};
