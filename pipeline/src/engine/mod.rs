//! What runs a camera: the sensor's thread and the ISP's, joined by a channel of one place.
//!
//! ```text
//! orders ─▶ sensor ──shots──▶ ISP ──▶ whoever takes finished frames
//!             ▲                │
//!             └── exposure ◀───┘
//! ```
//!
//! An [`Engine`] has a sensor, an ISP (unless the sensor sends pictures) and the buffers between and
//! behind them. It is started with [`Orders`](orders::Orders), and with somebody to
//! [`Deliver`](shot::Deliver) to. A run for sinks and a camera for an application differ in these two
//! and in nothing else.

pub(crate) mod cheaper;
pub(crate) mod choice;
pub(crate) mod error;
pub(crate) mod feedback;
pub(crate) mod handover;
pub(crate) mod isp;
pub(crate) mod orders;
pub(crate) mod pause;
pub(crate) mod planning;
pub(crate) mod prepare;
pub(crate) mod sensor;
pub(crate) mod shot;
pub(crate) mod stop;
pub(crate) mod thread;
pub(crate) mod wait;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::bounded;
use vcam_allocator::{ColourSpace, Dmabuf, Fourcc, Heap, Knowledge, Pool};
use vcam_isp_gpu::{Defects, EglError, IspParams, RawFormat, View};

use crate::controls::ControlError;
use crate::error::chain;
use crate::ipa::{Calibration, CalibrationError, Ipa};
use crate::sensor::delay::Controls;
use crate::sensor::format::Format;
use crate::sensor::{Sensor, Settings, SettingsError, Source};

use choice::{IspChoice, IspInfo, OwnIspError, Task};
use error::StageError;
use feedback::Feedback;
use isp::{IspRun, IspStage, pass_on};
use orders::Orders;
use pause::PauseHandle;
use planning::PlanError;
use prepare::{Consumer, OutputWish, Ready, Wish};
use sensor::{SensorRun, SensorStage};
use shot::Deliver;
use stop::StopHandle;
use thread::{Answer, IspThread, joined, spawn};

/// Who fills the first buffers, as reports name it.
pub(crate) const SENSOR: &str = "sensor";

/// Decisions about exposure that may wait for the sensor.
const DECISIONS: usize = 4;

/// Pixels that stick out by more than noise ever does.
const DEFECTS: Defects = Defects { threshold: 0.1 };

