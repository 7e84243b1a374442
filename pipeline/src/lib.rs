//! The camera: a sensor, an ISP and those who take the pictures, each on a thread of its own, joined
//! by bounded channels.
//!
//! ```text
//! sensor ──raw──▶ ISP ──pictures──▶ sink, sink, … or the application
//!    ▲              │                 │
//!    └── raw pool ◀─┴─ picture pool ◀─┘
//! ```
//!
//! There are two ways to use it:
//!
//! - [`CameraManager`], [`Camera`] and [`Request`], as in libcamera: the application asks for each
//!   frame, says with which [`controls`], and gets it back with its metadata ([`camera`]).
//! - [`Prepared`] and [`Run`]: frames flow from the sensor to sinks until somebody stops them, and a
//!   report says how ([`run`]). The `vcam` command does nothing else.
//!
//! Either way buffers are planned, proven and handed to every device before the first frame.

pub mod camera;
pub mod colour;
mod completions;
pub mod controls;
mod engine;
mod error;
pub mod ipa;
mod links;
mod request;
pub mod run;
pub mod sensor;
mod stats;
mod stream;

pub use camera::{Camera, CameraConfiguration, CameraManager, Request};
pub use engine::error::{StageError, StartError};
pub use engine::hint::Hint;
pub use engine::isp_select::{CustomIsp, CustomIspError, IspChoice};
pub use engine::negotiate::{FrameCost, PlanError, StreamPlan};
pub use engine::pause::PauseHandle;
pub use engine::policy::{CopyPolicy, HeapOrder};
pub use engine::stop::StopHandle;
pub use engine::stream_alloc::Consumer;
pub use error::chain;
pub use links::Link;
pub use run::{Config, Prepared, Progress, Run, SyscallCount, raw_description};
pub use stats::{Frames, Latency, RunStats, Steady};
