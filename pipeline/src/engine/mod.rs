//! What runs a camera: the sensor's thread and the ISP's, joined by a channel of one place.
//!
//! ```text
//! requests ─▶ sensor ──frames──▶ ISP ──▶ whoever takes finished frames
//!             ▲                │
//!             └── exposure ◀───┘
//! ```
//!
//! An [`Engine`] has a sensor, an ISP (unless the sensor sends pictures) and the buffers between and
//! behind them. It is started with [`RequestQueue`](request_queue::RequestQueue), and with somebody to
//! [`FrameConsumer`](frame_context::FrameConsumer) to. A run for sinks and a camera for an application differ in these two
//! and in nothing else.

pub(crate) mod acquire;
pub(crate) mod error;
pub(crate) mod frame_channel;
pub(crate) mod frame_context;
pub(crate) mod import_cost;
pub(crate) mod ipa_loop;
pub(crate) mod isp_select;
pub(crate) mod isp_stage;
pub(crate) mod isp_thread;
pub(crate) mod negotiate;
pub(crate) mod pause;
pub(crate) mod request_queue;
pub(crate) mod sensor_stage;
pub(crate) mod stop;
pub(crate) mod stream_alloc;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::bounded;
use vcam_allocator::{Dmabuf, Fourcc, Heap, Knowledge, Pool};
use vcam_isp_gpu::{Defects, IspParams, RawFormat, View};

use crate::error::chain;
use crate::ipa::{Calibration, Ipa};
use crate::sensor::delay::Controls;
use crate::sensor::format::Format;
use crate::sensor::{Sensor, Settings, Source};
use crate::stream::Port;

use error::{StageError, StartError};
use frame_context::FrameConsumer;
use ipa_loop::IpaLoop;
use isp_select::{IspChoice, IspInfo, Task};
use isp_stage::{IspRun, IspStage, pass_on};
use isp_thread::{Answer, IspThread, joined, spawn};
use pause::PauseHandle;
use request_queue::RequestQueue;
use sensor_stage::{SensorRun, SensorStage};
use stop::StopHandle;
use stream_alloc::{Consumer, OutputWish, StreamAllocation, Wish};

/// Who fills the first buffers, as reports name it.
pub(crate) const SENSOR: &str = "sensor";

/// Decisions about exposure that may wait for the sensor.
const DECISIONS: usize = 4;

/// Pixels that stick out by more than noise ever does.
const DEFECTS: Defects = Defects { threshold: 0.1 };

/// A stream of pictures.
#[derive(Debug, Clone)]
pub(crate) struct OutputStream {
    pub(crate) format: Fourcc,
    pub(crate) size: (u32, u32),
    pub(crate) view: View,
    /// Buffers that somebody wants at least.
    pub(crate) at_least: u64,
}

/// What an engine is made of.
pub(crate) struct EngineConfig {
    pub(crate) settings: Settings,
    pub(crate) outputs: Vec<OutputStream>,
    /// Raw buffers that somebody wants at least.
    pub(crate) raw_at_least: u64,
    pub(crate) choice: IspChoice,
    pub(crate) heaps: Arc<[Box<dyn Heap>]>,
    pub(crate) strict: bool,
    pub(crate) by_cost: bool,
}

/// A sensor and an ISP, at rest.
#[derive(Debug)]
pub(crate) struct Engine {
    /// With the stage while it runs.
    sensor: Option<Sensor>,
    format: Format,
    settings: Settings,
    outputs: Vec<OutputStream>,
    raw_at_least: u64,
    params: IspParams,
    choice: IspChoice,
    heaps: Arc<[Box<dyn Heap>]>,
    strict: bool,
    by_cost: bool,
    /// None behind a sensor that sends pictures.
    isp: Option<(IspThread, IspInfo)>,
    calibration: Option<Calibration>,
}

