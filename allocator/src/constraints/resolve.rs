//! Folds statements into one requirement, or names those that contradict each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::{Alternative, Bounds, CpuUse, FormatSet, Rule, Statement, VendorRules};
use crate::dmabuf::MAX_PLANES;

/// The combined requirement of all statements of an alternative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Formats and modifiers that remain; `None` for any.
    pub formats: Option<FormatSet>,
    /// Heaps that remain; `None` for any.
    pub heaps: Option<BTreeSet<String>>,
    /// Heaps that are excluded.
    pub not_heaps: BTreeSet<String>,
    /// Requirements on each plane.
    pub planes: [PlaneRequirement; MAX_PLANES],
    /// The size is a multiple of this many bytes.
    pub size_multiple: u64,
    /// At least this many bytes follow the last pixel.
    pub size_padding: u64,
    /// The size in bytes.
    pub size: Bounds,
    /// The width in pixels.
    pub width: Bounds,
    /// The height in pixels.
    pub height: Bounds,
    /// Each plane right below the one before, with a stride in proportion.
    pub adjoining: bool,
    /// A dma-buf.
    pub dma_buf: bool,
    /// Contiguous in physical memory.
    pub contiguous: bool,
    /// Out of the CPU's reach.
    pub protected: bool,
    /// The most bits that an address may have.
    pub address_bits: Option<u8>,
    /// Use by the CPU.
    pub cpu: CpuUse,
    /// Devices in whose memory it may be; `None` for anywhere.
    pub locality: Option<BTreeSet<String>>,
    /// NUMA nodes on which it may be; `None` for any.
    pub numa: Option<BTreeSet<u32>>,
    /// The least number of buffers: the largest minimum, or one more than all devices keep.
    pub buffers: u64,
    /// Values of vendors' rules.
    pub vendor: BTreeMap<String, Vec<u64>>,
}

/// Requirements on one plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaneRequirement {
    /// The stride is a multiple of this many bytes.
    pub stride_multiple: u64,
    /// The offset is a multiple of this many bytes.
    pub offset_multiple: u64,
    /// The stride in bytes.
    pub stride: Bounds,
}

impl Default for PlaneRequirement {
    fn default() -> Self {
        Self { stride_multiple: 1, offset_multiple: 1, stride: Bounds::ANY }
    }
}

impl Default for Requirement {
    fn default() -> Self {
        Self {
            formats: None,
            heaps: None,
            not_heaps: BTreeSet::new(),
            planes: [PlaneRequirement::default(); MAX_PLANES],
            size_multiple: 1,
            size_padding: 0,
            size: Bounds::ANY,
            width: Bounds::ANY,
            height: Bounds::ANY,
            adjoining: false,
            dma_buf: false,
            contiguous: false,
            protected: false,
            address_bits: None,
            cpu: CpuUse::default(),
            locality: None,
            numa: None,
            buffers: 1,
            vendor: BTreeMap::new(),
        }
    }
}

/// Statements that no buffer can satisfy together; without any one of them, some could.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contradiction {
    /// The property that they contradict each other about, such as `format`.
    pub about: String,
    /// The smallest set of them that was found.
    pub statements: Vec<Statement>,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, statement) in self.statements.iter().enumerate() {
            let separator = match index {
                0 => "",
                _ if index + 1 == self.statements.len() => ", but ",
                _ => ", ",
            };
            write!(f, "{separator}{statement}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Contradiction {}

impl Alternative {
    /// Combines its statements into one requirement.
    pub fn resolve(&self, vendors: &VendorRules) -> Result<Requirement, Contradiction> {
        fold(self.statements(), vendors).map_err(|about| {
            let all: Vec<&Statement> = self.statements().collect();
            let core = smallest(&all, |some| fold(some.iter().copied(), vendors).is_err());
            // The core may fail at something else than the whole did.
            let about = fold(core.iter().copied(), vendors).err().unwrap_or(about);
            Contradiction {
                about: about.to_owned(),
                statements: core.into_iter().cloned().collect(),
            }
        })
    }
}

/// Folds the statements, or names what they contradict each other about.
fn fold<'a>(
    statements: impl Iterator<Item = &'a Statement>,
    vendors: &VendorRules,
) -> Result<Requirement, &'static str> {
    let mut all = Requirement::default();
    let (mut camping, mut min_buffers) = (0u64, 1u64);
    for statement in statements {
        let planes = match statement.plane {
            Some(plane) => usize::from(plane)..usize::from(plane) + 1,
            None => 0..MAX_PLANES,
        };
        let planes = all.planes.get_mut(planes).unwrap_or_default();
        match &statement.rule {
            Rule::Formats(formats) => intersect_formats(&mut all.formats, formats)?,
            Rule::Heaps(heaps) => intersect(&mut all.heaps, heaps, "heap")?,
            Rule::NotHeaps(heaps) => all.not_heaps.extend(heaps.iter().cloned()),
            Rule::StrideMultiple(n) => {
                for plane in planes {
                    plane.stride_multiple = lcm(plane.stride_multiple, *n).ok_or("stride")?;
                }
            }
            Rule::OffsetMultiple(n) => {
                for plane in planes {
                    plane.offset_multiple = lcm(plane.offset_multiple, *n).ok_or("offset")?;
                }
            }
            Rule::Stride(bounds) => {
                for plane in planes {
                    plane.stride = plane.stride.intersect(*bounds);
                }
            }
            Rule::SizeMultiple(n) => {
                all.size_multiple = lcm(all.size_multiple, *n).ok_or("size")?;
            }
            Rule::SizePadding(n) => all.size_padding = all.size_padding.max(*n),
            Rule::Size(bounds) => all.size = all.size.intersect(*bounds),
            Rule::Width(bounds) => all.width = all.width.intersect(*bounds),
            Rule::Height(bounds) => all.height = all.height.intersect(*bounds),
            Rule::Adjoining => all.adjoining = true,
            Rule::DmaBuf => all.dma_buf = true,
            Rule::Contiguous => all.contiguous = true,
            Rule::Protected => all.protected = true,
            Rule::AddressBits(bits) => {
                all.address_bits = Some(all.address_bits.map_or(*bits, |old| old.min(*bits)));
            }
            Rule::Cpu(CpuUse { read, write, cached }) => {
                all.cpu.read |= read;
                all.cpu.write |= write;
                all.cpu.cached |= cached;
            }
            Rule::Locality(devices) => intersect(&mut all.locality, devices, "locality")?,
            Rule::Numa(nodes) => intersect(&mut all.numa, nodes, "NUMA node")?,
            Rule::MinBuffers(n) => min_buffers = min_buffers.max(u64::from(*n)),
            Rule::Camping(n) => camping = camping.saturating_add(u64::from(*n)),
            Rule::Vendor { key, value } => {
                let merged = match all.vendor.get(key) {
                    Some(old) => vendors.merge(key, old, value).ok_or("vendor rule")?,
                    None => value.clone(),
                };
                all.vendor.insert(key.clone(), merged);
            }
        }
    }
    all.buffers = min_buffers.max(camping.saturating_add(1));
    consistent(&all)?;
    Ok(all)
}

