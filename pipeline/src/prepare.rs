//! Before the first frame: the ISP is made, buffers are planned, and every device sees every one.
//!
//! This happens on the ISP's thread, because its EGL context belongs to the thread that made it.

use crossbeam_channel::{Receiver, Sender, bounded};
use vcam_allocator::constraints::{Constraints, CpuUse, Rule, Statement};
use vcam_allocator::knowledge::Asked;
use vcam_allocator::{Budget, Dmabuf, Fourcc, Heap, Knowledge, LinkEnd, Pool, sysfs};
use vcam_isp_gpu::{CpuIsp, GpuIsp, Isp, IspParams, RawFormat};
use vcam_sinks::{Frame, Sink};

use crate::camera::{IspChoice, Run, StartError, joined, spawn};
use crate::cheaper::{Trial, prefer_copies};
use crate::error::chain;
use crate::feedback::Feedback;
use crate::links::Link;
use crate::planning::{self, StreamPlan};
use crate::stages::{IspRun, IspStage, RawFrame, StageError, StopHandle};

/// Raw buffers on their way: one being filled, one waiting, and one being rendered.
const RAW_IN_FLIGHT: u64 = 3;

/// Pictures on their way, beside those that sinks keep: one waiting.
const OUTPUT_IN_FLIGHT: u64 = 1;

/// What the ISP's thread hands back once it is ready.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) isp: IspInfo,
    pub(crate) sinks: Vec<Box<dyn Sink>>,
    pub(crate) raw_pool: Pool,
    pub(crate) output: Dmabuf,
    pub(crate) plans: Vec<StreamPlan>,
    pub(crate) links: Vec<Link>,
    pub(crate) knowledge: Knowledge,
    pub(crate) asked: AskedDevices,
}

/// Whom the ends of the links asked to import.
#[derive(Debug)]
pub(crate) struct AskedDevices {
    pub(crate) raw: Option<Asked>,
    pub(crate) output: Option<Asked>,
    pub(crate) sinks: Vec<Option<Asked>>,
}

/// What the ISP needs to begin.
pub(crate) struct Go {
    pub(crate) raw: Receiver<RawFrame>,
    pub(crate) sinks: Vec<Sender<Frame>>,
}

/// Which ISP it became.
#[derive(Debug, Clone)]
pub(crate) struct IspInfo {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) reason: Option<String>,
}

/// The sensor's end of its link.
pub(crate) fn sensor_end() -> LinkEnd {
    LinkEnd::native("the CPU writes it in place")
}

/// What the ISP's thread starts with.
pub(crate) struct IspStart {
    pub(crate) choice: IspChoice,
    pub(crate) size: (u32, u32),
    pub(crate) raw_format: RawFormat,
    pub(crate) black_level: f32,
    pub(crate) feedback: Option<Feedback>,
    pub(crate) format: Fourcc,
    pub(crate) strict: bool,
    pub(crate) by_cost: bool,
    pub(crate) knowledge: Knowledge,
    pub(crate) stop: StopHandle,
    pub(crate) heaps: Vec<Box<dyn Heap>>,
    pub(crate) sinks: Vec<Box<dyn Sink>>,
    pub(crate) go: Receiver<Go>,
}

