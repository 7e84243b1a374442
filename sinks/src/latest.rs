//! Showing no more than the latest frame, so that a slow sink does not slow the camera.

use std::fmt;
use std::mem;
use std::panic::resume_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle, panicking};

use vcam_allocator::constraints::{Constraints, Rule, Statement};
use vcam_allocator::{Dmabuf, Importer, LinkEnd};

use crate::sink::{Frame, Sink, SinkCounts, SinkError};

/// A sink with a thread of its own, which takes the newest frame whenever the sink is ready for one.
///
/// A display is ready at each vertical blank. A frame that is replaced by a newer one before that
/// is passed over: it is neither displayed nor dropped ([`Latest::passed_over`]).
pub struct Latest {
    name: String,
    /// `None` while its thread has it.
    sink: Option<Box<dyn Sink>>,
    thread: Option<JoinHandle<Box<dyn Sink>>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The newest frame, which the sink has not taken yet.
    next: Option<Frame>,
    passed_over: u64,
    /// Whether the sink is to hear of a pause.
    pause: bool,
    /// Frames that were lost with an error.
    lost: u64,
    error: Option<SinkError>,
    over: bool,
    /// The sink's own words, as of its last frame.
    said: Option<(LinkEnd, SinkCounts)>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a frame, and leaves it where it is, or for a pause; `false` if neither will come any
    /// more.
    fn wait_for_frame(&self) -> bool {
        let mut state = self.lock();
        while state.next.is_none() && !state.pause && !state.over {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.next.is_some() || state.pause
    }

    /// Shows frames until there are no more, or one cannot be shown.
    fn show_all(&self, sink: &mut dyn Sink) {
        while self.wait_for_frame() {
            if mem::take(&mut self.lock().pause) {
                if let Err(error) = sink.pause() {
                    self.lock().error = Some(error);
                    return;
                }
                continue;
            }
            let ready = sink.wait();
            // Newer, perhaps, than the one that was there when the wait began.
            let Some(frame) = self.lock().next.take() else { continue };
            let shown = ready.and_then(|()| sink.present(frame));
            let mut state = self.lock();
            state.said = Some((sink.link_end(), sink.counts()));
            if let Err(error) = shown {
                state.error = Some(error);
                state.lost += 1;
                return;
            }
        }
    }
}

impl Latest {
    /// Has this sink show the latest frames only.
    pub fn new(sink: Box<dyn Sink>) -> Self {
        Self { name: sink.name(), sink: Some(sink), thread: None, shared: Arc::default() }
    }

    /// How many frames were replaced by newer ones before they were shown.
    pub fn passed_over(&self) -> u64 {
        self.shared.lock().passed_over
    }

    fn start(&mut self) -> Result<(), SinkError> {
        let Some(mut sink) = self.sink.take() else { return Ok(()) };
        let shared = self.shared.clone();
        shared.lock().said = Some((sink.link_end(), sink.counts()));
        let run = move || {
            shared.show_all(&mut *sink);
            sink
        };
        let thread = Builder::new().name("latest".into()).spawn(run);
        self.thread = Some(thread.map_err(SinkError::Thread)?);
        Ok(())
    }

    fn try_finish(&mut self) -> Result<(), SinkError> {
        self.shared.lock().over = true;
        self.shared.changed.notify_one();
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(sink)) => self.sink = Some(sink),
            // The sink ended with its thread. A second panic would end the process, and keep
            // others from putting things back.
            Some(Err(_)) if panicking() => {}
            Some(Err(panic)) => resume_unwind(panic),
            None => {}
        }
        let mut state = self.shared.lock();
        state.lost += u64::from(mem::take(&mut state.next).is_some());
        let shown = state.error.take().map_or(Ok(()), Err);
        drop(state);
        let finished = self.sink.as_mut().map_or(Ok(()), |sink| sink.finish());
        shown.and(finished)
    }
}

impl fmt::Debug for Latest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latest").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Sink for Latest {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn constraints(&self) -> Constraints {
        let waits = Statement::new(&self.name, "the latest frame waits", Rule::Camping(1));
        let waits = [waits].into_iter().collect();
        self.sink
            .as_ref()
            .map_or_else(Constraints::default, |sink| sink.constraints())
            .merge(&waits)
    }

    fn importer(&mut self) -> Option<&mut dyn Importer> {
        self.sink.as_mut()?.importer()
    }

    fn prepare(&mut self, buffers: &[Dmabuf]) {
        if let Some(sink) = &mut self.sink {
            sink.prepare(buffers);
        }
    }

    fn present(&mut self, frame: Frame) -> Result<(), SinkError> {
        self.start()?;
        let mut state = self.shared.lock();
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            // It never ends by itself: this tells of its panic.
            state.lost += 1;
            drop(state);
            return self.try_finish();
        }
        let replaced = state.next.replace(frame);
        state.passed_over += u64::from(replaced.is_some());
        drop(state);
        self.shared.changed.notify_one();
        if let Some(frame) = replaced {
            frame.discard();
        }
        Ok(())
    }

    fn pause(&mut self) -> Result<(), SinkError> {
        if let Some(sink) = &mut self.sink {
            return sink.pause();
        }
        self.shared.lock().pause = true;
        self.shared.changed.notify_one();
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.try_finish()
    }

    fn link_end(&self) -> LinkEnd {
        let said = || self.shared.lock().said.as_ref().map(|(end, _)| end.clone());
        match &self.sink {
            Some(sink) => sink.link_end(),
            None => said().unwrap_or_else(LinkEnd::import),
        }
    }

    fn counts(&self) -> SinkCounts {
        let state = self.shared.lock();
        let counts = match &self.sink {
            Some(sink) => sink.counts(),
            None => state.said.as_ref().map_or_else(SinkCounts::default, |(_, counts)| *counts),
        };
        SinkCounts { dropped: counts.dropped + state.lost, ..counts }
    }
}

