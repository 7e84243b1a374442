//! One frame after the other onto the screen.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use drm::control::AtomicCommitFlags;
use rustix::io::Errno;
use vcam_allocator::{ColourSpace, CpuAccess, Fence, FenceError, Fourcc, Refusal};

use super::display::{Account, Display, Shown, Trouble};
use super::dumb::Dumb;
use super::error::KmsError;
use super::fences;
use super::import::{Framebuffer, import};
use crate::pixels::READY_LIMIT;
use crate::sink::Frame;
use vcam_allocator::Dmabuf;

pub(super) const TEST_ONLY: &str = "atomic TEST_ONLY";
const COMMIT: &str = "atomic commit";

/// `IN_FENCE_FD` for a frame that needs no waiting: -1.
pub(super) const NO_FENCE: u64 = u64::MAX;

/// How long a flip may take. Displays that are slower than a frame in five seconds are stuck.
pub(super) const FLIP_LIMIT: Duration = Duration::from_secs(5);

/// How long a commit may be answered with `EBUSY` while no flip of ours is in the way.
const BUSY_LIMIT: Duration = Duration::from_secs(1);

/// One on the screen, one on its way there, one to copy into.
const DUMB_BUFFERS: usize = 3;

impl Display {
    pub(super) fn show(&mut self, frame: Frame, account: &mut Account) -> Result<(), KmsError> {
        self.check(&frame)?;
        match self.import(&frame.buffer) {
            Some(framebuffer) => self.show_imported(frame, framebuffer, account),
            None => self.show_copy(frame, account),
        }
    }

    /// Imports a buffer, or says why the card does not take it.
    pub(super) fn try_import(&mut self, buffer: &Dmabuf) -> Result<(), Refusal> {
        if let Some(refusal) = &self.fit.must_cover {
            return Err(refusal.clone());
        }
        self.import(buffer);
        match self.imported.get(buffer) {
            Some(Err(refusal)) => Err(refusal.clone()),
            _ => Ok(()),
        }
    }

    fn check(&self, frame: &Frame) -> Result<(), KmsError> {
        let (layout, space) = (frame.buffer.layout(), frame.colour_space);
        let got = ((layout.width(), layout.height()), layout.format(), space);
        let expected = (self.options.size, self.options.format, self.options.colour_space);
        if got == expected {
            return Ok(());
        }
        let text = |((width, height), format, space): ((u32, u32), Fourcc, ColourSpace)| {
            format!("{width}x{height} {format} in {space}")
        };
        Err(KmsError::WrongFrame { got: text(got), expected: text(expected) })
    }

    /// The framebuffer of a buffer; `None` if the card refuses it, for the reason in the cache.
    fn import(&mut self, buffer: &Dmabuf) -> Option<Arc<Framebuffer>> {
        if self.fit.must_cover.is_some() {
            return None;
        }
        if let Some(known) = self.imported.get(buffer) {
            return known.ok().cloned();
        }
        let card = &self.card;
        let mut flags = AtomicCommitFlags::TEST_ONLY;
        // Once the display is on, a flip must do without setting a mode.
        flags.set(AtomicCommitFlags::ALLOW_MODESET, !self.active);
        let (setup, slot) = (&mut self.fit.setup, self.fit.setup_shown);
        let result = self.imported.get_or_import(buffer, |buffer| {
            let framebuffer = import(card, buffer)?;
            setup.put(slot, framebuffer.id.into());
            match setup.commit(card, flags) {
                // EACCES says nothing about the buffer: somebody else has the card now, as the
                // commit will say.
                Ok(()) | Err(Errno::ACCESS | Errno::PERM) => Ok(Arc::new(framebuffer)),
                Err(errno) => Err(Refusal::errno(card.name(), TEST_ONLY, errno.raw_os_error())),
            }
        });
        match result {
            Ok(framebuffer) => {
                tracing::debug!(buffer = buffer.name(), card = card.name(), "imported");
                Some(framebuffer.clone())
            }
            Err(refusal) => {
                tracing::debug!(buffer = buffer.name(), %refusal, "to be copied");
                None
            }
        }
    }

