//! The latest picture in a terminal.
//!
//! Drawn as pixels by the graphics protocol of kitty, that of iTerm2, or sixel, whichever the
//! terminal says that it has (`ask.rs`), and with coloured half blocks everywhere else.

mod ask;
mod blocks;
mod canvas;
mod iterm;
mod kitty;
mod palette;
mod sixel;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vcam_allocator::constraints::Constraints;
use vcam_allocator::{Dmabuf, Fourcc, LinkEnd};

use self::canvas::Canvas;
use crate::sink::{Frame, Sink, SinkCounts, SinkError, read_by_the_cpu};

/// Not more often than this: a terminal is slow, and it may be at the other end of a network.
const INTERVAL: Duration = Duration::from_millis(100);

/// Draws the latest picture where the cursor is, again and again in the same place.
///
/// The camera does not wait for the terminal. A thread draws; when it is done it takes whatever
/// frame is the latest then, and those in between are passed over: they count neither as displayed
/// nor as dropped. Meant for a standard output that is a terminal, which is the caller's to check.
///
/// The sink holds on to two buffers: the one being drawn and the latest one.
#[derive(Debug)]
pub struct TerminalSink {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    latest: Option<Frame>,
    drawn: u64,
    stop: bool,
    failed: Option<SinkError>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TerminalSink {
    /// A sink that draws on the standard output.
    pub fn new() -> Result<Self, SinkError> {
        let out = io::stdout().as_fd().try_clone_to_owned().map_err(SinkError::Terminal)?;
        Self::on(out.into())
    }

    /// A sink that draws on a terminal.
    fn on(out: File) -> Result<Self, SinkError> {
        let canvas = Canvas::new(out);
        let shared = Arc::new(Shared::default());
        let thread = thread::Builder::new()
            .name("terminal".to_owned())
            .spawn({
                let shared = shared.clone();
                move || draw_all(canvas, &shared)
            })
            .map_err(SinkError::Terminal)?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl Sink for TerminalSink {
    fn name(&self) -> String {
        "terminal".to_owned()
    }

    fn constraints(&self) -> Constraints {
        read_by_the_cpu(&self.name(), 2, Fourcc::pictures())
    }

    fn prepare(&mut self, _: &[Dmabuf]) {}

    fn present(&mut self, frame: Frame) -> Result<(), SinkError> {
        let passed_over = {
            let mut state = self.shared.lock();
            if let Some(error) = state.failed.take() {
                return Err(error);
            }
            state.latest.replace(frame)
        };
        self.shared.changed.notify_one();
        if let Some(frame) = passed_over {
            frame.discard();
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.shared.lock().stop = true;
        self.shared.changed.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            return Err(SinkError::Terminal(io::Error::other("the drawing thread panicked")));
        }
        self.shared.lock().failed.take().map_or(Ok(()), Err)
    }

    fn link_end(&self) -> LinkEnd {
        LinkEnd::native("the CPU reads it in place")
    }

    fn counts(&self) -> SinkCounts {
        SinkCounts { displayed: self.shared.lock().drawn, dropped: 0 }
    }
}

impl Drop for TerminalSink {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!(%error, "the terminal");
        }
    }
}

/// What the thread does: draws the latest frame, waits a little, and again. The last one is drawn
/// in any case.
fn draw_all(mut canvas: Canvas, shared: &Shared) {
    loop {
        let frame = {
            let mut state = shared.lock();
            while state.latest.is_none() && !state.stop {
                state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.latest.take()
        };
        let Some(frame) = frame else { return };
        let started = Instant::now();
        let result = canvas.draw(&frame);
        drop(frame);
        let mut state = shared.lock();
        match result {
            Ok(()) => state.drawn += 1,
            Err(error) => {
                state.failed = Some(error);
                return;
            }
        }
        while !state.stop {
            let Some(left) = INTERVAL.checked_sub(started.elapsed()) else { break };
            state = match shared.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(error) => error.into_inner().0,
            };
        }
    }
}
