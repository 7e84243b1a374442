//! Checks of links where copies are forbidden.

use vcam_allocator::{LinkEnd, Method};

use super::error::StageError;
use super::policy::CopyPolicy;
use crate::links::Link;

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