    fn show_imported(
        &mut self,
        frame: Frame,
        framebuffer: Arc<Framebuffer>,
        account: &mut Account,
    ) -> Result<(), KmsError> {
        self.wait_flip(account)?;
        let committed = match (&frame.ready, self.flip.fence) {
            (Some(ready), Some(_)) if self.active && fences::is_of_drivers(ready) => {
                match self.commit(&framebuffer, Some(ready))? {
                    // Perhaps it is the fence that it does not like.
                    Err(_) => {
                        wait_ready(ready)?;
                        let again = self.commit(&framebuffer, None)?;
                        if again.is_ok() {
                            tracing::debug!(card = self.card.name(), "takes no fence");
                            self.flip.fence = None;
                        }
                        again
                    }
                    ok => ok,
                }
            }
            (ready, _) => {
                if let Some(ready) = ready {
                    wait_ready(ready)?;
                }
                self.commit(&framebuffer, None)?
            }
        };
        match committed {
            Ok(()) => {
                let (ready, buffer) = (frame.ready, Some(frame.buffer));
                self.committed(Shown { framebuffer, ready, _buffer: buffer }, account);
                Ok(())
            }
            Err(errno) => {
                // It had been tested, and is refused all the same: the same frame goes by copy.
                let refusal = Refusal::errno(self.card.name(), COMMIT, errno.raw_os_error());
                tracing::warn!(%refusal, frame = frame.sequence, "falling back to a copy");
                self.imported.poison(&frame.buffer, refusal);
                drop(framebuffer);
                self.show_copy(frame, account)
            }
        }
    }

    fn show_copy(&mut self, frame: Frame, account: &mut Account) -> Result<(), KmsError> {
        if let Some(ready) = &frame.ready {
            wait_ready(ready)?;
        }
        if self.dumbs.is_empty() {
            let size = if self.fit.must_cover.is_some() {
                self.fit.mode.size()
            } else {
                self.options.size
            };
            self.dumbs = (0..DUMB_BUFFERS)
                .map(|_| Dumb::new(&self.card, self.options.format, size))
                .collect::<Result<_, _>>()?;
        }
        // Neither the one on the screen nor the one on its way there, so that the copy need not
        // wait for the flip.
        let index = self.next_dumb;
        self.next_dumb = (index + 1) % DUMB_BUFFERS;
        let dumb = &mut self.dumbs[index];
        let at = match &self.fit.must_cover {
            Some(_) => self.fit.placement,
            None => {
                let (width, height) = self.options.size;
                super::Placement { x: 0, y: 0, width, height }
            }
        };
        let guard = frame.buffer.cpu_access(CpuAccess::Read).map_err(KmsError::Access)?;
        for (plane, layout) in frame.buffer.layout().planes().iter().enumerate() {
            dumb.copy_plane(plane, guard.plane(plane), layout.stride, &at);
        }
        guard.end().map_err(KmsError::Access)?;
        let framebuffer = dumb.framebuffer().clone();

        self.wait_flip(account)?;
        self.commit(&framebuffer, None)?
            .map_err(|errno| self.card.commit_failed("show a frame", errno))?;
        self.committed(Shown { framebuffer, ready: None, _buffer: None }, account);

        let bytes = frame.buffer.layout().payload();
        let refusal = match self.imported.get(&frame.buffer) {
            Some(Err(refusal)) => Some(refusal),
            _ => self.fit.must_cover.as_ref(),
        };
        if let Some(refusal) = refusal {
            account.link.copied(frame.sequence, refusal, bytes);
        }
        Ok(())
    }

