//! A run: frames from a sensor to sinks, each on a thread of its own.
//!
//! [`Prepared::new`] plans where buffers live and returns once every device has been handed every
//! one, so what it says of the links is true before the first frame; [`Prepared::start`] lets the
//! frames flow, and [`Run::wait`] returns what the run did.

mod live;
mod raw;
mod sink;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use vcam_allocator::constraints::{Alternative, Rule};
use vcam_allocator::knowledge::Asked;
use vcam_allocator::{ColourSpace, Dmabuf, Fourcc, Heap, Knowledge, LinkEnd, Method, Refusal};
use vcam_isp_gpu::View;
use vcam_sinks::{Sink, Stream};

use crate::controls::{ControlList, FrameControls, infos};
use crate::engine::choice::{IspChoice, IspInfo};
use crate::engine::error::StageError;
use crate::engine::handover;
use crate::engine::isp::forbid_copies;
use crate::engine::orders::Orders;
use crate::engine::pause::PauseHandle;
use crate::engine::planning::StreamPlan;
use crate::engine::prepare::{AskedDevices, Ready, sensor_end};
use crate::engine::stop::StopHandle;
use crate::engine::thread::{joined, spawn};
use crate::engine::{
    Ended, Engine, OutputStream, Parts, Running, SENSOR, Slot, StartError, Streaming, save,
};
use crate::links::Link;
use crate::sensor::Settings;
use crate::sensor::format::Format;
use crate::sensor::timing::Timing;
use crate::stats::{Frames, LatencyMeter, Outcome, Steady};
pub use live::Progress;
pub use raw::raw_description;
use sink::{SinkRun, SinkStage, ToSinks};

/// What a run is to be.
#[derive(Debug)]
pub struct Config {
    /// The sensor, and what it sees. Before a scene, exposure and white balance follow the light; a
    /// test pattern knows none. The pictures of a sensor that sends pictures are passed on as they
    /// are.
    pub sensor: Settings,
    /// Format of the pictures.
    pub format: Fourcc,
    /// Which part of the frame the pictures show, which way up, and in which colours; they have the
    /// size of the frame, turned with it.
    pub view: View,
    /// What counts for every frame.
    pub controls: ControlList,
    /// Time from one frame to the next; zero for as fast as can be.
    pub period: Duration,
    /// Ends the run early; may be used before it starts.
    pub stop: StopHandle,
    /// Has it make no frames for a while; may be used before it starts.
    pub pause: PauseHandle,
    /// How many frames to make; without a number, until [`StopHandle::stop`].
    pub frames: Option<u64>,
    /// Which ISP to use.
    pub isp: IspChoice,
    /// Whether a copy is an error.
    pub strict: bool,
    /// Whether measured costs may decide: take heaps out of their order, and copy where an import
    /// costs more. For users who leave the choice to the camera.
    pub by_cost: bool,
    /// What was learned about this machine before; what is learned now is added and saved.
    pub knowledge: Knowledge,
    /// Counts the heap allocations of the process, for [`Steady::heap_allocs_per_frame`].
    pub heap_allocs: Option<fn() -> u64>,
    /// Counts the system calls of the process, for [`Steady::syscalls_per_frame`]; it is asked twice.
    pub syscalls: Option<SyscallCount>,
}

/// Counts the system calls of the process; `None` if the count is lost.
#[derive(Clone)]
pub struct SyscallCount(Arc<dyn Fn() -> Option<u64> + Send + Sync>);

impl SyscallCount {
    /// By this function, which any thread may call.
    pub fn new(count: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        Self(Arc::new(count))
    }

    pub(crate) fn read(&self) -> Option<u64> {
        (self.0)()
    }
}

impl std::fmt::Debug for SyscallCount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyscallCount").finish_non_exhaustive()
    }
}

/// A run whose buffers are allocated and have been handed to every device.
///
/// Dropping it gives everything back; nothing was shown yet.
#[derive(Debug)]
pub struct Prepared {
    // The sinks' devices go before the buffers do.
    ready: Ready<Box<dyn Sink>>,
    engine: Engine,
    config: Config,
}

/// A run that is under way.
///
/// Dropping it stops it and waits for its threads, so that the display is as it was found.
#[derive(Debug)]
pub struct Run {
    engine: Engine,
    running: Option<(Running, Vec<SinkThread>)>,
    stop: StopHandle,
    /// Each sink's stream and name.
    sinks: Vec<(Slot, String)>,
    /// A buffer of each stream.
    raw: Option<Dmabuf>,
    outputs: Vec<Dmabuf>,
    knowledge: Knowledge,
    asked: AskedDevices,
    progress: Progress,
}

type SinkThread = JoinHandle<(SinkRun, Result<(), StageError>)>;

