//! What a display showed before us, and how it is put back.

use std::sync::Arc;

use drm::control::{AtomicCommitFlags, Device as _};

use super::card::Card;
use super::error::KmsError;
use super::output::Output;
use super::properties::{Blob, Object};
use super::request::{Request, Slot};

/// The properties of a plane that we change, or that would change how we are seen.
pub(crate) const PLANE: [&str; 14] = [
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
    "alpha",
    "COLOR_ENCODING",
    "COLOR_RANGE",
];

/// The state of everything that a sink touches, from before it touched it.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// The objects that are in it.
    objects: Vec<u32>,
    request: Request,
    /// The contents of modes. Their blobs may be gone by the time they are put back: the kernel
    /// drops a blob when the last state that uses it is replaced.
    modes: Vec<(Slot, Vec<u8>)>,
    /// The same objects, turned off.
    off: Request,
}

impl Snapshot {
    /// Remembers the state in which `output` was found.
    pub(crate) fn take(card: &Card, output: &Output) -> Result<Self, KmsError> {
        let mut snapshot = Self::default();
        snapshot.add(card, output)?;
        for plane in &output.others {
            snapshot.add_plane(plane)?;
        }
        Ok(snapshot)
    }

    /// Remembers as well what of `output` it does not know yet; but not what another master left on
    /// top of it, whose framebuffers are gone when it is.
    pub(crate) fn add(&mut self, card: &Card, output: &Output) -> Result<(), KmsError> {
        self.add_connector(&output.connector)?;
        self.add_crtc(card, &output.crtc)?;
        for plane in [&output.plane].into_iter().chain(&output.below) {
            self.add_plane(plane)?;
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
        self.request.set(crtc.id, crtc.property("ACTIVE")?, crtc.value("ACTIVE"));
        let slot = self.request.set(crtc.id, crtc.property("MODE_ID")?, 0);
        self.off.set(crtc.id, crtc.property("ACTIVE")?, 0);
        self.off.set(crtc.id, crtc.property("MODE_ID")?, 0);
        let blob = crtc.value("MODE_ID");
        if blob != 0 {
            let bytes = card.get_property_blob(blob).map_err(card.failed("read a mode"))?;
            self.modes.push((slot, bytes));
        }
        Ok(())
    }

    /// Remembers one more connector, such as one for writeback.
    pub(crate) fn add_connector(&mut self, connector: &Object) -> Result<(), KmsError> {
        if self.is_new(connector) {
            let routed = connector.property("CRTC_ID")?;
            self.request.set(connector.id, routed, connector.value("CRTC_ID"));
            self.off.set(connector.id, routed, 0);
        }
        Ok(())
    }

    /// Remembers one more plane, such as a cursor's.
    pub(crate) fn add_plane(&mut self, plane: &Object) -> Result<(), KmsError> {
        if !self.is_new(plane) {
            return Ok(());
        }
        for name in PLANE {
            if let Some(property) = plane.optional(name) {
                self.request.set(plane.id, property, plane.value(name));
            }
        }
        self.off.set(plane.id, plane.property("FB_ID")?, 0);
        self.off.set(plane.id, plane.property("CRTC_ID")?, 0);
        Ok(())
    }

    /// Puts everything back.
    ///
    /// If that is impossible, because the framebuffer that was shown is gone with its owner, the
    /// display is turned off, and the owner or the kernel's console will turn it on again.
    pub(crate) fn restore(&mut self, card: &Arc<Card>) -> Result<(), KmsError> {
        let mut blobs = Vec::with_capacity(self.modes.len());
        for (slot, bytes) in &self.modes {
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
        Ok(())
    }
}
