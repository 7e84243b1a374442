//! One stream's buffers: planned from what all parties state, then proven.
//!
//! A plan is only as good as what devices say, and they do not say all. So it is proven before
//! the first frame: every buffer is really allocated and really handed to every device. A refusal
//! becomes a statement ("kms:virtio_gpu needs a heap other than udmabuf"), and the plan is made
//! again, until one holds or no heap is left. Only then do links copy.
//!
//! Knowledge from a probe or from another run spares the attempt ([`Knowledge`]). A heap
//! that a device refused then is tried after all before a link copies; one that a device took and
//! showed wrong, or whose driver crashed, is not: that device gets copies.

use serde::Serialize;
use vcam_allocator::constraints::{Constraints, CpuUse, Rule, Statement};
use vcam_allocator::cost::HeapCost;
use vcam_allocator::knowledge::{Asked, Severity, Verdict};
use vcam_allocator::plan::{HeapOffer, Planner, Rejected, Stream};
use vcam_allocator::{
    Alignment, AllocError, Budget, Capabilities, Dmabuf, Heap, Importer, Knowledge, Layout,
    LayoutError, Pool, Refusal,
};

use super::policy::HeapOrder;
use crate::error::chain;
use crate::size::Size;
use crate::stream::StreamSpec;

/// A stream to find buffers for, and all that has a say in it.
pub(crate) struct Negotiation<'a> {
    pub(crate) stream: &'a StreamSpec,
    /// The name of its buffers.
    pub(crate) buffers: &'static str,
    /// The needs of everything that uses them.
    pub(crate) parties: Vec<Constraints>,
    /// The memory that they may take.
    pub(crate) budget: Budget,
    /// Buffers that the camera itself keeps on their way, besides those that devices keep.
    pub(crate) in_flight: u64,
    pub(crate) order: HeapOrder,
}

/// Something done with one device.
pub(crate) type Visit<'a> = dyn FnMut(&mut dyn Importer) -> Result<(), Refusal> + 'a;

/// The devices that import a stream's buffers: visits each in turn, until one refuses.
pub(crate) type Devices<'a> = dyn FnMut(&mut Visit<'_>) -> Result<(), Refusal> + 'a;

/// Where a stream's buffers live, and why.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct StreamPlan {
    /// The stream: `raw` or `output`.
    pub stream: &'static str,
    /// The heap.
    pub heap: String,
    /// The format, as a fourcc.
    pub format: String,
    /// The modifier.
    pub modifier: String,
    /// Bytes from one row to the next, of each plane.
    pub strides: Vec<u64>,
    /// How many buffers there are.
    pub buffers: usize,
    /// The heaps that were tried or ruled out before it.
    pub rejected: Vec<Rejected>,
    /// Why no heap serves every device, if so: the smallest set of statements in the way, in words.
    pub conflict: Option<String>,
    /// The cost of a frame in each heap, where that was measured.
    pub costs: Vec<FrameCost>,
}

/// The cost of a stream's frames in a heap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FrameCost {
    /// The heap.
    pub heap: String,
    /// Microseconds of CPU for a frame: the accesses, and a pass over the bytes for each.
    pub frame_us: u64,
}

/// Why a stream has no buffers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The picture has no layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// No heap gives the buffers; this is what the first one said.
    #[error("could not allocate the camera's buffers")]
    Alloc(#[source] AllocError),
    /// There is no heap to try.
    #[error("there is no heap to allocate from")]
    NoHeap,
}

