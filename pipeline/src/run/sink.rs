//! A sink's stage, and how frames get there.

use std::time::Duration;

use vcam_allocator::knowledge::Asked;
use vcam_allocator::{ColourSpace, LinkEnd, Method};
use vcam_sinks::{Frame, Sink, SinkCounts, Taken};

use crate::engine::Slot;
use crate::engine::error::StageError;
use crate::engine::handover::{Received, Receiver, Sender};
use crate::engine::isp::forbid_copy;
use crate::engine::pause::{self, PauseHandle};
use crate::engine::shot::{Deliver, Done, Facts};
use crate::engine::stop::{StopAtEnd, StopHandle};
use crate::engine::wait::monotonic;
use crate::run::{Progress, SyscallCount};
use crate::stats::{CpuMeter, LatencyMeter, SteadyMeter};

/// Hands finished frames to every sink.
pub(crate) struct ToSinks {
    /// Each with the stream that it wants.
    pub(crate) sinks: Vec<(Slot, Sender<Frame>)>,
    /// How the pictures stand for colours.
    pub(crate) colour_space: ColourSpace,
    pub(crate) progress: Progress,
}

impl Deliver for ToSinks {
    /// Waits where a sink is slow; ends where one is gone, which it is only if it failed.
    fn deliver(&mut self, done: Done) -> Result<bool, StageError> {
        let Done { shot, ready, facts, result } = done;
        result?;
        let controls = shot.taken.controls;
        let taken = Taken {
            exposure: Duration::from_secs_f32(controls.exposure_us * 1e-6),
            gain: controls.gain,
            neutral: facts.and_then(|facts| neutral(&facts)),
        };
        let frame = |slot| {
            let (buffer, colour_space, ready) = match slot {
                // The sensor is done with it.
                Slot::Raw => (shot.raw.clone(), ColourSpace::RAW, None),
                Slot::Output(index) => {
                    let buffer = shot.outputs.get(index).cloned().flatten();
                    (buffer, self.colour_space, ready.clone())
                }
            };
            Some(Frame {
                sequence: shot.sequence,
                timestamp: shot.taken.timestamp,
                buffer: buffer?,
                colour_space,
                ready,
                taken: Some(taken),
            })
        };
        let sent = |(slot, sink): &(Slot, Sender<Frame>)| {
            frame(*slot).is_none_or(|frame| sink.send(frame).is_ok())
        };
        self.progress.note_completed();
        // Every sink that is still there gets the frame, before the run ends for want of the other.
        let gone = self.sinks.iter().filter(|sink| !sent(sink)).count();
        Ok(gone == 0)
    }
}

/// What the sensor makes of white: what white balance makes up for.
fn neutral(facts: &Facts) -> Option<[f32; 3]> {
    let white = facts.params.gains.map(|gain| 1.0 / gain);
    let most = white.into_iter().fold(0.0, f32::max);
    facts.colour.map(|_| white.map(|part| part / most))
}

/// Shows pictures.
pub(crate) struct SinkStage {
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) strict: bool,
    pub(crate) stop: StopHandle,
    pub(crate) pause: PauseHandle,
    pub(crate) frames: Receiver<Frame>,
    /// How often the process has allocated from the heap, if somebody counts.
    pub(crate) heap_allocs: Option<fn() -> u64>,
    /// The same of system calls.
    pub(crate) syscalls: Option<SyscallCount>,
    pub(crate) progress: Progress,
}

/// What a sink did.
pub(crate) struct SinkRun {
    pub(crate) end: LinkEnd,
    /// Who took the last frame: displays can be swapped.
    pub(crate) device: Option<Asked>,
    pub(crate) counts: SinkCounts,
    pub(crate) latency: LatencyMeter,
    pub(crate) imports: SteadyMeter,
    pub(crate) heap_allocs: SteadyMeter,
    pub(crate) syscalls: SteadyMeter,
    /// What it cost, in microseconds a frame.
    pub(crate) machinery: Option<f64>,
}

impl SinkStage {
    /// Runs until no more frames come, then gives the sink's device back as it was; says what it
    /// did also where it failed.
    pub(crate) fn run(mut self) -> (SinkRun, Result<(), StageError>) {
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
        let _stop = StopAtEnd(self.stop.clone());
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
            if self.strict {
                forbid_copy("the link from the ISP to the sink", &self.sink.link_end())?;
            }
            run.imports.note(sequence, || self.sink.link_end().imports);
            if let Some(syscalls) = &self.syscalls {
                run.syscalls.pass(sequence, || syscalls.read());
            }
            if let Some(count) = self.heap_allocs.map(|count| count()) {
                // Who ends a run allocates again, while the last frames arrive.
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