    /// Commits a frame, if need be after setting the display up anew. The inner error is the card's
    /// refusal of the frame; the outer one says that there is nothing to show it on.
    fn commit(
        &mut self,
        framebuffer: &Framebuffer,
        ready: Option<&Fence>,
    ) -> Result<Result<(), Errno>, KmsError> {
        let Err(errno) = self.try_commit(framebuffer, ready) else { return Ok(Ok(())) };
        match self.trouble(errno) {
            Some(Trouble::Away(error)) => Err(error),
            Some(Trouble::Changed) => {
                tracing::warn!(
                    card = self.card.name(),
                    "set up anew: somebody changed the display"
                );
                self.set_up_anew()?;
                // Setting a mode knows no fence.
                if let Some(ready) = ready {
                    wait_ready(ready)?;
                }
                let again = self.try_commit(framebuffer, None);
                again
                    .map(Ok)
                    .map_err(|errno| self.card.commit_failed("set the display up anew", errno))
            }
            None if errno == Errno::BUSY => Err(self.card.commit_failed("show a frame", errno)),
            None => Ok(Err(errno)),
        }
    }

    fn try_commit(
        &mut self,
        framebuffer: &Framebuffer,
        ready: Option<&Fence>,
    ) -> Result<(), Errno> {
        let (request, flags) = if self.active {
            let flip = &mut self.flip;
            flip.request.put(flip.shown, framebuffer.id.into());
            if let Some(slot) = flip.fence {
                let fd = ready.map_or(NO_FENCE, |fence| fence.as_fd().as_raw_fd() as u64);
                flip.request.put(slot, fd);
            }
            let flags = AtomicCommitFlags::NONBLOCK | AtomicCommitFlags::PAGE_FLIP_EVENT;
            (&mut flip.request, flags)
        } else {
            // It stays so until the display is put back.
            self.changed |= self.snapshot.bypass_pipelines(&self.card)?;
            self.fit.setup.put(self.fit.setup_shown, framebuffer.id.into());
            (&mut self.fit.setup, AtomicCommitFlags::ALLOW_MODESET)
        };
        let start = Instant::now();
        loop {
            match request.commit(&self.card, flags) {
                // The kernel tells of a flip a moment before it is ready for the next.
                Err(Errno::BUSY) if start.elapsed() < BUSY_LIMIT => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                other => return other,
            }
        }
    }

    /// Notes that a commit was accepted.
    fn committed(&mut self, shown: Shown, account: &mut Account) {
        if self.active {
            self.pending = Some(shown);
        } else {
            // Setting the mode has waited until the frame was on the screen.
            self.active = true;
            self.changed = true;
            self.shown = Some(shown);
            account.counts.displayed += 1;
        }
    }

    /// Waits until the frame that was presented last is on the screen.
    pub(super) fn wait_flip(&mut self, account: &mut Account) -> Result<(), KmsError> {
        self.wait_flip_for(FLIP_LIMIT, account)
    }

    pub(super) fn wait_flip_for(
        &mut self,
        limit: Duration,
        account: &mut Account,
    ) -> Result<(), KmsError> {
        if self.pending.is_none() {
            return Ok(());
        }
        let flipped = self.card.flips.wait(&self.card, self.output.crtc.id, Instant::now() + limit);
        match flipped {
            Ok(true) => {
                // This gives the buffer of the frame before back to its pool.
                self.shown = self.pending.take();
                account.counts.displayed += 1;
                Ok(())
            }
            Ok(false) => match self.look() {
                Some(Trouble::Away(error)) => Err(error),
                _ => {
                    // It may be that the frame is still being drawn.
                    if let Some(ready) = self.pending.as_ref().and_then(|next| next.ready.as_ref())
                    {
                        drawn(ready.wait(Duration::ZERO))?;
                    }
                    Err(KmsError::FlipTimeout { card: self.card.name().to_owned(), limit })
                }
            },
            Err(errno) => Err(self.card.failed("read its events")(errno.into())),
        }
    }
}

fn wait_ready(ready: &Fence) -> Result<(), KmsError> {
    drawn(ready.wait(READY_LIMIT))
}

fn drawn(waited: Result<(), FenceError>) -> Result<(), KmsError> {
    waited.map_err(|source| KmsError::Fence { what: "the drawing of a frame", source })
}
