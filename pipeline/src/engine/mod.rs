//! The threads that make frames: the sensor's and the ISP's, joined by a channel of one place.
//!
//! ```text
//! requests ─▶ sensor stage ──frames──▶ ISP stage ──▶ frame consumer
//!                  ▲                      │
//!                  └────── exposure ◀─────┘
//! ```
//!
//! An [`Engine`] has a sensor, an ISP (unless the sensor sends pictures) and the buffers between
//! and behind them, as its [`EngineConfig`] says. It is started with a
//! [`RequestQueue`](request_queue::RequestQueue) and a [`FrameConsumer`]. A run for sinks and a
//! camera for an application differ in these two and in nothing else.
//!
//! # From the configuration to the first frame
//!
//! 1. [`Engine::new`] opens the sensor and makes the ISP ([`isp_select`]) on its thread
//!    ([`isp_thread`]).
//! 2. [`Engine::allocate`] has [`stream_alloc`] find buffers for each stream: [`negotiate`] plans
//!    and proves a heap on all devices, [`import_cost`] measures whether a copy would be cheaper.
//! 3. [`Engine::start`] starts the [`sensor_stage`] and the [`isp_stage`]. The [`ipa_loop`] takes
//!    statistics back to the sensor.
//!
//! # How frames end
//!
//! In two ways, of which the first leads to the second:
//!
//! - **Stop**, against the stream: [`StopHandle::stop`] has the sensor make no more frames. The
//!   user calls it, and so does a stage that ends, well or with an error or by a panic: its
//!   [`Receiver`](frame_channel::Receiver) does so when it is dropped.
//! - **End of frames**, with the stream: a stage that ends drops its
//!   [`Sender`](frame_channel::Sender). The next one takes what was sent before, finishes it, and
//!   ends.
//!
//! The sensor ends when it is stopped or has made all frames; all other stages end after it. Why a
//! stage ended early is what [`Engine::join`] returns.

pub(crate) mod acquire;
mod copy_check;
pub(crate) mod error;
pub(crate) mod frame_channel;
pub(crate) mod frame_context;
pub(crate) mod hint;
pub(crate) mod import_cost;
pub(crate) mod ipa_loop;
pub(crate) mod isp_select;
pub(crate) mod isp_stage;
pub(crate) mod isp_thread;
pub(crate) mod negotiate;
pub(crate) mod pause;
pub(crate) mod policy;
pub(crate) mod request_queue;
pub(crate) mod sensor_stage;
pub(crate) mod stop;
pub(crate) mod stream_alloc;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::bounded;
use vcam_allocator::{Dmabuf, Heap, Knowledge, Pool};
use vcam_isp_gpu::{Defects, IspParams, RawFormat};

use crate::error::chain;
use crate::ipa::{Calibration, Ipa};
use crate::sensor::delay::Controls;
use crate::sensor::format::Format;
use crate::sensor::{Sensor, Settings, Source};
use crate::stream::{Port, StreamSpec};

use error::{StageError, StartError};
use frame_context::FrameConsumer;
use ipa_loop::IpaLoop;
use isp_select::{IspChoice, IspInfo};
use isp_stage::{IspRun, IspStage, pass_on};
use isp_thread::{Answer, IspThread, joined, spawn};
use pause::PauseHandle;
use policy::{CopyPolicy, HeapOrder};
use request_queue::RequestQueue;
use sensor_stage::{SensorRun, SensorStage};
use stop::StopHandle;
use stream_alloc::{Consumer, StreamAllocation};

/// The sensor's name in reports.
pub(crate) const SENSOR: &str = "sensor";

/// Decisions about exposure that may wait for the sensor.
const DECISIONS: usize = 4;

/// Pixels that stick out by more than noise ever does.
const DEFECTS: Defects = Defects { threshold: 0.1 };

