//! Where a stream's buffers should live, or why they can live nowhere.
//!
//! A [`Planner`] knows the heaps of a machine and the order in which to try them. Given what each
//! device of a stream needs ([`Constraints`]), it takes the first heap, in the first format, with a
//! layout that every statement agrees with. Where there is none, it names the smallest set of
//! statements that stand in the way, and for each heap what excludes it.
//!
//! The result depends on its inputs alone: the same statements give the same plan.

use std::fmt;

use serde::Serialize;

use crate::constraints::{
    Bounds, Constraints, Contradiction, FormatSet, Requirement, Statement, VendorRules, resolve,
};
use crate::cost::clearly_less;
use crate::format::{Fourcc, Modifier, PlaneFormat};
use crate::heap::{Capabilities, Heap};
use crate::layout::{self, Alignment, Layout, PlaneLayout};

/// What a heap promises, as far as a plan needs to know.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct HeapOffer {
    /// The heap's name.
    pub name: String,
    /// What its buffers can be relied on for.
    pub capabilities: Capabilities,
    /// The largest buffer it gives, in bytes.
    pub max_size: Option<u64>,
    /// The most bits that an address of its memory has, where that is known.
    pub address_bits: Option<u8>,
    /// The device in whose memory its buffers are, by `major:minor`; `None` for system memory.
    pub locality: Option<String>,
    /// The NUMA node of its memory, where that is known.
    pub numa: Option<u32>,
    /// The formats that it allocates; `None` for every one, as LINEAR.
    pub formats: Option<FormatSet>,
    /// What a frame in it costs, in microseconds, where that was measured.
    pub frame_cost_us: Option<u64>,
}

impl From<&dyn Heap> for HeapOffer {
    fn from(heap: &dyn Heap) -> Self {
        Self {
            max_size: heap.max_size(),
            formats: heap.formats(),
            ..Self::new(heap.name(), heap.capabilities())
        }
    }
}

impl HeapOffer {
    /// A heap of ordinary memory without limits.
    pub fn new(name: &str, capabilities: Capabilities) -> Self {
        Self {
            name: name.to_owned(),
            capabilities,
            max_size: None,
            address_bits: None,
            locality: None,
            numa: None,
            formats: None,
            frame_cost_us: None,
        }
    }
}

/// A stream of equal pictures, and the devices that they visit.
#[derive(Debug, Clone, Copy)]
pub struct Stream<'a> {
    /// The stream's name, such as `raw`.
    pub name: &'a str,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Formats that would do, the most liked first.
    pub formats: &'a [Fourcc],
    /// What each device needs.
    pub parties: &'a [Constraints],
}

/// Where a stream's buffers should live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The heap.
    pub heap: String,
    /// The layout: format, modifier, and where each plane lies.
    pub layout: Layout,
    /// How many buffers are needed so that no device waits for another.
    pub buffers: u64,
    /// The heaps that come before it in order, and what excludes each.
    pub rejected: Vec<Rejected>,
}

/// A heap that will not do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// The heap.
    pub heap: String,
    /// Whose statement excludes it.
    pub by: String,
    /// Why, in words.
    pub reason: String,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct NoPlan {
    /// The stream.
    pub stream: String,
    /// The smallest set of statements that no heap can satisfy together.
    pub statements: Vec<Statement>,
    /// For each heap, what excludes it.
    pub rejected: Vec<Rejected>,
}

impl fmt::Display for NoPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no heap serves the stream '{}': ", self.stream)?;
        if self.statements.is_empty() {
            return f.write_str("there is none");
        }
        let contradiction =
            Contradiction { about: String::new(), statements: self.statements.clone() };
        let whole = contradiction.to_string();
        f.write_str(&whole)?;
        // Where a heap falls by the whole of it, that is said already.
        for Rejected { heap, reason, .. } in &self.rejected {
            if *reason != whole {
                write!(f, "; {heap}: {reason}")?;
            }
        }
        Ok(())
    }
}

