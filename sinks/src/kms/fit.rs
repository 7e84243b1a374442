//! How pictures fit a display: its mode, where they are on its screen, and the commits that bring
//! them there.

use std::sync::Arc;

use drm::control::AtomicCommitFlags;
use rustix::io::Errno;
use vcam_allocator::{Fourcc, Refusal};

use super::card::Card;
use super::dumb::Dumb;
use super::error::KmsError;
use super::modes::{ModeInfo, Placement};
use super::output::Output;
use super::present;
use super::properties::{Blob, Object};
use super::request::{Request, Slot};

/// The mode that was found, and how frames fit it.
#[derive(Debug)]
pub(crate) struct Fit {
    pub(crate) mode: ModeInfo,
    /// Where a frame is on the screen.
    pub(crate) placement: Placement,
    /// The card shows nothing smaller than the screen, so frames are copied into larger buffers.
    pub(crate) must_cover: Option<Refusal>,
    /// Sets the mode; also the question whether the card would show a framebuffer.
    pub(crate) setup: Request,
    pub(crate) setup_shown: Slot,
    /// Keeps the mode that `setup` refers to.
    _blob: Blob,
}

impl Fit {
    /// Asks the card for one mode after the other, with a buffer of its own: first with the frame
    /// as it is, in the middle of the screen; then with a buffer as large as the screen.
    pub(crate) fn find(
        card: &Arc<Card>,
        output: &Output,
        size: (u32, u32),
        format: Fourcc,
    ) -> Result<Self, KmsError> {
        let mut refused = None;
        for (mode, info) in &output.modes {
            let screen = info.size();
            let blob = Blob::new(card, mode)?;
            let placement = Placement::centred(screen, size);
            let (mut setup, setup_shown) = set_up(output, &blob, &placement)?;
            let Err(errno) = try_with_dumb(card, &mut setup, setup_shown, format, size)? else {
                let (mode, must_cover) = (*info, None);
                return Ok(Self { mode, placement, must_cover, setup, setup_shown, _blob: blob });
            };
            if size != screen {
                let whole = Placement { x: 0, y: 0, width: screen.0, height: screen.1 };
                let (mut setup, setup_shown) = set_up(output, &blob, &whole)?;
                if try_with_dumb(card, &mut setup, setup_shown, format, screen)?.is_ok() {
                    let (mode, must_cover) = (*info, Some(too_small(card, size, info, errno)));
                    return Ok(Self {
                        mode,
                        placement,
                        must_cover,
                        setup,
                        setup_shown,
                        _blob: blob,
                    });
                }
            }
            refused = Some((*info, errno));
        }
        let connector = output.connector_name.clone();
        Err(match refused {
            Some((mode, errno)) if output.listed.contains(&mode) => {
                let (card, source) = (card.name().to_owned(), errno.into());
                KmsError::Configuration { card, connector, mode, source }
            }
            _ => KmsError::NoMode { connector, size, modes: output.listed.clone() },
        })
    }
}

/// The card wants a plane to be as large as the screen.
fn too_small(card: &Card, size: (u32, u32), mode: &ModeInfo, errno: Errno) -> Refusal {
    Refusal {
        device: card.name().to_owned(),
        step: present::TEST_ONLY,
        errno: Some(errno.raw_os_error()),
        detail: format!("a picture of {}x{} does not cover {mode}", size.0, size.1),
    }
}

/// The commit that turns the display on with a frame at `placement`.
fn set_up(
    output: &Output,
    mode: &Blob,
    placement: &Placement,
) -> Result<(Request, Slot), KmsError> {
    let mut request = Request::default();
    let Output { connector, crtc, plane, others, .. } = output;
    request.set(connector.id, connector.property("CRTC_ID")?, crtc.id.into());
    request.set(crtc.id, crtc.property("MODE_ID")?, mode.id());
    request.set(crtc.id, crtc.property("ACTIVE")?, 1);
    for other in others {
        request.set(other.id, other.property("FB_ID")?, 0);
        request.set(other.id, other.property("CRTC_ID")?, 0);
    }
    let shown = place(&mut request, plane, crtc.id, placement)?;
    Ok((request, shown))
}

/// How pictures in YUV are to be understood, by the kernel's names (`drm_color_mgmt.c`); it means
/// nothing to those in RGB.
pub(crate) const COLOUR_SPACE: [(&str, &str); 2] =
    [("COLOR_ENCODING", "ITU-R BT.601 YCbCr"), ("COLOR_RANGE", "YCbCr limited range")];

/// Puts a plane on the screen, upright and opaque; the slot is that of its framebuffer.
pub(crate) fn place(
    request: &mut Request,
    plane: &Object,
    crtc: u32,
    placement: &Placement,
) -> Result<Slot, KmsError> {
    let shown = request.set(plane.id, plane.property("FB_ID")?, 0);
    let Placement { x, y, width, height } = *placement;
    // Positions in the source are fixed-point numbers with 16 bits after the point.
    for (name, value) in [
        ("CRTC_ID", u64::from(crtc)),
        ("SRC_X", 0),
        ("SRC_Y", 0),
        ("SRC_W", u64::from(width) << 16),
        ("SRC_H", u64::from(height) << 16),
        ("CRTC_X", x.into()),
        ("CRTC_Y", y.into()),
        ("CRTC_W", width.into()),
        ("CRTC_H", height.into()),
    ] {
        request.set(plane.id, plane.property(name)?, value);
    }
    // What somebody before us may have left: upright, and opaque.
    for (name, value) in [("rotation", 1), ("alpha", 0xffff)] {
        if let Some(property) = plane.optional(name) {
            request.set(plane.id, property, value);
        }
    }
    for (name, choice) in COLOUR_SPACE {
        if let Some((property, value)) = plane.choice(name, choice) {
            request.set(plane.id, property, value);
        }
    }
    Ok(shown)
}

/// The commit that shows the next frame.
#[derive(Debug)]
pub(crate) struct Flip {
    pub(crate) request: Request,
    pub(crate) shown: Slot,
    /// The slot for a fence, if the plane takes one.
    pub(crate) fence: Option<Slot>,
}

impl Flip {
    pub(crate) fn new(output: &Output) -> Result<Self, KmsError> {
        let mut request = Request::default();
        let plane = &output.plane;
        let shown = request.set(plane.id, plane.property("FB_ID")?, 0);
        let fence = plane
            .optional("IN_FENCE_FD")
            .map(|property| request.set(plane.id, property, present::NO_FENCE));
        Ok(Self { request, shown, fence })
    }
}

/// Asks whether the card would take a set-up, with a buffer of its own on the plane.
fn try_with_dumb(
    card: &Arc<Card>,
    setup: &mut Request,
    shown: Slot,
    format: Fourcc,
    size: (u32, u32),
) -> Result<Result<(), Errno>, KmsError> {
    let dumb = match Dumb::new(card, format, size) {
        Ok(dumb) => dumb,
        // Too small or too large for the card: that is an answer, too.
        Err(KmsError::Dumb { source, .. }) => {
            return Ok(Err(Errno::from_io_error(&source).unwrap_or(Errno::INVAL)));
        }
        Err(error) => return Err(error),
    };
    setup.put(shown, dumb.framebuffer().id.into());
    let flags = AtomicCommitFlags::TEST_ONLY | AtomicCommitFlags::ALLOW_MODESET;
    match setup.commit(card, flags) {
        Err(errno @ (Errno::ACCESS | Errno::PERM)) => {
            Err(card.commit_failed("test the mode", errno))
        }
        other => Ok(other),
    }
}