/// Checks that different rules about the same property leave a possible value.
fn consistent(all: &Requirement) -> Result<(), &'static str> {
    for plane in &all.planes {
        if first_multiple(plane.stride_multiple, plane.stride).is_none() {
            return Err("stride");
        }
    }
    if first_multiple(all.size_multiple, all.size).is_none() || all.size_padding > all.size.max {
        return Err("size");
    }
    if all.width.is_empty() || all.width.max == 0 {
        return Err("width");
    }
    if all.height.is_empty() || all.height.max == 0 {
        return Err("height");
    }
    if all.protected && (all.cpu.read || all.cpu.write) {
        return Err("CPU access");
    }
    Ok(())
}

/// The smallest positive multiple within the bounds.
pub(crate) fn first_multiple(multiple: u64, bounds: Bounds) -> Option<u64> {
    let first = bounds.min.max(1).checked_next_multiple_of(multiple)?;
    bounds.contains(first).then_some(first)
}

/// The least common multiple; `None` where it overflows. Zero, which nothing is a multiple of but
/// zero itself, is a contradiction as well.
pub(crate) fn lcm(a: u64, b: u64) -> Option<u64> {
    let gcd = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    if a == 0 || b == 0 { None } else { (a / gcd(a, b)).checked_mul(b) }
}

fn intersect<T: Ord + Clone>(
    into: &mut Option<BTreeSet<T>>,
    with: &BTreeSet<T>,
    about: &'static str,
) -> Result<(), &'static str> {
    match into {
        Some(set) => set.retain(|item| with.contains(item)),
        None => *into = Some(with.clone()),
    }
    if into.as_ref().is_some_and(BTreeSet::is_empty) { Err(about) } else { Ok(()) }
}

fn intersect_formats(into: &mut Option<FormatSet>, with: &FormatSet) -> Result<(), &'static str> {
    match into {
        Some(formats) => formats.retain(|format, modifiers| {
            let theirs = with.get(format);
            modifiers.retain(|modifier| theirs.is_some_and(|set| set.contains(modifier)));
            !modifiers.is_empty()
        }),
        None => {
            let mut formats = with.clone();
            formats.retain(|_, modifiers| !modifiers.is_empty());
            *into = Some(formats);
        }
    }
    if into.as_ref().is_some_and(FormatSet::is_empty) { Err("format") } else { Ok(()) }
}

/// The most subsets that are tried to beat the first core found.
const SEARCH_LIMIT: usize = 20_000;

/// The smallest subset that still fails.
///
/// Leaving out one item after the other gives a subset of which every item matters; then all
/// smaller subsets are tried, as long as there are not too many of them. Deterministic.
pub(crate) fn smallest<T: Copy>(items: &[T], fails: impl Fn(&[T]) -> bool) -> Vec<T> {
    let mut core = items.to_vec();
    let mut index = 0;
    while index < core.len() {
        let item = core.remove(index);
        if !fails(&core) {
            core.insert(index, item);
            index += 1;
        }
    }
    let mut left = SEARCH_LIMIT;
    for size in 0..core.len() {
        let mut chosen = Vec::with_capacity(size);
        if combinations(items, size, &mut chosen, &mut left, &fails) {
            return chosen;
        }
    }
    core
}

/// Extends `chosen` with items to the given size until it fails; `false` if none does.
fn combinations<T: Copy>(
    items: &[T],
    size: usize,
    chosen: &mut Vec<T>,
    left: &mut usize,
    fails: &impl Fn(&[T]) -> bool,
) -> bool {
    if chosen.len() == size {
        return match left.checked_sub(1) {
            Some(rest) => {
                *left = rest;
                fails(chosen)
            }
            None => false,
        };
    }
    for (index, item) in items.iter().enumerate() {
        chosen.push(*item);
        if combinations(&items[index + 1..], size, chosen, left, fails) {
            return true;
        }
        chosen.pop();
        if *left == 0 {
            return false;
        }
    }
    false
}