/// Chooses heaps and layouts.
#[derive(Debug, Clone, Default)]
pub struct Planner {
    heaps: Vec<HeapOffer>,
    vendors: VendorRules,
    /// Whether measured costs come before the given order.
    by_cost: bool,
}

impl Planner {
    /// A planner for these heaps, the most liked first.
    pub fn new(heaps: Vec<HeapOffer>) -> Self {
        Self { heaps, ..Self::default() }
    }

    /// Registers how vendors' rules combine.
    #[must_use]
    pub fn with_vendors(self, vendors: VendorRules) -> Self {
        Self { vendors, ..self }
    }

    /// Tries a heap before others whose frames were measured to cost clearly more: by more than
    /// a third, since measurements are noisy. Heaps that differ by less, and those without a
    /// measurement, keep their order.
    #[must_use]
    pub fn by_cost(self) -> Self {
        Self { by_cost: true, ..self }
    }

    /// Where the stream's buffers should live.
    pub fn plan(&self, stream: &Stream<'_>) -> Result<Plan, NoPlan> {
        let needs = Constraints::merge_all(stream.parties);
        let order = self.order();
        for alternative in needs.alternatives() {
            let Ok(requirement) = alternative.resolve(&self.vendors) else { continue };
            for (index, heap) in order.iter().enumerate() {
                if let Some(layout) = fit(heap, &requirement, stream) {
                    let statements: Vec<_> = alternative.statements().collect();
                    let rejected = order[..index]
                        .iter()
                        .map(|heap| self.reject(heap, &statements, stream))
                        .chain(self.dearer(heap))
                        .collect();
                    let (heap, buffers) = (heap.name.clone(), requirement.buffers);
                    return Ok(Plan { heap, layout, buffers, rejected });
                }
            }
        }
        // Of several ways that all fail, the one that is liked best is the one to explain.
        let statements: Vec<_> = needs.alternatives()[0].statements().collect();
        let core = resolve::smallest(&statements, |some| {
            !order.iter().any(|heap| self.satisfies(heap, some, stream))
        });
        let rejected = order.iter().map(|heap| self.reject(heap, &core, stream)).collect();
        Err(NoPlan {
            stream: stream.name.to_owned(),
            statements: core.into_iter().cloned().collect(),
            rejected,
        })
    }

    fn order(&self) -> Vec<&HeapOffer> {
        let mut order: Vec<_> = self.heaps.iter().collect();
        if self.by_cost {
            let mut rest = std::mem::take(&mut order);
            while !rest.is_empty() {
                let mut best = 0;
                for (index, heap) in rest.iter().enumerate() {
                    if cheaper(heap, rest[best]) {
                        best = index;
                    }
                }
                order.push(rest.remove(best));
            }
        }
        order
    }

    /// The heaps that are liked better than this one and were passed over for what they cost.
    fn dearer<'a>(&'a self, chosen: &'a HeapOffer) -> impl Iterator<Item = Rejected> + 'a {
        let liked_better = self.heaps.iter().take_while(|heap| heap.name != chosen.name);
        liked_better.filter(|heap| self.by_cost && cheaper(chosen, heap)).map(|heap| {
            let us = |heap: &HeapOffer| heap.frame_cost_us.unwrap_or_default();
            let (dear, cheap, chosen) = (us(heap), us(chosen), &chosen.name);
            let reason = format!(
                "a frame costs {dear} µs of CPU there and {cheap} µs in {chosen}, as measured"
            );
            Rejected { heap: heap.name.clone(), by: "cost".to_owned(), reason }
        })
    }

    fn satisfies(&self, heap: &HeapOffer, statements: &[&Statement], stream: &Stream<'_>) -> bool {
        let alternative: Constraints = statements.iter().copied().cloned().collect();
        alternative.alternatives()[0]
            .resolve(&self.vendors)
            .is_ok_and(|requirement| fit(heap, &requirement, stream).is_some())
    }

