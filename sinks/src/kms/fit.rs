//! How pictures fit a display: its mode, where they are on its screen, and the commits that bring
//! them there.

use std::sync::Arc;

use drm::control::{self, AtomicCommitFlags};
use rustix::io::Errno;
use vcam_allocator::{ColourSpace, Fourcc, Refusal};

use super::card::Card;
use super::colours;
use super::dumb::Dumb;
use super::error::KmsError;
use super::modes::{ModeInfo, Placement};
use super::neutral;
use super::output::Output;
use super::present;
use super::properties::{Blob, Object};
use super::request::{Request, Slot};
use super::transform::Transform;
use super::{KmsOptions, PlaneChoice};

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
    /// Keeps the mode that `setup` refers to, and the black that it puts below an overlay.
    _kept: (Blob, Option<Dumb>),
}

/// A picture on its way to the screen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    /// Width and height of the buffer.
    pub(crate) source: (u32, u32),
    /// Where it is on the screen.
    pub(crate) placement: Placement,
    pub(crate) transform: Transform,
    /// How its numbers stand for colours.
    pub(crate) colour_space: ColourSpace,
    /// Bits of each of its colours.
    pub(crate) bits: u8,
}

impl View {
    /// A picture as it is.
    pub(crate) fn plain(placement: Placement, colour_space: ColourSpace) -> Self {
        let source = (placement.width, placement.height);
        Self { source, placement, transform: Transform::default(), colour_space, bits: 8 }
    }
}

impl Fit {
    /// Asks the card for one mode after the other, with a buffer of its own: first with the frame
    /// as large as the screen has room for, if that is wanted; then with the frame as it is, in the
    /// middle of the screen; then with a buffer as large as the screen.
    pub(crate) fn find(
        card: &Arc<Card>,
        output: &Output,
        options: &KmsOptions,
    ) -> Result<Self, KmsError> {
        let KmsOptions { size, transform, colour_space, .. } = *options;
        let bits = options.format.info().map_or(8, |info| info.bits);
        let view = |placement| View { source: size, placement, transform, colour_space, bits };
        let turned = transform.turned(size);
        let mut refused = None;
        let mut ask = |mode: &(control::Mode, ModeInfo), view: &View| {
            let answer = Self::with(card, output, options, mode, view)?;
            Ok::<_, KmsError>(answer.inspect_err(|errno| refused = Some((mode.1, *errno))))
        };
        if let Some(mode) = &output.favourite {
            let placement = Placement::scaled(mode.1.size(), turned);
            if let Ok(fit) = ask(mode, &view(placement))? {
                return Ok(fit);
            }
        }
        for mode in &output.modes {
            let screen = mode.1.size();
            let placement = Placement::centred(screen, turned);
            let errno = match ask(mode, &view(placement))? {
                Ok(fit) => return Ok(fit),
                Err(errno) => errno,
            };
            let whole = Placement { x: 0, y: 0, width: screen.0, height: screen.1 };
            if size != screen
                && transform.is_none()
                && let Ok(fit) = ask(mode, &View { bits, ..View::plain(whole, colour_space) })?
            {
                let must_cover = Some(too_small(card, size, &mode.1, errno));
                return Ok(Self { placement, must_cover, ..fit });
            }
        }
        if !transform.is_none()
            && Self::find(
                card,
                output,
                &KmsOptions { transform: Transform::default(), ..options.clone() },
            )
            .is_ok()
        {
            return Err(KmsError::Transform { card: card.name().to_owned(), transform });
        }
        let connector = output.connector_name.clone();
        Err(match refused {
            Some((mode, errno)) if output.listed.contains(&mode) => {
                let (card, source) = (card.name().to_owned(), errno.into());
                KmsError::Configuration { card, connector, mode, source }
            }
            _ => KmsError::NoMode { connector, size: turned, modes: output.listed.clone() },
        })
    }

