//! A sink's stage, and how frames get there.

use std::time::Duration;

use vcam_allocator::knowledge::Asked;
use vcam_allocator::{ColourSpace, LinkEnd, Method};
use vcam_sinks::{Frame, Sink, SinkCounts, Taken};

use super::config::SyscallCount;
use super::progress::Progress;
use crate::engine::acquire::monotonic;
use crate::engine::error::StageError;
use crate::engine::frame_channel::{Received, Receiver, Sender};
use crate::engine::frame_context::{CompletedFrame, FrameConsumer, FrameMetadata};
use crate::engine::pause::{self, PauseHandle};
use crate::engine::policy::CopyPolicy;
use crate::engine::stop::StopHandle;
use crate::stats::{CpuMeter, LatencyMeter, SteadyMeter};
use crate::stream::Port;

/// Hands finished frames to every sink.
pub(super) struct ToSinks {
    /// Each with the stream that it wants.
    pub(super) sinks: Vec<(Port, Sender<Frame>)>,
    /// How the pictures stand for colours.
    pub(super) colour_space: ColourSpace,
    pub(super) progress: Progress,
}

impl FrameConsumer for ToSinks {
    /// Waits where a sink is slow.
    fn consume(&mut self, done: CompletedFrame) -> Result<(), StageError> {
        let CompletedFrame { frame, ready, metadata, result } = done;
        result?;
        let controls = frame.taken.controls;
        let taken = Taken {
            exposure: Duration::from_secs_f32(controls.exposure_us * 1e-6),
            gain: controls.gain,
            neutral: metadata.and_then(|metadata| neutral(&metadata)),
        };
        let frame = |port| {
            let (buffer, colour_space, ready) = match port {
                // The sensor is done with it.
                Port::Raw => (frame.raw.clone(), ColourSpace::RAW, None),
                Port::Output(index) => {
                    let buffer = frame.outputs.get(index).cloned().flatten();
                    (buffer, self.colour_space, ready.clone())
                }
            };
            Some(Frame {
                sequence: frame.sequence,
                timestamp: frame.taken.timestamp,
                buffer: buffer?,
                colour_space,
                ready,
                taken: Some(taken),
            })
        };
        self.progress.note_completed();
        for (port, sink) in &self.sinks {
            if let Some(frame) = frame(*port) {
                sink.send(frame);
            }
        }
        Ok(())
    }
}

/// Returns the sensor's numbers for white, which white balance makes up for.
fn neutral(metadata: &FrameMetadata) -> Option<[f32; 3]> {
    let white = metadata.params.gains.map(|gain| 1.0 / gain);
    let most = white.into_iter().fold(0.0, f32::max);
    metadata.colour.map(|_| white.map(|part| part / most))
}

/// Shows pictures.
pub(super) struct SinkStage {
    pub(super) sink: Box<dyn Sink>,
    pub(super) copies: CopyPolicy,
    pub(super) stop: StopHandle,
    pub(super) pause: PauseHandle,
    pub(super) frames: Receiver<Frame>,
    /// Counts the heap allocations of the process.
    pub(super) heap_allocs: Option<fn() -> u64>,
    /// Counts its system calls.
    pub(super) syscalls: Option<SyscallCount>,
    pub(super) progress: Progress,
}

/// The account of a sink.
pub(super) struct SinkRun {
    pub(super) end: LinkEnd,
    /// The device that took the last frame: displays can be swapped.
    pub(super) device: Option<Asked>,
    pub(super) counts: SinkCounts,
    pub(super) latency: LatencyMeter,
    pub(super) imports: SteadyMeter,
    pub(super) heap_allocs: SteadyMeter,
    pub(super) syscalls: SteadyMeter,
    /// Its cost, in microseconds a frame.
    pub(super) machinery: Option<f64>,
}

impl SinkStage {
    /// Runs until no more frames come, then gives the sink's device back as it was; says what it
    /// did also where it failed.
    pub(super) fn run(mut self) -> (SinkRun, Result<(), StageError>) {
        let mut run = SinkRun {
            end: LinkEnd::import(),
            device: None,
            counts: SinkCounts::default(),
            latency: LatencyMeter::new(),
            imports: SteadyMeter::default(),
            heap_allocs: SteadyMeter::default(),
            syscalls: SteadyMeter::default(),
            machinery: None,
        };
        let shown = self.show_all(&mut run);
        let mut lost = 0;
        if shown.is_err() {
            // The run ends, but frames that are on their way reach the other sinks, so this one
            // must not stand in their way.
            self.stop.stop();
            lost = std::iter::from_fn(|| self.frames.receive()).count() as u64;
        }
        let finished = self
            .sink
            .finish()
            .map_err(|source| StageError::Finish { sink: self.sink.name(), source });
        run.end = self.sink.link_end();
        run.device = self.sink.importer().map(|device| Asked::of(device));
        run.counts = self.sink.counts();
        run.counts.dropped += lost;
        (run, shown.and(finished))
    }

    fn show_all(&mut self, run: &mut SinkRun) -> Result<(), StageError> {
        let shown = self.show_each(run);
        if let Some(count) = self.syscalls.as_ref().and_then(SyscallCount::read) {
            run.syscalls.end(count);
        }
        shown
    }

    fn show_each(&mut self, run: &mut SinkRun) -> Result<(), StageError> {
        let (mut dropped, mut copies, mut meter) = (0, false, CpuMeter::default());
        loop {
            let frame = match self.frames.receive_within(pause::LOOK) {
                Received::Message(frame) => frame,
                Received::Nothing => {
                    if self.pause.is_set() {
                        let sink = &mut self.sink;
                        sink.pause()
                            .map_err(|source| StageError::Pause { sink: sink.name(), source })?;
                    }
                    continue;
                }
                Received::Closed => break,
            };
            let (sequence, timestamp) = (frame.sequence, frame.timestamp);
            self.sink.present(frame).map_err(|source| StageError::Sink {
                sink: self.sink.name(),
                sequence,
                source,
            })?;
            let latency = monotonic().saturating_sub(timestamp);
            run.latency.record(latency);
            self.progress.note_shown(latency);
            let lost = self.sink.counts().dropped;
            if lost > dropped {
                self.progress.note_dropped(lost - dropped);
                dropped = lost;
            }
            if !copies && self.sink.link_end().method == Method::Copy {
                self.progress.note_copying();
                copies = true;
            }
            if self.copies == CopyPolicy::Forbid {
                self.copies.check("the link from the ISP to the sink", &self.sink.link_end())?;
            }
            run.imports.note(sequence, || self.sink.link_end().imports);
            if let Some(syscalls) = &self.syscalls {
                run.syscalls.pass(sequence, || syscalls.read());
            }
            if let Some(count) = self.heap_allocs.map(|count| count()) {
                // Shutting down allocates, so the counter ignores frames that arrive after stop.
                if !self.stop.is_set() {
                    run.heap_allocs.note(sequence, || count);
                }
            }
            meter.note();
        }
        run.machinery = meter.per_frame();
        Ok(())
    }
}