impl Prepared {
    /// Plans where each stream's buffers live, allocates them, and hands each to every device.
    ///
    /// `heaps` are tried in their order; the pictures go to each of `sinks`. What is planned here
    /// is proven: see [`Prepared::plans`] and [`Prepared::links`].
    pub fn new(
        mut config: Config,
        heaps: Vec<Box<dyn Heap>>,
        sinks: Vec<Box<dyn Sink>>,
    ) -> Result<Self, StartError> {
        let mut outputs = Vec::new();
        for sink in &sinks {
            match (sink.stream(), config.sensor.format) {
                (Stream::Raw, Format::Raw(_)) => {}
                (Stream::Raw, Format::Picture(_)) => {
                    return Err(StartError::NoRaw { sink: sink.name() });
                }
                (Stream::Picture, _) => takes(&**sink, config.format)?,
            }
        }
        let (size, timing) =
            (config.sensor.size, Timing::new(config.sensor.size.0, config.sensor.size.1));
        config.controls.check(&infos(size, &timing, config.sensor.format))?;
        let size = config.view.orientation.size(config.sensor.size);
        // Where nobody wants pictures, frames are only measured.
        if sinks.iter().any(|sink| sink.stream() == Stream::Picture) {
            let (format, view) = (config.format, config.view);
            outputs.push(OutputStream { format, size, view, at_least: 0 });
        }
        let parts = Parts {
            settings: config.sensor.clone(),
            outputs,
            raw_at_least: 0,
            choice: config.isp.clone(),
            heaps: heaps.into(),
            strict: config.strict,
            by_cost: config.by_cost,
        };
        let mut engine = Engine::new(parts, &mut config.knowledge)?;
        let slot = |sink: &dyn Sink| match sink.stream() {
            Stream::Picture => Slot::Output(0),
            Stream::Raw => Slot::Raw,
        };
        let sinks = sinks.into_iter().map(|sink| (slot(&*sink), sink)).collect();
        let ready = engine.plan(sinks, &mut config.knowledge)?;
        Ok(Self { ready, engine, config })
    }

    /// Where each stream's buffers live, and why.
    pub fn plans(&self) -> &[StreamPlan] {
        &self.ready.plans
    }

    /// How the pictures stand for colours; `None` where no sink takes pictures.
    pub fn colour_space(&self) -> Option<ColourSpace> {
        self.engine.colour_spaces().next()
    }

    /// How frames will cross each link, unless a device changes its mind.
    pub fn links(&self) -> &[Link] {
        &self.ready.links
    }

    /// The ISP in full: renderer, driver and versions; none behind a sensor that sends pictures.
    pub fn isp_description(&self) -> Option<&str> {
        self.engine.isp().map(|isp| &*isp.description)
    }

    /// Why it is this ISP, where there was a choice.
    pub fn isp_reason(&self) -> Option<&str> {
        self.engine.isp()?.reason.as_deref()
    }

    /// Whether the links keep what [`Config::strict`] promises.
    pub fn check_strict(&self) -> Result<(), StageError> {
        if self.config.strict { forbid_copies(&self.ready.links) } else { Ok(()) }
    }

    /// Starts the threads.
    pub fn start(self) -> Result<Run, StartError> {
        self.check_strict()?;
        let Self { ready, mut engine, config } = self;
        let Ready { raw, outputs, consumers, asked, .. } = ready;
        let mut controls = FrameControls::default();
        controls.apply(&config.controls);
        let stop = config.stop;
        let first = |pool: &vcam_allocator::Pool| pool.buffers()[0].clone();
        let raw_buffer = raw.as_ref().map(first);
        let buffers = outputs.iter().map(first).collect();
        let streaming = Streaming {
            period: config.period,
            orders: Orders::Endless { left: config.frames.unwrap_or(u64::MAX), controls },
            raw: raw.map(Arc::new),
            outputs: outputs.into_iter().map(Arc::new).collect(),
            stop: stop.clone(),
            pause: config.pause.clone(),
        };
        let progress = Progress::default();
        let (mut to_sinks, mut sinks, mut threads) = (Vec::new(), Vec::new(), Vec::new());
        for (slot, sink) in consumers {
            let (to_sink, frames) = handover::channel();
            to_sinks.push((slot, to_sink));
            sinks.push((slot, sink.name()));
            let stage = SinkStage {
                sink,
                strict: config.strict,
                stop: stop.clone(),
                pause: config.pause.clone(),
                frames,
                heap_allocs: config.heap_allocs,
                syscalls: config.syscalls.clone(),
                progress: progress.clone(),
            };
            threads.push(spawn("sink", move || stage.run())?);
        }
        let colour_space = engine.colour_spaces().next().unwrap_or(ColourSpace::RAW);
        let running = match engine
            .start(streaming, ToSinks { sinks: to_sinks, colour_space, progress: progress.clone() })
        {
            Ok(running) => running,
            Err(error) => {
                // With nobody to send them frames, the sinks put back what they changed.
                for thread in threads {
                    let _ = joined("sink", thread);
                }
                return Err(error);
            }
        };
        Ok(Run {
            engine,
            running: Some((running, threads)),
            stop,
            sinks,
            raw: raw_buffer,
            outputs: buffers,
            knowledge: config.knowledge,
            asked,
            progress,
        })
    }
}

