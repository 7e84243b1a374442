//! The ISP's stage: pictures of raw frames.

use std::sync::Arc;
use std::time::{Duration, Instant};

use vcam_allocator::{Fence, LinkEnd, Pool};
use vcam_isp_gpu::{Isp, IspParams, Job, Output, RawFormat, View};

use super::EngineConfig;
use super::acquire::{acquire, take_to_the_end};
use super::error::StageError;
use super::frame_channel::Receiver;
use super::frame_context::{CompletedFrame, FrameConsumer, FrameContext, FrameMetadata};
use super::ipa_loop::IpaLoop;
use super::policy::CopyPolicy;
use super::stop::StopHandle;
use crate::ipa::lux;
use crate::request::FrameStatus;
use crate::stats::{CpuMeter, SteadyMeter};
use crate::stream::{MAX_OUTPUTS, Port};

/// The scale of [`FocusFoM`](crate::controls::FocusFoM): a mean squared difference is small.
const FOCUS: f32 = 1e6;

/// Renders raw frames into pictures.
pub(crate) struct IspStage<D> {
    pub(crate) config: Arc<EngineConfig>,
    pub(crate) format: RawFormat,
    pub(crate) params: IspParams,
    /// Exposure and white balance; none before a test pattern.
    pub(crate) ipa: Option<IpaLoop>,
    /// For each processed stream, where frames that bring no buffers get theirs.
    pub(crate) pools: Vec<Arc<Pool>>,
    pub(crate) stop: StopHandle,
    pub(crate) frames: Receiver<FrameContext>,
    pub(crate) consumer: D,
}

/// The account of the ISP.
#[derive(Debug)]
pub(crate) struct IspRun {
    pub(crate) completed: u64,
    pub(crate) raw_end: LinkEnd,
    pub(crate) output_end: LinkEnd,
    pub(crate) imports: SteadyMeter,
    /// Its cost besides the ISP's work, in microseconds a frame.
    pub(crate) machinery: Option<f64>,
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
            machinery: None,
            elapsed: Duration::ZERO,
        }
    }
}

/// Counts finished frames, and the time between the first and the last.
#[derive(Debug, Default)]
struct Progress {
    completed: u64,
    span: Option<(Instant, Instant)>,
}

impl Progress {
    fn note(&mut self) {
        self.completed += 1;
        let now = Instant::now();
        self.span = Some((self.span.map_or(now, |(first, _)| first), now));
    }

    fn elapsed(&self) -> Duration {
        self.span.map_or(Duration::ZERO, |(first, last)| last - first)
    }
}

impl<D: FrameConsumer> IspStage<D> {
    /// Runs until no more frames come; says what it did also where it failed.
    pub(crate) fn run(mut self, isp: &mut dyn Isp) -> (IspRun, Result<(), StageError>) {
        let (mut progress, mut imports) = (Progress::default(), SteadyMeter::default());
        let mut meter = CpuMeter::default();
        let result = loop {
            let Some(frame) = self.frames.receive() else { break Ok(()) };
            let sequence = frame.sequence;
            let done = self.render(isp, frame, &mut meter);
            if done.result.is_ok() {
                progress.note();
                imports.note(sequence, || isp.raw_end().imports + isp.output_end().imports);
            }
            if let Err(error) = self.consumer.consume(done) {
                break Err(error);
            }
            meter.note();
        };
        let run = IspRun {
            completed: progress.completed,
            raw_end: isp.raw_end(),
            output_end: isp.output_end(),
            imports,
            machinery: meter.per_frame(),
            elapsed: progress.elapsed(),
        };
        (run, result)
    }

    /// Renders one frame, also after the run was stopped: what was made is shown.
    fn render(
        &mut self,
        isp: &mut dyn Isp,
        mut frame: FrameContext,
        meter: &mut CpuMeter,
    ) -> CompletedFrame {
        let rendered = self.outputs(&mut frame).and_then(|()| self.develop(isp, &frame, meter));
        match rendered {
            Ok((ready, metadata)) => {
                CompletedFrame { frame, ready, metadata: Some(metadata), result: Ok(()) }
            }
            Err(error) => CompletedFrame { frame, ready: None, metadata: None, result: Err(error) },
        }
    }

