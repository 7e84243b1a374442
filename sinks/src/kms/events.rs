//! What the card tells of flips, read without a wait.

use std::os::fd::AsFd;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use rustix::event::PollFlags;
use rustix::io::Errno;
use vcam_uapi::poll;

use super::card::Card;

/// `DRM_EVENT_FLIP_COMPLETE` (`include/uapi/drm/drm.h`).
const FLIP_COMPLETE: u32 = 2;

/// Where `struct drm_event_vblank` has its `crtc_id`.
const CRTC_ID: usize = 28;

/// The flips of a card that are done, for the threads that wait for them.
///
/// One file tells of all CRTCs, and an event that was read is gone. So one thread reads for all:
/// the first that waits, and when it has what it came for, the next.
#[derive(Debug)]
pub(crate) struct Flips {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// CRTCs whose flip is done and that nobody asked about yet.
    done: Vec<u32>,
    /// Whether a thread reads.
    reading: bool,
}

impl Default for Flips {
    fn default() -> Self {
        // One flip a CRTC can be on its way, and no card has more of them.
        let state = State { done: Vec::with_capacity(32), reading: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }
}

impl Flips {
    /// Waits until the flip of a CRTC is done; `false` if it is not by the deadline.
    ///
    /// It is to be called once for each flip, by one thread for each CRTC.
    pub(crate) fn wait(&self, card: &Card, crtc: u32, deadline: Instant) -> Result<bool, Errno> {
        let mut state = self.state.lock();
        loop {
            if let Some(index) = state.done.iter().position(|id| *id == crtc || *id == 0) {
                state.done.swap_remove(index);
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.reading {
                if left.is_zero() {
                    return Ok(false);
                }
                self.changed.wait_for(&mut state, left);
                continue;
            }
            state.reading = true;
            drop(state);
            // First without waiting: when the camera is slower than the display, it is there.
            let mut bytes = [0; 1024];
            let read = match read(card, &mut bytes) {
                Ok(0) if !left.is_zero() => {
                    poll::wait(card.as_fd(), PollFlags::IN, deadline.into())
                        .and_then(|_| read(card, &mut bytes))
                }
                read => read,
            };
            state = self.state.lock();
            state.reading = false;
            if let Ok(len) = read {
                parse(&bytes[..len], |crtc| state.done.push(crtc));
            }
            // No system call where nobody waits, unlike the standard library's.
            self.changed.notify_all();
            if read? == 0 && left.is_zero() {
                return Ok(false);
            }
        }
    }

    /// Forgets a flip that nobody waits for any more.
    pub(crate) fn forget(&self, crtc: u32) {
        self.state.lock().done.retain(|id| *id != crtc);
    }
}

/// Reads the events that are there; the card is open for non-blocking reads.
fn read(card: &Card, bytes: &mut [u8]) -> Result<usize, Errno> {
    match rustix::io::read(card, bytes) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        other => other,
    }
}

/// Goes through a sequence of `struct drm_event`: type, length, and what belongs to the type. Calls
/// `flipped` with the CRTC of each flip; kernels before 4.12 say 0 there.
fn parse(mut bytes: &[u8], mut flipped: impl FnMut(u32)) {
    fn word(bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    }
    while let (Some(kind), Some(length)) = (word(bytes, 0), word(bytes, 4)) {
        let length = length as usize;
        let event = bytes.get(..length).unwrap_or_default();
        if kind == FLIP_COMPLETE
            && let Some(crtc) = word(event, CRTC_ID)
        {
            flipped(crtc);
        }
        // An event is at least its header long.
        bytes = bytes.get(length.max(8)..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u32, crtc: u32) -> Vec<u8> {
        let mut bytes = [kind, 32, 0, 0, 0, 0, 0, crtc].map(u32::to_ne_bytes).concat();
        bytes.resize(32, 0);
        bytes
    }

    fn flips(bytes: &[u8]) -> Vec<u32> {
        let mut crtcs = Vec::new();
        parse(bytes, |crtc| crtcs.push(crtc));
        crtcs
    }

    #[test]
    fn flips_count_and_nothing_else() {
        let bytes = [event(1, 7), event(2, 7), event(2, 8), event(2, 7), event(3, 7)].concat();
        assert_eq!(flips(&bytes), [7, 8, 7]);
    }

    #[test]
    fn garbage_ends_the_list() {
        let whole = event(2, 7);
        for end in 0..whole.len() {
            assert!(flips(&whole[..end]).is_empty());
        }
        let mut endless = event(2, 7);
        endless[4..8].fill(0);
        assert!(flips(&endless).is_empty());
        endless[4..8].fill(0xff);
        assert!(flips(&endless).is_empty());
    }
}
