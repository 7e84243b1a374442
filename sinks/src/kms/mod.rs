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
//!    complete. The card waits for a driver's fence by itself (for a program's the sink does, with
//!    a limit), and flips at a vertical blank: no tearing.
//!
//! When the card refuses a buffer at any of these steps, *the same frame* is copied into one of
//! three dumb buffers of the card and takes the same way. [`LinkEnd`] says from which frame on,
//! and why.
//!
//! Everything that is touched is put back at the end as it was found, even after a panic. What
//! another program left that would change how pictures look, such as a lookup table, is reset with
//! the mode, and put back as well.
//!
//! A display may be unplugged, its card taken out, or another program become the card's master. The
//! run goes on: frames that arrive meanwhile count as dropped, the sink looks about once a second
//! whether the display is back, and sets it up anew. A card that is opened through the seat
//! ([`Cards::through_seat`]) is given up while another virtual terminal is on the screen, and taken
//! up again with the first frame after that.
//!
//! Sources: `Documentation/gpu/drm-kms.rst`, `include/uapi/drm/drm_mode.h`, and kmscube's
//! `drm-atomic.c` for the fences.

mod card;
mod colours;
mod constraints;
mod display;
mod dumb;
mod error;
mod events;
mod fences;
mod fit;
mod import;
mod modes;
mod neutral;
mod output;
mod pipelines;
mod present;
pub mod probe;
mod properties;
mod request;
mod restore;
mod seat;
mod share;
mod transform;
mod uevents;
mod writeback;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use vcam_allocator::constraints::Constraints;
use vcam_allocator::{ColourSpace, Dmabuf, Fourcc, Importer, LinkEnd, Refusal, sysfs};

pub use card::{CardInfo, ConnectorInfo, cards};
pub use error::KmsError;
pub use modes::{ModeInfo, Placement};
pub use output::preferred_size;
pub use seat::{SeatError, seat_manager};
pub use share::Cards;
pub use transform::{NotATransform, Rotate, Transform};
pub use writeback::Captured;

use display::{Account, CaptureHook, Display, Trouble};
use seat::Turn;
use uevents::Uevents;

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
    /// How their numbers stand for colours.
    pub colour_space: ColourSpace,
    /// How frames are turned and mirrored; an error where the plane cannot.
    pub transform: Transform,
    /// Whether frames are to be as large as the display's favourite mode has room for. Where the
    /// plane does not scale, they are shown as they are.
    pub scale: bool,
    /// Which planes will do.
    pub plane: PlaneChoice,
}

impl KmsOptions {
    /// Frames as they are, on the first display there is, in the colours of [`ColourSpace::of`].
    pub fn new(size: (u32, u32), format: Fourcc) -> Self {
        Self {
            card: None,
            connector: None,
            size,
            format,
            colour_space: ColourSpace::of(format, size),
            transform: Transform::default(),
            scale: false,
            plane: PlaneChoice::default(),
        }
    }
}

/// Which of a display's planes shows the frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PlaneChoice {
    /// The primary plane, or an overlay if only that takes the format.
    #[default]
    Any,
    /// An overlay, with nothing below it if the card agrees, else over black.
    Overlay,
    /// An overlay over a primary plane that is black.
    OverlayOnBlack,
}

/// How often a display is looked at, whether it is still there, or there again.
const LOOK: Duration = Duration::from_secs(1);

/// Shows frames on a display.
pub struct KmsSink {
    options: KmsOptions,
    cards: Cards,
    /// `None` only while the card is gone.
    display: Option<Display>,
    /// Whether frames cannot be shown for now.
    away: bool,
    looked: Instant,
    /// The card's, as of the last frame.
    turn: Turn,
    uevents: Option<Uevents>,
    account: Account,
    /// Imports on cards that are gone.
    imports: u64,
    capture: bool,
    at_finish: Option<CaptureHook>,
    /// What is known of the card, also while it is gone.
    card: Known,
}

/// A card, in words.
#[derive(Debug)]
struct Known {
    name: String,
    path: PathBuf,
    connector: String,
    mode: ModeInfo,
    placement: Placement,
    constraints: Constraints,
}

impl Known {
    fn of(display: &Display) -> Self {
        let Display { card, limits, output, fit, options, .. } = display;
        Self {
            name: card.name().to_owned(),
            path: card.path().to_owned(),
            connector: output.connector_name.clone(),
            mode: fit.mode,
            placement: fit.placement,
            constraints: constraints::of(card, limits, output, options.size),
        }
    }
}