/// Starts the ISP's thread and waits until every device has seen every buffer.
///
/// The ISP is made on its thread, because its EGL context belongs to the thread that made it.
pub(crate) fn start_isp(start: IspStart) -> Result<(Run<IspRun>, Ready), StartError> {
    let (started, start_result) = bounded(1);
    let thread = spawn("isp", move || match start.prepare() {
        Ok((waiting, ready)) => {
            let _ = started.send(Ok(ready));
            drop(started);
            waiting.run()
        }
        Err(error) => {
            let _ = started.send(Err(error));
            (IspRun::default(), Ok(()))
        }
    })?;
    match start_result.recv() {
        Ok(Ok(ready)) => Ok((thread, ready)),
        Ok(Err(error)) => {
            // Its EGL must be torn down before the process ends.
            let _ = joined("isp", thread);
            Err(error)
        }
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

/// An ISP that is ready, and waits for the word.
struct WaitingIsp {
    isp: Box<dyn Isp>,
    raw_format: RawFormat,
    size: (u32, u32),
    params: IspParams,
    feedback: Option<Feedback>,
    strict: bool,
    pool: Pool,
    stop: StopHandle,
    go: Receiver<Go>,
}

impl WaitingIsp {
    fn run(self) -> (IspRun, Result<(), StageError>) {
        let Self { isp, raw_format, size, params, feedback, strict, pool, stop, go } = self;
        // Without a word, the camera was dropped before it ran.
        let Ok(Go { raw, sinks }) = go.recv() else { return (IspRun::default(), Ok(())) };
        IspStage { isp, raw_format, size, params, feedback, strict, pool, stop, raw, sinks }.run()
    }
}

impl IspStart {
    /// What was learned on the way is kept, whatever comes of it.
    fn prepare(mut self) -> Result<(WaitingIsp, Ready), StartError> {
        let mut knowledge = std::mem::take(&mut self.knowledge);
        let prepared = self.prepare_with(&mut knowledge);
        if let Err(error) = knowledge.save() {
            tracing::warn!(error = chain(&error), "what was learned is not kept");
        }
        let (waiting, mut ready) = prepared?;
        ready.knowledge = knowledge;
        Ok((waiting, ready))
    }

    fn prepare_with(
        mut self,
        knowledge: &mut Knowledge,
    ) -> Result<(WaitingIsp, Ready), StartError> {
        let (mut isp, info) = make_isp(&self.choice, self.size)?;
        let (carrier, columns) = self.raw_format.carrier(self.size.0);
        let writes = CpuUse { write: true, ..CpuUse::default() };
        let sensor = Statement::new("sensor", "it is a program", Rule::Cpu(writes));
        let budget = Budget::of_free_memory();
        let bus = of_bus(&self.choice, &info.name);
        let raw = planning::Request {
            name: "raw",
            buffers: "sensor-raw",
            size: (columns, self.size.1),
            formats: &[carrier],
            parties: vec![
                [sensor].into_iter().collect(),
                isp.raw_constraints(&[carrier]),
                bus.clone(),
            ],
            budget,
            in_flight: RAW_IN_FLIGHT,
            by_cost: self.by_cost,
        };
        let (raw_pool, raw_plan) = planning::plan(
            &raw,
            &self.heaps,
            &mut |visit| isp.raw_importer().map_or(Ok(()), |mut gpu| visit(&mut *gpu)),
            knowledge,
        )?;
        let taken: u64 = raw_pool.buffers().iter().map(Dmabuf::bytes).sum();
        let formats = [self.format];
        let sinks = &mut self.sinks;
        let mut parties = vec![isp.output_constraints(&formats), bus];
        parties.extend(sinks.iter().map(|sink| sink.constraints()));
        let output = planning::Request {
            name: "output",
            buffers: "isp-output",
            size: self.size,
            formats: &formats,
            parties,
            budget: Budget { bytes: budget.bytes.saturating_sub(taken), ..budget },
            in_flight: OUTPUT_IN_FLIGHT,
            by_cost: self.by_cost,
        };
        let (pool, output_plan) = planning::plan(
            &output,
            &self.heaps,
            &mut |visit| {
                isp.output_importer().map_or(Ok(()), |mut gpu| visit(&mut *gpu))?;
                sinks.iter_mut().filter_map(|sink| sink.importer()).try_for_each(&mut *visit)
            },
            knowledge,
        )?;

        // What was refused becomes a copy here, and not at the first frame.
        isp.prepare(raw_pool.buffers(), pool.buffers());
        let params = IspParams { black_level: self.black_level, ..IspParams::default() };
        if self.by_cost && !self.strict {
            let (raw, output) = (raw_pool.buffers(), pool.buffers());
            let (format, size) = (self.raw_format, self.size);
            let trial = Trial { raw, output, format, size, params: &params };
            let another = || another_gpu(&self.choice);
            prefer_copies(&mut *isp, &another, &trial, knowledge);
        }
        sinks.iter_mut().for_each(|sink| sink.prepare(pool.buffers()));
        let (raw, output) = (raw_pool.buffers()[0].clone(), pool.buffers()[0].clone());
        let (raw_end, output_end) = (isp.raw_end(), isp.output_end());
        let isp_end = (info.name.as_str(), &raw_end);
        let mut links = vec![Link::join(("sensor", &sensor_end()), isp_end, &raw)];
        for sink in sinks.iter() {
            let to = (&*sink.name(), &sink.link_end());
            links.push(Link::join((&info.name, &output_end), to, &output));
        }
        let asked = AskedDevices {
            raw: isp.raw_importer().map(|device| Asked::of(&*device)),
            output: isp.output_importer().map(|device| Asked::of(&*device)),
            sinks: sinks.iter_mut().map(|sink| sink.importer().map(|it| Asked::of(it))).collect(),
        };
        let Self { raw_format, size, feedback, strict, stop, go, sinks, .. } = self;
        let plans = vec![raw_plan, output_plan];
        let knowledge = Knowledge::default();
        let ready = Ready { isp: info, sinks, raw_pool, output, plans, links, knowledge, asked };
        let waiting =
            WaitingIsp { isp, raw_format, size, params, feedback, strict, pool, stop, go };
        Ok((waiting, ready))
    }
}

/// What the bus of the GPU needs, where the user says which GPU it is.
fn of_bus(choice: &IspChoice, isp: &str) -> Constraints {
    let IspChoice::Gpu(Some(node)) = choice else { return Constraints::default() };
    sysfs::device(node).map_or_else(Constraints::default, |device| sysfs::constraints(isp, &device))
}

/// A second ISP like the first one, if that is the GPU's.
fn another_gpu(choice: &IspChoice) -> Option<GpuIsp> {
    let node = match choice {
        IspChoice::Cpu => return None,
        IspChoice::Gpu(node) => node.as_deref(),
        IspChoice::Auto => None,
    };
    GpuIsp::new(node).inspect_err(|error| tracing::debug!(%error, "no second ISP")).ok()
}

fn make_isp(
    choice: &IspChoice,
    (width, height): (u32, u32),
) -> Result<(Box<dyn Isp>, IspInfo), StartError> {
    let info =
        |isp: &dyn Isp, reason| IspInfo { name: isp.name(), description: isp.describe(), reason };
    let cpu = |reason: Option<String>| {
        let isp = CpuIsp::new();
        let info = info(&isp, reason);
        (Box::new(isp) as Box<dyn Isp>, info)
    };
    let gpu = |node: Option<&std::path::Path>| {
        let isp = GpuIsp::new(node)?;
        let limit = isp.max_size();
        if width.max(height) > limit {
            return Err(StartError::IspSize { isp: isp.name(), limit, width, height });
        }
        let info = info(&isp, None);
        Ok((Box::new(isp) as Box<dyn Isp>, info))
    };
    match choice {
        IspChoice::Cpu => Ok(cpu(None)),
        IspChoice::Gpu(node) => gpu(node.as_deref()),
        IspChoice::Auto => {
            Ok(gpu(None)
                .unwrap_or_else(|error| cpu(Some(format!("not the GPU: {}", chain(&error))))))
        }
    }
}