/// Finds a heap that serves all parties, allocates the buffers there, and proves them on these
/// devices; where a device refuses, it goes on with the next heap.
pub(crate) fn negotiate(
    request: &Negotiation<'_>,
    heaps: &[Box<dyn Heap>],
    devices: &mut Devices<'_>,
    knowledge: &mut Knowledge,
) -> Result<(Pool, StreamPlan), PlanError> {
    let spec = request.stream;
    let mut offers: Vec<_> = heaps.iter().map(|heap| HeapOffer::from(&**heap)).collect();
    let costs = match request.order {
        HeapOrder::ByCost => costs(request, heaps, &mut offers, knowledge),
        HeapOrder::AsGiven => Vec::new(),
    };
    let planner = Planner::new(offers).by_cost();
    let harmful = remembered(request, devices, knowledge, Severity::Harmful);
    let mut refused_before = remembered(request, devices, knowledge, Severity::Refused);
    let learned_from = |verdicts: &[(Asked, Verdict)]| -> Constraints {
        verdicts.iter().map(|(_, verdict)| verdict.statement.clone()).collect()
    };
    let mut learned_parties = vec![learned_from(&harmful)];
    let mut learned: Vec<Rejected> = Vec::new();
    let (mut first_failure, mut refused_pool) = (None, None);
    loop {
        let mut parties = request.parties.clone();
        parties.extend_from_slice(&learned_parties);
        parties.push(learned_from(&refused_before));
        let stream = Stream {
            name: spec.name(),
            width: spec.size.width,
            height: spec.size.height,
            formats: &[spec.format],
            parties: &parties,
        };
        let plan = match planner.plan(&stream) {
            Ok(plan) => plan,
            // A device that refused then may take it now, and to ask costs less than to copy.
            Err(_) if !refused_before.is_empty() => {
                refused_before.clear();
                continue;
            }
            Err(no_plan) => {
                let rejected = rejected(no_plan.rejected.clone(), learned);
                let conflict = Some(no_plan.to_string());
                let pool = match refused_pool {
                    Some(pool) => pool,
                    None => any_pool(request, heaps, first_failure)?,
                };
                decline(&pool, &harmful, devices);
                let plan = describe(request, &pool, rejected, conflict, costs);
                return Ok((pool, plan));
            }
        };
        let Some(heap) = heaps.iter().find(|heap| heap.name() == plan.heap) else {
            return Err(PlanError::NoHeap);
        };
        let count = (plan.buffers + request.in_flight).max(request.stream.min_buffers);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let pool = Pool::with_budget(&**heap, &plan.layout, request.buffers, count, request.budget);
        let refused = match pool {
            Ok(pool) => match prove(&pool, devices, knowledge) {
                Ok(()) => {
                    let rejected = rejected(plan.rejected, learned);
                    let plan = describe(request, &pool, rejected, None, costs);
                    return Ok((pool, plan));
                }
                Err(refusal) => {
                    let statement = refusal.statement(heap.name());
                    let (by, reason) = (refusal.device.clone(), refusal.to_string());
                    learned.push(Rejected { heap: heap.name().to_owned(), by, reason });
                    // Should all be refused, this one is kept; to allocate it again would take
                    // the memory twice while importers still hold on to it.
                    if heap.capabilities().contains(Capabilities::CPU_MAP) {
                        refused_pool.get_or_insert(pool);
                    }
                    statement
                }
            },
            Err(error) => {
                let reason = chain(&error);
                let by = heap.name().to_owned();
                first_failure.get_or_insert(error);
                let except = Rule::NotHeaps([by.clone()].into());
                let statement = Statement::new(&by, &reason, except);
                learned.push(Rejected { heap: by.clone(), by, reason });
                statement
            }
        };
        // Each round rules a heap out, so there are no more rounds than heaps.
        learned_parties.push([refused].into_iter().collect());
    }
}

/// Hands every buffer to every device, and remembers what they answer.
fn prove(pool: &Pool, devices: &mut Devices<'_>, knowledge: &mut Knowledge) -> Result<(), Refusal> {
    let buffers = pool.buffers();
    devices(&mut |device| {
        let result = hand_to(device, buffers);
        if let Some(buffer) = buffers.first() {
            let size = (buffer.layout().width(), buffer.layout().height());
            let asked = Asked::of(device);
            let (heap, format) = (buffer.heap(), buffer.format());
            knowledge.note_import(&asked, heap, format, size, result.as_ref().copied());
        }
        result
    })
}

