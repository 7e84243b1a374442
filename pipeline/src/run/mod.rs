//! A run: frames from a sensor to sinks, each on a thread of its own.
//!
//! [`Config`] says what is wanted. [`Prepared::new`] finds buffers and returns once every device
//! has been handed every one, so its account of the links is true before the first frame.
//! [`Prepared::start`] lets the frames flow, and [`Run::wait`] returns their account.
//!
//! A run ends when its frames are made, when [`StopHandle::stop`](crate::StopHandle::stop) is
//! called or the [`Run`] is dropped, or when a sensor, ISP or sink fails. The sensor then makes no
//! more frames; those on their way still arrive, and every sink gives its device back as it was.

mod config;
mod prepared;
mod progress;
mod raw;
mod running;
mod sink;

pub use config::{Config, SyscallCount};
pub use prepared::Prepared;
pub use progress::Progress;
pub use raw::raw_description;
pub use running::Run;