impl Engine {
    pub(crate) fn new(parts: EngineConfig, knowledge: &mut Knowledge) -> Result<Self, StartError> {
        let EngineConfig { settings, outputs, raw_at_least, choice, heaps, strict, by_cost } =
            parts;
        let sensor = Sensor::open(&settings)?;
        let params = params(&sensor, &settings);
        let (isp, calibration) = match sensor.format() {
            Format::Raw(format) => {
                let calibration = match (&settings.source, format.cfa()) {
                    (Source::Scene(_), Some(_)) => Some(Calibration::of_sensor()?),
                    _ => None,
                };
                let wanted = Wanted { choice: &choice, format, size: settings.size, params };
                (Some(wanted.start(&outputs, &heaps, knowledge)?), calibration)
            }
            sends @ Format::Picture(picture) => {
                let as_sent = |output: &OutputStream| {
                    output.format == picture.fourcc()
                        && output.view.is_whole(settings.size, output.size)
                };
                if outputs.len() > 1 || !outputs.iter().all(as_sent) {
                    return Err(StartError::NoIsp { sends, size: settings.size });
                }
                (None, None)
            }
        };
        Ok(Self {
            format: sensor.format(),
            sensor: Some(sensor),
            settings,
            outputs,
            raw_at_least,
            params,
            choice,
            heaps,
            strict,
            by_cost,
            isp,
            calibration,
        })
    }

    pub(crate) fn isp(&self) -> Option<&IspInfo> {
        self.isp.as_ref().map(|(_, info)| info)
    }

    /// Plans where each stream's buffers live, allocates them, and hands each to every device. What
    /// is learned on the way is kept, whatever comes of it.
    pub(crate) fn plan<C: Consumer + 'static>(
        &mut self,
        consumers: Vec<(Port, C)>,
        knowledge: &mut Knowledge,
    ) -> Result<StreamAllocation<C>, StartError> {
        let raw = match self.format {
            Format::Raw(format) => Some((format, self.settings.size, self.raw_at_least)),
            Format::Picture(_) => None,
        };
        let outputs = self.outputs.iter().map(|output| {
            let OutputStream { format, size, at_least, .. } = *output;
            OutputWish { format, size, at_least }
        });
        let wish = Wish {
            raw,
            outputs: outputs.collect(),
            consumers,
            params: self.params,
            strict: self.strict,
            by_cost: self.by_cost,
            choice: self.choice.clone(),
        };
        let mut known = std::mem::take(knowledge);
        let heaps = self.heaps.clone();
        let (planned, learned) = match &mut self.isp {
            Some((thread, _)) => thread.call(move |isp| {
                let planned = wish.plan(Some(isp), &heaps, &mut known);
                (planned, known)
            })?,
            None => (wish.plan(None, &heaps, &mut known), known),
        };
        *knowledge = learned;
        save(knowledge);
        planned
    }

    /// Imports buffers that an application brings, or learns that they are refused.
    pub(crate) fn prepare(
        &mut self,
        raw: Vec<Dmabuf>,
        outputs: Vec<Dmabuf>,
    ) -> Result<(), StageError> {
        match &mut self.isp {
            Some((thread, _)) => thread.call(move |isp| isp.prepare(&raw, &outputs)),
            None => Ok(()),
        }
    }

    /// Starts the threads.
    pub(crate) fn start(
        &mut self,
        streaming: Streaming,
        consumer: impl FrameConsumer + 'static,
    ) -> Result<Running, StartError> {
        let Streaming { period, requests, raw, outputs, stop, pause } = streaming;
        let mut sensor = match self.sensor.take() {
            Some(sensor) => sensor,
            // The thread that had it panicked.
            None => Sensor::open(&self.settings)?,
        };
        if !period.is_zero() {
            sensor.set_frame_duration(period);
        }
        let (next, frames) = frame_channel::channel();
        let (to_sensor, wanted) = bounded(DECISIONS);
        let pool = match (&raw, outputs.first()) {
            (Some(raw), _) => raw.clone(),
            (None, Some(pictures)) => pictures.clone(),
            (None, None) => Arc::new(Pool::of(Vec::new())),
        };
        let end = match &self.isp {
            Some((thread, _)) => {
                let Format::Raw(format) = self.format else {
                    unreachable!("an ISP is only made for a sensor that sends raw frames")
                };
                let timing = *sensor.timing();
                let stage = IspStage {
                    format,
                    size: self.settings.size,
                    views: self.outputs.iter().map(|output| output.view).collect(),
                    params: self.params,
                    feedback: self.sees_a_scene().then(|| {
                        let start = Controls::default();
                        let ipa = Ipa::new((&timing).into(), start, self.calibration.clone());
                        IpaLoop::new(ipa, timing, to_sensor)
                    }),
                    strict: self.strict,
                    pools: outputs,
                    stop: stop.clone(),
                    frames,
                    consumer,
                };
                LastStage::Isp(thread.begin(move |isp| stage.run(isp)))
            }
            None => {
                let stop = stop.clone();
                LastStage::Thread(spawn("pictures", move || pass_on(&frames, consumer, stop))?)
            }
        };
        let stage = SensorStage { sensor, period, requests, pool, stop, pause, next, wanted };
        let sensor = spawn(SENSOR, move || stage.run())?;
        Ok(Running { sensor, end })
    }

    /// Waits for the threads' end.
    pub(crate) fn join(&mut self, running: Running) -> EngineStats {
        let Running { sensor, end } = running;
        // The last of them first: by the time that this goes on, no frame is on its way any more.
        let ended = match (end, &mut self.isp) {
            (LastStage::Isp(answer), Some((thread, _))) => thread.wait(answer),
            (LastStage::Thread(thread), _) => joined("pictures", thread),
            (LastStage::Isp(_), None) => unreachable!("the thread that was asked is there"),
        };
        let (isp, isp_result) = ended.unwrap_or_else(|panic| (IspRun::default(), Err(panic)));
        let (requests, mut machinery, mut result) = match joined(SENSOR, sensor) {
            Ok((SensorRun { sensor, requests, machinery }, result)) => {
                self.sensor = Some(sensor);
                (Some(requests), machinery, result)
            }
            Err(panic) => (None, None, Err(panic)),
        };
        let lost = [&result, &isp_result]
            .map(|result| u64::from(result.as_ref().is_err_and(StageError::lost_a_frame)));
        machinery = machinery.zip(isp.machinery).map(|(sensor, isp)| sensor + isp);
        // The first stage that failed, in the order of the stages, is the one to tell of.
        result = result.and(isp_result);
        EngineStats { requests, isp, machinery, errors: lost.iter().sum(), result }
    }

    fn sees_a_scene(&self) -> bool {
        matches!(self.settings.source, Source::Scene(_))
    }
}