/// The verdicts of this severity on the stream's devices, from before.
fn remembered(
    request: &Negotiation<'_>,
    devices: &mut Devices<'_>,
    knowledge: &Knowledge,
    severity: Severity,
) -> Vec<(Asked, Verdict)> {
    let StreamSpec { format, size, .. } = *request.stream;
    let mut found = Vec::new();
    let visited = devices(&mut |device| {
        let asked = Asked::of(device);
        let verdicts = knowledge.verdicts(&asked, format, size.into()).into_iter();
        let of_severity = verdicts.filter(|verdict| verdict.severity == severity);
        found.extend(of_severity.map(|verdict| (asked.clone(), verdict)));
        Ok(())
    });
    debug_assert!(visited.is_ok(), "no device was asked for anything");
    found
}

/// Keeps devices from buffers with which they are known to go wrong.
fn decline(pool: &Pool, harmful: &[(Asked, Verdict)], devices: &mut Devices<'_>) {
    let visited = devices(&mut |device| {
        let asked = Asked::of(device);
        for buffer in pool.buffers() {
            let known = |(of, verdict): &&(Asked, Verdict)| {
                *of == asked && *verdict.heap == **buffer.heap()
            };
            if let Some((_, verdict)) = harmful.iter().find(known) {
                device.decline(buffer, verdict.refusal.clone());
            }
        }
        Ok(())
    });
    debug_assert!(visited.is_ok(), "no device was asked for anything");
}

/// How often it takes a buffer's memory to measure what a frame costs: two buffers, and a copy of
/// each.
const MEASURED_WITH: u64 = 4;

/// Returns the cost of a frame in each heap, measured now where that was not done before.
fn costs(
    request: &Negotiation<'_>,
    heaps: &[Box<dyn Heap>],
    offers: &mut [HeapOffer],
    knowledge: &mut Knowledge,
) -> Vec<FrameCost> {
    let cpu =
        request.parties.iter().flat_map(statements).fold(CpuUse::default(), |all, statement| {
            match statement.rule {
                Rule::Cpu(CpuUse { read, write, cached }) => CpuUse {
                    read: all.read || read,
                    write: all.write || write,
                    cached: all.cached || cached,
                },
                _ => all,
            }
        });
    let StreamSpec { format, size: Size { width, height }, .. } = *request.stream;
    let bytes = match Layout::linear(format, width, height, Alignment::default()) {
        Ok(layout) if cpu.read || cpu.write => layout.size(),
        // Whatever the CPU does not touch costs it nothing.
        _ => return Vec::new(),
    };
    let mut costs = Vec::new();
    for (heap, offer) in heaps.iter().zip(offers) {
        if !heap.capabilities().contains(Capabilities::CPU_MAP) {
            continue;
        }
        let known = knowledge.cost(heap.name(), bytes);
        if known.is_none() && MEASURED_WITH * HeapCost::class(bytes) > request.budget.bytes {
            tracing::debug!(heap = heap.name(), "costs are not measured for want of memory");
            continue;
        }
        let cost = match known.map_or_else(|| HeapCost::measure(&**heap, bytes), Ok) {
            Ok(cost) => cost,
            Err(error) => {
                tracing::debug!(heap = heap.name(), error = chain(&error), "costs are not known");
                continue;
            }
        };
        if known.is_none() {
            knowledge.note_cost(heap.name(), cost);
        }
        let frame_us = cost.frame_us(bytes, cpu);
        offer.frame_cost_us = Some(frame_us);
        costs.push(FrameCost { heap: heap.name().to_owned(), frame_us });
    }
    costs
}