impl std::fmt::Debug for KmsSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KmsSink")
            .field("card", &self.card)
            .field("away", &self.away)
            .finish_non_exhaustive()
    }
}

impl KmsSink {
    /// Chooses a card, a connector and a mode, and takes control of the card.
    ///
    /// Nothing on the display changes before the first frame. But the card has been asked whether
    /// it would take the configuration, with a buffer of its own.
    pub fn open(options: &KmsOptions) -> Result<Self, KmsError> {
        Self::open_beside(&Cards::default(), options)
    }

    /// As [`KmsSink::open`], beside other displays of this program, which may be on the same card.
    pub fn open_beside(cards: &Cards, options: &KmsOptions) -> Result<Self, KmsError> {
        // Before the display is looked at, so that no change is missed.
        let uevents = Uevents::open()
            .inspect_err(|error| tracing::debug!(%error, "the kernel does not tell of plugs"))
            .ok();
        let display = Display::open(cards, options)?;
        Ok(Self {
            options: options.clone(),
            cards: cards.clone(),
            card: Known::of(&display),
            turn: display.card.turn(),
            display: Some(display),
            away: false,
            looked: Instant::now(),
            uevents,
            account: Account { link: LinkEnd::import(), counts: SinkCounts::default() },
            imports: 0,
            capture: false,
            at_finish: None,
        })
    }

    /// The mode: width, height, and refreshes a second.
    pub fn mode(&self) -> (u32, u32, u32) {
        let ModeInfo { width, height, refresh, .. } = self.card.mode;
        (width, height, refresh)
    }

    /// The card's device node.
    pub fn card_path(&self) -> &Path {
        &self.card.path
    }

    /// The connector, such as `Virtual-1`.
    pub fn connector(&self) -> &str {
        &self.card.connector
    }

    /// Where frames are on the screen.
    pub fn placement(&self) -> Placement {
        self.card.placement
    }

    /// Prepares [`KmsSink::capture`]. To be called before the first frame, because adding a
    /// connector to a display that is on may make it flicker.
    pub fn enable_capture(&mut self) -> Result<(), KmsError> {
        self.capture = true;
        self.display.as_mut().map_or(Ok(()), Display::enable_capture)
    }

    /// What the display shows now, all of its screen, read back from the card.
    ///
    /// Waits until the last frame is on the screen.
    pub fn capture(&mut self) -> Result<Captured, KmsError> {
        let display = self.display.as_mut().filter(|_| !self.away).ok_or(KmsError::NothingShown)?;
        display.capture(&mut self.account)
    }

    /// Waits until the frame that was presented last is on the screen.
    pub fn wait_flip(&mut self) -> Result<(), KmsError> {
        match &mut self.display {
            Some(display) => display.wait_flip(&mut self.account),
            None => Ok(()),
        }
    }

    /// Has the last frame captured at the end, after it is on the screen and before the display is
    /// put back; needs [`KmsSink::enable_capture`].
    pub fn on_finish_capture(&mut self, hook: Box<dyn FnOnce(Captured) + Send>) {
        self.at_finish = Some(hook);
    }

