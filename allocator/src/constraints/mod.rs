//! What a device needs of a buffer, who says so, and what all of them together need.
//!
//! A [`Statement`] is one rule with its owner and its source, such as "kms:vkms, from IN_FORMATS:
//! XR24 or NV12, LINEAR". [`Constraints`] are statements that must all hold, or ordered
//! alternatives of such. [`Constraints::merge`] joins two of them, and [`Alternative::resolve`]
//! folds the statements of an alternative into one [`Requirement`] that a planner can test heaps
//! and layouts against.
//!
//! Merging is a union of sets. That makes it commutative, associative and idempotent by
//! construction, and keeps every owner, so that a contradiction can name who contradicts whom. The
//! arithmetic (intersections, least common multiples, sums) happens in `resolve` alone.
//!
//! The rules, and how statements about the same thing combine, follow the constraint discussions
//! at XDC 2020 and on the kernel lists, and V4L2's and DRM's own vocabulary:
//!
//! | rule | of two statements |
//! |---|---|
//! | [`Rule::Formats`], [`Rule::Heaps`] | what both allow |
//! | [`Rule::NotHeaps`] | what neither excludes |
//! | [`Rule::StrideMultiple`], [`Rule::OffsetMultiple`], [`Rule::SizeMultiple`] | the least common multiple |
//! | [`Rule::SizePadding`] | the larger |
//! | [`Rule::Stride`], [`Rule::Size`], [`Rule::Width`], [`Rule::Height`] | the range that both allow |
//! | [`Rule::Adjoining`], [`Rule::DmaBuf`], [`Rule::Contiguous`], [`Rule::Protected`] | if either says so |
//! | [`Rule::AddressBits`] | the fewer |
//! | [`Rule::Cpu`] | each must be possible |
//! | [`Rule::Locality`], [`Rule::Numa`] | what both can reach |
//! | [`Rule::MinBuffers`] | the larger |
//! | [`Rule::Camping`] | the sum: each device holds its own |
//! | [`Rule::Vendor`] | by the rule that its vendor registered |

mod exceptions;
pub(crate) mod resolve;
mod vendor;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

pub use exceptions::{Usage, exceptions};
pub use resolve::{Contradiction, PlaneRequirement, Requirement};
pub use vendor::{MergeRule, VendorRules};

use crate::format::{Fourcc, Modifier};

/// The number of this serialised form.
pub const VERSION: u32 = 1;

/// The most alternatives that a set keeps; the least preferred are dropped.
///
/// Without a bound, a peer could make the product of two sets as large as it likes.
pub const MAX_ALTERNATIVES: usize = 32;

/// The most statements of one alternative.
pub const MAX_STATEMENTS: usize = 256;

/// Formats, and the modifiers that each may have.
pub type FormatSet = BTreeMap<Fourcc, BTreeSet<Modifier>>;

/// What must hold of a buffer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rule {
    /// One of these formats, with one of its modifiers.
    Formats(FormatSet),
    /// From one of these heaps, by name.
    Heaps(BTreeSet<String>),
    /// From any heap but these: what a refusal teaches.
    NotHeaps(BTreeSet<String>),
    /// The stride is a multiple of this many bytes.
    StrideMultiple(u64),
    /// A plane's offset is a multiple of this many bytes.
    OffsetMultiple(u64),
    /// The buffer's size is a multiple of this many bytes.
    SizeMultiple(u64),
    /// At least this many bytes follow the last pixel.
    SizePadding(u64),
    /// The stride in bytes.
    Stride(Bounds),
    /// The buffer's size in bytes.
    Size(Bounds),
    /// The picture's width in pixels.
    Width(Bounds),
    /// The picture's height in pixels.
    Height(Bounds),
    /// All planes in one memory, each right below the rows of the one before, and with a stride
    /// that is to the first plane's as its rows are to the first plane's. So one stride tells where
    /// all of them are, and V4L2 has no words for more (`v4l2_pix_format`).
    Adjoining,
    /// A dma-buf, because a device imports it.
    DmaBuf,
    /// Contiguous in physical memory (or behind an IOMMU that makes it look so).
    Contiguous,
    /// In memory that the CPU cannot read.
    Protected,
    /// Every byte has a physical address of at most this many bits.
    AddressBits(u8),
    /// The CPU accesses it.
    Cpu(CpuUse),
    /// In the memory of one of these devices or one that they reach as peers, by `major:minor`.
    Locality(BTreeSet<String>),
    /// On one of these NUMA nodes.
    Numa(BTreeSet<u32>),
    /// There are at least this many buffers.
    MinBuffers(u32),
    /// The device keeps this many buffers while it waits for the next.
    Camping(u32),
    /// Something that only its vendor understands.
    Vendor {
        /// Whose rule, such as `nvidia.kind`.
        key: String,
        /// What it says.
        value: Vec<u64>,
    },
}

/// A range, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bounds {
    /// The smallest value.
    pub min: u64,
    /// The largest value.
    pub max: u64,
}

impl Bounds {
    /// Every value.
    pub const ANY: Self = Self { min: 0, max: u64::MAX };

