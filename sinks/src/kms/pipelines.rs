//! Colour pipelines of planes, which another program may have left in use.
//!
//! Their properties may be seen and set only by a client that says that it knows of them, and one
//! that does may not set `COLOR_ENCODING` and `COLOR_RANGE`. So it is said for a moment, to put
//! pixels past a pipeline and in the end to put the pipeline back.
//!
//! Source: `DRM_CLIENT_CAP_PLANE_COLOR_PIPELINE` in `include/uapi/drm/drm.h`, since Linux 6.19.

use std::os::fd::AsFd;

use drm::control::{self, AtomicCommitFlags, plane};
use rustix::io::Errno;

use super::card::Card;
use super::error::KmsError;
use super::properties::Object;
use super::request::{Request, Slot};

const CLIENT_CAP_PLANE_COLOR_PIPELINE: u64 = 7;
const PIPELINE: &str = "COLOR_PIPELINE";
/// No pipeline; pixels stay as they are.
const BYPASS: u64 = 0;

/// The pipelines that were in use, plane by plane.
#[derive(Debug, Default)]
pub(super) struct Pipelines {
    request: Request,
    /// Each with the pipeline that was found.
    found: Vec<(Slot, u64)>,
}

impl Pipelines {
    /// Remembers the pipeline of one more plane, if there is one.
    pub(super) fn add(&mut self, card: &Card, id: u32) -> Result<(), KmsError> {
        let Some(handle) = control::from_u32::<plane::Handle>(id) else { return Ok(()) };
        let Some(plane) = as_one_who_knows(card, || Object::read(card, "plane", handle)) else {
            return Ok(());
        };
        let plane = plane?;
        if let Some(property) = plane.settable(PIPELINE).filter(|one| one.value != BYPASS) {
            let slot = self.request.set(id, property.id, BYPASS);
            self.found.push((slot, property.value));
        }
        Ok(())
    }

    /// Puts pixels past every pipeline; says whether there was one.
    pub(super) fn bypass(&mut self, card: &Card) -> Result<bool, Errno> {
        for (slot, _) in &self.found {
            self.request.put(*slot, BYPASS);
        }
        self.commit(card)?;
        Ok(!self.found.is_empty())
    }

    /// Puts the pipelines back.
    pub(super) fn restore(&mut self, card: &Card) -> Result<(), Errno> {
        for (slot, pipeline) in &self.found {
            self.request.put(*slot, *pipeline);
        }
        self.commit(card)
    }

    fn commit(&mut self, card: &Card) -> Result<(), Errno> {
        if self.found.is_empty() {
            return Ok(());
        }
        let commit = || self.request.commit(card, AtomicCommitFlags::ALLOW_MODESET);
        as_one_who_knows(card, commit).unwrap_or(Ok(()))
    }
}

/// Does something as a client that knows of pipelines; `None` where the kernel does not.
fn as_one_who_knows<T>(card: &Card, work: impl FnOnce() -> T) -> Option<T> {
    let say = |knows| drm_ffi::set_capability(card.as_fd(), CLIENT_CAP_PLANE_COLOR_PIPELINE, knows);
    say(true).ok()?;
    let done = work();
    if let Err(error) = say(false) {
        tracing::warn!(%error, card = card.name(), "planes cannot be told how YUV is encoded");
    }
    Some(done)
}
