//! The stop of a run, asked for by any thread: see [`engine`](super) for all that follows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, never, select};

/// Ends a run from another thread; a clone ends the same run.
#[derive(Debug, Clone)]
pub struct StopHandle {
    flag: Arc<AtomicBool>,
    wake: Sender<()>,
    woken: Receiver<()>,
}

impl Default for StopHandle {
    fn default() -> Self {
        let (wake, woken) = bounded(1);
        Self { flag: Arc::new(AtomicBool::new(false)), wake, woken }
    }
}

impl StopHandle {
    /// Stops the sensor: it makes no more frames, and those that are on their way still arrive.
    pub fn stop(&self) {
        self.flag.store(true, Ordering::Relaxed);
        // Full means that the sensor is being woken already.
        let _ = self.wake.try_send(());
    }

    pub(crate) fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// Sleeps until then, or until the run is over.
    pub(crate) fn sleep_until(&self, due: Instant) {
        // Never closed, since this holds its other end.
        let (woken, nothing) = (&self.woken, never::<()>());
        // With two to look at, `select!` sleeps at once; with one it would be a `recv_deadline`,
        // which gives up the processor four times before that.
        select! {
            recv(woken) -> _ => {}
            recv(nothing) -> _ => {}
            default(due.saturating_duration_since(Instant::now())) => {}
        }
    }

    /// Receives when the run is stopped, for a wait for something else as well.
    pub(crate) fn woken(&self) -> &Receiver<()> {
        &self.woken
    }
}
