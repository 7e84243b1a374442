//! A display, through the kernel's atomic modesetting (KMS).
//!
//! What happens to a frame:
//!
//! 1. *Import.* The first time a buffer comes by, the card gets it as a dma-buf
//!    (`PRIME_FD_TO_HANDLE`), makes a framebuffer of it (`ADDFB2`), and is asked whether it would
//!    show it (`TEST_ONLY`). The answer is kept for the buffer's life. In steady state a frame
//!    costs no import.
//! 2. *Wait.* The frame before must be on the screen: the card says so with an event, which paces
//!    the camera and gives the buffer before *that* back to its pool. So a sink holds two buffers,
//!    the one that is scanned out and the one that comes next, and never writes what is visible.
//! 3. *Flip.* One non-blocking commit with the framebuffer and the fence after which it is
//!    complete. The card waits for the fence by itself, and flips at a vertical blank: no tearing.
//!
//! When the card refuses a buffer at any of these steps, *the same frame* is copied into one of
//! three dumb buffers of the card and takes the same way. [`LinkEnd`] says from which frame on,
//! and why.
//!
//! Everything that is touched is put back at the end as it was found, even after a panic.
//!
//! Sources: `Documentation/gpu/drm-kms.rst`, `include/uapi/drm/drm_mode.h`, and kmscube's
//! `drm-atomic.c` for the fences.

mod card;
mod constraints;
mod dumb;
mod error;
mod events;
mod import;
mod modes;
mod output;
mod present;
pub mod probe;
mod properties;
mod request;
mod restore;
mod writeback;

use std::sync::Arc;

use drm::control::AtomicCommitFlags;
use rustix::io::Errno;
use vcam_allocator::constraints::Constraints;
use vcam_allocator::{
    Dmabuf, Fourcc, ImportCache, Importer, LinkEnd, PooledBuffer, Refusal, sysfs,
};

pub use card::{CardInfo, ConnectorInfo, cards};
pub use error::KmsError;
pub use modes::{ModeInfo, Placement};
pub use output::preferred_size;
pub use writeback::Captured;

use card::Card;
use constraints::Limits;
use dumb::Dumb;
use import::Framebuffer;
use output::Output;
use properties::{Blob, Object};
use request::{Request, Slot};
use restore::Snapshot;
use writeback::Writeback;

use crate::sink::{Frame, Sink, SinkCounts, SinkError};

/// What the user wants of a display.
#[derive(Debug, Clone)]
pub struct KmsOptions {
    /// The card, by the path of its node or the name of its driver; without it the first one that
    /// has a display.
    pub card: Option<String>,
    /// The connector, such as `Virtual-1`; without it the first one that has a display.
    pub connector: Option<String>,
    /// Width and height of the frames.
    pub size: (u32, u32),
    /// Format of the frames.
    pub format: Fourcc,
}

/// Shows frames on a display.
pub struct KmsSink {
    card: Arc<Card>,
    limits: Limits,
    output: Output,
    size: (u32, u32),
    format: Fourcc,
    fit: Fit,
    flip: Request,
    flip_shown: Slot,
    /// The slot for a fence, if the plane takes one.
    flip_fence: Option<Slot>,

    snapshot: Snapshot,
    /// Whether the display is ours now, and must be put back.
    active: bool,

    imported: ImportCache<Arc<Framebuffer>>,
    dumbs: Vec<Dumb>,
    next_dumb: usize,
    shown: Option<Shown>,
    pending: Option<Shown>,

    link: LinkEnd,
    counts: SinkCounts,
    writeback: Option<Writeback>,
    at_finish: Option<CaptureHook>,
}

/// What is done with a capture.
type CaptureHook = Box<dyn FnOnce(Captured) + Send>;

/// A frame on the screen, or on its way there.
struct Shown {
    framebuffer: Arc<Framebuffer>,
    /// The frame's buffer, unless the frame was copied.
    _buffer: Option<PooledBuffer>,
}

