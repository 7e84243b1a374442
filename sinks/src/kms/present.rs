//! One frame after the other onto the screen.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use drm::control::AtomicCommitFlags;
use rustix::io::Errno;
use vcam_allocator::{CpuAccess, Fence, Refusal};

use super::dumb::Dumb;
use super::error::KmsError;
use super::import::{Framebuffer, import};
use super::{KmsSink, Shown, events};
use crate::pixels::READY_LIMIT;
use crate::sink::Frame;
use vcam_allocator::Dmabuf;

pub(super) const TEST_ONLY: &str = "atomic TEST_ONLY";
const COMMIT: &str = "atomic commit";

/// `IN_FENCE_FD` for a frame that needs no waiting: -1.
pub(super) const NO_FENCE: u64 = u64::MAX;

/// How long a flip may take. Displays that are slower than a frame in five seconds are stuck.
const FLIP_LIMIT: Duration = Duration::from_secs(5);

/// How long a commit may be answered with `EBUSY` while no flip of ours is in the way.
const BUSY_LIMIT: Duration = Duration::from_secs(1);

/// One on the screen, one on its way there, one to copy into.
const DUMB_BUFFERS: usize = 3;

impl KmsSink {
    pub(super) fn show(&mut self, frame: Frame) -> Result<(), KmsError> {
        self.check(&frame.buffer)?;
        match self.import(&frame.buffer) {
            Some(framebuffer) => self.show_imported(frame, framebuffer),
            None => self.show_copy(frame),
        }
    }

    fn check(&self, buffer: &Dmabuf) -> Result<(), KmsError> {
        let layout = buffer.layout();
        if (layout.width(), layout.height()) == self.size && layout.format() == self.format {
            return Ok(());
        }
        let text = |size: (u32, u32), format| format!("{}x{} {format}", size.0, size.1);
        Err(KmsError::WrongFrame {
            got: text((layout.width(), layout.height()), layout.format()),
            expected: text(self.size, self.format),
        })
    }

