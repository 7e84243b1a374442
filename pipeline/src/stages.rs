//! The stages: what each thread does with a frame.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use vcam_allocator::{AccessError, CpuAccess, LinkEnd, Method, Pool, PooledBuffer, TakeError};
use vcam_isp_gpu::{Isp, IspError, IspParams, Job, Output, RawFormat};
use vcam_sinks::{Frame, Sink, SinkCounts, SinkError};

use crate::feedback::Feedback;
use crate::links::Link;
use crate::sensor::Sensor;
use crate::sensor::delay::{Controls, DelayedControls};
use crate::sensor::pace::Pace;
use crate::stats::{LatencyMeter, SteadyMeter};

/// How long a stage waits for a free buffer before it looks whether the run is over.
const PATIENCE: Duration = Duration::from_millis(100);

/// How often that may be in vain before somebody is taken to have kept the buffers for good: two
/// minutes. Counted, and not timed, so that a process that was suspended meanwhile goes on.
const STALL_LIMIT: u32 = 1200;

/// Why a run ended early; names the stage.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The sensor could not write a frame.
    #[error("sensor: frame {sequence} could not be written")]
    Sensor {
        /// The frame.
        sequence: u64,
        /// Why.
        source: AccessError,
    },
    /// No buffer came back.
    #[error("{stage}: no buffer for frame {sequence}")]
    NoBuffer {
        /// The stage that needed it.
        stage: &'static str,
        /// The frame.
        sequence: u64,
        /// Why.
        source: TakeError,
    },
    /// The ISP could not render a frame.
    #[error("isp: frame {sequence} could not be rendered")]
    Isp {
        /// The frame.
        sequence: u64,
        /// Why.
        source: IspError,
    },
    /// A sink could not show a frame.
    #[error("{sink}: frame {sequence} could not be shown")]
    Sink {
        /// The sink.
        sink: String,
        /// The frame.
        sequence: u64,
        /// Why.
        source: SinkError,
    },
    /// A sink showed every frame, but could not come to an orderly end.
    #[error("{sink}: could not finish")]
    Finish {
        /// The sink.
        sink: String,
        /// Why.
        source: SinkError,
    },
    /// A link copies, and the run was to be without copies.
    #[error("{link} copies: {reason}")]
    Strict {
        /// Which link.
        link: String,
        /// Why it copies.
        reason: String,
    },
    /// A thread panicked.
    #[error("{stage} stopped: {message}")]
    Panic {
        /// The stage.
        stage: String,
        /// The panic's message.
        message: String,
    },
}

impl StageError {
    /// Whether a frame was lost with it.
    pub(crate) fn lost_a_frame(&self) -> bool {
        matches!(self, Self::Sensor { .. } | Self::Isp { .. } | Self::Sink { .. })
    }

    pub(crate) fn panic(stage: &str, payload: &(dyn Any + Send)) -> Self {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "panic".to_owned());
        Self::Panic { stage: stage.to_owned(), message }
    }
}

/// A raw frame on its way to the ISP.
pub(crate) struct RawFrame {
    sequence: u64,
    timestamp: Duration,
    /// What it was taken with.
    taken: Controls,
    buffer: PooledBuffer,
}

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
    /// Lets the sensor make no more frames; those that are on their way still arrive.
    pub fn stop(&self) {
        self.flag.store(true, Ordering::Relaxed);
        // Full means that the sensor is being woken already.
        let _ = self.wake.try_send(());
    }

    fn is_set(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// Sleeps until then, or until the run is over.
    fn sleep_until(&self, due: Instant) {
        // Never closed, since this holds its other end.
        let _ = self.woken.recv_deadline(due);
    }
}

/// Stops the run when a stage ends, in whatever way: nobody makes frames that nobody takes.
struct StopAtEnd(StopHandle);

impl Drop for StopAtEnd {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Takes a buffer, however slow the stages are that hold them, unless `over` says that none is
/// needed any more (`None`).
fn take(
    pool: &Pool,
    over: impl Fn() -> bool,
    stage: &'static str,
    sequence: u64,
) -> Result<Option<PooledBuffer>, StageError> {
    let mut rounds = 0;
    loop {
        match pool.take(PATIENCE) {
            Ok(buffer) => return Ok(Some(buffer)),
            Err(TakeError::Exhausted { .. }) if over() => return Ok(None),
            Err(TakeError::Exhausted { .. }) if rounds < STALL_LIMIT => rounds += 1,
            Err(source) => return Err(StageError::NoBuffer { stage, sequence, source }),
        }
    }
}

/// Time since boot, as V4L2 and KMS stamp their frames.
fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// Fills raw buffers, one for each frame that is due.
pub(crate) struct SensorStage {
    pub(crate) sensor: Sensor,
    pub(crate) period: Duration,
    pub(crate) frames: Option<u64>,
    pub(crate) pool: Pool,
    pub(crate) stop: StopHandle,
    pub(crate) next: Sender<RawFrame>,
    /// What is wanted of it, from [`Feedback`]; nothing ever, where nobody decides.
    pub(crate) wanted: Receiver<Controls>,
}

impl SensorStage {
    /// Runs until the last frame, or until the run is stopped.
    pub(crate) fn run(self) -> Result<(), StageError> {
        // On one of the sensor's own threads, so that sharing rows with the others allocates nothing.
        let workers = self.sensor.workers();
        workers.run(move || self.make_frames())
    }