impl std::fmt::Debug for KmsSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KmsSink")
            .field("card", &self.card.name())
            .field("connector", &self.output.connector_name)
            .field("mode", &self.fit.mode)
            .field("placement", &self.fit.placement)
            .finish_non_exhaustive()
    }
}

impl KmsSink {
    /// Chooses a card, a connector and a mode, and takes control of the card.
    ///
    /// Nothing on the display changes before the first frame. But the card has been asked whether
    /// it would take the configuration, with a buffer of its own.
    pub fn open(options: &KmsOptions) -> Result<Self, KmsError> {
        output::first_card(options.card.as_deref(), |card| Self::on_card(card, options))
    }

    fn on_card(card: Card, options: &KmsOptions) -> Result<Self, KmsError> {
        let KmsOptions { size, format, .. } = *options;
        card.enable_atomic()?;
        // Without control of the card we can still look, and tell a wrong name from a busy card.
        let master = card.take_master();
        let connector = output::connector(&card, options.connector.as_deref(), master.is_ok())?;
        master?;
        let output = Output::choose(&card, &connector, size, format)?;
        let limits = Limits::of(&card)?;
        let snapshot = Snapshot::take(&card, &output)?;
        let card = Arc::new(card);
        let fit = Fit::find(&card, &output, size, format)?;
        let (flip, flip_shown, flip_fence) = flip(&output)?;
        Ok(Self {
            card,
            limits,
            size,
            format,
            fit,
            flip,
            flip_shown,
            flip_fence,
            snapshot,
            active: false,
            imported: ImportCache::default(),
            dumbs: Vec::new(),
            next_dumb: 0,
            shown: None,
            pending: None,
            link: LinkEnd::import(),
            counts: SinkCounts::default(),
            writeback: None,
            at_finish: None,
            output,
        })
    }

    /// The mode: width, height, and refreshes a second.
    pub fn mode(&self) -> (u32, u32, u32) {
        let ModeInfo { width, height, refresh, .. } = self.fit.mode;
        (width, height, refresh)
    }

    /// The card's device node.
    pub fn card_path(&self) -> &std::path::Path {
        self.card.path()
    }

    /// The connector, such as `Virtual-1`.
    pub fn connector(&self) -> &str {
        &self.output.connector_name
    }

    /// Where frames are on the screen.
    pub fn placement(&self) -> Placement {
        self.fit.placement
    }

    /// Prepares [`KmsSink::capture`]. To be called before the first frame, because adding a
    /// connector to a display that is on may make it flicker.
    pub fn enable_capture(&mut self) -> Result<(), KmsError> {
        if self.writeback.is_none() {
            let writeback = Writeback::open(&self.card, &self.output, self.fit.mode.size())?;
            let connector = &writeback.connector;
            self.snapshot.add_connector(connector)?;
            self.fit.setup.set(
                connector.id,
                connector.property("CRTC_ID")?,
                u64::from(self.output.crtc.id),
            );
            self.writeback = Some(writeback);
        }
        Ok(())
    }

    /// What the display shows now, all of its screen, read back from the card.
    ///
    /// Waits until the last frame is on the screen.
    pub fn capture(&mut self) -> Result<Captured, KmsError> {
        self.wait_flip()?;
        let shown = self.shown.as_ref().filter(|_| self.active).ok_or(KmsError::NothingShown)?;
        let writeback = self
            .writeback
            .as_mut()
            .ok_or_else(|| KmsError::NoWriteback { card: self.card.name().to_owned() })?;
        writeback.capture(&self.card, shown.framebuffer.id)
    }

    /// Has the last frame captured at the end, after it is on the screen and before the display is
    /// put back; needs [`KmsSink::enable_capture`].
    pub fn on_finish_capture(&mut self, hook: Box<dyn FnOnce(Captured) + Send>) {
        self.at_finish = Some(hook);
    }

