//! The sensor's stage: fills buffers, one for each frame that is ordered and due.
//!
//! Exposure and gain are written some frames before they count. So that a request's frame is taken
//! with what the request asks for, requests are looked at in advance; where they come too late for
//! that, the frames until then are made and thrown away, and leave a gap in the sequence.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use vcam_allocator::{AccessError, CpuAccess, Dmabuf, Pool, PooledBuffer};

use super::acquire::{acquire, monotonic, take};
use super::error::StageError;
use super::frame_channel;
use super::frame_context::{FrameContext, Outputs};
use super::pause::{self, PauseHandle};
use super::request_queue::{FrameRequest, RequestQueue};
use super::stop::StopHandle;
use crate::controls::FrameControls;
use crate::error::chain;
use crate::request::FrameStatus;
use crate::sensor::delay::{Controls, DelayedControls};
use crate::sensor::format::Format;
use crate::sensor::frame_timer::FrameTimer;
use crate::sensor::{Metadata, Sensor};
use crate::stats::CpuMeter;
use crate::stream::Port;

/// Makes frames.
pub(crate) struct SensorStage {
    pub(crate) sensor: Sensor,
    /// The default time from one frame to the next; zero is as fast as can be.
    pub(crate) period: Duration,
    pub(crate) requests: RequestQueue,
    /// The buffers for frames whose request brings none: raw ones, or those of its pictures.
    pub(crate) pool: Arc<Pool>,
    pub(crate) stop: StopHandle,
    pub(crate) pause: PauseHandle,
    pub(crate) next: frame_channel::Sender<FrameContext>,
    /// Decisions of the [`IpaLoop`](super::ipa_loop::IpaLoop); never one, where
    /// there is none.
    pub(crate) wanted: Receiver<Controls>,
}

/// The sensor's stage after its end.
pub(crate) struct SensorRun {
    pub(crate) sensor: Sensor,
    /// Requests that were not fulfilled.
    pub(crate) requests: RequestQueue,
    /// Its cost besides filling buffers, in microseconds a frame.
    pub(crate) machinery: Option<f64>,
}

impl SensorStage {
    /// Runs until the last frame, or until the run is stopped.
    pub(crate) fn run(self) -> (SensorRun, Result<(), StageError>) {
        // On one of the sensor's own threads, so that sharing rows with the others allocates
        // nothing.
        let workers = self.sensor.workers();
        workers.run(move || {
            let (mut this, mut meter) = (self, CpuMeter::default());
            let result = this.make_frames(&mut meter);
            let machinery = meter.per_frame();
            (SensorRun { sensor: this.sensor, requests: this.requests, machinery }, result)
        })
    }

    fn make_frames(&mut self, meter: &mut CpuMeter) -> Result<(), StageError> {
        let stop = self.stop.clone();
        let mut timer = FrameTimer::new(self.period, Instant::now());
        // The first frame is taken with what its request asks for.
        if !self.requests.wait(&stop) {
            return Ok(());
        }
        let mut exposure = Exposure::start(&mut self.sensor, &self.requests);
        for sequence in 0.. {
            let over = || stop.is_set();
            if !self.requests.wait(&self.stop) || over() {
                break;
            }
            let due = self.requests.is_due();
            let pooled = match due && self.requests.needs_buffer(self.port()) {
                true => match take(&self.pool, over, "sensor", sequence)? {
                    Some(buffer) => Some(buffer),
                    None => break,
                },
                false => None,
            };
            if let Some(controls) = self.requests.controls(0).copied() {
                self.set_up(&controls, &mut timer);
            }
            if !timer.period().is_zero() && !over() {
                self.stop.sleep_until(timer.next(Instant::now()));
            }
            while self.pause.is_set() && !over() {
                self.stop.sleep_until(Instant::now() + pause::LOOK);
            }
            if over() {
                break;
            }
            let taken = self.sensor.expose(sequence, monotonic());
            let asked = self.requests.controls(0);
            if due && asked.is_none_or(|asked| Exposure::is(asked, taken.controls, &self.sensor)) {
                let Some(asked) = self.requests.take() else { break };
                let frame = self.make(sequence, taken, asked, pooled, meter)?;
                self.next.send(frame);
            }
            exposure.automatic = self.wanted.try_iter().last().or(exposure.automatic);
            exposure.write_ahead(&mut self.sensor, &self.requests);
            meter.note();
        }
        Ok(())
    }

    /// The stream that its buffers belong to.
    fn port(&self) -> Port {
        match self.sensor.format() {
            Format::Raw(_) => Port::Raw,
            Format::Picture(_) => Port::Output(0),
        }
    }

