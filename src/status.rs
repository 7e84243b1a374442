//! The status of a long run: one line on a terminal, once a second, and nothing in a pipe.

use std::io::{IsTerminal, stderr};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use vcam_pipeline::Progress;

use crate::exit::Error;

/// Time from one update to the next.
const PERIOD: Duration = Duration::from_secs(1);

/// The line, until it is dropped.
pub(crate) struct StatusLine {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl StatusLine {
    /// Begins to show the run's status, if the standard error is a terminal.
    pub(crate) fn start(progress: Progress) -> Result<Option<Self>, Error> {
        if !stderr().is_terminal() {
            return Ok(None);
        }
        let (end, ended) = channel();
        let show = move || {
            let line = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
            let mut last = (Instant::now(), 0);
            while ended.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                let (now, completed) = (Instant::now(), progress.completed());
                let seconds = (now - last.0).as_secs_f64();
                let fps = (completed - last.1) as f64 / seconds;
                last = (now, completed);
                line.set_message(words(&progress, fps));
                line.tick();
            }
            line.finish_and_clear();
        };
        let thread = Builder::new().name("status".into()).spawn(show).map_err(Error::Status)?;
        Ok(Some(Self { end: Some(end), thread: Some(thread) }))
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It only draws: its failure is no reason to end a run.
            let _ = thread.join();
        }
    }
}

fn words(progress: &Progress, fps: f64) -> String {
    let latency = progress.latency().as_secs_f64() * 1e3;
    let mut words = format!("{} frames, {fps:.1} fps, {latency:.1} ms", progress.completed());
    for (count, what) in [(progress.dropped(), "dropped"), (progress.copying(), "copying links")] {
        if count > 0 {
            words.push_str(&format!(", {count} {what}"));
        }
    }
    words
}
