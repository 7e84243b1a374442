//! Allocation of all streams, before the first frame: each stream's buffers are negotiated with its
//! devices, and each device is handed every buffer.

use vcam_allocator::constraints::{Constraints, CpuUse, Rule, Statement};
use vcam_allocator::knowledge::Asked;
use vcam_allocator::{Budget, Dmabuf, Importer, Knowledge, LinkEnd, Pool, Refusal};
use vcam_isp_gpu::{Isp, IspParams};
use vcam_sinks::Sink;

use super::error::StartError;
use super::hint::Hint;
use super::import_cost::{TestFrame, prefer_copies};
use super::negotiate::{Negotiation, StreamPlan, Visit, negotiate};
use super::policy::CopyPolicy;
use super::{EngineConfig, SENSOR};
use crate::links::Link;
use crate::stream::{Port, StreamSpec};

/// Raw buffers on their way: one being filled, one waiting, and one being rendered.
pub(crate) const RAW_IN_FLIGHT: u64 = 3;

/// Pictures on their way, besides those that their consumers keep: one waiting.
const OUTPUT_IN_FLIGHT: u64 = 1;

/// A user of a stream's buffers outside the camera: a display, an encoder, a program.
///
/// A [`Sink`] is one. So are [`Constraints`] alone, for a program that says what it needs and asks
/// no device.
pub trait Consumer: Send {
    /// Returns the name in reports.
    fn name(&self) -> String;

    /// Returns what it needs of the buffers.
    fn constraints(&self) -> Constraints;

    /// Returns the device that imports buffers; none where the CPU reads them.
    fn importer(&mut self) -> Option<&mut dyn Importer> {
        None
    }

    /// Does for each buffer what has to be done once, or learns that the device refuses.
    fn prepare(&mut self, _: &[Dmabuf]) {}

    /// Returns how buffers will reach it, as far as is known.
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

/// Buffers for all streams, from a plan that holds.
#[derive(Debug)]
pub(crate) struct StreamAllocation<C> {
    pub(crate) raw: Option<Pool>,
    pub(crate) outputs: Vec<Pool>,
    pub(crate) consumers: Vec<(Port, C)>,
    pub(crate) plans: Vec<StreamPlan>,
    /// How frames will cross each link, unless a device changes its mind.
    pub(crate) links: Vec<Link>,
    pub(crate) hints: Vec<Hint>,
    pub(crate) asked: AskedDevices,
}

/// The devices at the ends of the links that were asked to import.
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

/// The sensor's needs of buffers.
fn of_sensor() -> Constraints {
    let writes = CpuUse { write: true, ..CpuUse::default() };
    [Statement::new(SENSOR, "it is a program", Rule::Cpu(writes))].into_iter().collect()
}

/// Allocates all streams, and prepares the ISP and every consumer for their buffers.
pub(crate) fn allocate<C: Consumer>(
    config: &EngineConfig,
    params: &IspParams,
    consumers: Vec<(Port, C)>,
    isp: Option<&mut (dyn Isp + 'static)>,
    knowledge: &mut Knowledge,
) -> Result<StreamAllocation<C>, StartError> {
    let budget = Budget::of_free_memory();
    let mut allocator = Allocator { config, consumers, isp, budget, knowledge };
    let (mut plans, mut raw, mut outputs) = (Vec::new(), None, Vec::new());
    if let Some(spec) = &config.raw {
        let (pool, plan) = allocator.stream(spec)?;
        raw = Some(pool);
        plans.push(plan);
    }
    for spec in &config.outputs {
        let (pool, plan) = allocator.stream(spec)?;
        outputs.push(pool);
        plans.push(plan);
    }
    let hints = allocator.prepare(params, &raw, &outputs);
    let links = allocator.links(&raw, &outputs);
    let asked = allocator.asked();
    let consumers = allocator.consumers;
    Ok(StreamAllocation { raw, outputs, consumers, plans, links, hints, asked })
}

/// Everything that has a say in where buffers live.
struct Allocator<'a, C> {
    config: &'a EngineConfig,
    consumers: Vec<(Port, C)>,
    /// None behind a sensor that sends pictures.
    isp: Option<&'a mut (dyn Isp + 'static)>,
    /// The memory that streams may still take.
    budget: Budget,
    knowledge: &'a mut Knowledge,
}