    /// What excludes a heap: the first statement that does so alone, or all of them together.
    fn reject(&self, heap: &HeapOffer, statements: &[&Statement], stream: &Stream<'_>) -> Rejected {
        if !self.satisfies(heap, &[], stream) {
            let (heap, reason) = (heap.name.clone(), own_limit(heap));
            return Rejected { by: heap.clone(), heap, reason };
        }
        let alone =
            statements.iter().find(|statement| !self.satisfies(heap, &[**statement], stream));
        let (by, reason) = match alone {
            Some(statement) => (statement.owner.clone(), statement.to_string()),
            None => {
                let core =
                    resolve::smallest(statements, |some| !self.satisfies(heap, some, stream));
                let mut owners: Vec<_> = core.iter().map(|s| s.owner.clone()).collect();
                owners.dedup();
                let reasons: Vec<_> = core.iter().map(ToString::to_string).collect();
                (owners.join(", "), reasons.join(", but "))
            }
        };
        Rejected { heap: heap.name.clone(), by, reason }
    }
}

/// Whether frames in one heap cost clearly less than in the other.
fn cheaper(one: &HeapOffer, other: &HeapOffer) -> bool {
    one.frame_cost_us.zip(other.frame_cost_us).is_some_and(|(one, other)| clearly_less(one, other))
}

/// Why a heap excludes itself, whatever is needed of it.
fn own_limit(heap: &HeapOffer) -> String {
    match heap.max_size {
        Some(limit) => format!("its buffers have at most {limit} bytes, or not this format"),
        None => "it does not allocate this format".to_owned(),
    }
}

/// The layout of the first format that heap and requirement agree on.
fn fit(heap: &HeapOffer, need: &Requirement, stream: &Stream<'_>) -> Option<Layout> {
    let named = need.heaps.as_ref().is_none_or(|heaps| heaps.contains(&heap.name))
        && !need.not_heaps.contains(&heap.name);
    let has = |capability| heap.capabilities.contains(capability);
    let suits = named
        && (!need.dma_buf || has(Capabilities::DMA_BUF))
        && (!need.contiguous || has(Capabilities::CONTIGUOUS))
        && (!need.protected || has(Capabilities::PROTECTED))
        && (!(need.cpu.read || need.cpu.write) || has(Capabilities::CPU_MAP))
        && (!need.cpu.cached || has(Capabilities::CPU_CACHED))
        && need.address_bits.is_none_or(|most| heap.address_bits.is_some_and(|has| has <= most))
        && need.locality.as_ref().is_none_or(|devices| {
            heap.locality.as_ref().is_some_and(|device| devices.contains(device))
        })
        && need
            .numa
            .as_ref()
            .is_none_or(|nodes| heap.numa.is_some_and(|node| nodes.contains(&node)))
        && need.width.contains(stream.width.into())
        && need.height.contains(stream.height.into());
    if !suits {
        return None;
    }
    let linear = |formats: &FormatSet, format: &Fourcc| {
        formats.get(format).is_some_and(|modifiers| modifiers.contains(&Modifier::LINEAR))
    };
    stream
        .formats
        .iter()
        .filter(|format| need.formats.as_ref().is_none_or(|set| linear(set, format)))
        .filter(|format| heap.formats.as_ref().is_none_or(|set| linear(set, format)))
        .find_map(|format| {
            let layout = lay_out(*format, stream.width, stream.height, need)?;
            heap.max_size.is_none_or(|most| layout.size() <= most).then_some(layout)
        })
}

/// A linear layout that meets the requirement: the default one where that is allowed, which pleases
/// also those devices that state nothing.
fn lay_out(format: Fourcc, width: u32, height: u32, need: &Requirement) -> Option<Layout> {
    let wish = Alignment::default();
    let planes = match need.adjoining {
        true => adjoining(format, width, height, need)?,
        false => aligned(format, width, height, need)?,
    };
    let (last, at) = (format.planes()?.last()?, planes.last()?);
    let end = at.stride.checked_mul(padded_rows(last, height)?)?.checked_add(at.offset)?;
    let layout = Layout::given(format, Modifier::LINEAR, width, height, planes).ok()?;
    let tight = layout.size().checked_add(need.size_padding)?.max(need.size.min);
    let size = resolve::lcm(need.size_multiple, wish.size)
        .and_then(|multiple| tight.max(end).checked_next_multiple_of(multiple))
        .filter(|size| need.size.contains(*size))
        .or_else(|| {
            tight
                .checked_next_multiple_of(need.size_multiple)
                .filter(|size| need.size.contains(*size))
        })?;
    Some(layout.with_size(size))
}