    fn try_finish(&mut self) -> Result<(), KmsError> {
        if !self.active {
            return Ok(());
        }
        let mut result = self.wait_flip();
        if let Some(hook) = self.at_finish.take() {
            match self.capture() {
                Ok(captured) => hook(captured),
                Err(error) => result = result.and(Err(error)),
            }
        }
        // Whatever happened before: the display is put back.
        self.active = false;
        result = result.and(self.snapshot.restore(&self.card));
        // Only now, since removing a framebuffer that is on the screen turns the plane off.
        self.shown = None;
        if self.pending.take().is_some() {
            self.counts.dropped += 1;
        }
        result
    }
}

impl Sink for KmsSink {
    fn name(&self) -> String {
        self.card.name().to_owned()
    }

    fn constraints(&self) -> Constraints {
        constraints::of(&self.card, &self.limits, &self.output, self.size)
    }

    fn importer(&mut self) -> Option<&mut dyn Importer> {
        Some(self)
    }

    fn prepare(&mut self, buffers: &[Dmabuf]) {
        for buffer in buffers {
            if let Err(refusal) = self.try_import(buffer) {
                self.link.copied(0, &refusal, 0);
            }
        }
    }

    fn present(&mut self, frame: Frame) -> Result<(), SinkError> {
        Ok(self.show(frame)?)
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(self.try_finish()?)
    }

    fn link_end(&self) -> LinkEnd {
        LinkEnd { imports: self.imported.imports(), ..self.link.clone() }
    }

    fn counts(&self) -> SinkCounts {
        self.counts
    }
}

impl Importer for KmsSink {
    fn name(&self) -> String {
        self.card.name().to_owned()
    }

    fn identity(&self) -> String {
        sysfs::device(self.card.path()).unwrap_or_default().display().to_string()
    }

    fn decline(&mut self, buffer: &Dmabuf, refusal: Refusal) {
        self.imported.poison(buffer, refusal);
    }

    fn try_import(&mut self, buffer: &Dmabuf) -> Result<(), Refusal> {
        if let Some(refusal) = &self.fit.must_cover {
            return Err(refusal.clone());
        }
        self.import(buffer);
        match self.imported.get(buffer) {
            Some(Err(refusal)) => Err(refusal.clone()),
            _ => Ok(()),
        }
    }
}

impl Drop for KmsSink {
    fn drop(&mut self) {
        if let Err(error) = self.try_finish() {
            tracing::error!(%error, card = self.card.name(), "the display was not put back");
        }
    }
}

/// The mode that was found, and how frames fit it.
struct Fit {
    mode: ModeInfo,
    /// Where a frame is on the screen.
    placement: Placement,
    /// The card shows nothing smaller than the screen, so frames are copied into larger buffers.
    must_cover: Option<Refusal>,
    /// Sets the mode; also the question whether the card would show a framebuffer.
    setup: Request,
    setup_shown: Slot,
    /// Keeps the mode that `setup` refers to.
    _blob: Blob,
}

impl Fit {
    /// Asks the card for one mode after the other, with a buffer of its own: first with the frame
    /// as it is, in the middle of the screen; then with a buffer as large as the screen.
    fn find(
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
const COLOUR_SPACE: [(&str, &str); 2] =
    [("COLOR_ENCODING", "ITU-R BT.601 YCbCr"), ("COLOR_RANGE", "YCbCr limited range")];

/// Puts a plane on the screen, upright and opaque; the slot is that of its framebuffer.
fn place(
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

/// The commit that shows the next frame, with the slots of its framebuffer and its fence.
fn flip(output: &Output) -> Result<(Request, Slot, Option<Slot>), KmsError> {
    let mut request = Request::default();
    let plane = &output.plane;
    let shown = request.set(plane.id, plane.property("FB_ID")?, 0);
    let fence = plane
        .optional("IN_FENCE_FD")
        .map(|property| request.set(plane.id, property, present::NO_FENCE));
    Ok((request, shown, fence))
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