    /// Values that both ranges hold.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self { min: self.min.max(other.min), max: self.max.min(other.max) }
    }

    /// Whether no value is in the range.
    pub fn is_empty(self) -> bool {
        self.min > self.max
    }

    /// Whether the value is in the range.
    pub fn contains(self, value: u64) -> bool {
        (self.min..=self.max).contains(&value)
    }
}

/// What the CPU does with a buffer.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct CpuUse {
    /// It reads.
    pub read: bool,
    /// It writes.
    pub write: bool,
    /// It reads so much that it needs the memory cached.
    pub cached: bool,
}

/// A rule, with who needs it and how that is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Statement {
    /// Who needs it, such as `kms:vkms`.
    pub owner: String,
    /// How that is known, such as `IN_FORMATS`, `measured` or `the user`.
    pub source: String,
    /// The plane it is about; without one, every plane.
    pub plane: Option<u8>,
    /// What must hold.
    pub rule: Rule,
}

impl Statement {
    /// A statement about every plane.
    pub fn new(owner: &str, source: &str, rule: Rule) -> Self {
        Self { owner: owner.to_owned(), source: source.to_owned(), plane: None, rule }
    }

    /// The same, about one plane.
    #[must_use]
    pub fn on_plane(self, plane: u8) -> Self {
        Self { plane: Some(plane), ..self }
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} needs {}", self.owner, self.rule)?;
        if let Some(plane) = self.plane {
            write!(f, " on plane {plane}")?;
        }
        write!(f, " ({})", self.source)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Formats(formats) => {
                let of = |(format, modifiers): (&Fourcc, &BTreeSet<Modifier>)| {
                    if modifiers.len() == 1 && modifiers.contains(&Modifier::LINEAR) {
                        format.to_string()
                    } else {
                        format!("{format} {}", words(modifiers, "/"))
                    }
                };
                write!(f, "format {}", some_of(formats.iter().map(of)))
            }
            Self::Heaps(heaps) => write!(f, "heap {}", some_of(heaps.iter().cloned())),
            Self::NotHeaps(heaps) => write!(f, "a heap other than {}", words(heaps, " and ")),
            Self::StrideMultiple(n) => write!(f, "a stride that is a multiple of {n}"),
            Self::OffsetMultiple(n) => write!(f, "an offset that is a multiple of {n}"),
            Self::SizeMultiple(n) => write!(f, "a size that is a multiple of {n}"),
            Self::SizePadding(n) => write!(f, "{n} bytes after the last pixel"),
            Self::Stride(bounds) => write!(f, "a stride of {bounds} bytes"),
            Self::Size(bounds) => write!(f, "a size of {bounds} bytes"),
            Self::Width(bounds) => write!(f, "a width of {bounds}"),
            Self::Height(bounds) => write!(f, "a height of {bounds}"),
            Self::Adjoining => f.write_str("each plane right below the one before"),
            Self::DmaBuf => f.write_str("a dma-buf"),
            Self::Contiguous => f.write_str("contiguous memory"),
            Self::Protected => f.write_str("protected memory"),
            Self::AddressBits(bits) => write!(f, "addresses of {bits} bits"),
            Self::Cpu(CpuUse { read, write, cached }) => {
                let what = match (read, write) {
                    (true, true) => "reading and writing",
                    (false, true) => "writing",
                    _ => "reading",
                };
                write!(f, "{what} by the CPU{}", if *cached { ", cached" } else { "" })
            }
            Self::Locality(devices) => write!(f, "memory of device {}", words(devices, " or ")),
            Self::Numa(nodes) => write!(f, "memory of NUMA node {}", words(nodes, " or ")),
            Self::MinBuffers(n) => write!(f, "at least {n} buffers"),
            Self::Camping(n) => write!(f, "{n} buffers that it keeps"),
            Self::Vendor { key, value } => write!(f, "{key} = {value:?}"),
        }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (0, max) => write!(f, "at most {max}"),
            (min, u64::MAX) => write!(f, "at least {min}"),
            (min, max) => write!(f, "{min} to {max}"),
        }
    }
}

fn words<T: fmt::Display>(items: &BTreeSet<T>, separator: &str) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(separator)
}

/// The first few items, and how many more there are.
fn some_of(items: impl ExactSizeIterator<Item = String>) -> String {
    const SHOWN: usize = 4;
    let count = items.len();
    let mut text = items.take(SHOWN).collect::<Vec<_>>().join(" or ");
    if count == 0 {
        text.push_str("none at all");
    }
    if count > SHOWN {
        text.push_str(&format!(" or one of {} more", count - SHOWN));
    }
    text
}

/// Statements that must all hold, and how little their owners like them.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Alternative {
    /// For each owner, the rank of this alternative among its own: 0 is what it likes best.
    ranks: BTreeMap<String, u32>,
    statements: BTreeSet<Statement>,
}