    /// Sets the controls that take effect at once.
    fn set_up(&mut self, controls: &FrameControls, timer: &mut FrameTimer) {
        let period = match controls.durations {
            Some([shortest, longest]) => {
                let micros = |limit: i64| Duration::from_micros(limit.unsigned_abs());
                self.period.clamp(micros(shortest), micros(longest))
            }
            None => self.period,
        };
        if period != timer.period() {
            timer.set_period(period, Instant::now());
            if !period.is_zero() {
                self.sensor.set_frame_duration(period);
            }
        }
        self.sensor.set_pattern(controls.pattern());
    }

    /// Fills the buffers of a frame: those that the request brings, or one from the pool.
    fn make(
        &mut self,
        sequence: u64,
        taken: Metadata,
        asked: FrameRequest,
        pooled: Option<PooledBuffer>,
        meter: &mut CpuMeter,
    ) -> Result<FrameContext, StageError> {
        let FrameRequest { controls, mut request } = asked;
        let port = self.port();
        let failed = |source| StageError::Sensor { sequence, source };
        let brought = request.as_mut().and_then(|request| request.buffer_for(port));
        let mut pooled = pooled;
        let brought = brought.and_then(|given| {
            let buffer = given.buffer().clone();
            let acquired = acquire(given.take_acquire(), "sensor", sequence);
            let filled = acquired
                .and_then(|()| {
                    let fill = || fill(&mut self.sensor, sequence, &buffer);
                    meter.work(fill).map_err(failed)
                })
                .inspect_err(|error| tracing::warn!("{}", chain(error)));
            if filled.is_err() {
                given.fail(FrameStatus::Error);
                // The frame is made all the same, for the other streams, if there is a buffer.
                if port == Port::Raw {
                    let spare = self.pool.take(Duration::ZERO);
                    pooled = spare.inspect_err(|error| tracing::warn!("{}", chain(error))).ok();
                }
            }
            filled.is_ok().then_some(buffer)
        });
        if let (None, Some(buffer)) = (&brought, &pooled) {
            let fill = || fill(&mut self.sensor, sequence, buffer);
            meter.work(fill).map_err(failed)?;
        }
        let buffer = brought.or(pooled);
        let mut outputs = Outputs::default();
        let mut raw = None;
        match port {
            Port::Raw => raw = buffer,
            Port::Output(_) => outputs[0] = buffer,
        }
        let timing = *self.sensor.timing();
        Ok(FrameContext { sequence, taken, timing, controls, raw, outputs, request })
    }
}

fn fill(sensor: &mut Sensor, sequence: u64, buffer: &Dmabuf) -> Result<(), AccessError> {
    let mut pixels = buffer.cpu_access(CpuAccess::Write)?;
    for (index, plane) in buffer.layout().planes().iter().enumerate() {
        // A mapping fits into the address space, and so does a stride of it.
        let stride = usize::try_from(plane.stride).unwrap_or(usize::MAX);
        sensor.fill_plane(sequence, index, pixels.plane_mut(index), stride);
    }
    pixels.end()
}

/// Exposure and gain, from what is asked for a frame to what is written frames before it.
struct Exposure {
    delayed: DelayedControls,
    /// The algorithm's latest decision, if there was one.
    automatic: Option<Controls>,
    /// The controls written last, which count for the next frame.
    next: Controls,
}

impl Exposure {
    /// Sets the sensor to what the first request asks for, before it makes its first frame.
    fn start(sensor: &mut Sensor, requests: &RequestQueue) -> Self {
        let first = requests.controls(0).copied().unwrap_or_else(|| requests.latest());
        let controls = with_manual(Controls::default(), &first);
        sensor.start_with(controls);
        Self { delayed: DelayedControls::new(controls), automatic: None, next: controls }
    }

    /// Compares the controls that a frame was taken with to those that its request asks for.
    fn is(asked: &FrameControls, taken: Controls, sensor: &Sensor) -> bool {
        sensor.nearest(with_manual(taken, asked)) == sensor.nearest(taken)
    }

    /// Writes what the frame after the next is to be taken with.
    fn write_ahead(&mut self, sensor: &mut Sensor, requests: &RequestQueue) {
        let due = requests.controls(0);
        let is_met = due.is_none_or(|asked| Self::is(asked, self.next, sensor));
        let target = requests.controls(usize::from(is_met)).copied();
        let asked = target.unwrap_or_else(|| requests.latest());
        self.next = with_manual(self.automatic.unwrap_or(self.next), &asked);
        sensor.set_controls(self.delayed.push(self.next));
    }
}

/// Replaces what the user sets by hand.
fn with_manual(controls: Controls, asked: &FrameControls) -> Controls {
    let (exposure, gain) = asked.manual();
    Controls {
        exposure_us: exposure.unwrap_or(controls.exposure_us),
        gain: gain.unwrap_or(controls.gain),
    }
}