impl<C: Consumer> Allocator<'_, C> {
    /// Negotiates one stream with the devices at both of its ends.
    fn stream(&mut self, spec: &StreamSpec) -> Result<(Pool, StreamPlan), StartError> {
        let Self { config, consumers, isp, budget, knowledge } = self;
        let port = spec.port;
        let bus = |isp: &dyn Isp| config.isp.of_bus(&isp.name());
        let (mut parties, buffers, in_flight) = match (isp.as_deref(), port) {
            (Some(isp), Port::Raw) => {
                let parties = vec![of_sensor(), isp.raw_constraints(&[spec.format]), bus(isp)];
                (parties, "sensor-raw", RAW_IN_FLIGHT)
            }
            (Some(isp), Port::Output(_)) => {
                let parties = vec![isp.output_constraints(&[spec.format]), bus(isp)];
                (parties, "isp-output", OUTPUT_IN_FLIGHT)
            }
            // Without an ISP, all buffers on their way are on their way from the sensor.
            (None, _) => (vec![of_sensor()], "sensor-picture", RAW_IN_FLIGHT),
        };
        let of_port = consumers.iter().filter(|(of, _)| *of == port);
        parties.extend(of_port.map(|(_, consumer)| consumer.constraints()));
        let mut devices = |visit: &mut Visit<'_>| {
            if let Some(isp) = isp.as_deref_mut() {
                let device = match port {
                    Port::Raw => isp.raw_importer(),
                    Port::Output(_) => isp.output_importer(),
                };
                device.map_or(Ok(()), &mut *visit)?;
            }
            importers(consumers, port, visit)
        };
        let order = config.heap_order;
        let request =
            Negotiation { stream: spec, buffers, parties, budget: *budget, in_flight, order };
        let (pool, plan) = negotiate(&request, &config.heaps, &mut devices, knowledge)?;
        *budget = without(*budget, &pool);
        Ok((pool, plan))
    }

    /// Hands every buffer to its devices for good, so that what is refused becomes a copy here, and
    /// not at the first frame.
    fn prepare(&mut self, params: &IspParams, raw: &Option<Pool>, outputs: &[Pool]) -> Vec<Hint> {
        let Self { config, consumers, isp, knowledge, .. } = self;
        let mut hints = Vec::new();
        if let (Some(isp), Some(raw)) = (isp, raw) {
            let first = outputs.first().map_or(&[][..], Pool::buffers);
            isp.prepare(raw.buffers(), first);
            if let (CopyPolicy::ByCost, Some(format)) = (config.copies, config.raw_format()) {
                let (raw, output, size) = (raw.buffers(), first, config.sensor.size);
                let frame = TestFrame { raw, output, format, size, params };
                let another = || config.isp.gpu().and_then(Result::ok);
                hints = prefer_copies(*isp, &another, &frame, knowledge);
            }
            for pool in outputs.iter().skip(1) {
                isp.prepare(&[], pool.buffers());
            }
        }
        for (port, consumer) in consumers {
            if let Some(pool) = pool_of(*port, raw, outputs) {
                consumer.prepare(pool.buffers());
            }
        }
        hints
    }

    fn links(&self, raw: &Option<Pool>, outputs: &[Pool]) -> Vec<Link> {
        let (mut links, sensor) = (Vec::new(), sensor_end());
        let isp = self.isp.as_deref();
        if let (Some(isp), Some(raw)) = (isp, raw) {
            let to = (&*isp.name(), &isp.raw_end());
            links.push(Link::join((SENSOR, &sensor), to, &raw.buffers()[0]));
        }
        for (port, consumer) in &self.consumers {
            let Some(pool) = pool_of(*port, raw, outputs) else { continue };
            let (name, end) = match (port, isp) {
                (Port::Output(_), Some(isp)) => (isp.name(), isp.output_end()),
                _ => (SENSOR.to_owned(), sensor_end()),
            };
            let to = (&*consumer.name(), &consumer.link_end());
            links.push(Link::join((&name, &end), to, &pool.buffers()[0]));
        }
        links
    }

    fn asked(&mut self) -> AskedDevices {
        let mut asked = AskedDevices::default();
        if let Some(isp) = &mut self.isp {
            asked.raw = isp.raw_importer().map(|device| Asked::of(&*device));
            asked.output = isp.output_importer().map(|device| Asked::of(&*device));
        }
        let importers = self.consumers.iter_mut().map(|(_, consumer)| consumer.importer());
        asked.consumers = importers.map(|device| device.map(|device| Asked::of(device))).collect();
        asked
    }
}

/// The rest of a budget.
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

/// Visits the devices of a stream's consumers, until one refuses.
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
