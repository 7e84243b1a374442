//! What a display showed before us, and how it is put back.

use std::sync::Arc;

use drm::control::{AtomicCommitFlags, Device as _};
use rustix::io::Errno;

use super::card::Card;
use super::error::KmsError;
use super::neutral;
use super::output::Output;
use super::pipelines::Pipelines;
use super::properties::{Blob, Object};
use super::request::{Request, Slot};

/// The properties that place a plane and say how it understands YUV; those of [`neutral`] come on
/// top.
const PLACE: [&str; 14] = [
    "FB_ID",
    "CRTC_ID",
    "SRC_X",
    "SRC_Y",
    "SRC_W",
    "SRC_H",
    "CRTC_X",
    "CRTC_Y",
    "CRTC_W",
    "CRTC_H",
    "rotation",
    "zpos",
    "COLOR_ENCODING",
    "COLOR_RANGE",
];

/// The state of everything that a sink touches, from before it touched it.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// The objects that are in it.
    objects: Vec<u32>,
    request: Request,
    /// The contents of modes, lookup tables and the like. Their blobs may be gone by the time they
    /// are put back: the kernel drops a blob when the last state that uses it is replaced.
    blobs: Vec<(Slot, Vec<u8>)>,
    pipelines: Pipelines,
    /// The same objects, turned off.
    off: Request,
}

impl Snapshot {
    /// Remembers the state in which `output` was found.
    pub(crate) fn take(card: &Card, output: &Output) -> Result<Self, KmsError> {
        let mut snapshot = Self::default();
        snapshot.add(card, output)?;
        for plane in &output.others {
            snapshot.add_plane(card, plane)?;
        }
        Ok(snapshot)
    }

    /// Remembers as well what of `output` it does not know yet; but not what another master left on
    /// top of it, whose framebuffers are gone when it is.
    pub(crate) fn add(&mut self, card: &Card, output: &Output) -> Result<(), KmsError> {
        self.add_connector(card, &output.connector)?;
        self.add_crtc(card, &output.crtc)?;
        for plane in [&output.plane].into_iter().chain(&output.below) {
            self.add_plane(card, plane)?;
        }
        Ok(())
    }

    fn is_new(&mut self, object: &Object) -> bool {
        let new = !self.objects.contains(&object.id);
        if new {
            self.objects.push(object.id);
        }
        new
    }

    fn add_crtc(&mut self, card: &Card, crtc: &Object) -> Result<(), KmsError> {
        if !self.is_new(crtc) {
            return Ok(());
        }
        self.note(card, crtc, ["ACTIVE", "MODE_ID"])?;
        self.note(card, crtc, neutral::CRTC.map(|(name, _)| name))?;
        self.off.set(crtc.id, crtc.property("ACTIVE")?, 0);
        self.off.set(crtc.id, crtc.property("MODE_ID")?, 0);
        Ok(())
    }

    /// Remembers those of an object's properties that it has and that can be set.
    fn note<'a>(
        &mut self,
        card: &Card,
        object: &Object,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), KmsError> {
        for name in names {
            let Some(property) = object.settable(name) else { continue };
            let slot = self.request.set(object.id, property.id, property.value);
            if property.is_blob && property.value != 0 {
                let read = card.get_property_blob(property.value);
                self.blobs.push((slot, read.map_err(card.failed("read a property's contents"))?));
            }
        }
        Ok(())
    }

    /// Remembers one more connector, such as one for writeback.
    pub(crate) fn add_connector(
        &mut self,
        card: &Card,
        connector: &Object,
    ) -> Result<(), KmsError> {
        if self.is_new(connector) {
            self.note(card, connector, ["CRTC_ID"])?;
            self.note(card, connector, neutral::CONNECTOR.map(|(name, _)| name))?;
            self.off.set(connector.id, connector.property("CRTC_ID")?, 0);
        }
        Ok(())
    }

    /// Remembers one more plane, such as a cursor's.
    pub(crate) fn add_plane(&mut self, card: &Card, plane: &Object) -> Result<(), KmsError> {
        if !self.is_new(plane) {
            return Ok(());
        }
        self.note(card, plane, PLACE)?;
        self.note(card, plane, neutral::PLANE.map(|(name, _)| name))?;
        self.pipelines.add(card, plane.id)?;
        self.off.set(plane.id, plane.property("FB_ID")?, 0);
        self.off.set(plane.id, plane.property("CRTC_ID")?, 0);
        Ok(())
    }

    /// Puts everything back.
    ///
    /// If that is impossible, because the framebuffer that was shown is gone with its owner, the
    /// display is turned off, and the owner or the kernel's console will turn it on again.
    pub(crate) fn restore(&mut self, card: &Arc<Card>) -> Result<(), KmsError> {
        let mut blobs = Vec::with_capacity(self.blobs.len());
        for (slot, bytes) in &self.blobs {
            let blob = Blob::new(card, bytes.as_slice())?;
            self.request.put(*slot, blob.id());
            blobs.push(blob);
        }
        let result = self.request.commit(card, AtomicCommitFlags::ALLOW_MODESET);
        // The state holds references of its own.
        drop(blobs);
        if let Err(error) = result {
            tracing::warn!(%error, card = card.name(), "could not show again what was shown before");
            self.off
                .commit(card, AtomicCommitFlags::ALLOW_MODESET)
                .map_err(|errno| card.commit_failed("restore the display", errno))?;
        }
        let pipelines = self.pipelines.restore(card);
        pipelines.map_err(|errno| card.commit_failed("put a colour pipeline back", errno))
    }

    /// Puts pixels past the colour pipelines of planes; says whether there were any.
    pub(crate) fn bypass_pipelines(&mut self, card: &Card) -> Result<bool, Errno> {
        self.pipelines.bypass(card)
    }
}
