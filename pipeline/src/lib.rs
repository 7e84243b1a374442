//! The camera: a sensor, an ISP and sinks, each on a thread of its own, joined by bounded channels.
//!
//! ```text
//! sensor ──raw──▶ ISP ──picture──▶ sink, sink, …
//!    ▲              │                 │
//!    └── raw pool ◀─┴─ picture pool ◀─┘
//! ```
//!
//! Buffers go round in two pools; a stage that is slow makes those before it wait, and no frame is
//! dropped. [`Prepared::new`] plans where they live and returns once every device has been handed
//! every one, so what it says of the links is true before the first frame; [`Prepared::start`] lets
//! the frames flow, and [`Camera::wait`] returns what the run did.

mod camera;
mod cheaper;
pub mod colour;
mod error;
mod feedback;
pub mod ipa;
mod links;
mod planning;
mod prepare;
pub mod sensor;
mod stages;
mod stats;

pub use camera::{Camera, Config, IspChoice, Prepared, StartError};
pub use error::chain;
pub use links::Link;
pub use planning::{FrameCost, PlanError, StreamPlan};
pub use stages::{StageError, StopHandle};
pub use stats::{Frames, Latency, Outcome, Steady};
