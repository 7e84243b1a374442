//! What the card tells of flips, read without a wait.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::card::Card;

/// `DRM_EVENT_FLIP_COMPLETE` (`include/uapi/drm/drm.h`).
const FLIP_COMPLETE: u32 = 2;

/// Where `struct drm_event_vblank` has its `crtc_id`.
const CRTC_ID: usize = 28;

/// Reads the events that are there; calls `flipped` for each flip of this CRTC that is done.
///
/// The card is open for non-blocking reads: without an event this returns at once.
pub(crate) fn read(card: &Card, crtc: u32, flipped: impl FnMut()) -> Result<(), Errno> {
    let mut bytes = [0; 1024];
    match rustix::io::read(card, &mut bytes[..]) {
        Ok(len) => {
            parse(&bytes[..len], crtc, flipped);
            Ok(())
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Waits until there is something to read; `false` if there is nothing until the deadline.
pub(crate) fn wait(card: &Card, deadline: Instant) -> Result<bool, Errno> {
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::ZERO);
    let timeout = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(left.subsec_nanos()),
    };
    match poll(&mut [PollFd::from_borrowed_fd(card.as_fd(), PollFlags::IN)], Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(!left.is_zero()),
        Err(error) => Err(error),
    }
}

/// Goes through a sequence of `struct drm_event`: type, length, and what belongs to the type.
fn parse(mut bytes: &[u8], crtc: u32, mut flipped: impl FnMut()) {
    fn word(bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = bytes.get(at..at.checked_add(4)?)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    }
    while let (Some(kind), Some(length)) = (word(bytes, 0), word(bytes, 4)) {
        let length = length as usize;
        let event = bytes.get(..length).unwrap_or_default();
        // Kernels before 4.12 say 0 for the CRTC; only ours has flips of ours.
        if kind == FLIP_COMPLETE
            && matches!(word(event, CRTC_ID), Some(id) if id == crtc || id == 0)
        {
            flipped();
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

    fn flips(bytes: &[u8]) -> usize {
        let mut count = 0;
        parse(bytes, 7, || count += 1);
        count
    }

    #[test]
    fn only_flips_of_our_crtc_count() {
        let bytes = [event(1, 7), event(2, 7), event(2, 8), event(2, 7), event(3, 7)].concat();
        assert_eq!(flips(&bytes), 2);
    }

    #[test]
    fn garbage_ends_the_list() {
        let whole = event(2, 7);
        for end in 0..whole.len() {
            assert_eq!(flips(&whole[..end]), 0);
        }
        let mut endless = event(2, 7);
        endless[4..8].fill(0);
        assert_eq!(flips(&endless), 0);
        endless[4..8].fill(0xff);
        assert_eq!(flips(&endless), 0);
    }
}
