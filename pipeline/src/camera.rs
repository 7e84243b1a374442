//! A camera that runs: its buffers, its threads, and their orderly end.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use vcam_allocator::{Alignment, AllocError, Dmabuf, Fourcc, Heap, Layout, LayoutError, Pool};
use vcam_isp_gpu::{Cfa, CpuIsp, EglError, GpuIsp, Isp, IspParams};
use vcam_sinks::{Frame, Sink};

use crate::links::Link;
use crate::sensor::{BLACK_LEVEL, Sensor, SizeError};
use crate::stages::{
    IspRun, IspStage, RawFrame, SensorStage, SinkRun, SinkStage, StageError, Stop, forbid_copy,
};
use crate::stats::{Frames, LatencyMeter, Outcome, Steady};

/// Raw buffers: one being filled, one waiting, one being rendered, and one to spare.
const RAW_BUFFERS: usize = 4;

/// Pictures that a sink keeps while it waits for the next: a display has one on the screen and one
/// on its way there.
const KEPT_BY_A_SINK: usize = 2;

/// Pictures beside those: one being rendered, and one waiting.
const PICTURES: usize = 2;

/// Frames that may wait between two stages.
const QUEUE: usize = 1;

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
    /// Width and height of the picture, in pixels.
    pub size: (u32, u32),
    /// Order of the sensor's colour filters.
    pub cfa: Cfa,
    /// Format of the pictures.
    pub format: Fourcc,
    /// Time from one frame to the next; zero for as fast as can be.
    pub period: Duration,
    /// How many frames to make; without a number, until [`StopHandle::stop`].
    pub frames: Option<u64>,
    /// Which ISP to use.
    pub isp: IspChoice,
    /// Whether a copy is an error.
    pub strict: bool,
    /// Counts the heap allocations of the process, for [`Steady::heap_allocs_per_frame`].
    pub heap_allocs: Option<fn() -> u64>,
}