/// Merges the reasons why heaps were rejected: a trial says more than the last plan about a heap.
fn rejected(planned: Vec<Rejected>, learned: Vec<Rejected>) -> Vec<Rejected> {
    planned
        .into_iter()
        .map(|one| learned.iter().find(|other| other.heap == one.heap).cloned().unwrap_or(one))
        .collect()
}

/// No heap serves everybody, and none was refused after it gave buffers: the first one that gives
/// them is taken, and a device that cannot use them gets copies.
fn any_pool(
    request: &Negotiation<'_>,
    heaps: &[Box<dyn Heap>],
    mut first_failure: Option<AllocError>,
) -> Result<Pool, PlanError> {
    let StreamSpec { format, size: Size { width, height }, .. } = *request.stream;
    let layout = Layout::linear(format, width, height, Alignment::default())?;
    let kept = request.parties.iter().flat_map(kept).sum::<u64>();
    let count = (kept + 1 + request.in_flight).max(request.stream.min_buffers);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    for heap in heaps.iter().filter(|heap| heap.capabilities().contains(Capabilities::CPU_MAP)) {
        match Pool::with_budget(&**heap, &layout, request.buffers, count, request.budget) {
            Ok(pool) => return Ok(pool),
            Err(error) => {
                first_failure.get_or_insert(error);
            }
        }
    }
    Err(first_failure.map_or(PlanError::NoHeap, PlanError::Alloc))
}

/// How many buffers a party keeps.
fn kept(party: &Constraints) -> impl Iterator<Item = u64> {
    statements(party).filter_map(|statement| match statement.rule {
        Rule::Camping(count) => Some(u64::from(count)),
        _ => None,
    })
}

/// The statements of a party's favourite alternative.
fn statements(party: &Constraints) -> impl Iterator<Item = &Statement> {
    party.alternatives()[0].statements()
}

fn describe(
    request: &Negotiation<'_>,
    pool: &Pool,
    rejected: Vec<Rejected>,
    conflict: Option<String>,
    costs: Vec<FrameCost>,
) -> StreamPlan {
    let buffer = &pool.buffers()[0];
    // The heap that serves in spite of a refusal is not among those that do not.
    let rejected = rejected.into_iter().filter(|one| one.heap != **buffer.heap()).collect();
    StreamPlan {
        stream: request.stream.name(),
        heap: buffer.heap().to_string(),
        format: buffer.format().to_string(),
        modifier: buffer.modifier().to_string(),
        strides: buffer.layout().planes().iter().map(|plane| plane.stride).collect(),
        buffers: pool.buffers().len(),
        rejected,
        conflict,
        costs,
    }
}