/// All that an engine is made of. It does not change, and everything below reads it by reference.
#[derive(Debug)]
pub(crate) struct EngineConfig {
    pub(crate) sensor: Settings,
    /// Raw frames, between sensor and ISP; none of a sensor that sends pictures.
    pub(crate) raw: Option<StreamSpec>,
    /// Pictures: the ISP's, or those that the sensor sends.
    pub(crate) outputs: Vec<StreamSpec>,
    pub(crate) isp: IspChoice,
    /// In the order of preference.
    pub(crate) heaps: Arc<[Box<dyn Heap>]>,
    pub(crate) heap_order: HeapOrder,
    pub(crate) copies: CopyPolicy,
}

impl EngineConfig {
    /// The format of raw frames; none of a sensor that sends pictures.
    pub(crate) fn raw_format(&self) -> Option<RawFormat> {
        match self.sensor.format {
            Format::Raw(format) => Some(format),
            Format::Picture(_) => None,
        }
    }

    /// Whether the sensor sends the streams as they are.
    fn check_sent(&self) -> Result<(), StartError> {
        let Settings { format: sends, size, .. } = self.sensor;
        let Format::Picture(picture) = sends else { return Ok(()) };
        let as_sent = |output: &StreamSpec| {
            output.format == picture.fourcc()
                && output.view.is_whole(size.into(), output.size.into())
                && output.colour_space() == self.sensor.colour_space()
        };
        match self.outputs.len() <= 1 && self.outputs.iter().all(as_sent) {
            true => Ok(()),
            false => Err(StartError::NoIsp { sends, size }),
        }
    }
}

/// A sensor and an ISP, at rest.
#[derive(Debug)]
pub(crate) struct Engine {
    config: Arc<EngineConfig>,
    /// With the stage while it runs.
    sensor: Option<Sensor>,
    params: IspParams,
    /// None behind a sensor that sends pictures.
    isp: Option<(IspThread, IspInfo)>,
    calibration: Option<Calibration>,
}

impl Engine {
    /// Opens the sensor, and makes the ISP on a thread of its own.
    pub(crate) fn new(config: EngineConfig, knowledge: &mut Knowledge) -> Result<Self, StartError> {
        let sensor = Sensor::open(&config.sensor)?;
        config.check_sent()?;
        let params = params(&sensor, &config.sensor);
        let config = Arc::new(config);
        let (mut isp, mut calibration) = (None, None);
        if let Some(format) = config.raw_format() {
            if let (Source::Scene(_), Some(_)) = (&config.sensor.source, format.cfa()) {
                calibration = Some(Calibration::of_sensor()?);
            }
            isp = Some(make_isp(&config, params, knowledge)?);
        }
        Ok(Self { config, sensor: Some(sensor), params, isp, calibration })
    }

    pub(crate) fn config(&self) -> &EngineConfig {
        &self.config
    }

    pub(crate) fn isp(&self) -> Option<&IspInfo> {
        self.isp.as_ref().map(|(_, info)| info)
    }

