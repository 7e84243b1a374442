//! The camera: a sensor, an ISP and sinks, each on a thread of its own, joined by bounded channels.
//!
//! ```text
//! sensor ──raw──▶ ISP ──picture──▶ sink, sink, …
//!    ▲              │                 │
//!    └── raw pool ◀─┴─ picture pool ◀─┘
//! ```
//!
//! Buffers go round in two pools; a stage that is slow makes those before it wait, and no frame is
//! dropped. [`Camera::start`] returns once every device has been handed every buffer, so what it
//! says of the links is true before the first frame; [`Camera::wait`] returns what the run did.

mod camera;
mod links;
pub mod sensor;
mod stages;
mod stats;

pub use camera::{Camera, Config, IspChoice, StartError, StopHandle};
pub use links::Link;
pub use stages::StageError;
pub use stats::{Frames, Latency, Outcome, Steady};