    fn try_present(&mut self, frame: Frame) -> Result<(), KmsError> {
        if self.is_given_back() || self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            self.look();
        }
        let Some(display) = self.display.as_mut().filter(|_| !self.away) else {
            self.account.counts.dropped += 1;
            frame.discard();
            return Ok(());
        };
        match display.show(frame, &mut self.account) {
            Err(error) if error.is_for_now() => {
                self.account.counts.dropped += 1;
                self.leave(&error);
                Ok(())
            }
            other => other,
        }
    }

    /// Whether the seat has been given to us since the last frame. What somebody did meanwhile is on
    /// the display, even if no frame came in between.
    fn is_given_back(&mut self) -> bool {
        let Some(display) = &self.display else { return false };
        let turn = display.card.turn();
        if turn == self.turn {
            return false;
        }
        self.turn = turn;
        if !self.away
            && let Some(error) = display.card.background()
        {
            self.leave(&error);
        }
        turn.is_ours()
    }

    /// Looks whether the display is still there, or there again.
    fn look(&mut self) {
        let plugged = self.uevents.as_mut().is_some_and(Uevents::any);
        if self.away {
            match self.come_back() {
                Ok(()) => {
                    tracing::info!(card = self.card.name, "the display is back");
                    self.away = false;
                }
                Err(error) => tracing::debug!(%error, "the display is not back"),
            }
            return;
        }
        let Some(display) = &mut self.display else { return };
        match display.glance(plugged) {
            None => {}
            Some(Trouble::Away(error)) => self.leave(&error),
            Some(Trouble::Changed) => {
                display.settle(&mut self.account);
                if let Err(error) = display.set_up_anew() {
                    self.leave(&error);
                }
            }
        }
    }

    /// Gives the display up for now, for this reason.
    fn leave(&mut self, error: &KmsError) {
        tracing::warn!(%error, "no frame is shown until the display is back");
        self.away = true;
        if let Some(display) = &mut self.display {
            display.settle(&mut self.account);
            if display.card.is_gone() {
                self.imports += display.imported.imports();
                // With its file, so that the number of its node is free for its successor.
                self.display = None;
            }
        }
    }

    /// Finds a display again: the same one, or, once its card is gone, the one that a new sink
    /// would find.
    fn come_back(&mut self) -> Result<(), KmsError> {
        if self.display.as_ref().is_some_and(|display| display.card.is_gone()) {
            self.display = None;
        }
        let display = match &mut self.display {
            Some(display) => {
                display.card.take_master()?;
                display.set_up_anew()?;
                display
            }
            None => {
                let display = Display::open(&self.cards, &self.options)?;
                self.turn = display.card.turn();
                self.display.insert(display)
            }
        };
        if self.capture
            && let Err(error) = display.enable_capture()
        {
            tracing::debug!(%error, "what is shown now cannot be captured");
        }
        self.card = Known::of(display);
        Ok(())
    }

    fn try_finish(&mut self) -> Result<(), KmsError> {
        // The seat may have been taken since the last frame.
        self.is_given_back();
        let hook = self.at_finish.take();
        let Some(display) = &mut self.display else { return Ok(()) };
        let put_back = if self.away {
            display.card.take_master().and_then(|()| display.finish(None, &mut self.account))
        } else {
            display.finish(hook, &mut self.account)
        };
        match put_back {
            // Another master's display is not ours to put back; else it is done as well as may be.
            Err(error) if self.away || matches!(error, KmsError::Background { .. }) => {
                tracing::warn!(%error, "the display was not put back");
                Ok(())
            }
            other => other,
        }
    }
}

impl Sink for KmsSink {
    fn name(&self) -> String {
        self.card.name.clone()
    }

    fn constraints(&self) -> Constraints {
        self.card.constraints.clone()
    }

    fn importer(&mut self) -> Option<&mut dyn Importer> {
        Some(self)
    }

    fn prepare(&mut self, buffers: &[Dmabuf]) {
        for buffer in buffers {
            if let Err(refusal) = self.try_import(buffer) {
                self.account.link.copied(0, &refusal, 0);
            }
        }
    }

    fn wait(&mut self) -> Result<(), SinkError> {
        match self.wait_flip() {
            Err(error) if error.is_for_now() => self.leave(&error),
            other => other?,
        }
        Ok(())
    }

    fn present(&mut self, frame: Frame) -> Result<(), SinkError> {
        Ok(self.try_present(frame)?)
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(self.try_finish()?)
    }

    fn link_end(&self) -> LinkEnd {
        let now = self.display.as_ref().map_or(0, |display| display.imported.imports());
        LinkEnd { imports: self.imports + now, ..self.account.link.clone() }
    }

    fn counts(&self) -> SinkCounts {
        self.account.counts
    }
}

impl Importer for KmsSink {
    fn name(&self) -> String {
        self.card.name.clone()
    }

    fn identity(&self) -> String {
        sysfs::device(&self.card.path).unwrap_or_default().display().to_string()
    }

    fn decline(&mut self, buffer: &Dmabuf, refusal: Refusal) {
        if let Some(display) = &mut self.display {
            display.imported.poison(buffer, refusal);
        }
    }

    fn try_import(&mut self, buffer: &Dmabuf) -> Result<(), Refusal> {
        match &mut self.display {
            Some(display) => display.try_import(buffer),
            None => Ok(()),
        }
    }
}

impl Drop for KmsSink {
    fn drop(&mut self) {
        if let Err(error) = self.try_finish() {
            tracing::error!(%error, card = self.card.name, "the display was not put back");
        }
    }
}
