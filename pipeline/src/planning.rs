//! Where each stream's buffers live: planned from what everybody states, then proven.
//!
//! A plan is only as good as what devices tell, and they do not tell all. So it is proven before
//! the first frame: every buffer is really allocated and really handed to every device. A refusal
//! becomes a statement ("kms:virtio_gpu needs a heap other than udmabuf"), and the plan is made
//! again, until one holds or no heap is left. Only then do links copy.

use serde::Serialize;
use vcam_allocator::constraints::{Constraints, Rule, Statement};
use vcam_allocator::plan::{HeapOffer, Planner, Rejected, Stream};
use vcam_allocator::{
    Alignment, AllocError, Budget, Capabilities, Dmabuf, Fourcc, Heap, Importer, Layout,
    LayoutError, Pool, Refusal,
};

use crate::error::chain;

/// A stream to be planned.
pub(crate) struct Request<'a> {
    pub(crate) name: &'static str,
    /// What its buffers are called.
    pub(crate) buffers: &'static str,
    pub(crate) size: (u32, u32),
    pub(crate) formats: &'a [Fourcc],
    pub(crate) parties: Vec<Constraints>,
    /// What the stream's buffers may take.
    pub(crate) budget: Budget,
    /// How many buffers the camera itself keeps on their way, beside what devices keep.
    pub(crate) in_flight: u64,
}

/// Where a stream's buffers live, and why.
#[derive(Debug, Clone, Serialize)]
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
}

/// Why a stream has no buffers.
#[derive(Debug, thiserror::Error)]
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