    fn make_frames(mut self) -> Result<(), StageError> {
        let mut pace = Pace::new(self.period, Instant::now());
        let mut wanted = None;
        let mut delayed = DelayedControls::new(Controls::default());
        for sequence in 0..self.frames.unwrap_or(u64::MAX) {
            let over = || self.stop.is_set();
            let Some(buffer) = take(&self.pool, over, "sensor", sequence)? else { break };
            if !self.period.is_zero() && !over() {
                self.stop.sleep_until(pace.next(Instant::now()));
            }
            if over() {
                break;
            }
            let timestamp = monotonic();
            let failed = |source| StageError::Sensor { sequence, source };
            let mut pixels = buffer.cpu_access(CpuAccess::Write).map_err(failed)?;
            let stride = buffer.layout().planes()[0].stride as usize;
            let taken = self.sensor.expose(sequence, timestamp).controls;
            self.sensor.fill(sequence, pixels.plane_mut(0), stride);
            pixels.end().map_err(failed)?;
            // The ISP is gone only if it failed, and then it says why.
            if self.next.send(RawFrame { sequence, timestamp, taken, buffer }).is_err() {
                break;
            }
            wanted = self.wanted.try_iter().last().or(wanted);
            if let Some(wanted) = wanted {
                self.sensor.set_controls(delayed.push(wanted));
            }
        }
        Ok(())
    }
}

/// Renders raw frames into pictures.
pub(crate) struct IspStage {
    pub(crate) isp: Box<dyn Isp>,
    pub(crate) raw_format: RawFormat,
    /// Width and height of a frame, in pixels.
    pub(crate) size: (u32, u32),
    pub(crate) params: IspParams,
    pub(crate) feedback: Option<Feedback>,
    pub(crate) strict: bool,
    pub(crate) pool: Pool,
    pub(crate) stop: StopHandle,
    pub(crate) raw: Receiver<RawFrame>,
    pub(crate) sinks: Vec<Sender<Frame>>,
}

/// What the ISP did.
pub(crate) struct IspRun {
    pub(crate) completed: u64,
    pub(crate) raw_end: LinkEnd,
    pub(crate) output_end: LinkEnd,
    pub(crate) imports: SteadyMeter,
    /// From the first finished frame to the last.
    pub(crate) elapsed: Duration,
}

impl Default for IspRun {
    fn default() -> Self {
        Self {
            completed: 0,
            raw_end: LinkEnd::import(),
            output_end: LinkEnd::import(),
            imports: SteadyMeter::default(),
            elapsed: Duration::ZERO,
        }
    }
}

impl IspStage {
    /// Runs until no more frames come; says what it did also where it failed.
    pub(crate) fn run(mut self) -> (IspRun, Result<(), StageError>) {
        let _stop = StopAtEnd(self.stop.clone());
        let (mut completed, mut imports) = (0, SteadyMeter::default());
        let mut span: Option<(Instant, Instant)> = None;
        let result = loop {
            let Ok(raw) = self.raw.recv() else { break Ok(()) };
            let frame = match self.render(raw) {
                Ok(frame) => frame,
                Err(error) => break Err(error),
            };
            completed += 1;
            let now = Instant::now();
            span = Some((span.map_or(now, |(first, _)| first), now));
            imports.note(frame.sequence, || {
                self.isp.raw_end().imports + self.isp.output_end().imports
            });
            if !hand_out(&self.sinks, frame) {
                break Ok(());
            }
        };
        let run = IspRun {
            completed,
            raw_end: self.isp.raw_end(),
            output_end: self.isp.output_end(),
            imports,
            elapsed: span.map_or(Duration::ZERO, |(first, last)| last - first),
        };
        (run, result)
    }

