//! V4L2 nodes that stream from and into dma-bufs.
//!
//! Source: `Documentation/userspace-api/media/v4l/dmabuf.rst`.

mod agree;
mod colorimetry;
pub mod constraints;
mod error;
mod looped;
mod mapped;
mod node;
mod output;
pub mod probe;
mod queue;
mod settings;

pub use error::V4l2Error;
pub use node::{Direction, NodeError};
pub use output::{V4l2Options, V4l2Sink};