    /// Allocates each stream's buffers where a plan that holds says, and hands each buffer to every
    /// device. What is learned on the way is kept, even if this fails.
    pub(crate) fn allocate<C: Consumer + 'static>(
        &mut self,
        consumers: Vec<(Port, C)>,
        knowledge: &mut Knowledge,
    ) -> Result<StreamAllocation<C>, StartError> {
        let (config, params) = (self.config.clone(), self.params);
        let mut known = std::mem::take(knowledge);
        let (allocated, learned) = match &mut self.isp {
            Some((thread, _)) => thread.call(move |isp| {
                let isp = Some(isp);
                let allocated =
                    stream_alloc::allocate(&config, &params, consumers, isp, &mut known);
                (allocated, known)
            })?,
            None => {
                let allocated =
                    stream_alloc::allocate(&config, &params, consumers, None, &mut known);
                (allocated, known)
            }
        };
        *knowledge = learned;
        save(knowledge);
        allocated
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
            None => Sensor::open(&self.config.sensor)?,
        };
        if !period.is_zero() {
            sensor.set_frame_duration(period);
        }
        let (next, frames) = frame_channel::channel(&stop);
        let (to_sensor, wanted) = bounded(DECISIONS);
        let pool = match (&raw, outputs.first()) {
            (Some(raw), _) => raw.clone(),
            (None, Some(pictures)) => pictures.clone(),
            (None, None) => Arc::new(Pool::of(Vec::new())),
        };
        let last = match (&self.isp, self.config.raw_format()) {
            (Some((thread, _)), Some(format)) => {
                let timing = *sensor.timing();
                let stage = IspStage {
                    config: self.config.clone(),
                    format,
                    params: self.params,
                    ipa: self.sees_a_scene().then(|| {
                        let start = Controls::default();
                        let ipa = Ipa::new((&timing).into(), start, self.calibration.clone());
                        IpaLoop::new(ipa, timing, to_sensor)
                    }),
                    pools: outputs,
                    stop: stop.clone(),
                    frames,
                    consumer,
                };
                LastStage::Isp(thread.begin(move |isp| stage.run(isp)))
            }
            _ => LastStage::Thread(spawn("pictures", move || pass_on(frames, consumer))?),
        };
        let stage = SensorStage { sensor, period, requests, pool, stop, pause, next, wanted };
        let sensor = spawn(SENSOR, move || stage.run())?;
        Ok(Running { sensor, last })
    }

    /// Waits for the threads' end.
    pub(crate) fn join(&mut self, running: Running) -> EngineStats {
        let Running { sensor, last } = running;
        // The last of them first: by the time that this goes on, no frame is on its way any more.
        let ended = match (last, &mut self.isp) {
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
        // The first stage that failed, in the order of the stages, is the one to report.
        result = result.and(isp_result);
        EngineStats { requests, isp, machinery, errors: lost.iter().sum(), result }
    }

    fn sees_a_scene(&self) -> bool {
        matches!(self.config.sensor.source, Source::Scene(_))
    }
}

/// All that an engine is started with.
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

/// The last stage of the engine: where its result is collected at the end.
#[derive(Debug)]
enum LastStage {
    Isp(Answer<IspResult>),
    Thread(JoinHandle<IspResult>),
}

/// The threads of an engine that runs.
#[derive(Debug)]
pub(crate) struct Running {
    sensor: JoinHandle<(SensorRun, Result<(), StageError>)>,
    last: LastStage,
}

/// The result of an engine's run.
pub(crate) struct EngineStats {
    /// Requests that were not fulfilled; none if the sensor's thread panicked.
    pub(crate) requests: Option<RequestQueue>,
    pub(crate) isp: IspRun,
    /// The cost of its threads besides their work, in microseconds a frame.
    pub(crate) machinery: Option<f64>,
    /// Frames that were lost to an error.
    pub(crate) errors: u64,
    pub(crate) result: Result<(), StageError>,
}

/// Makes the ISP on a thread of its own.
fn make_isp(
    config: &Arc<EngineConfig>,
    params: IspParams,
    knowledge: &mut Knowledge,
) -> Result<(IspThread, IspInfo), StartError> {
    let config = config.clone();
    let mut known = std::mem::take(knowledge);
    let (thread, (info, learned)) = IspThread::start(move || {
        let (isp, info) = isp_select::make(&config, &params, &mut known)?;
        Ok((isp, (info, known)))
    })?;
    *knowledge = learned;
    Ok((thread, info))
}

/// The parameters of every frame; exposure and white balance add to them.
fn params(sensor: &Sensor, settings: &Settings) -> IspParams {
    let params = IspParams { black_level: sensor.black_level(), ..IspParams::default() };
    match settings.source {
        // Its numbers are to be seen as they are.
        Source::Pattern(_) => params,
        Source::Scene(_) => {
            IspParams { defects: Some(DEFECTS), shading: settings.lens().shading(), ..params }
        }
    }
}

/// Keeps what was learned.
pub(crate) fn save(knowledge: &mut Knowledge) {
    if let Err(error) = knowledge.save() {
        tracing::warn!(error = chain(&error), "what was learned is not kept");
    }
}