/// Why a camera did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no such sensor.
    #[error(transparent)]
    Sensor(#[from] SettingsError),
    /// The sensor sends pictures, and sends them as they are.
    #[error("the sensor sends pictures in {sends} of {}x{}, and there is no ISP to make others",
        size.0, size.1)]
    NoIsp {
        /// What it sends.
        sends: Format,
        /// Width and height in pixels.
        size: (u32, u32),
    },
    /// A sink wants raw frames.
    #[error("{sink} takes raw frames, and the sensor sends pictures")]
    NoRaw {
        /// The sink.
        sink: String,
    },
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
    /// A control is not taken.
    #[error(transparent)]
    Control(Box<ControlError>),
    /// The camera does not know its colours.
    #[error("the camera cannot be calibrated")]
    Calibration(#[from] CalibrationError),
    /// There are no buffers.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The GPU's ISP was asked for, and there is none.
    #[error("the GPU ISP does not start")]
    Isp(#[from] EglError),
    /// The application's own ISP is not made.
    #[error("the application's ISP does not start")]
    OwnIsp(#[source] OwnIspError),
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

impl From<ControlError> for StartError {
    fn from(error: ControlError) -> Self {
        Self::Control(Box::new(error))
    }
}

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
pub(crate) struct Parts {
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
    pub(crate) fn new(parts: Parts, knowledge: &mut Knowledge) -> Result<Self, StartError> {
        let Parts { settings, mut outputs, raw_at_least, choice, heaps, strict, by_cost } = parts;
        for OutputStream { format, size, view, .. } in &mut outputs {
            view.colour_space.get_or_insert_with(|| ColourSpace::of(*format, *size));
        }
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
                        && output.view.colour_space == Some(settings.colour_space())
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

    /// How the pictures of each output stand for colours.
    pub(crate) fn colour_spaces(&self) -> impl Iterator<Item = ColourSpace> {
        let of = |output: &OutputStream| ColourSpace::of(output.format, output.size);
        self.outputs
            .iter()
            .map(move |output| output.view.colour_space.unwrap_or_else(|| of(output)))
    }

    pub(crate) fn isp(&self) -> Option<&IspInfo> {
        self.isp.as_ref().map(|(_, info)| info)
    }

    /// Plans where each stream's buffers live, allocates them, and hands each to every device. What
    /// is learned on the way is kept, whatever comes of it.
    pub(crate) fn plan<C: Consumer + 'static>(
        &mut self,
        consumers: Vec<(Slot, C)>,
        knowledge: &mut Knowledge,
    ) -> Result<Ready<C>, StartError> {
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
        deliver: impl Deliver + 'static,
    ) -> Result<Running, StartError> {
        let Streaming { period, orders, raw, outputs, stop, pause } = streaming;
        let mut sensor = match self.sensor.take() {
            Some(sensor) => sensor,
            // The thread that had it panicked.
            None => Sensor::open(&self.settings)?,
        };
        if !period.is_zero() {
            sensor.set_frame_duration(period);
        }
        let (next, shots) = handover::channel();
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
                        Feedback::new(ipa, timing, to_sensor)
                    }),
                    strict: self.strict,
                    pools: outputs,
                    stop: stop.clone(),
                    shots,
                    deliver,
                };
                End::Isp(thread.begin(move |isp| stage.run(isp)))
            }
            None => {
                let stop = stop.clone();
                End::Thread(spawn("pictures", move || pass_on(&shots, deliver, stop))?)
            }
        };
        let stage = SensorStage { sensor, period, orders, pool, stop, pause, next, wanted };
        let sensor = spawn(SENSOR, move || stage.run())?;
        Ok(Running { sensor, end })
    }

    /// Waits for the threads' end.
    pub(crate) fn join(&mut self, running: Running) -> Ended {
        let Running { sensor, end } = running;
        // The last of them first: by the time that this goes on, no frame is on its way any more.
        let ended = match (end, &mut self.isp) {
            (End::Isp(answer), Some((thread, _))) => thread.wait(answer),
            (End::Thread(thread), _) => joined("pictures", thread),
            (End::Isp(_), None) => unreachable!("the thread that was asked is there"),
        };
        let (isp, isp_result) = ended.unwrap_or_else(|panic| (IspRun::default(), Err(panic)));
        let (orders, mut machinery, mut result) = match joined(SENSOR, sensor) {
            Ok((SensorRun { sensor, orders, machinery }, result)) => {
                self.sensor = Some(sensor);
                (Some(orders), machinery, result)
            }
            Err(panic) => (None, None, Err(panic)),
        };
        let lost = [&result, &isp_result]
            .map(|result| u64::from(result.as_ref().is_err_and(StageError::lost_a_frame)));
        machinery = machinery.zip(isp.machinery).map(|(sensor, isp)| sensor + isp);
        // The first stage that failed, in the order of the stages, is the one to tell of.
        result = result.and(isp_result);
        Ended { orders, isp, machinery, errors: lost.iter().sum(), result }
    }

    fn sees_a_scene(&self) -> bool {
        matches!(self.settings.source, Source::Scene(_))
    }
}

/// A stream of the engine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Raw frames.
    Raw,
    /// Pictures, counted from 0.
    Output(usize),
}

/// What an engine is started with.
pub(crate) struct Streaming {
    /// From one frame to the next; zero for as fast as can be.
    pub(crate) period: Duration,
    pub(crate) orders: Orders,
    pub(crate) raw: Option<Arc<Pool>>,
    pub(crate) outputs: Vec<Arc<Pool>>,
    pub(crate) stop: StopHandle,
    pub(crate) pause: PauseHandle,
}

type IspResult = (IspRun, Result<(), StageError>);

/// Who is the last to have a frame.
#[derive(Debug)]
enum End {
    Isp(Answer<IspResult>),
    Thread(JoinHandle<IspResult>),
}

/// The threads of an engine that runs.
#[derive(Debug)]
pub(crate) struct Running {
    sensor: JoinHandle<(SensorRun, Result<(), StageError>)>,
    end: End,
}

/// What an engine did.
pub(crate) struct Ended {
    /// What was ordered and not made; none if the sensor's thread panicked.
    pub(crate) orders: Option<Orders>,
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