    /// Asks for one mode and one view; the inner error is the card's no.
    fn with(
        card: &Arc<Card>,
        output: &Output,
        options: &KmsOptions,
        (mode, info): &(control::Mode, ModeInfo),
        view: &View,
    ) -> Result<Result<Self, Errno>, KmsError> {
        let (format, info) = (options.format, *info);
        let blob = Blob::new(card, mode)?;
        let mut refused = Errno::INVAL;
        // An overlay may stand alone; some cards want something below it.
        let alone = options.plane != PlaneChoice::OverlayOnBlack;
        let below = [alone.then_some(None), output.below.as_ref().map(Some)];
        for below in below.into_iter().flatten() {
            let black = match below {
                Some(_) => Some(Dumb::new(card, BLACK, info.size())?),
                None => None,
            };
            let below = below.zip(black.as_ref());
            let (mut setup, setup_shown) = set_up(output, &blob, info.size(), below, view)?;
            match try_with_dumb(card, &mut setup, setup_shown, format, view.source)? {
                Ok(()) => {
                    let (mode, placement, must_cover) = (info, view.placement, None);
                    let _kept = (blob, black);
                    return Ok(Ok(Self { mode, placement, must_cover, setup, setup_shown, _kept }));
                }
                Err(errno) => refused = errno,
            }
        }
        Ok(Err(refused))
    }
}

/// What a primary plane below an overlay shows; a new buffer of it is black.
const BLACK: Fourcc = Fourcc::XRGB8888;

/// The card wants a plane to be as large as the screen.
fn too_small(card: &Card, size: (u32, u32), mode: &ModeInfo, errno: Errno) -> Refusal {
    Refusal {
        device: card.name().to_owned(),
        step: present::TEST_ONLY,
        errno: Some(errno.raw_os_error()),
        detail: format!("a picture of {}x{} does not cover {mode}", size.0, size.1),
    }
}

/// The commit that turns the display on with a frame in `view`, and with a buffer below it.
fn set_up(
    output: &Output,
    mode: &Blob,
    screen: (u32, u32),
    below: Option<(&Object, &Dumb)>,
    view: &View,
) -> Result<(Request, Slot), KmsError> {
    let mut request = Request::default();
    let Output { connector, crtc, plane, others, .. } = output;
    request.set(connector.id, connector.property("CRTC_ID")?, crtc.id.into());
    neutral::reset(&mut request, connector, &neutral::CONNECTOR, view.bits);
    request.set(crtc.id, crtc.property("MODE_ID")?, mode.id());
    request.set(crtc.id, crtc.property("ACTIVE")?, 1);
    neutral::reset(&mut request, crtc, &neutral::CRTC, view.bits);
    for other in others.iter().chain(&output.below) {
        if below.is_none_or(|(plane, _)| plane.id != other.id) {
            request.set(other.id, other.property("FB_ID")?, 0);
            request.set(other.id, other.property("CRTC_ID")?, 0);
        }
    }
    if let Some((plane, black)) = below {
        let whole = Placement { x: 0, y: 0, width: screen.0, height: screen.1 };
        let black_view = View::plain(whole, ColourSpace::SRGB);
        let shown = place(&mut request, plane, crtc.id, &black_view)?;
        request.put(shown, black.framebuffer().id.into());
    }
    let shown = place(&mut request, plane, crtc.id, view)?;
    if let Some((below, _)) = below {
        neutral::stack(&mut request, plane, below);
    }
    Ok((request, shown))
}

/// Puts a plane on the screen, opaque; the slot is that of its framebuffer.
pub(crate) fn place(
    request: &mut Request,
    plane: &Object,
    crtc: u32,
    view: &View,
) -> Result<Slot, KmsError> {
    let shown = request.set(plane.id, plane.property("FB_ID")?, 0);
    let View { source, placement: Placement { x, y, width, height }, transform, .. } = *view;
    let View { colour_space, bits, .. } = *view;
    // Positions in the source are fixed-point numbers with 16 bits after the point.
    for (name, value) in [
        ("CRTC_ID", u64::from(crtc)),
        ("SRC_X", 0),
        ("SRC_Y", 0),
        ("SRC_W", u64::from(source.0) << 16),
        ("SRC_H", u64::from(source.1) << 16),
        ("CRTC_X", x.into()),
        ("CRTC_Y", y.into()),
        ("CRTC_W", width.into()),
        ("CRTC_H", height.into()),
    ] {
        request.set(plane.id, plane.property(name)?, value);
    }
    if let Some(property) = plane.settable("rotation") {
        request.set(plane.id, property.id, transform.bits());
    } else if !transform.is_none() {
        return Err(KmsError::Transform { card: plane.card().to_owned(), transform });
    }
    neutral::reset(request, plane, &neutral::PLANE, bits);
    colours::set(request, plane, colour_space);
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