    /// The framebuffer of a buffer; `None` if the card refuses it, for the reason in the cache.
    pub(super) fn import(&mut self, buffer: &Dmabuf) -> Option<Arc<Framebuffer>> {
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
    ) -> Result<(), KmsError> {
        self.wait_flip()?;
        let committed = match (&frame.ready, self.flip_fence) {
            (Some(ready), Some(_)) if self.active => {
                match self.commit(&framebuffer, Some(ready))? {
                    // Perhaps it is the fence that it does not like.
                    Err(_) => {
                        wait_ready(ready)?;
                        let again = self.commit(&framebuffer, None)?;
                        if again.is_ok() {
                            tracing::debug!(card = self.card.name(), "takes no fence");
                            self.flip_fence = None;
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
                self.committed(Shown { framebuffer, _buffer: Some(frame.buffer) });
                Ok(())
            }
            Err(errno) => {
                // It had been tested, and is refused all the same: the same frame goes by copy.
                let refusal = Refusal::errno(self.card.name(), COMMIT, errno.raw_os_error());
                tracing::warn!(%refusal, frame = frame.sequence, "falling back to a copy");
                self.imported.poison(&frame.buffer, refusal);
                drop(framebuffer);
                self.show_copy(frame)
            }
        }
    }

    fn show_copy(&mut self, frame: Frame) -> Result<(), KmsError> {
        if let Some(ready) = &frame.ready {
            wait_ready(ready)?;
        }
        if self.dumbs.is_empty() {
            let size = if self.fit.must_cover.is_some() { self.fit.mode.size() } else { self.size };
            self.dumbs = (0..DUMB_BUFFERS)
                .map(|_| Dumb::new(&self.card, self.format, size))
                .collect::<Result<_, _>>()?;
        }
        // Neither the one on the screen nor the one on its way there, so that the copy need not
        // wait for the flip.
        let index = self.next_dumb;
        self.next_dumb = (index + 1) % DUMB_BUFFERS;
        let dumb = &mut self.dumbs[index];
        let at = match &self.fit.must_cover {
            Some(_) => self.fit.placement,
            None => super::Placement { x: 0, y: 0, ..self.fit.placement },
        };
        let guard = frame.buffer.cpu_access(CpuAccess::Read).map_err(KmsError::Access)?;
        for (plane, layout) in frame.buffer.layout().planes().iter().enumerate() {
            dumb.copy_plane(plane, guard.plane(plane), layout.stride, &at);
        }
        guard.end().map_err(KmsError::Access)?;
        let framebuffer = dumb.framebuffer().clone();

        self.wait_flip()?;
        self.commit(&framebuffer, None)?
            .map_err(|errno| self.card.commit_failed("show a frame", errno))?;
        self.committed(Shown { framebuffer, _buffer: None });

        let bytes = frame.buffer.layout().payload();
        let refusal = match self.imported.get(&frame.buffer) {
            Some(Err(refusal)) => Some(refusal),
            _ => self.fit.must_cover.as_ref(),
        };
        if let Some(refusal) = refusal {
            self.link.copied(frame.sequence, refusal, bytes);
        }
        Ok(())
    }

    /// Commits a frame. The inner error is the card's refusal of it; the outer one is the end.
    fn commit(
        &mut self,
        framebuffer: &Framebuffer,
        ready: Option<&Fence>,
    ) -> Result<Result<(), Errno>, KmsError> {
        let (request, flags) = if self.active {
            self.flip.put(self.flip_shown, framebuffer.id.into());
            if let Some(slot) = self.flip_fence {
                let fd = ready.map_or(NO_FENCE, |fence| fence.as_fd().as_raw_fd() as u64);
                self.flip.put(slot, fd);
            }
            let flags = AtomicCommitFlags::NONBLOCK | AtomicCommitFlags::PAGE_FLIP_EVENT;
            (&mut self.flip, flags)
        } else {
            self.fit.setup.put(self.fit.setup_shown, framebuffer.id.into());
            (&mut self.fit.setup, AtomicCommitFlags::ALLOW_MODESET)
        };
        let start = Instant::now();
        loop {
            match request.commit(&self.card, flags) {
                Ok(()) => return Ok(Ok(())),
                // The kernel tells of a flip a moment before it is ready for the next.
                Err(Errno::BUSY) if start.elapsed() < BUSY_LIMIT => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(errno @ (Errno::ACCESS | Errno::PERM | Errno::BUSY | Errno::NODEV)) => {
                    return Err(self.card.commit_failed("show a frame", errno));
                }
                Err(errno) => return Ok(Err(errno)),
            }
        }
    }

    /// Notes that a commit was accepted.
    fn committed(&mut self, shown: Shown) {
        if self.active {
            self.pending = Some(shown);
        } else {
            // Setting the mode has waited until the frame was on the screen.
            self.active = true;
            self.shown = Some(shown);
            self.counts.displayed += 1;
        }
    }

    /// Waits until the frame that was presented last is on the screen.
    pub fn wait_flip(&mut self) -> Result<(), KmsError> {
        if self.pending.is_none() {
            return Ok(());
        }
        let failed =
            |card: &super::Card, errno: Errno| card.failed("read its events")(errno.into());
        let deadline = Instant::now() + FLIP_LIMIT;
        loop {
            // First without waiting: when the camera is slower than the display, it is there.
            let mut flipped = false;
            events::read(&self.card, self.output.crtc.id, || flipped = true)
                .map_err(|errno| failed(&self.card, errno))?;
            if flipped {
                // This gives the buffer of the frame before back to its pool.
                self.shown = self.pending.take();
                self.counts.displayed += 1;
                return Ok(());
            }
            let more =
                events::wait(&self.card, deadline).map_err(|errno| failed(&self.card, errno))?;
            if !more {
                let card = self.card.name().to_owned();
                return Err(KmsError::FlipTimeout { card, limit: FLIP_LIMIT });
            }
        }
    }
}

fn wait_ready(ready: &Fence) -> Result<(), KmsError> {
    ready
        .wait(READY_LIMIT)
        .map_err(|source| KmsError::Fence { what: "the drawing of a frame", source })
}
