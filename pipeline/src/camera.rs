//! A camera that runs: its buffers, its threads, and their orderly end.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use vcam_allocator::constraints::{Alternative, Rule};
use vcam_allocator::knowledge::Asked;
use vcam_allocator::{Dmabuf, Fourcc, Heap, Knowledge, LinkEnd, Method, Refusal};
use vcam_isp_gpu::{Defects, EglError, IspParams};
use vcam_sinks::Sink;

use crate::error::chain;
use crate::feedback::Feedback;
use crate::ipa::{Calibration, CalibrationError, Ipa};
use crate::links::Link;
use crate::planning::{PlanError, StreamPlan};
use crate::prepare::{AskedDevices, Go, IspInfo, IspStart, Ready, sensor_end, start_isp};
use crate::sensor::delay::Controls;
use crate::sensor::format::Format;
use crate::sensor::{Sensor, Settings, SettingsError, Source};
use crate::stages::{
    IspRun, SensorStage, SinkRun, SinkStage, StageError, StopHandle, forbid_copies,
};
use crate::stats::{Frames, LatencyMeter, Outcome, Steady};

/// Frames that may wait between two stages.
const QUEUE: usize = 1;

/// Decisions about exposure that may wait for the sensor.
const DECISIONS: usize = 4;

/// Pixels that stick out by more than noise ever does.
const DEFECTS: Defects = Defects { threshold: 0.1 };

/// Which ISP renders the pictures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum IspChoice {
    /// The GPU's if there is one (software included), the CPU's otherwise.
    #[default]
    Auto,
    /// The GPU's, on this render node, or on whatever EGL prefers.
    Gpu(Option<PathBuf>),
    /// The CPU's.
    Cpu,
}

/// What a run is to be.
#[derive(Debug)]
pub struct Config {
    /// The sensor, and what it sees. Before a scene, exposure and white balance follow the light; a
    /// test pattern knows none.
    pub sensor: Settings,
    /// Format of the pictures.
    pub format: Fourcc,
    /// Time from one frame to the next; zero for as fast as can be.
    pub period: Duration,
    /// Ends the run early; may be used before it starts.
    pub stop: StopHandle,
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
}

