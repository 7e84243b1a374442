//! How far costs may decide, and whether frames may be copied.

use vcam_allocator::{LinkEnd, Method};

use super::error::StageError;
use crate::links::Link;

/// When a frame may be copied on its way from one device to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CopyPolicy {
    /// Never: a link that copies ends the run with [`StageError::Copies`].
    Forbid,
    /// Where a device refuses a buffer; the [`Link`] says why.
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

impl CopyPolicy {
    /// Checks one end of a link while frames flow.
    pub(crate) fn check(self, link: &str, end: &LinkEnd) -> Result<(), StageError> {
        if self != Self::Forbid || end.method != Method::Copy {
            return Ok(());
        }
        let reason = end.reason.as_deref().unwrap_or("no reason is known").to_owned();
        Err(StageError::Copies { link: link.to_owned(), reason })
    }

    /// Checks all links of a plan.
    pub(crate) fn check_links(self, links: &[Link]) -> Result<(), StageError> {
        let copies = |link: &&Link| self == Self::Forbid && link.method == Method::Copy;
        match links.iter().find(copies) {
            None => Ok(()),
            Some(Link { from, to, reason, .. }) => Err(StageError::Copies {
                link: format!("the link from {from} to {to}"),
                reason: reason.clone().unwrap_or_default(),
            }),
        }
    }
}