impl Drop for Latest {
    fn drop(&mut self) {
        if let Err(error) = self.try_finish() {
            tracing::error!(%error, sink = self.name, "the last frames were not shown");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use vcam_allocator::heaps::memfd::Memfd;
    use vcam_allocator::{Alignment, ColourSpace, Fourcc, Layout, Pool};

    use super::*;

    /// The number of a frame that makes the sink panic.
    const PANIC: u64 = u64::MAX;

    const SOON: Duration = Duration::from_secs(60);

    fn pool() -> Pool {
        let layout = Layout::linear(Fourcc::R8, 16, 16, Alignment::default()).unwrap();
        // The latest waits, so two are enough for any number.
        Pool::new(&Memfd::new(), &layout, "test", 2).unwrap()
    }

    fn frame(pool: &Pool, sequence: u64) -> Frame {
        let buffer = pool.take(SOON).unwrap();
        let (timestamp, colour_space) = (Duration::ZERO, ColourSpace::SRGB);
        Frame { sequence, timestamp, buffer, colour_space, ready: None, taken: None }
    }

    /// Is ready for a frame as often as it is told to be, and tells which it got.
    #[derive(Debug)]
    struct Slow {
        ready: Receiver<()>,
        shown: Sender<u64>,
        counts: SinkCounts,
    }

    impl Sink for Slow {
        fn name(&self) -> String {
            "slow".into()
        }
        fn constraints(&self) -> Constraints {
            Constraints::default()
        }
        fn prepare(&mut self, _: &[Dmabuf]) {}
        fn wait(&mut self) -> Result<(), SinkError> {
            // Closed means always.
            let _ = self.ready.recv();
            Ok(())
        }
        fn present(&mut self, frame: Frame) -> Result<(), SinkError> {
            assert_ne!(frame.sequence, PANIC, "a test's");
            self.counts.displayed += 1;
            self.shown.send(frame.sequence).unwrap();
            Ok(())
        }
        fn finish(&mut self) -> Result<(), SinkError> {
            Ok(())
        }
        fn link_end(&self) -> LinkEnd {
            LinkEnd::native("a test")
        }
        fn counts(&self) -> SinkCounts {
            self.counts
        }
    }

    #[test]
    fn the_newest_frame_is_shown_and_those_before_it_passed_over() {
        let pool = pool();
        let ((ready, is_ready), (shown, was_shown)) = (channel(), channel());
        let counts = SinkCounts::default();
        let mut sink = Latest::new(Box::new(Slow { ready: is_ready, shown, counts }));
        for sequence in 0..10 {
            sink.present(frame(&pool, sequence)).unwrap();
        }
        ready.send(()).unwrap();
        assert_eq!(was_shown.recv(), Ok(9));
        sink.present(frame(&pool, 10)).unwrap();
        sink.present(frame(&pool, 11)).unwrap();
        drop(ready);
        sink.finish().unwrap();
        let rest: Vec<_> = was_shown.try_iter().collect();
        assert_eq!(rest.last(), Some(&11), "the last frame is always shown");
        let (counts, passed) = (sink.counts(), sink.passed_over());
        assert_eq!((counts.displayed + passed, counts.dropped), (12, 0));
    }

    #[test]
    fn a_panic_of_the_sink_reaches_the_camera() {
        let (pool, (shown, was_shown)) = (pool(), channel());
        let (_, ready) = channel();
        let counts = SinkCounts::default();
        let mut sink = Latest::new(Box::new(Slow { ready, shown, counts }));
        sink.present(frame(&pool, PANIC)).unwrap();
        // Its other end is dropped with the sink.
        assert!(was_shown.recv().is_err());
        let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // The thread may take a moment from its last word to its end.
            loop {
                sink.present(frame(&pool, 0)).unwrap();
            }
        }));
        assert!(end.is_err());
        // And nothing of it is left to panic again.
        sink.finish().unwrap();
    }
}