    /// Renders one frame, also after the run was stopped: what was made is shown.
    fn render(&mut self, raw: RawFrame) -> Result<Frame, StageError> {
        let RawFrame { sequence, timestamp, taken, buffer: raw } = raw;
        let Some(output) = take(&self.pool, || false, "isp", sequence)? else {
            unreachable!("a stage that is never over gets a buffer or an error")
        };
        if let Some(feedback) = &mut self.feedback {
            feedback.prepare(sequence, taken, &mut self.params);
        }
        let ready = self
            .isp
            .process(&Job {
                sequence,
                format: self.raw_format,
                size: self.size,
                raw: &raw,
                outputs: &[Output::new(&output)],
                params: &self.params,
            })
            .map_err(|source| StageError::Isp { sequence, source })?;
        if let Some(fence) = &ready {
            raw.release_after(fence.clone());
            output.release_after(fence.clone());
        }
        if let Some(feedback) = &mut self.feedback {
            feedback.look(self.isp.statistics());
        }
        if self.strict {
            forbid_copy("the link from the sensor to the ISP", &self.isp.raw_end())?;
            forbid_copy("the link from the ISP to the sink", &self.isp.output_end())?;
        }
        Ok(Frame { sequence, timestamp, buffer: output, ready, taken: None })
    }
}

/// Hands a frame to every sink; `false` if one is gone, which it is only if it failed.
fn hand_out(sinks: &[Sender<Frame>], frame: Frame) -> bool {
    let Some((last, others)) = sinks.split_last() else { return true };
    others.iter().all(|sink| sink.send(frame.clone()).is_ok()) && last.send(frame).is_ok()
}

/// Shows pictures.
pub(crate) struct SinkStage {
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) strict: bool,
    pub(crate) stop: StopHandle,
    pub(crate) frames: Receiver<Frame>,
    /// How often the process has allocated from the heap, if somebody counts.
    pub(crate) heap_allocs: Option<fn() -> u64>,
}

/// What a sink did.
pub(crate) struct SinkRun {
    pub(crate) end: LinkEnd,
    pub(crate) counts: SinkCounts,
    pub(crate) latency: LatencyMeter,
    pub(crate) imports: SteadyMeter,
    pub(crate) heap_allocs: SteadyMeter,
}

impl SinkStage {
    /// Runs until no more frames come, then gives the sink's device back as it was; says what it
    /// did also where it failed.
    pub(crate) fn run(mut self) -> (SinkRun, Result<(), StageError>) {
        let mut run = SinkRun {
            end: LinkEnd::import(),
            counts: SinkCounts::default(),
            latency: LatencyMeter::new(),
            imports: SteadyMeter::default(),
            heap_allocs: SteadyMeter::default(),
        };
        let _stop = StopAtEnd(self.stop.clone());
        let shown = self.show_all(&mut run);
        let mut lost = 0;
        if shown.is_err() {
            // The run ends, but frames that are on their way reach the other sinks, so this one
            // must not stand in their way.
            self.stop.stop();
            lost = self.frames.iter().count() as u64;
        }
        let finished = self
            .sink
            .finish()
            .map_err(|source| StageError::Finish { sink: self.sink.name(), source });
        run.end = self.sink.link_end();
        run.counts = self.sink.counts();
        run.counts.dropped += lost;
        (run, shown.and(finished))
    }

    fn show_all(&mut self, run: &mut SinkRun) -> Result<(), StageError> {
        while let Ok(frame) = self.frames.recv() {
            let (sequence, timestamp) = (frame.sequence, frame.timestamp);
            self.sink.present(frame).map_err(|source| StageError::Sink {
                sink: self.sink.name(),
                sequence,
                source,
            })?;
            run.latency.record(monotonic().saturating_sub(timestamp));
            if self.strict {
                forbid_copy("the link from the ISP to the sink", &self.sink.link_end())?;
            }
            run.imports.note(sequence, || self.sink.link_end().imports);
            if let Some(count) = self.heap_allocs {
                run.heap_allocs.note(sequence, count);
            }
        }
        Ok(())
    }
}

/// Under `--strict`, a copy is an error.
fn forbid_copy(link: &str, end: &LinkEnd) -> Result<(), StageError> {
    if end.method != Method::Copy {
        return Ok(());
    }
    let reason = end.reason.as_deref().unwrap_or("no reason is known").to_owned();
    Err(StageError::Strict { link: link.to_owned(), reason })
}

/// As [`forbid_copy`], for all links of a plan.
pub(crate) fn forbid_copies(links: &[Link]) -> Result<(), StageError> {
    match links.iter().find(|link| link.method == Method::Copy) {
        None => Ok(()),
        Some(Link { from, to, reason, .. }) => Err(StageError::Strict {
            link: format!("the link from {from} to {to}"),
            reason: reason.clone().unwrap_or_default(),
        }),
    }
}
