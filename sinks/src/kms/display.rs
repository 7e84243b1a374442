//! A display: the card that it hangs on, the way of pictures to it, and what of ours it shows.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use drm::control::connector::{self, State};
use rustix::io::Errno;
use vcam_allocator::{Fence, ImportCache, LinkEnd, PooledBuffer};

use super::KmsOptions;
use super::card::Card;
use super::colours;
use super::constraints::Limits;
use super::dumb::Dumb;
use super::error::KmsError;
use super::fit::{Fit, Flip};
use super::import::Framebuffer;
use super::output::{self, Output};
use super::present::FLIP_LIMIT;
use super::restore::Snapshot;
use super::share::{Cards, Taken};
use super::writeback::{Captured, Writeback};
use crate::sink::SinkCounts;

/// What becomes of frames, on whatever card.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) link: LinkEnd,
    pub(super) counts: SinkCounts,
}

/// What is done with a capture.
pub(super) type CaptureHook = Box<dyn FnOnce(Captured) + Send>;

/// A frame on the screen, or on its way there.
pub(super) struct Shown {
    pub(super) framebuffer: Arc<Framebuffer>,
    /// What its drawing is done with.
    pub(super) ready: Option<Fence>,
    /// The frame's buffer, unless the frame was copied.
    pub(super) _buffer: Option<PooledBuffer>,
}

/// A display, as it is used for pictures of one size and format.
pub(super) struct Display {
    pub(super) card: Arc<Card>,
    pub(super) limits: Limits,
    pub(super) output: Output,
    pub(super) options: KmsOptions,
    pub(super) fit: Fit,
    pub(super) flip: Flip,

    pub(super) snapshot: Snapshot,
    /// Whether the display is set up, so that a flip is enough.
    pub(super) active: bool,
    /// Whether something was changed that has to be put back.
    pub(super) changed: bool,

    pub(super) imported: ImportCache<Arc<Framebuffer>>,
    pub(super) dumbs: Vec<Dumb>,
    pub(super) next_dumb: usize,
    pub(super) shown: Option<Shown>,
    pub(super) pending: Option<Shown>,

    pub(super) writeback: Option<Writeback>,
    taken: Option<Taken>,
}

/// What keeps frames from being shown, whatever the frame.
pub(super) enum Trouble {
    /// The display cannot show anything of ours for now.
    Away(KmsError),
    /// Somebody else has changed what the display shows.
    Changed,
}

impl Display {
    /// Chooses a card, a connector and a mode, and takes control of the card.
    pub(super) fn open(cards: &Cards, options: &KmsOptions) -> Result<Self, KmsError> {
        output::first_card(options.card.as_deref(), cards, |card| Self::on_card(card, options))
    }

    fn on_card(card: Arc<Card>, options: &KmsOptions) -> Result<Self, KmsError> {
        card.enable_atomic()?;
        // Without control of the card we can still look, and tell a wrong name from a busy card.
        let master = card.take_master();
        let connector = output::connector(&card, options.connector.as_deref(), master.is_ok())?;
        master?;
        let (output, taken) = choose(&card, &connector, options)?;
        let limits = Limits::of(&card)?;
        let snapshot = Snapshot::take(&card, &output)?;
        let fit = Fit::find(&card, &output, options)?;
        if let Some(words) = colours::unheard(&output.plane, options.colour_space) {
            let (card, space) = (card.name(), options.colour_space);
            tracing::warn!(card, "colours may be off: pictures are {space}, and {words}");
        }
        let flip = Flip::new(&output)?;
        Ok(Self {
            card,
            limits,
            options: options.clone(),
            fit,
            flip,
            snapshot,
            active: false,
            changed: false,
            imported: ImportCache::default(),
            dumbs: Vec::new(),
            next_dumb: 0,
            shown: None,
            pending: None,
            writeback: None,
            taken: Some(taken),
            output,
        })
    }

    /// Finds the way to the display again, after somebody else had it or another display was
    /// plugged in. The next frame sets it up; buffers stay imported.
    pub(super) fn set_up_anew(&mut self) -> Result<(), KmsError> {
        let connector = self.connector()?.ok_or_else(|| self.unplugged())?;
        self.active = false;
        // It may have come too late for anybody to wait for it.
        self.card.flips.forget(self.output.crtc.id);
        self.taken = None;
        let (output, taken) = choose(&self.card, &connector, &self.options)?;
        self.taken = Some(taken);
        self.fit = Fit::find(&self.card, &output, &self.options)?;
        self.flip = Flip::new(&output)?;
        self.snapshot.add(&self.card, &output)?;
        self.output = output;
        // They may be too small for another mode; what is on the screen is kept until it is not.
        self.dumbs.clear();
        if self.writeback.take().is_some() {
            self.enable_capture()?;
        }
        Ok(())
    }

    /// The connector, looked at anew, if a display hangs on it.
    fn connector(&self) -> Result<Option<connector::Info>, KmsError> {
        let Output { connector_name, connected, .. } = &self.output;
        let usable = |info: &connector::Info| {
            info.to_string() == *connector_name
                && !info.modes().is_empty()
                && (info.state() != State::Disconnected || !connected)
        };
        Ok(self.card.connectors(true)?.into_iter().find(usable))
    }

    fn unplugged(&self) -> KmsError {
        let (card, connector) = (self.card.name().to_owned(), self.output.connector_name.clone());
        KmsError::Unplugged { card, connector }
    }

    /// What is in the way after the kernel refused a commit; `None` if it is the frame.
    pub(super) fn trouble(&self, errno: Errno) -> Option<Trouble> {
        match errno {
            Errno::ACCESS | Errno::PERM => {
                Some(Trouble::Away(self.card.commit_failed("show a frame", errno)))
            }
            _ => self.look(),
        }
    }