/// Why a camera did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no such sensor.
    #[error(transparent)]
    Sensor(#[from] SettingsError),
    /// The sensor sends pictures, and an ISP takes raw frames.
    #[error("the sensor sends pictures in {0}, and the ISP takes raw frames, such as SRGGB10")]
    NotRaw(Format),
    /// A sink does not take pictures in this format.
    #[error("{sink} takes no pictures in {format}; it takes {takes}")]
    SinkFormat {
        /// The sink.
        sink: String,
        /// The format of pictures.
        format: Fourcc,
        /// The formats that it takes, in words.
        takes: String,
    },
    /// The camera does not know its colours.
    #[error("the camera cannot be calibrated")]
    Calibration(#[from] CalibrationError),
    /// There are no buffers.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The GPU's ISP was asked for, and there is none.
    #[error("the GPU ISP does not start")]
    Isp(#[from] EglError),
    /// The GPU's ISP was asked for, and makes no picture of this size.
    #[error("{isp} makes pictures of at most {limit}x{limit}, not of {width}x{height}")]
    IspSize {
        /// The ISP.
        isp: String,
        /// The longest side that it makes.
        limit: u32,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The kernel gives no thread.
    #[error("could not start the thread '{0}'")]
    Thread(&'static str, #[source] std::io::Error),
    /// A thread failed before the first frame.
    #[error(transparent)]
    Stage(#[from] StageError),
}

/// A camera whose buffers are allocated and have been handed to every device.
///
/// Dropping it gives everything back; nothing was shown yet.
#[derive(Debug)]
pub struct Prepared {
    sensor: Sensor,
    wanted: Receiver<Controls>,
    config: Config,
    isp: IspThread,
    ready: Ready,
}

/// The thread of an ISP that is ready.
///
/// Dropping it waits for its end, which comes at once if it never got the word: EGL must be torn
/// down before the process ends.
#[derive(Debug)]
struct IspThread {
    thread: Option<Run<IspRun>>,
    /// Where it waits for the word to go.
    go: Option<Sender<Go>>,
}

impl IspThread {
    fn go(&mut self, go: Go) {
        if let Some(word) = self.go.take() {
            // It waits for this and nothing else.
            let _ = word.send(go);
        }
    }

    fn join(mut self) -> Result<(IspRun, Result<(), StageError>), StageError> {
        self.end()
    }

    fn end(&mut self) -> Result<(IspRun, Result<(), StageError>), StageError> {
        self.go = None;
        match self.thread.take() {
            Some(thread) => joined("isp", thread),
            None => Ok((IspRun::default(), Ok(()))),
        }
    }
}

impl Drop for IspThread {
    fn drop(&mut self) {
        if let Err(error) | Ok((_, Err(error))) = self.end() {
            tracing::error!("{error}");
        }
    }
}

/// A camera that runs.
///
/// Dropping it stops the run and waits for its threads, so that the display is as it was found.
#[derive(Debug)]
pub struct Camera {
    threads: Option<Threads>,
    stop: StopHandle,
    isp: IspInfo,
    sinks: Vec<String>,
    raw: Dmabuf,
    output: Dmabuf,
    knowledge: Knowledge,
    asked: AskedDevices,
}

pub(crate) type Run<T> = JoinHandle<(T, Result<(), StageError>)>;

#[derive(Debug)]
struct Threads {
    sensor: JoinHandle<Result<(), StageError>>,
    isp: IspThread,
    sinks: Vec<Run<SinkRun>>,
}

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
        let mut sensor = Sensor::open(&config.sensor)?;
        let raw_format = match sensor.format() {
            Format::Raw(format) => format,
            format => return Err(StartError::NotRaw(format)),
        };
        if !config.period.is_zero() {
            sensor.set_frame_duration(config.period);
        }
        for sink in &sinks {
            takes(&**sink, config.format)?;
        }
        let (to_sensor, wanted) = bounded(DECISIONS);
        let feedback = match config.sensor.source {
            Source::Pattern(_) => None,
            Source::Scene(_) => {
                let calibration = raw_format.cfa().map(|_| Calibration::of_sensor()).transpose()?;
                let start = Controls::default();
                let ipa = Ipa::new(sensor.timing().into(), start, calibration);
                Some(Feedback::new(ipa, to_sensor))
            }
        };
        let (go, gone) = bounded(1);
        let start = IspStart {
            choice: config.isp.clone(),
            size: config.sensor.size,
            raw_format,
            params: params(&sensor, &config.sensor),
            feedback,
            format: config.format,
            strict: config.strict,
            by_cost: config.by_cost,
            knowledge: std::mem::take(&mut config.knowledge),
            stop: config.stop.clone(),
            heaps,
            sinks,
            go: gone,
        };
        let (thread, ready) = start_isp(start)?;
        let isp = IspThread { thread: Some(thread), go: Some(go) };
        Ok(Self { sensor, wanted, config, isp, ready })
    }

    /// Where each stream's buffers live, and why.
    pub fn plans(&self) -> &[StreamPlan] {
        &self.ready.plans
    }

    /// How frames will cross each link, unless a device changes its mind.
    pub fn links(&self) -> &[Link] {
        &self.ready.links
    }

    /// The ISP in full: renderer, driver and versions.
    pub fn isp_description(&self) -> &str {
        &self.ready.isp.description
    }

    /// Why it is this ISP, where another one was tried first.
    pub fn isp_reason(&self) -> Option<&str> {
        self.ready.isp.reason.as_deref()
    }

    /// Whether the links keep what [`Config::strict`] promises.
    pub fn check_strict(&self) -> Result<(), StageError> {
        if self.config.strict { forbid_copies(&self.ready.links) } else { Ok(()) }
    }

    /// Starts the threads.
    pub fn start(self) -> Result<Camera, StartError> {
        self.check_strict()?;
        let Self { sensor, wanted, config, isp: mut isp_thread, ready } = self;
        let stop = config.stop;
        let Ready { isp, sinks, raw_pool, output, knowledge, asked, .. } = ready;
        let raw = raw_pool.buffers()[0].clone();
        let (to_isp, raw_frames) = bounded(QUEUE);
        let (to_sinks, from_isp): (Vec<_>, Vec<_>) = sinks.iter().map(|_| bounded(QUEUE)).unzip();
        isp_thread.go(Go { raw: raw_frames, sinks: to_sinks });
        let names = sinks.iter().map(|sink| sink.name()).collect();
        let mut sink_threads = Vec::with_capacity(sinks.len());
        for (sink, frames) in sinks.into_iter().zip(from_isp) {
            let (strict, heap_allocs) = (config.strict, config.heap_allocs);
            let stage = SinkStage { sink, strict, stop: stop.clone(), frames, heap_allocs };
            sink_threads.push(spawn("sink", move || stage.run())?);
        }
        let stage = SensorStage {
            sensor,
            period: config.period,
            frames: config.frames,
            pool: raw_pool,
            stop: stop.clone(),
            next: to_isp,
            wanted,
        };
        let sensor = spawn("sensor", move || stage.run())?;
        let threads = Some(Threads { sensor, isp: isp_thread, sinks: sink_threads });
        Ok(Camera { threads, stop, isp, sinks: names, raw, output, knowledge, asked })
    }
}

impl Camera {
    /// Waits for the end of the run; says what it did, and what stopped it if it did not end well.
    pub fn wait(mut self) -> (Outcome, Result<(), StageError>) {
        match self.threads.take() {
            Some(threads) => self.join(threads),
            None => unreachable!("only `wait`, which consumes the camera, and `drop` take them"),
        }
    }

    fn join(&mut self, threads: Threads) -> (Outcome, Result<(), StageError>) {
        // The first stage that failed, in the order of the stages, is the one to tell of.
        let mut result = joined("sensor", threads.sensor).and_then(|result| result);
        let lost = |result: &Result<(), StageError>| {
            u64::from(result.as_ref().is_err_and(StageError::lost_a_frame))
        };
        let mut errors = lost(&result);
        let (isp, isp_result) = match threads.isp.join() {
            Ok(run) => run,
            Err(panic) => (IspRun::default(), Err(panic)),
        };
        errors += lost(&isp_result);
        result = result.and(isp_result);
        let raw_end = (self.isp.name.as_str(), &isp.raw_end);
        let mut links = vec![Link::join(("sensor", &sensor_end()), raw_end, &self.raw)];
        learn(&mut self.knowledge, &self.asked.raw, &isp.raw_end, &self.raw);
        learn(&mut self.knowledge, &self.asked.output, &isp.output_end, &self.output);
        let mut latency = LatencyMeter::new();
        let mut frames = Frames { completed: isp.completed, ..Frames::default() };
        let mut imports = isp.imports.per_frame();
        let mut heap_allocs = None;
        let ends = self.sinks.iter().zip(&self.asked.sinks).zip(threads.sinks);
        for ((name, asked), thread) in ends {
            let run = match joined(name, thread) {
                Ok((run, sink_result)) => {
                    errors += lost(&sink_result);
                    result = result.and(sink_result);
                    run
                }
                Err(panic) => {
                    result = result.and(Err(panic));
                    continue;
                }
            };
            let from = (self.isp.name.as_str(), &isp.output_end);
            links.push(Link::join(from, (name, &run.end), &self.output));
            learn(&mut self.knowledge, asked, &run.end, &self.output);
            frames.displayed = frames.displayed.max(run.counts.displayed);
            frames.dropped += run.counts.dropped;
            latency.add(&run.latency);
            imports = imports.zip(run.imports.per_frame()).map(|(a, b)| a + b);
            heap_allocs = run.heap_allocs.per_frame().or(heap_allocs);
        }
        if let Err(error) = self.knowledge.save() {
            tracing::warn!(error = chain(&error), "what was learned is not kept");
        }
        frames.errors = errors;
        let seconds = isp.elapsed.as_secs_f64();
        let fps = if seconds > 0.0 { (isp.completed - 1) as f64 / seconds } else { 0.0 };
        let steady = Steady {
            heap_allocs_per_frame: heap_allocs,
            imports_per_frame: imports,
            syscalls_per_frame: None,
        };
        (Outcome { frames, links, steady, latency: latency.summary(), fps }, result)
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

/// What the ISP does to every frame; exposure and white balance add to it.
fn params(sensor: &Sensor, settings: &Settings) -> IspParams {
    let params = IspParams { black_level: sensor.black_level(), ..IspParams::default() };
    match settings.source {
        // Its numbers are to be seen as they are.
        Source::Pattern(_) => params,
        Source::Scene(_) => {
            IspParams { defects: Some(DEFECTS), shading: settings.lens.shading(), ..params }
        }
    }
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

impl Drop for Camera {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            self.stop.stop();
            if let (_, Err(error)) = self.join(threads) {
                tracing::error!("{error}");
            }
        }
    }
}

pub(crate) fn spawn<T: Send + 'static>(
    name: &'static str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StartError> {
    Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|source| StartError::Thread(name, source))
}

pub(crate) fn joined<T>(stage: &str, thread: JoinHandle<T>) -> Result<T, StageError> {
    thread.join().map_err(|payload| StageError::panic(stage, &*payload))
}
