//! How far costs may decide, and whether frames may be copied.

/// When a frame may be copied on its way from one device to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CopyPolicy {
    /// Never: a link that copies ends the run with
    /// [`StageError::Copies`](crate::StageError::Copies).
    Forbid,
    /// Where a device refuses a buffer; the [`Link`](crate::Link) says why.
    #[default]
    Fallback,
    /// As [`CopyPolicy::Fallback`], and where a copy is cheaper than the import, as measured.
    ByCost,
}

/// Which heap is taken of those that serve every device of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HeapOrder {
    /// The first in the order in which they are given.
    #[default]
    AsGiven,
    /// The one whose frames cost the CPU least, as measured.
    ByCost,
}
