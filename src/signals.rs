//! Signals, and what they do to a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::{Handle, Signals};
use vcam_pipeline::{PauseHandle, StopHandle};
use vcam_sinks::StreamReader;

use crate::exit::Error;

/// Stops a run from outside, or pauses it.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunControl {
    pub(crate) stop: StopHandle,
    pub(crate) pause: PauseHandle,
    /// Whether a signal stopped it.
    interrupted: Arc<AtomicBool>,
}

impl RunControl {
    /// Has SIGINT, SIGTERM and SIGHUP stop the run in good order, with its report, and SIGUSR1
    /// begin or end a pause, until the handle is closed.
    ///
    /// SIGXFSZ is ignored: the write that went over the limit for files fails too, with a reason.
    pub(crate) fn heed_signals(&self) -> Result<Handle, Error> {
        let mut signals =
            Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGXFSZ]).map_err(Error::Signals)?;
        let handle = signals.handle();
        let control = self.clone();
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                for signal in signals.forever() {
                    match signal {
                        SIGXFSZ => {}
                        SIGUSR1 => control.pause.toggle(),
                        _ => {
                            control.interrupted.store(true, Ordering::Relaxed);
                            control.stop.stop();
                        }
                    }
                }
            })
            .map_err(Error::Signals)?;
        Ok(handle)
    }
}

impl StreamReader for RunControl {
    fn left(&self) {
        self.stop.stop();
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}
