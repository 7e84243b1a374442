//! A pause in a run, asked for by any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// From one look at whether the pause is over to the next.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// Has a run make no frames for a while; a clone is for the same run.
///
/// Frames that are on their way still arrive. Displays keep the last one, and sinks whose readers
/// would wait for the next show something else: see
/// [`Sink::pause`](vcam_sinks::Sink::pause). No frame is lost, and the next one has the next
/// number.
#[derive(Debug, Clone, Default)]
pub struct PauseHandle(Arc<AtomicBool>);

impl PauseHandle {
    /// Begins the pause, or ends it.
    pub fn set(&self, paused: bool) {
        self.0.store(paused, Ordering::Relaxed);
    }

    /// Begins the pause if there is none, else ends it.
    pub fn toggle(&self) {
        self.0.fetch_not(Ordering::Relaxed);
    }

    /// Whether the run is to make no frames.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