impl Run {
    /// What it has done so far, and will have done when it is asked again.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Waits for the end of the run; says what it did, and what stopped it if it did not end well.
    pub fn wait(mut self) -> (Outcome, Result<(), StageError>) {
        self.join()
    }

    fn join(&mut self) -> (Outcome, Result<(), StageError>) {
        let Some((running, threads)) = self.running.take() else {
            return (Outcome::default(), Ok(()));
        };
        let Ended { isp, mut machinery, mut errors, mut result, .. } = self.engine.join(running);
        let mut links = Vec::new();
        // Where pictures come from.
        let (from, output_end) = match (self.engine.isp(), &self.raw) {
            (Some(IspInfo { name, .. }), Some(raw)) => {
                let to = (&**name, &isp.raw_end);
                links.push(Link::join((SENSOR, &sensor_end()), to, raw));
                learn(&mut self.knowledge, &self.asked.raw, &isp.raw_end, raw);
                (&**name, isp.output_end)
            }
            _ => (SENSOR, sensor_end()),
        };
        if let Some(output) = self.outputs.first() {
            learn(&mut self.knowledge, &self.asked.output, &output_end, output);
        }
        let mut latency = LatencyMeter::new();
        let mut frames = Frames { completed: isp.completed, ..Frames::default() };
        let mut imports = isp.imports.per_frame();
        let (mut heap_allocs, mut syscalls) = (None, None);
        let ends = self.sinks.iter().zip(&self.asked.consumers).zip(threads);
        for (((slot, name), asked), thread) in ends {
            let run = match joined(name, thread) {
                Ok((run, sink_result)) => {
                    let lost = sink_result.as_ref().is_err_and(StageError::lost_a_frame);
                    errors += u64::from(lost);
                    result = result.and(sink_result);
                    run
                }
                Err(panic) => {
                    result = result.and(Err(panic));
                    continue;
                }
            };
            let sensor_end = sensor_end();
            let (from, buffer) = match slot {
                Slot::Raw => ((SENSOR, &sensor_end), self.raw.as_ref()),
                Slot::Output(index) => ((from, &output_end), self.outputs.get(*index)),
            };
            if let Some(buffer) = buffer {
                links.push(Link::join(from, (name, &run.end), buffer));
                // What another device refused, in the place of this one, is not its fault.
                if run.device == *asked {
                    learn(&mut self.knowledge, asked, &run.end, buffer);
                }
            }
            frames.displayed = frames.displayed.max(run.counts.displayed);
            frames.dropped += run.counts.dropped;
            latency.add(&run.latency);
            imports = imports.zip(run.imports.per_frame()).map(|(a, b)| a + b);
            machinery = machinery.zip(run.machinery).map(|(a, b)| a + b);
            heap_allocs = run.heap_allocs.per_frame().or(heap_allocs);
            syscalls = run.syscalls.per_frame().or(syscalls);
        }
        save(&mut self.knowledge);
        frames.errors = errors;
        let seconds = isp.elapsed.as_secs_f64();
        let fps = if seconds > 0.0 { (isp.completed - 1) as f64 / seconds } else { 0.0 };
        let steady = Steady {
            heap_allocs_per_frame: heap_allocs,
            imports_per_frame: imports,
            syscalls_per_frame: syscalls,
            machinery_us_per_frame: machinery,
        };
        (Outcome { frames, links, steady, latency: latency.summary(), fps }, result)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.stop.stop();
        if let (_, Err(error)) = self.join() {
            tracing::error!("{error}");
        }
    }
}

/// Whether a sink takes pictures in a format: no copy would mend that.
fn takes(sink: &dyn Sink, format: Fourcc) -> Result<(), StartError> {
    let constraints = sink.constraints();
    let excluding = |way: &Alternative| {
        way.statements().find_map(|statement| match &statement.rule {
            Rule::Formats(formats) if !formats.contains_key(&format) => Some(formats.clone()),
            _ => None,
        })
    };
    let Some(ways) = constraints.alternatives().iter().map(excluding).collect::<Option<Vec<_>>>()
    else {
        return Ok(());
    };
    let formats: BTreeSet<_> = ways.iter().flat_map(|formats| formats.keys()).collect();
    let takes = formats.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Err(StartError::SinkFormat { sink: sink.name(), format, takes })
}

/// Remembers that a device took a buffer and failed with it later on.
fn learn(knowledge: &mut Knowledge, asked: &Option<Asked>, end: &LinkEnd, buffer: &Dmabuf) {
    if let (Some(asked), Method::Copy, 1..) = (asked, end.method, end.since_frame) {
        let reason = end.reason.as_deref().unwrap_or_default();
        let refusal = Refusal::because(&asked.name, "while streaming", reason);
        let size = (buffer.layout().width(), buffer.layout().height());
        knowledge.note_import(asked, buffer.heap(), buffer.format(), size, Err(&refusal));
    }
}
