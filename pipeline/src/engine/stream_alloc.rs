//! Before the first frame: buffers are planned and allocated, and every device sees every one.

use vcam_allocator::constraints::{Constraints, CpuUse, Rule, Statement};
use vcam_allocator::knowledge::Asked;
use vcam_allocator::{Budget, Dmabuf, Fourcc, Heap, Importer, Knowledge, LinkEnd, Pool, Refusal};
use vcam_isp_gpu::{Isp, IspParams, RawFormat};
use vcam_sinks::Sink;

use super::SENSOR;
use super::error::StartError;
use super::import_cost::{Trial, prefer_copies};
use super::isp_select::IspChoice;
use super::negotiate::{self, StreamPlan, Visit};
use crate::links::Link;
use crate::stream::Port;

/// Raw buffers on their way: one being filled, one waiting, and one being rendered.
pub(crate) const RAW_IN_FLIGHT: u64 = 3;

/// Pictures on their way, beside those that their consumers keep: one waiting.
const OUTPUT_IN_FLIGHT: u64 = 1;

/// Names of the processed streams.
const OUTPUTS: [&str; 2] = ["output", "output-2"];

/// Whoever is handed a stream's buffers, beside the camera itself: a display, an encoder, a program.
///
/// A [`Sink`] is one. So are [`Constraints`] alone, for a program that says what it needs and asks no
/// device.
pub trait Consumer: Send {
    /// As reports name it.
    fn name(&self) -> String;

    /// What it needs of the buffers.
    fn constraints(&self) -> Constraints;

    /// Whom to ask whether a buffer is taken; nobody where the CPU reads it.
    fn importer(&mut self) -> Option<&mut dyn Importer> {
        None
    }

    /// Does for each buffer what has to be done once, or learns that the device refuses.
    fn prepare(&mut self, _: &[Dmabuf]) {}

    /// How buffers will reach it, as far as is known.
    fn link_end(&self) -> LinkEnd {
        LinkEnd::native("it is handed the buffers themselves")
    }
}

impl Consumer for Box<dyn Sink> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn constraints(&self) -> Constraints {
        (**self).constraints()
    }

    fn importer(&mut self) -> Option<&mut dyn Importer> {
        (**self).importer()
    }

    fn prepare(&mut self, buffers: &[Dmabuf]) {
        (**self).prepare(buffers);
    }

    fn link_end(&self) -> LinkEnd {
        (**self).link_end()
    }
}

impl Consumer for Constraints {
    fn name(&self) -> String {
        "application".to_owned()
    }

    fn constraints(&self) -> Constraints {
        self.clone()
    }
}

/// A stream of pictures that is to be planned.
#[derive(Debug, Clone)]
pub(crate) struct OutputWish {
    pub(crate) format: Fourcc,
    /// Width and height in pixels.
    pub(crate) size: (u32, u32),
    /// Buffers that somebody wants at least.
    pub(crate) at_least: u64,
}

/// What is to be planned.
pub(crate) struct Wish<C> {
    /// The raw frames, their size, and how many buffers somebody wants; none of a sensor that sends
    /// pictures.
    pub(crate) raw: Option<(RawFormat, (u32, u32), u64)>,
    pub(crate) outputs: Vec<OutputWish>,
    pub(crate) consumers: Vec<(Port, C)>,
    pub(crate) params: IspParams,
    pub(crate) strict: bool,
    /// Whether measured costs may decide.
    pub(crate) by_cost: bool,
    pub(crate) choice: IspChoice,
}

/// What was planned, and holds.
#[derive(Debug)]
pub(crate) struct StreamAllocation<C> {
    pub(crate) raw: Option<Pool>,
    pub(crate) outputs: Vec<Pool>,
    pub(crate) consumers: Vec<(Port, C)>,
    pub(crate) plans: Vec<StreamPlan>,
    /// How frames will cross each link, unless a device changes its mind.
    pub(crate) links: Vec<Link>,
    pub(crate) asked: AskedDevices,
}

