//! The numbers of a run while it is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The numbers of a run so far; a clone is of the same run. Any thread may read them, without a
/// wait.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    completed: AtomicU64,
    dropped: AtomicU64,
    latency_us: AtomicU64,
    copying: AtomicU64,
}

impl Progress {
    /// Frames that were finished.
    pub fn completed(&self) -> u64 {
        self.0.completed.load(Ordering::Relaxed)
    }

    /// Frames that were finished and not shown, over all sinks.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// From exposure to sink, of the latest frame.
    pub fn latency(&self) -> Duration {
        Duration::from_micros(self.0.latency_us.load(Ordering::Relaxed))
    }

    /// Links to sinks that copy now.
    pub fn copying(&self) -> u64 {
        self.0.copying.load(Ordering::Relaxed)
    }

    pub(super) fn note_completed(&self) {
        self.0.completed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_shown(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.latency_us.store(micros, Ordering::Relaxed);
    }

    pub(super) fn note_dropped(&self, more: u64) {
        self.0.dropped.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn note_copying(&self) {
        self.0.copying.fetch_add(1, Ordering::Relaxed);
    }
}