/// Planes that begin where devices like it, which leaves gaps between them.
fn aligned(
    format: Fourcc,
    width: u32,
    height: u32,
    need: &Requirement,
) -> Option<Vec<PlaneLayout>> {
    let mut end = 0u64;
    let mut planes = Vec::new();
    for (plane, need) in format.planes()?.iter().zip(&need.planes) {
        let row = u64::from(width.div_ceil(plane.hsub)).checked_mul(u64::from(plane.bytes))?;
        let at_least = Bounds { min: need.stride.min.max(row), ..need.stride };
        let stride = liked_stride(need.stride_multiple, at_least)?;
        let multiple = resolve::lcm(need.offset_multiple, Alignment::default().offset)?;
        let offset = end.checked_next_multiple_of(multiple)?;
        end = stride.checked_mul(padded_rows(plane, height)?)?.checked_add(offset)?;
        planes.push(PlaneLayout { offset, stride });
    }
    Some(planes)
}

/// Planes without a gap. What is left to choose is the first plane's stride, from which all other
/// strides and offsets follow, and every plane has needs of its own for both.
fn adjoining(
    format: Fourcc,
    width: u32,
    height: u32,
    need: &Requirement,
) -> Option<Vec<PlaneLayout>> {
    let formats = format.planes()?;
    let first = formats.first()?;
    let [of_first, pixels] = [first.bytes, first.hsub].map(u64::from);
    // Cut into so many parts, the first stride has a whole number of them for every other stride.
    let parts = of_first * formats.iter().map(|plane| u64::from(plane.hsub)).product::<u64>();
    // What the first stride has to be a multiple of, so that this many parts of it are one of `n`.
    let multiple_for = |count: u64, n: u64| match count {
        0 => Some(1),
        _ => Some(resolve::lcm(count, n.checked_mul(parts)?)? / count),
    };
    let (mut multiple, mut bounds, mut above) = (1, Bounds::ANY, 0u64);
    for (plane, need) in formats.iter().zip(&need.planes) {
        let [of_plane, hsub] = [plane.bytes, plane.hsub].map(u64::from);
        let count = of_plane * pixels * parts / (of_first * hsub);
        multiple = resolve::lcm(multiple, multiple_for(count, need.stride_multiple)?)?;
        multiple = resolve::lcm(multiple, multiple_for(above, need.offset_multiple)?)?;
        let row = u64::from(width.div_ceil(plane.hsub)).checked_mul(of_plane)?;
        let at_least = need.stride.min.max(row).checked_mul(parts)?.div_ceil(count);
        let at_most = need.stride.max.saturating_mul(parts) / count;
        bounds = bounds.intersect(Bounds { min: at_least, max: at_most });
        let rows = u64::from(height.div_ceil(plane.vsub));
        above = above.checked_add(count.checked_mul(rows)?)?;
    }
    Some(layout::adjoining(format, height, liked_stride(multiple, bounds)?))
}

/// The smallest stride within the bounds that is a multiple of this, and one of what devices like
/// where there is such a one.
fn liked_stride(multiple: u64, bounds: Bounds) -> Option<u64> {
    resolve::lcm(multiple, Alignment::default().stride)
        .and_then(|liked| resolve::first_multiple(liked, bounds))
        .or_else(|| resolve::first_multiple(multiple, bounds))
}

/// The rows for which a plane has memory where nothing speaks against it.
fn padded_rows(plane: &PlaneFormat, height: u32) -> Option<u64> {
    u64::from(height.div_ceil(plane.vsub)).checked_next_multiple_of(Alignment::default().rows)
}

#[cfg(test)]
mod tests;