/// Whom the ends of the links asked to import.
#[derive(Debug, Clone, Default)]
pub(crate) struct AskedDevices {
    pub(crate) raw: Option<Asked>,
    pub(crate) output: Option<Asked>,
    pub(crate) consumers: Vec<Option<Asked>>,
}

/// The sensor's end of its link.
pub(crate) fn sensor_end() -> LinkEnd {
    LinkEnd::native("the CPU writes it in place")
}

/// What the sensor needs of buffers.
fn of_sensor() -> Constraints {
    let writes = CpuUse { write: true, ..CpuUse::default() };
    [Statement::new(SENSOR, "it is a program", Rule::Cpu(writes))].into_iter().collect()
}

impl<C: Consumer> Wish<C> {
    /// Plans all streams, those of pictures as the ISP's if there is one, else as the sensor's.
    pub(crate) fn plan(
        mut self,
        mut isp: Option<&mut (dyn Isp + 'static)>,
        heaps: &[Box<dyn Heap>],
        knowledge: &mut Knowledge,
    ) -> Result<StreamAllocation<C>, StartError> {
        let mut budget = Budget::of_free_memory();
        let (mut plans, mut raw_pool, mut pools) = (Vec::new(), None, Vec::new());
        if let Some((pool, plan)) = self.plan_raw(isp.as_deref_mut(), budget, heaps, knowledge)? {
            budget = without(budget, &pool);
            raw_pool = Some(pool);
            plans.push(plan);
        }
        for (index, name) in (0..self.outputs.len()).zip(OUTPUTS) {
            let isp = isp.as_deref_mut();
            let (pool, plan) = self.plan_output(isp, index, name, budget, heaps, knowledge)?;
            budget = without(budget, &pool);
            pools.push(pool);
            plans.push(plan);
        }

        // What was refused becomes a copy here, and not at the first frame.
        if let (Some(isp), Some(raw)) = (isp.as_deref_mut(), &raw_pool) {
            let first = pools.first().map_or(&[][..], Pool::buffers);
            isp.prepare(raw.buffers(), first);
            if let (true, false, Some((format, size, _))) = (self.by_cost, self.strict, self.raw) {
                let (raw, output) = (raw.buffers(), first);
                let trial = Trial { raw, output, format, size, params: &self.params };
                let another = || self.choice.gpu().and_then(Result::ok);
                prefer_copies(isp, &another, &trial, knowledge);
            }
            for pool in pools.iter().skip(1) {
                isp.prepare(&[], pool.buffers());
            }
        }
        for (port, consumer) in &mut self.consumers {
            if let Some(pool) = pool_of(*port, &raw_pool, &pools) {
                consumer.prepare(pool.buffers());
            }
        }
        let links = self.links(isp.as_deref(), &raw_pool, &pools);
        let consumers = self.consumers.iter_mut();
        let asked = AskedDevices {
            raw: isp
                .as_deref_mut()
                .and_then(|isp| isp.raw_importer().map(|device| Asked::of(&*device))),
            output: isp.and_then(|isp| isp.output_importer().map(|device| Asked::of(&*device))),
            consumers: consumers
                .map(|(_, consumer)| consumer.importer().map(|device| Asked::of(device)))
                .collect(),
        };
        let consumers = self.consumers;
        Ok(StreamAllocation { raw: raw_pool, outputs: pools, consumers, plans, links, asked })
    }

    fn plan_raw(
        &mut self,
        isp: Option<&mut (dyn Isp + 'static)>,
        budget: Budget,
        heaps: &[Box<dyn Heap>],
        knowledge: &mut Knowledge,
    ) -> Result<Option<(Pool, StreamPlan)>, StartError> {
        let (Some((format, size, at_least)), Some(isp)) = (self.raw, isp) else { return Ok(None) };
        let (carrier, columns) = format.carrier(size.0);
        let mut parties =
            vec![of_sensor(), isp.raw_constraints(&[carrier]), self.choice.of_bus(&isp.name())];
        parties.extend(self.of_consumers(Port::Raw));
        let request = negotiate::Request {
            name: "raw",
            buffers: "sensor-raw",
            size: (columns, size.1),
            formats: &[carrier],
            parties,
            budget,
            in_flight: RAW_IN_FLIGHT,
            at_least,
            by_cost: self.by_cost,
        };
        let consumers = &mut self.consumers;
        let mut devices = |visit: &mut Visit<'_>| {
            isp.raw_importer().map_or(Ok(()), |mut gpu| visit(&mut *gpu))?;
            importers(consumers, Port::Raw, visit)
        };
        Ok(Some(negotiate::plan(&request, heaps, &mut devices, knowledge)?))
    }

    fn plan_output(
        &mut self,
        mut isp: Option<&mut (dyn Isp + 'static)>,
        index: usize,
        name: &'static str,
        budget: Budget,
        heaps: &[Box<dyn Heap>],
        knowledge: &mut Knowledge,
    ) -> Result<(Pool, StreamPlan), StartError> {
        let port = Port::Output(index);
        let OutputWish { format, size, at_least } = self.outputs[index].clone();
        let formats = [format];
        let mut parties = match &isp {
            Some(isp) => vec![isp.output_constraints(&formats), self.choice.of_bus(&isp.name())],
            None => vec![of_sensor()],
        };
        parties.extend(self.of_consumers(port));
        let request = negotiate::Request {
            name,
            buffers: if isp.is_some() { "isp-output" } else { "sensor-picture" },
            size,
            formats: &formats,
            parties,
            budget,
            // Without an ISP, what is on its way is on its way from the sensor.
            in_flight: if isp.is_some() { OUTPUT_IN_FLIGHT } else { RAW_IN_FLIGHT },
            at_least,
            by_cost: self.by_cost,
        };
        let consumers = &mut self.consumers;
        let mut devices = |visit: &mut Visit<'_>| {
            if let Some(isp) = &mut isp {
                isp.output_importer().map_or(Ok(()), |mut gpu| visit(&mut *gpu))?;
            }
            importers(consumers, port, visit)
        };
        Ok(negotiate::plan(&request, heaps, &mut devices, knowledge)?)
    }

    fn of_consumers(&self, port: Port) -> impl Iterator<Item = Constraints> {
        let of_port = self.consumers.iter().filter(move |(of, _)| *of == port);
        of_port.map(|(_, consumer)| consumer.constraints())
    }

    fn links(&self, isp: Option<&dyn Isp>, raw: &Option<Pool>, pools: &[Pool]) -> Vec<Link> {
        let mut links = Vec::new();
        let sensor = sensor_end();
        if let (Some(isp), Some(raw)) = (isp, raw) {
            let to = (&*isp.name(), &isp.raw_end());
            links.push(Link::join((SENSOR, &sensor), to, &raw.buffers()[0]));
        }
        for (port, consumer) in &self.consumers {
            let Some(pool) = pool_of(*port, raw, pools) else { continue };
            let (name, end) = match (port, isp) {
                (Port::Output(_), Some(isp)) => (isp.name(), isp.output_end()),
                _ => (SENSOR.to_owned(), sensor_end()),
            };
            let to = (&*consumer.name(), &consumer.link_end());
            links.push(Link::join((&name, &end), to, &pool.buffers()[0]));
        }
        links
    }
}

/// What is left of a budget.
fn without(budget: Budget, pool: &Pool) -> Budget {
    let taken: u64 = pool.buffers().iter().map(Dmabuf::bytes).sum();
    Budget { bytes: budget.bytes.saturating_sub(taken), ..budget }
}

fn pool_of<'a>(port: Port, raw: &'a Option<Pool>, outputs: &'a [Pool]) -> Option<&'a Pool> {
    match port {
        Port::Raw => raw.as_ref(),
        Port::Output(index) => outputs.get(index),
    }
}

/// Visits the devices of a stream's consumers.
fn importers<C: Consumer>(
    consumers: &mut [(Port, C)],
    port: Port,
    visit: &mut Visit<'_>,
) -> Result<(), Refusal> {
    consumers
        .iter_mut()
        .filter(|(of, _)| *of == port)
        .filter_map(|(_, consumer)| consumer.importer())
        .try_for_each(visit)
}
