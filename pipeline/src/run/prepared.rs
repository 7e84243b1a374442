//! A run before its first frame.

use std::collections::BTreeSet;
use std::sync::Arc;

use vcam_allocator::constraints::{Alternative, Rule};
use vcam_allocator::{ColourSpace, Fourcc, Heap, Pool};
use vcam_sinks::{Sink, Stream};

use super::config::Config;
use super::progress::Progress;
use super::running::Run;
use super::sink::{SinkStage, ToSinks};
use crate::controls::{FrameControls, infos};
use crate::engine::error::{StageError, StartError};
use crate::engine::frame_channel;
use crate::engine::hint::Hint;
use crate::engine::isp_thread::{joined, spawn};
use crate::engine::negotiate::StreamPlan;
use crate::engine::request_queue::RequestQueue;
use crate::engine::stream_alloc::StreamAllocation;
use crate::engine::{Engine, EngineConfig, Streaming};
use crate::links::Link;
use crate::sensor::format::Format;
use crate::sensor::timing::Timing;
use crate::stream::{Port, StreamSpec};

/// A run whose buffers are allocated and have been handed to every device.
///
/// Dropping it gives everything back; nothing was shown yet.
#[derive(Debug)]
pub struct Prepared {
    // The sinks' devices go before the buffers do.
    allocated: StreamAllocation<Box<dyn Sink>>,
    engine: Engine,
    config: Config,
}

impl Prepared {
    /// Plans where each stream's buffers live, allocates them, and hands each to every device.
    ///
    /// `heaps` are tried in their order; the pictures go to each of `sinks`. The plan is proven:
    /// see [`Prepared::plans`] and [`Prepared::links`].
    pub fn new(
        mut config: Config,
        heaps: Vec<Box<dyn Heap>>,
        sinks: Vec<Box<dyn Sink>>,
    ) -> Result<Self, StartError> {
        let sensor = &config.sensor;
        for sink in &sinks {
            match (sink.stream(), sensor.format) {
                (Stream::Raw, Format::Raw(_)) => {}
                (Stream::Raw, Format::Picture(_)) => {
                    return Err(StartError::NoRaw { sink: sink.name() });
                }
                (Stream::Picture, _) => takes(&**sink, config.format)?,
            }
        }
        let timing = Timing::new(sensor.size.width, sensor.size.height);
        config.controls.check(&infos(sensor.size, &timing, sensor.format))?;
        let mut outputs = Vec::new();
        // Where no sink wants pictures, frames are only measured.
        if sinks.iter().any(|sink| sink.stream() == Stream::Picture) {
            outputs.push(StreamSpec {
                port: Port::Output(0),
                format: config.format,
                size: config.view.orientation.size(sensor.size.into()).into(),
                view: config.view,
                min_buffers: 0,
            });
        }
        let engine = EngineConfig {
            sensor: sensor.clone(),
            raw: StreamSpec::raw(sensor, 0),
            outputs,
            isp: config.isp.clone(),
            heaps: heaps.into(),
            heap_order: config.heap_order,
            copies: config.copies,
        };
        let mut engine = Engine::new(engine, &mut config.knowledge)?;
        let port = |sink: &dyn Sink| match sink.stream() {
            Stream::Picture => Port::Output(0),
            Stream::Raw => Port::Raw,
        };
        let sinks = sinks.into_iter().map(|sink| (port(&*sink), sink)).collect();
        let allocated = engine.allocate(sinks, &mut config.knowledge)?;
        Ok(Self { allocated, engine, config })
    }

    /// Where each stream's buffers live, and why.
    pub fn plans(&self) -> &[StreamPlan] {
        &self.allocated.plans
    }

    /// How the pictures stand for colours; `None` where no sink takes pictures.
    pub fn colour_space(&self) -> Option<ColourSpace> {
        self.engine.config().outputs.first().map(StreamSpec::colour_space)
    }

    /// How frames will cross each link, unless a device changes its mind.
    pub fn links(&self) -> &[Link] {
        &self.allocated.links
    }

    /// Hints for the user.
    pub fn hints(&self) -> impl Iterator<Item = &Hint> {
        let isp = self.engine.isp().and_then(|isp| isp.hint.as_ref());
        isp.into_iter().chain(&self.allocated.hints)
    }

    /// The ISP in full: renderer, driver and versions; none behind a sensor that sends pictures.
    pub fn isp_description(&self) -> Option<&str> {
        self.engine.isp().map(|isp| &*isp.description)
    }

    /// Why it is this ISP, where there was a choice.
    pub fn isp_reason(&self) -> Option<&str> {
        self.engine.isp()?.reason.as_deref()
    }

    /// Checks the links against [`Config::copies`]; [`Prepared::start`] does so, too.
    pub fn check_copies(&self) -> Result<(), StageError> {
        self.config.copies.check_links(&self.allocated.links)
    }

    /// Starts the threads.
    pub fn start(self) -> Result<Run, StartError> {
        self.check_copies()?;
        let colour_space = self.colour_space().unwrap_or(ColourSpace::RAW);
        let Self { allocated, mut engine, config } = self;
        let StreamAllocation { raw, outputs, consumers, asked, .. } = allocated;
        let mut controls = FrameControls::default();
        controls.apply(&config.controls);
        let stop = config.stop;
        let first = |pool: &Pool| pool.buffers()[0].clone();
        let raw_buffer = raw.as_ref().map(first);
        let buffers = outputs.iter().map(first).collect();
        let streaming = Streaming {
            period: config.period,
            requests: RequestQueue::FreeRunning {
                left: config.frames.unwrap_or(u64::MAX),
                controls,
            },
            raw: raw.map(Arc::new),
            outputs: outputs.into_iter().map(Arc::new).collect(),
            stop: stop.clone(),
            pause: config.pause.clone(),
        };
        let progress = Progress::default();
        let (mut to_sinks, mut sinks, mut threads) = (Vec::new(), Vec::new(), Vec::new());
        for (port, sink) in consumers {
            let (to_sink, frames) = frame_channel::channel(&stop);
            to_sinks.push((port, to_sink));
            sinks.push((port, sink.name()));
            let stage = SinkStage {
                sink,
                copies: config.copies,
                stop: stop.clone(),
                pause: config.pause.clone(),
                frames,
                heap_allocs: config.heap_allocs,
                syscalls: config.syscalls.clone(),
                progress: progress.clone(),
            };
            threads.push(spawn("sink", move || stage.run())?);
        }
        let to_sinks = ToSinks { sinks: to_sinks, colour_space, progress: progress.clone() };
        let running = match engine.start(streaming, to_sinks) {
            Ok(running) => running,
            Err(error) => {
                // It is the end of frames for the sinks, which put back what they changed.
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

/// Checks that a sink takes pictures in a format: no copy would mend that.
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