/// Hands every buffer to a device.
pub(crate) fn hand_to(
    importer: &mut (impl Importer + ?Sized),
    buffers: &[Dmabuf],
) -> Result<(), Refusal> {
    buffers.iter().try_for_each(|buffer| importer.try_import(buffer))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use vcam_allocator::Fourcc;
    use vcam_allocator::heaps::memfd::Memfd;
    use vcam_allocator::probe::{Cell, ImporterInfo, Outcome};

    use vcam_isp_gpu::View;

    use super::*;
    use crate::stream::Port;

    /// A heap of another name and with other promises, whose memory is a memfd all the same.
    #[derive(Debug)]
    struct FakeHeap(&'static str, bool);

    impl Heap for FakeHeap {
        fn name(&self) -> &str {
            self.0
        }

        fn capabilities(&self) -> Capabilities {
            Capabilities::all()
        }

        fn allocate(&self, layout: &Layout, name: &str) -> Result<Dmabuf, AllocError> {
            if self.1 {
                let buffer = Memfd::new().allocate(layout, name)?;
                let fds = buffer.planes().map(|(fd, _)| fd.try_clone_to_owned().unwrap()).collect();
                let heap = self.0.to_owned();
                Dmabuf::new(self.0.into(), name, layout.clone(), fds)
                    .map_err(|source| AllocError::Wrap { heap, source })
            } else {
                Err(AllocError::TooLarge { heap: self.0.into(), size: 2, limit: 1, advice: "no" })
            }
        }
    }

    static SPEC: LazyLock<StreamSpec> = LazyLock::new(|| StreamSpec {
        port: Port::Output(0),
        format: Fourcc::XRGB8888,
        size: (64, 64).into(),
        view: View::default(),
        min_buffers: 0,
    });

    fn request(parties: Vec<Constraints>) -> Negotiation<'static> {
        Negotiation {
            stream: &SPEC,
            buffers: "test",
            parties,
            budget: Budget::ANY,
            in_flight: 2,
            order: HeapOrder::AsGiven,
        }
    }

    fn heaps(working: bool) -> Vec<Box<dyn Heap>> {
        vec![
            Box::new(FakeHeap("one", working)),
            Box::new(FakeHeap("two", working)),
            Box::new(FakeHeap("three", working)),
        ]
    }

    /// A device that refuses the last buffer of a heap, so that those before it were contiguous by
    /// luck.
    struct FakeDevice {
        refuses: &'static str,
        imported: Vec<String>,
        declined: Vec<Refusal>,
    }

    impl Importer for FakeDevice {
        fn name(&self) -> String {
            "kms:test".to_owned()
        }

        fn identity(&self) -> String {
            "a fake".to_owned()
        }

        fn try_import(&mut self, buffer: &Dmabuf) -> Result<(), Refusal> {
            self.imported.push(buffer.heap().to_string());
            let last = buffer.name().ends_with("-2");
            match self.refuses == "all" || **buffer.heap() == *self.refuses && last {
                true => Err(Refusal::errno("kms:test", "PRIME_FD_TO_HANDLE", 19)),
                false => Ok(()),
            }
        }

        fn decline(&mut self, _: &Dmabuf, refusal: Refusal) {
            self.declined.push(refusal);
        }
    }

    fn refuses(refuses: &'static str) -> FakeDevice {
        FakeDevice { refuses, imported: Vec::new(), declined: Vec::new() }
    }

    fn plan(
        request: &Negotiation<'_>,
        heaps: &[Box<dyn Heap>],
        device: &mut FakeDevice,
        knowledge: &mut Knowledge,
    ) -> Result<(Pool, StreamPlan), PlanError> {
        negotiate(request, heaps, &mut |visit| visit(device), knowledge)
    }

    #[test]
    fn a_refusal_makes_the_plan_anew_and_is_remembered() {
        let mut knowledge = Knowledge::default();
        let mut device = refuses("one");
        let (pool, first) =
            plan(&request(vec![]), &heaps(true), &mut device, &mut knowledge).unwrap();
        assert_eq!((first.heap.as_str(), first.conflict), ("two", None));
        assert_eq!(pool.buffers().len(), 3);
        assert_eq!(first.rejected.len(), 1);
        assert_eq!(first.rejected[0].by, "kms:test");
        assert!(first.rejected[0].reason.contains("ENODEV"), "{:?}", first.rejected);
        assert!(device.imported.contains(&"one".to_owned()));

        let mut device = refuses("one");
        let (_, again) = plan(&request(vec![]), &heaps(true), &mut device, &mut knowledge).unwrap();
        assert_eq!(again.heap, "two");
        assert!(again.rejected[0].reason.contains("ENODEV (a run)"), "{:?}", again.rejected);
        assert!(!device.imported.contains(&"one".to_owned()), "it was asked again");
    }

    #[test]
    fn what_was_refused_once_is_tried_again_before_anything_is_copied() {
        let mut knowledge = Knowledge::default();
        let mut device = refuses("all");
        plan(&request(vec![]), &heaps(true), &mut device, &mut knowledge).unwrap();
        let mut mended = refuses("none");
        let (_, plan) = plan(&request(vec![]), &heaps(true), &mut mended, &mut knowledge).unwrap();
        assert_eq!((plan.heap.as_str(), plan.conflict), ("one", None));
    }

    #[test]
    fn what_shows_wrong_pixels_is_not_tried_again() {
        let wrong = |heap: &str| Cell {
            result: Outcome::WrongPixels,
            size: (16, 16),
            ..Cell::unknown(heap, "kms:test", Fourcc::XRGB8888, Some("compare"), "all black".into())
        };
        let info = ImporterInfo {
            name: "kms:test".into(),
            driver: "test".into(),
            node: None,
            identity: "a fake".into(),
        };
        let mut knowledge = Knowledge::default();
        knowledge.note_cell(&info, &wrong("one"));
        let mut device = refuses("none");
        let (_, chosen) =
            plan(&request(vec![]), &heaps(true), &mut device, &mut knowledge).unwrap();
        assert_eq!((chosen.heap.as_str(), device.declined.len()), ("two", 0));

        // Where the user wants no other heap, the device gets copies.
        let only = &heaps(true)[..1];
        let (pool, chosen) = plan(&request(vec![]), only, &mut device, &mut knowledge).unwrap();
        assert_eq!((chosen.heap.as_str(), device.declined.len()), ("one", pool.buffers().len()));
        assert!(chosen.conflict.unwrap().contains("all black (a probe)"));
        assert!(device.declined[0].to_string().contains("all black"), "{}", device.declined[0]);
        assert!(!device.imported.contains(&"one".to_owned()), "it was tried again");
    }

    #[test]
    fn costs_are_measured_once_and_decide_only_where_they_may() {
        let writes = Rule::Cpu(CpuUse { write: true, ..CpuUse::default() });
        let writes = [Statement::new("sensor", "it is a program", writes)].into_iter().collect();
        let mut knowledge = Knowledge::default();
        let request = Negotiation { order: HeapOrder::ByCost, ..request(vec![writes]) };
        let mut device = refuses("none");
        let (_, first) = plan(&request, &heaps(true), &mut device, &mut knowledge).unwrap();
        assert_eq!(first.costs.len(), 3);
        let known = knowledge.cost("one", 1).unwrap();
        let dear = HeapCost { write_ns: u64::MAX / 2, ..known };
        knowledge.note_cost("one", dear);
        let (_, second) = plan(&request, &heaps(true), &mut device, &mut knowledge).unwrap();
        assert_ne!(second.heap, "one");
        assert_eq!(second.rejected[0].by, "cost");
        let named = Negotiation { order: HeapOrder::AsGiven, ..request };
        let (_, third) = plan(&named, &heaps(true), &mut device, &mut knowledge).unwrap();
        assert_eq!((third.heap.as_str(), third.costs.len()), ("one", 0));
    }

    #[test]
    fn when_all_are_refused_the_first_serves_by_copy_and_the_conflict_is_told() {
        let kept = [Statement::new("kms:test", "flips", Rule::Camping(2))].into_iter().collect();
        let (pool, plan) = plan(
            &request(vec![kept]),
            &heaps(true),
            &mut refuses("all"),
            &mut Knowledge::default(),
        )
        .unwrap();
        assert_eq!(plan.heap, "one");
        assert_eq!(pool.buffers().len(), 5);
        let conflict = plan.conflict.unwrap();
        assert!(conflict.contains("kms:test needs a heap other than"), "{conflict}");
    }

    #[test]
    fn heaps_that_give_nothing_are_an_error_with_its_reason() {
        let mut knowledge = Knowledge::default();
        let mut device = refuses("none");
        let error = plan(&request(vec![]), &heaps(false), &mut device, &mut knowledge).unwrap_err();
        assert!(matches!(error, PlanError::Alloc(AllocError::TooLarge { .. })));
        let error = plan(&request(vec![]), &[], &mut device, &mut knowledge).unwrap_err();
        assert!(matches!(error, PlanError::NoHeap));
    }
}