/// What an engine is started with.
pub(crate) struct Streaming {
    /// From one frame to the next; zero for as fast as can be.
    pub(crate) period: Duration,
    pub(crate) requests: RequestQueue,
    pub(crate) raw: Option<Arc<Pool>>,
    pub(crate) outputs: Vec<Arc<Pool>>,
    pub(crate) stop: StopHandle,
    pub(crate) pause: PauseHandle,
}

type IspResult = (IspRun, Result<(), StageError>);

/// Who is the last to have a frame.
#[derive(Debug)]
enum LastStage {
    Isp(Answer<IspResult>),
    Thread(JoinHandle<IspResult>),
}

/// The threads of an engine that runs.
#[derive(Debug)]
pub(crate) struct Running {
    sensor: JoinHandle<(SensorRun, Result<(), StageError>)>,
    end: LastStage,
}

/// What an engine did.
pub(crate) struct EngineStats {
    /// What was ordered and not made; none if the sensor's thread panicked.
    pub(crate) requests: Option<RequestQueue>,
    pub(crate) isp: IspRun,
    /// What its threads cost beside their work, in microseconds a frame.
    pub(crate) machinery: Option<f64>,
    /// Frames that were lost to an error.
    pub(crate) errors: u64,
    pub(crate) result: Result<(), StageError>,
}

/// The ISP that is wanted.
struct Wanted<'a> {
    choice: &'a IspChoice,
    format: RawFormat,
    /// Of a raw frame.
    size: (u32, u32),
    params: IspParams,
}

impl Wanted<'_> {
    /// Makes it, on a thread of its own.
    fn start(
        self,
        outputs: &[OutputStream],
        heaps: &Arc<[Box<dyn Heap>]>,
        knowledge: &mut Knowledge,
    ) -> Result<(IspThread, IspInfo), StartError> {
        let Self { choice, format, size, params } = self;
        let output = outputs.first().map(|output| output.format);
        let longest = outputs.iter().map(|output| output.size.0.max(output.size.1)).max();
        let longest = longest.unwrap_or_default();
        let (choice, heaps) = (choice.clone(), heaps.clone());
        let mut known = std::mem::take(knowledge);
        let made = IspThread::start(move || {
            let task = Task { format, size, output, longest, params: &params, heaps: &heaps };
            let (isp, info) = choice.make(&task, &mut known)?;
            Ok((isp, (info, known)))
        });
        let (thread, (info, learned)) = made?;
        *knowledge = learned;
        Ok((thread, info))
    }
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

/// Keeps what was learned.
pub(crate) fn save(knowledge: &mut Knowledge) {
    if let Err(error) = knowledge.save() {
        tracing::warn!(error = chain(&error), "what was learned is not kept");
    }
}