/// Why a camera did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The sensor does not have this size.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// No buffer can hold such a picture.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The heap does not give the buffers.
    #[error("could not allocate the camera's buffers")]
    Alloc(#[from] AllocError),
    /// The GPU's ISP was asked for, and there is none.
    #[error("the GPU ISP does not start")]
    Isp(#[from] EglError),
    /// The kernel gives no thread.
    #[error("could not start the thread '{0}'")]
    Thread(&'static str, #[source] std::io::Error),
    /// A thread failed before the first frame.
    #[error(transparent)]
    Stage(#[from] StageError),
}

/// Ends a run from another thread; a clone ends the same run.
#[derive(Debug, Clone)]
pub struct StopHandle {
    flag: Arc<AtomicBool>,
    wake: Sender<()>,
}

impl StopHandle {
    /// Lets the sensor make no more frames; those that are on their way still arrive.
    pub fn stop(&self) {
        self.flag.store(true, Ordering::Relaxed);
        // Full means that the sensor is being woken already.
        let _ = self.wake.try_send(());
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
}

type Run<T> = JoinHandle<(T, Result<(), StageError>)>;

#[derive(Debug)]
struct Threads {
    sensor: JoinHandle<Result<(), StageError>>,
    isp: Run<IspRun>,
    sinks: Vec<Run<SinkRun>>,
}

/// Which ISP it became.
#[derive(Debug, Clone)]
struct IspInfo {
    name: String,
    description: String,
    reason: Option<String>,
}

impl Camera {
    /// Allocates the buffers, hands each to every device, and starts the threads.
    ///
    /// The buffers come from `heap`; the pictures go to each of `sinks`.
    pub fn start(
        config: Config,
        heap: &dyn Heap,
        mut sinks: Vec<Box<dyn Sink>>,
    ) -> Result<Self, StartError> {
        let (width, height) = config.size;
        let sensor = Sensor::new(width, height, config.cfa)?;
        let pool = |format, name, count| -> Result<Pool, StartError> {
            let layout = Layout::linear(format, width, height, Alignment::default())?;
            Ok(Pool::new(heap, &layout, name, count)?)
        };
        let pictures = PICTURES + KEPT_BY_A_SINK * sinks.len();
        let raw_pool = pool(Fourcc::R8, "sensor-raw", RAW_BUFFERS)?;
        let output_pool = Arc::new(pool(config.format, "isp-output", pictures)?);
        let raw = raw_pool.buffers()[0].clone();
        let output = output_pool.buffers()[0].clone();
        for sink in &mut sinks {
            sink.prepare(output_pool.buffers());
            if config.strict {
                forbid_copy("the link from the ISP to the sink", &sink.link_end())?;
            }
        }

        let (wake, woken) = bounded(1);
        let stop = StopHandle { flag: Arc::new(AtomicBool::new(false)), wake };
        let stopped = || Stop::new(stop.flag.clone(), woken.clone());
        let (to_isp, raw_frames) = bounded(QUEUE);
        let (to_sinks, from_isp): (Vec<_>, Vec<_>) = sinks.iter().map(|_| bounded(QUEUE)).unzip();

        // The ISP first: it is what may still fail, and then the sinks are dropped here and now.
        let (isp_thread, isp) = start_isp(IspStart {
            choice: config.isp,
            cfa: config.cfa,
            strict: config.strict,
            raw_buffers: raw_pool.buffers().to_vec(),
            pool: output_pool,
            stop: stopped(),
            raw: raw_frames,
            sinks: to_sinks,
        })?;
        let names = sinks.iter().map(|sink| sink.name()).collect();
        let mut sink_threads = Vec::with_capacity(sinks.len());
        for (sink, frames) in sinks.into_iter().zip(from_isp) {
            let (strict, heap_allocs) = (config.strict, config.heap_allocs);
            let stage = SinkStage { sink, strict, frames, heap_allocs };
            sink_threads.push(spawn("sink", move || stage.run())?);
        }
        let stage = SensorStage {
            sensor,
            period: config.period,
            frames: config.frames,
            pool: raw_pool,
            stop: stopped(),
            next: to_isp,
        };
        let sensor = spawn("sensor", move || stage.run())?;
        let threads = Some(Threads { sensor, isp: isp_thread, sinks: sink_threads });
        Ok(Self { threads, stop, isp, sinks: names, raw, output })
    }

    /// What ends the run early.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// The ISP in full: renderer, driver and versions.
    pub fn isp_description(&self) -> &str {
        &self.isp.description
    }

    /// Why it is this ISP, where another one was tried first.
    pub fn isp_reason(&self) -> Option<&str> {
        self.isp.reason.as_deref()
    }

    /// Waits for the end of the run; says what it did, and what stopped it if it did not end well.
    pub fn wait(mut self) -> (Outcome, Result<(), StageError>) {
        match self.threads.take() {
            Some(threads) => self.join(threads),
            None => unreachable!("only `wait`, which consumes the camera, and `drop` take them"),
        }
    }

    fn join(&self, threads: Threads) -> (Outcome, Result<(), StageError>) {
        // The first stage that failed, in the order of the stages, is the one to tell of.
        let mut result = joined("sensor", threads.sensor).and_then(|result| result);
        let (isp, isp_result) = match joined("isp", threads.isp) {
            Ok(run) => run,
            Err(panic) => (IspRun::default(), Err(panic)),
        };
        result = result.and(isp_result);
        let raw_end = (self.isp.name.as_str(), &isp.raw_end);
        let sensor_end = vcam_allocator::LinkEnd::native("the CPU writes it in place");
        let mut links = vec![Link::join(("sensor", &sensor_end), raw_end, &self.raw)];
        let mut latency = LatencyMeter::new();
        let mut frames = Frames { completed: isp.completed, ..Frames::default() };
        let mut imports = isp.imports.per_frame();
        let mut heap_allocs = None;
        for (name, thread) in self.sinks.iter().zip(threads.sinks) {
            let run = match joined(name, thread) {
                Ok((run, sink_result)) => {
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
            frames.displayed = frames.displayed.max(run.counts.displayed);
            frames.dropped += run.counts.dropped;
            latency.add(&run.latency);
            imports = imports.zip(run.imports.per_frame()).map(|(a, b)| a + b);
            heap_allocs = run.heap_allocs.per_frame().or(heap_allocs);
        }
        frames.errors = u64::from(result.is_err());
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

fn spawn<T: Send + 'static>(
    name: &'static str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, StartError> {
    Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|source| StartError::Thread(name, source))
}

fn joined<T>(stage: &str, thread: JoinHandle<T>) -> Result<T, StageError> {
    thread.join().map_err(|payload| StageError::panic(stage, &*payload))
}

/// What the ISP's thread starts with.
struct IspStart {
    choice: IspChoice,
    cfa: Cfa,
    strict: bool,
    raw_buffers: Vec<Dmabuf>,
    pool: Arc<Pool>,
    stop: Stop,
    raw: Receiver<RawFrame>,
    sinks: Vec<Sender<Frame>>,
}

/// Starts the ISP's thread and waits until the ISP has seen every buffer.
///
/// The ISP is made on its thread, because its EGL context belongs to the thread that made it.
fn start_isp(start: IspStart) -> Result<(Run<IspRun>, IspInfo), StartError> {
    let (started, start_result) = bounded(1);
    let thread = spawn("isp", move || match start.prepare() {
        Ok((stage, info)) => {
            let _ = started.send(Ok(info));
            stage.run()
        }
        Err(error) => {
            let _ = started.send(Err(error));
            (IspRun::default(), Ok(()))
        }
    })?;
    match start_result.recv() {
        Ok(result) => Ok((thread, result?)),
        // Closed without an answer: the thread panicked.
        Err(_) => match joined("isp", thread) {
            Ok((_, result)) => Err(result.err().map_or_else(
                || StartError::Thread("isp", std::io::ErrorKind::BrokenPipe.into()),
                StartError::Stage,
            )),
            Err(panic) => Err(panic.into()),
        },
    }
}

impl IspStart {
    fn prepare(self) -> Result<(IspStage, IspInfo), StartError> {
        let (mut isp, info) = make_isp(&self.choice)?;
        isp.prepare(&self.raw_buffers, self.pool.buffers());
        if self.strict {
            forbid_copy("the link from the sensor to the ISP", &isp.raw_end())?;
            forbid_copy("the link from the ISP to the sink", &isp.output_end())?;
        }
        let params = IspParams {
            black_level: f32::from(BLACK_LEVEL) / f32::from(u8::MAX),
            ..IspParams::default()
        };
        let Self { cfa, strict, pool, stop, raw, sinks, .. } = self;
        Ok((IspStage { isp, cfa, params, strict, pool, stop, raw, sinks }, info))
    }
}

fn make_isp(choice: &IspChoice) -> Result<(Box<dyn Isp>, IspInfo), EglError> {
    let info =
        |isp: &dyn Isp, reason| IspInfo { name: isp.name(), description: isp.describe(), reason };
    let cpu = |reason: Option<String>| {
        let isp = CpuIsp;
        let info = info(&isp, reason);
        (Box::new(isp) as Box<dyn Isp>, info)
    };
    let gpu = |node: Option<&std::path::Path>| {
        let isp = GpuIsp::new(node)?;
        let info = info(&isp, None);
        Ok((Box::new(isp) as Box<dyn Isp>, info))
    };
    match choice {
        IspChoice::Cpu => Ok(cpu(None)),
        IspChoice::Gpu(node) => gpu(node.as_deref()),
        IspChoice::Auto => Ok(gpu(None).unwrap_or_else(|error: EglError| {
            cpu(Some(format!("there is no GPU ISP: {}", chain(&error))))
        })),
    }
}

/// An error and all that led to it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