    /// The buffers that the frame's pictures go to.
    fn outputs(&self, frame: &mut FrameContext) -> Result<(), StageError> {
        let sequence = frame.sequence;
        let Some(request) = &mut frame.request else {
            for (output, pool) in frame.outputs.iter_mut().zip(&self.pools) {
                *output = take_to_the_end(pool, &self.stop, "isp", sequence)?;
            }
            return Ok(());
        };
        for (index, output) in frame.outputs.iter_mut().enumerate() {
            let Some(given) = request.buffer_for(Port::Output(index)) else { continue };
            match acquire(given.take_acquire(), "isp", sequence) {
                Ok(()) => *output = Some(given.buffer().clone()),
                // The other pictures are made all the same.
                Err(error) => {
                    tracing::warn!("{error}");
                    given.fail(FrameStatus::Error);
                }
            }
        }
        Ok(())
    }

    fn develop(
        &mut self,
        isp: &mut dyn Isp,
        frame: &FrameContext,
        meter: &mut CpuMeter,
    ) -> Result<(Option<Fence>, FrameMetadata), StageError> {
        let FrameContext { sequence, raw, outputs, controls, .. } = frame;
        let sequence = *sequence;
        let raw = raw.as_ref().ok_or(StageError::NoFrame { sequence })?;
        let mut params = self.params;
        if let Some(ipa) = &mut self.ipa {
            ipa.prepare(frame, &mut params);
        }
        controls.develop(&mut params);
        let whole = Output::new(raw);
        let (mut wanted, mut count) = ([whole; MAX_OUTPUTS], 0);
        for (buffer, spec) in outputs.iter().zip(&self.config.outputs) {
            if let Some(buffer) = buffer {
                let crop = controls.crop.or(spec.view.crop);
                wanted[count] = Output { buffer, view: View { crop, ..spec.view } };
                count += 1;
            }
        }
        let job = Job {
            sequence,
            format: self.format,
            size: self.config.sensor.size.into(),
            raw,
            outputs: &wanted[..count],
            params: &params,
            // Exposure and white balance follow statistics, and a request's metadata tell of
            // them. Those of a test pattern that only flows to its sinks are not read.
            measure: self.ipa.is_some() || frame.request.is_some(),
        };
        let failed = |source| StageError::Isp { sequence, source };
        let ready = meter.work(|| isp.process(&job)).map_err(failed)?;
        if let Some(fence) = &ready {
            raw.release_after(fence.clone());
            for output in outputs.iter().flatten() {
                output.release_after(fence.clone());
            }
        }
        let metadata = self.look(isp, params);
        if self.config.copies == CopyPolicy::Forbid {
            let copies = self.config.copies;
            copies.check("the link from the sensor to the ISP", &isp.raw_end())?;
            copies.check("the link from the ISP to the sink", &isp.output_end())?;
        }
        Ok((ready, metadata))
    }

    /// Takes the latest statistics into account, and returns what is known now.
    fn look(&mut self, isp: &mut dyn Isp, params: IspParams) -> FrameMetadata {
        let measured = isp.statistics();
        let focus = measured.map(|(_, statistics)| statistics.focus * FOCUS);
        let metadata = FrameMetadata { params, colour: None, ae_state: 0, lux: None, focus };
        let Some(ipa) = &mut self.ipa else { return metadata };
        ipa.look(measured);
        let lux = measured.and_then(|(frame, statistics)| lux(ipa.taken(frame)?, statistics));
        FrameMetadata { colour: Some(ipa.colour()), ae_state: ipa.ae_state(), lux, ..metadata }
    }
}

/// Passes on the pictures of a sensor that needs no ISP.
pub(crate) fn pass_on(
    frames: Receiver<FrameContext>,
    mut consumer: impl FrameConsumer,
) -> (IspRun, Result<(), StageError>) {
    let mut progress = Progress::default();
    let mut meter = CpuMeter::default();
    let result = loop {
        let Some(frame) = frames.receive() else { break Ok(()) };
        let done = CompletedFrame { frame, ready: None, metadata: None, result: Ok(()) };
        if let Err(error) = consumer.consume(done) {
            break Err(error);
        }
        progress.note();
        meter.note();
    };
    let (completed, elapsed) = (progress.completed, progress.elapsed());
    let machinery = meter.per_frame();
    (IspRun { completed, machinery, elapsed, ..IspRun::default() }, result)
}