impl Alternative {
    /// The statements, in a fixed order.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.statements.iter()
    }

    /// How little its owners like it, over all of them.
    pub fn rank(&self) -> u64 {
        self.ranks.values().map(|rank| u64::from(*rank)).sum()
    }

    /// One form for what means the same: no rank is the same as rank 0.
    fn normal(mut self) -> Self {
        self.ranks.retain(|_, rank| *rank > 0);
        self
    }

    fn union(&self, other: &Self) -> Self {
        let mut union = self.clone();
        union.statements.extend(other.statements.iter().cloned());
        for (owner, rank) in &other.ranks {
            let mine = union.ranks.entry(owner.clone()).or_insert(0);
            *mine = (*mine).max(*rank);
        }
        union
    }

    /// Whether the other allows no more than this, and is liked no better.
    fn covers(&self, other: &Self) -> bool {
        self.statements.is_subset(&other.statements)
            && self
                .ranks
                .iter()
                .all(|(owner, rank)| *rank <= other.ranks.get(owner).copied().unwrap_or(0))
    }
}

/// What must hold of a buffer: one of the alternatives, the most liked first.
///
/// The default is no constraint at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct Constraints {
    alternatives: Vec<Alternative>,
}

impl Default for Constraints {
    fn default() -> Self {
        Self { alternatives: vec![Alternative::default()] }
    }
}

impl FromIterator<Statement> for Constraints {
    fn from_iter<T: IntoIterator<Item = Statement>>(statements: T) -> Self {
        let statements = statements.into_iter().collect();
        Self { alternatives: vec![Alternative { ranks: BTreeMap::new(), statements }] }
    }
}

impl Constraints {
    /// Constraints of one owner with several ways to meet them, the most liked first; without any
    /// way, nothing meets them.
    pub fn any_of(owner: &str, ways: impl IntoIterator<Item = Vec<Statement>>) -> Self {
        let alternatives = ways
            .into_iter()
            .zip(0..)
            .map(|(statements, rank)| Alternative {
                ranks: BTreeMap::from([(owner.to_owned(), rank)]),
                statements: statements.into_iter().collect(),
            })
            .collect::<Vec<_>>();
        if alternatives.is_empty() {
            let nothing = Rule::Heaps(BTreeSet::new());
            return [Statement::new(owner, "no way is left", nothing)].into_iter().collect();
        }
        Self::normal(alternatives)
    }

    /// The alternatives, the most liked first; never empty.
    pub fn alternatives(&self) -> &[Alternative] {
        &self.alternatives
    }

    /// What satisfies both.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        let pairs = self
            .alternatives
            .iter()
            .flat_map(|mine| other.alternatives.iter().map(|theirs| mine.union(theirs)));
        Self::normal(pairs.collect())
    }

    /// What satisfies all of them.
    pub fn merge_all<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        all.into_iter().fold(Self::default(), |merged, next| merged.merge(next))
    }

    /// The same with one more statement in every alternative.
    #[must_use]
    pub fn and(&self, statement: Statement) -> Self {
        self.merge(&Self::from_iter([statement]))
    }

    /// One form for all that is equal: without alternatives that others cover, in order.
    fn normal(alternatives: Vec<Alternative>) -> Self {
        let mut alternatives: Vec<_> = alternatives.into_iter().map(Alternative::normal).collect();
        alternatives.sort_by(|a, b| a.rank().cmp(&b.rank()).then_with(|| a.cmp(b)));
        alternatives.dedup();
        let covered: Vec<bool> = alternatives
            .iter()
            .map(|one| alternatives.iter().any(|other| other != one && other.covers(one)))
            .collect();
        let mut keep = covered.into_iter().map(|covered| !covered);
        alternatives.retain(|_| keep.next().unwrap_or(true));
        alternatives.truncate(MAX_ALTERNATIVES);
        Self { alternatives }
    }
}

/// The serialised form, which may come from a peer that means no good.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    version: u32,
    alternatives: Vec<Alternative>,
}

impl From<Constraints> for Wire {
    fn from(constraints: Constraints) -> Self {
        Self { version: VERSION, alternatives: constraints.alternatives }
    }
}

/// Why a serialised form is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// It was written by a later version.
    #[error("constraints of version {0} are not understood, only those of version {VERSION}")]
    Version(u32),
    /// It leaves no way to meet it, not even without statements.
    #[error("constraints without an alternative")]
    Empty,
    /// It is larger than anybody needs.
    #[error(
        "constraints of more than {MAX_ALTERNATIVES} alternatives or {MAX_STATEMENTS} statements"
    )]
    TooLarge,
}

impl TryFrom<Wire> for Constraints {
    type Error = WireError;

    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        if wire.version != VERSION {
            return Err(WireError::Version(wire.version));
        }
        if wire.alternatives.is_empty() {
            return Err(WireError::Empty);
        }
        let too_large = wire.alternatives.len() > MAX_ALTERNATIVES
            || wire.alternatives.iter().any(|one| one.statements.len() > MAX_STATEMENTS);
        if too_large {
            return Err(WireError::TooLarge);
        }
        Ok(Self::normal(wire.alternatives))
    }
}

#[cfg(test)]
mod tests;
