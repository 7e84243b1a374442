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
#[derive(Debug)]
pub(crate) struct Snapshot {
    request: Request,
    /// The mode's contents. Its blob may be gone by the time it is put back: the kernel drops a
    /// blob when the last state that uses it is replaced.
    mode: Option<(Slot, Vec<u8>)>,
    /// The same objects, turned off.
    off: Request,
}

impl Snapshot {
    /// Remembers the state in which `output` was found.
    pub(crate) fn take(card: &Card, output: &Output) -> Result<Self, KmsError> {
        let mut request = Request::default();
        let mut off = Request::default();
        let connector = &output.connector;
        let routed = connector.property("CRTC_ID")?;
        request.set(connector.id, routed, connector.value("CRTC_ID"));
        off.set(connector.id, routed, 0);

        let crtc = &output.crtc;
        request.set(crtc.id, crtc.property("ACTIVE")?, crtc.value("ACTIVE"));
        let blob = crtc.value("MODE_ID");
        let slot = request.set(crtc.id, crtc.property("MODE_ID")?, 0);
        off.set(crtc.id, crtc.property("ACTIVE")?, 0);
        off.set(crtc.id, crtc.property("MODE_ID")?, 0);
        let mode = match blob {
            0 => None,
            blob => {
                let bytes = card.get_property_blob(blob).map_err(card.failed("read a mode"))?;
                Some((slot, bytes))
            }
        };
        for plane in std::iter::once(&output.plane).chain(&output.others) {
            for name in PLANE {
                if let Some(property) = plane.optional(name) {
                    request.set(plane.id, property, plane.value(name));
                }
            }
            off.set(plane.id, plane.property("FB_ID")?, 0);
            off.set(plane.id, plane.property("CRTC_ID")?, 0);
        }
        Ok(Self { request, mode, off })
    }

    /// Remembers one more connector, such as one for writeback.
    pub(crate) fn add_connector(&mut self, connector: &Object) -> Result<(), KmsError> {
        let routed = connector.property("CRTC_ID")?;
        self.request.set(connector.id, routed, connector.value("CRTC_ID"));
        self.off.set(connector.id, routed, 0);
        Ok(())
    }

    /// Remembers one more plane, such as a cursor's.
    pub(crate) fn add_plane(&mut self, plane: &Object) -> Result<(), KmsError> {
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
        let blob = match &self.mode {
            Some((slot, bytes)) => {
                let blob = Blob::new(card, bytes.as_slice())?;
                self.request.put(*slot, blob.id());
                Some(blob)
            }
            None => None,
        };
        let result = self.request.commit(card, AtomicCommitFlags::ALLOW_MODESET);
        // The state holds a reference of its own.
        drop(blob);
        if let Err(error) = result {
            tracing::warn!(%error, card = card.name(), "could not show again what was shown before");
            self.off
                .commit(card, AtomicCommitFlags::ALLOW_MODESET)
                .map_err(|errno| card.commit_failed("restore the display", errno))?;
        }
        Ok(())
    }
}