    /// Whether the display is there and shows what we had it show, as the kernel knows it.
    ///
    /// It costs three ioctls and no memory, so that it can be asked now and then. Looking anew at
    /// what hangs on a connector may take long and make a display flicker; that is only done with a
    /// reason, such as the kernel's word that something was plugged.
    pub(super) fn glance(&self, plugged: bool) -> Option<Trouble> {
        let fine = !plugged && self.is_connected() && (!self.active || self.is_ours());
        if fine { None } else { self.look() }
    }

    /// As [`Display::glance`], with a look at what hangs on the connector.
    pub(super) fn look(&self) -> Option<Trouble> {
        if self.card.is_gone() {
            let card = self.card.name().to_owned();
            return Some(Trouble::Away(KmsError::Gone { card }));
        }
        match self.connector() {
            Ok(Some(_)) if self.active && !self.is_ours() => Some(Trouble::Changed),
            Ok(Some(_)) => None,
            Ok(None) => Some(Trouble::Away(self.unplugged())),
            Err(error) => Some(Trouble::Away(error)),
        }
    }

    fn is_connected(&self) -> bool {
        let (card, id) = (self.card.as_fd(), self.output.connector.id);
        drm_ffi::mode::get_connector(card, id, None, None, None, None, false)
            .is_ok_and(|info| info.connection != DISCONNECTED || !self.output.connected)
    }

    /// Whether CRTC and plane are as our last commit left them.
    fn is_ours(&self) -> bool {
        let card = self.card.as_fd();
        let (Ok(crtc), Ok(plane)) = (
            drm_ffi::mode::get_crtc(card, self.output.crtc.id),
            drm_ffi::mode::get_plane(card, self.output.plane.id, None),
        ) else {
            return false;
        };
        let ours = |shown: &Shown| shown.framebuffer.id == plane.fb_id;
        let mode = (u32::from(crtc.mode.hdisplay), u32::from(crtc.mode.vdisplay));
        crtc.mode_valid == 1
            && mode == self.fit.mode.size()
            && plane.crtc_id == self.output.crtc.id
            && self.pending.as_ref().or(self.shown.as_ref()).is_some_and(ours)
    }

    /// Prepares captures of what the display shows.
    pub(super) fn enable_capture(&mut self) -> Result<(), KmsError> {
        if self.writeback.is_none() {
            let writeback = Writeback::open(&self.card, &self.output, self.fit.mode.size())?;
            let connector = &writeback.connector;
            self.snapshot.add_connector(&self.card, connector)?;
            self.fit.setup.set(
                connector.id,
                connector.property("CRTC_ID")?,
                u64::from(self.output.crtc.id),
            );
            self.writeback = Some(writeback);
        }
        Ok(())
    }

    /// What the display shows now, once the last frame is on the screen.
    pub(super) fn capture(&mut self, account: &mut Account) -> Result<Captured, KmsError> {
        self.wait_flip(account)?;
        let shown = self.shown.as_ref().filter(|_| self.active).ok_or(KmsError::NothingShown)?;
        let writeback = self
            .writeback
            .as_mut()
            .ok_or_else(|| KmsError::NoWriteback { card: self.card.name().to_owned() })?;
        writeback.capture(&self.card, shown.framebuffer.id)
    }

    /// Counts the frame that was on its way to the screen, whether it got there or not.
    pub(super) fn settle(&mut self, account: &mut Account) {
        let limit = if self.card.is_gone() { Duration::ZERO } else { FLIP_LIMIT };
        if let Err(error) = self.wait_flip_for(limit, account) {
            tracing::debug!(%error, card = self.card.name(), "the last frame was not shown");
        }
        if self.pending.take().is_some() {
            account.counts.dropped += 1;
        }
    }

    /// Waits until the last frame is shown, then puts everything back.
    pub(super) fn finish(
        &mut self,
        hook: Option<CaptureHook>,
        account: &mut Account,
    ) -> Result<(), KmsError> {
        if !self.changed {
            return Ok(());
        }
        let mut result = self.wait_flip(account);
        if let Some(hook) = hook {
            match self.capture(account) {
                Ok(captured) => hook(captured),
                Err(error) => result = result.and(Err(error)),
            }
        }
        // Whatever happened before: the display is put back.
        self.active = false;
        self.changed = false;
        result = result.and(self.snapshot.restore(&self.card));
        // Only now, since removing a framebuffer that is on the screen turns the plane off.
        self.shown = None;
        if self.pending.take().is_some() {
            account.counts.dropped += 1;
        }
        result
    }
}

/// `DRM_MODE_DISCONNECTED` (`include/uapi/drm/drm_mode.h`).
const DISCONNECTED: u32 = 2;

/// Chooses the way to a display, among what no other display of this program has.
fn choose(
    card: &Arc<Card>,
    connector: &connector::Info,
    options: &KmsOptions,
) -> Result<(Output, Taken), KmsError> {
    let mut list = card.taken();
    // Two displays may have looked at the same time.
    if list.contains(&connector.handle().into()) {
        let (card, connector) = (card.name().to_owned(), connector.to_string());
        return Err(KmsError::Taken { card, connector });
    }
    let output = Output::choose(card, connector, options, &list)?;
    let planes = [&output.plane].into_iter().chain(&output.below).map(|plane| plane.id);
    let ids = [output.connector.id, output.crtc.id].into_iter().chain(planes).collect();
    let taken = Taken::note(card, &mut list, ids);
    Ok((output, taken))
}
