//! A camera made of software: a sensor, an ISP, and the places where frames go, each on a thread of
//! its own, joined by bounded channels.
//!
//! ```text
//! sensor ──raw──▶ ISP ──pictures──▶ sink, sink, … or the application
//!    ▲              │                 │
//!    └── raw pool ◀─┴─ picture pool ◀─┘
//! ```
//!
//! Buffers are planned, proven and handed to every device before the first frame. After some frames
//! the steady state is reached: nothing is allocated, imported or copied for a frame, unless a
//! link's report says so.
//!
//! # Frames to sinks
//!
//! A [`Config`] says what is wanted, [`Prepared`] is a run before its first frame, and a [`Run`] is
//! under way. Its account says for each [`Link`] whether frames were imported or copied, and why.
//!
//! ```
//! use std::time::Duration;
//!
//! use vcam_allocator::{Fourcc, heaps};
//! use vcam_pipeline::{Config, IspChoice, Prepared};
//! use vcam_sinks::NullSink;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::new(Fourcc::XRGB8888)
//!     .frames(5)
//!     .period(Duration::ZERO)
//!     .isp(IspChoice::Cpu);
//! // The heaps that may be tried, in order, and the sinks that each picture goes to.
//! let heap = heaps::open("memfd")?;
//! let prepared = Prepared::new(config, vec![heap], vec![Box::new(NullSink::new())])?;
//! for plan in prepared.plans() {
//!     println!("{} lives in {}, {} buffers", plan.stream, plan.heap, plan.buffers);
//! }
//! let (stats, result) = prepared.start()?.wait();
//! result?;
//! assert_eq!(stats.frames.completed, 5);
//! for link in &stats.links {
//!     println!("{} to {}: {:?}", link.from, link.to, link.method);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Frames on request
//!
//! A [`Camera`] of a [`CameraManager`] works as in libcamera: acquire it, configure its streams,
//! start it, and queue a [`Request`] for each frame, with a buffer for each stream and with
//! [`controls`]. It comes back with the metadata of its frame. See [`camera`] for its states and
//! threads.
//!
//! ```
//! use std::time::Duration;
//!
//! use vcam_allocator::heaps;
//! use vcam_pipeline::camera::{Resources, Start, StreamRole};
//! use vcam_pipeline::controls::{AeEnable, ExposureTime};
//! use vcam_pipeline::{CameraManager, IspChoice};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let camera = CameraManager::new().get("vcam").ok_or("the manager has a camera 'vcam'")?;
//! let heaps = vec![heaps::open("memfd")?].into();
//! camera.acquire(Resources { heaps, isp: IspChoice::Cpu, ..Resources::default() })?;
//!
//! let mut configuration = camera.generate_configuration(&[StreamRole::Viewfinder]);
//! // An impossible wish becomes a possible one, and the status says which.
//! println!("{:?}", configuration.validate());
//! camera.configure(&configuration)?;
//! camera.start(Start::default())?;
//!
//! let stream = configuration.stream_ids().next().ok_or("one stream was asked for")?;
//! let mut request = camera.create_request(0)?;
//! request.add_buffer(stream, camera.buffers(stream)?.take(Duration::ZERO)?, None)?;
//! request.controls_mut().set(AeEnable, false).set(ExposureTime, 5000);
//! camera.queue_request(request)?;
//!
//! let request = camera.next_completed(Duration::from_secs(60)).ok_or("no frame came")?;
//! assert_eq!(request.metadata().get(ExposureTime), Some(5000));
//! camera.stop()?;
//! camera.release()?;
//! # Ok(())
//! # }
//! ```
//!
//! # The parts
//!
//! - [`sensor`]: scenes, and the model of a sensor that sees them; can be used alone.
//! - [`ipa`]: exposure and white balance from an ISP's statistics; can be used alone.
//! - [`CopyPolicy`] and [`HeapOrder`]: how far measured costs may decide.
//! - [`Consumer`]: a device or program outside the camera that is handed a stream's buffers.
//! - [`Hint`]: things that a user may want to change, for the program to put into words.

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
mod size;
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
pub use size::Size;
pub use stats::{Frames, Latency, RunStats, Steady};