/// Plans a stream and proves the plan on these devices.
pub(crate) fn plan(
    request: &Request<'_>,
    heaps: &[Box<dyn Heap>],
    prove: &mut dyn FnMut(&[Dmabuf]) -> Result<(), Refusal>,
) -> Result<(Pool, StreamPlan), PlanError> {
    let offers: Vec<_> = heaps.iter().map(|heap| HeapOffer::from(&**heap)).collect();
    let planner = Planner::new(offers);
    let mut parties = request.parties.clone();
    let mut learned: Vec<Rejected> = Vec::new();
    let (mut first_failure, mut refused_pool) = (None, None);
    loop {
        let stream = Stream {
            name: request.name,
            width: request.size.0,
            height: request.size.1,
            formats: request.formats,
            parties: &parties,
        };
        let plan = match planner.plan(&stream) {
            Ok(plan) => plan,
            Err(no_plan) => {
                let rejected = rejected(no_plan.rejected.clone(), learned);
                let conflict = Some(no_plan.to_string());
                let pool = match refused_pool {
                    Some(pool) => pool,
                    None => any_pool(request, heaps, first_failure)?,
                };
                let plan = describe(request, &pool, rejected, conflict);
                return Ok((pool, plan));
            }
        };
        let Some(heap) = heaps.iter().find(|heap| heap.name() == plan.heap) else {
            return Err(PlanError::NoHeap);
        };
        let count = usize::try_from(plan.buffers + request.in_flight).unwrap_or(usize::MAX);
        let pool = Pool::with_budget(&**heap, &plan.layout, request.buffers, count, request.budget);
        let refused = match pool {
            Ok(pool) => match prove(pool.buffers()) {
                Ok(()) => {
                    let rejected = rejected(plan.rejected, learned);
                    let plan = describe(request, &pool, rejected, None);
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
        parties.push([refused].into_iter().collect());
    }
}

/// What was learned by trying says more than what the last plan has to say of the same heap.
fn rejected(planned: Vec<Rejected>, learned: Vec<Rejected>) -> Vec<Rejected> {
    planned
        .into_iter()
        .map(|one| learned.iter().find(|other| other.heap == one.heap).cloned().unwrap_or(one))
        .collect()
}

/// No heap serves everybody, and none was refused after it gave buffers: the first one that gives
/// them is taken, and whoever cannot use them gets copies.
fn any_pool(
    request: &Request<'_>,
    heaps: &[Box<dyn Heap>],
    mut first_failure: Option<AllocError>,
) -> Result<Pool, PlanError> {
    let (width, height) = request.size;
    let format = request.formats.first().copied().unwrap_or(Fourcc::XRGB8888);
    let layout = Layout::linear(format, width, height, Alignment::default())?;
    let kept = request.parties.iter().flat_map(kept).sum::<u64>();
    let count = usize::try_from(kept + 1 + request.in_flight).unwrap_or(usize::MAX);
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
    party.alternatives()[0].statements().filter_map(|statement| match statement.rule {
        Rule::Camping(count) => Some(u64::from(count)),
        _ => None,
    })
}

fn describe(
    request: &Request<'_>,
    pool: &Pool,
    rejected: Vec<Rejected>,
    conflict: Option<String>,
) -> StreamPlan {
    let buffer = &pool.buffers()[0];
    // The heap that serves in spite of a refusal is not among those that do not.
    let rejected = rejected.into_iter().filter(|one| one.heap != **buffer.heap()).collect();
    StreamPlan {
        stream: request.name,
        heap: buffer.heap().to_string(),
        format: buffer.format().to_string(),
        modifier: buffer.modifier().to_string(),
        strides: buffer.layout().planes().iter().map(|plane| plane.stride).collect(),
        buffers: pool.buffers().len(),
        rejected,
        conflict,
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
    use vcam_allocator::heaps::memfd::Memfd;

    use super::*;

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

    fn request(parties: Vec<Constraints>) -> Request<'static> {
        Request {
            name: "output",
            buffers: "test",
            size: (64, 64),
            formats: &[Fourcc::XRGB8888],
            parties,
            budget: Budget::ANY,
            in_flight: 2,
        }
    }

    fn heaps(working: bool) -> Vec<Box<dyn Heap>> {
        vec![
            Box::new(FakeHeap("one", working)),
            Box::new(FakeHeap("two", working)),
            Box::new(FakeHeap("three", working)),
        ]
    }

    fn refuse(heap: &'static str) -> impl FnMut(&[Dmabuf]) -> Result<(), Refusal> {
        // The last buffer, so that those before it were contiguous by luck.
        move |buffers| match buffers.last() {
            Some(buffer) if **buffer.heap() == *heap || heap == "all" => {
                Err(Refusal::errno("kms:test", "PRIME_FD_TO_HANDLE", 19))
            }
            _ => Ok(()),
        }
    }

    #[test]
    fn a_refusal_makes_the_plan_anew() {
        let (pool, plan) = plan(&request(vec![]), &heaps(true), &mut refuse("one")).unwrap();
        assert_eq!((plan.heap.as_str(), plan.conflict), ("two", None));
        assert_eq!(pool.buffers().len(), 3);
        assert_eq!(plan.rejected.len(), 1);
        assert_eq!(plan.rejected[0].by, "kms:test");
        assert!(plan.rejected[0].reason.contains("ENODEV"), "{plan:?}", plan = plan.rejected);
    }

    #[test]
    fn when_all_are_refused_the_first_serves_by_copy_and_the_conflict_is_told() {
        let kept = [Statement::new("kms:test", "flips", Rule::Camping(2))].into_iter().collect();
        let (pool, plan) = plan(&request(vec![kept]), &heaps(true), &mut refuse("all")).unwrap();
        assert_eq!(plan.heap, "one");
        assert_eq!(pool.buffers().len(), 5);
        let conflict = plan.conflict.unwrap();
        assert!(conflict.contains("kms:test needs a heap other than"), "{conflict}");
    }

    #[test]
    fn heaps_that_give_nothing_are_an_error_with_its_reason() {
        let error = plan(&request(vec![]), &heaps(false), &mut refuse("none")).unwrap_err();
        assert!(matches!(error, PlanError::Alloc(AllocError::TooLarge { .. })));
        let error = plan(&request(vec![]), &[], &mut refuse("none")).unwrap_err();
        assert!(matches!(error, PlanError::NoHeap));
    }
}
