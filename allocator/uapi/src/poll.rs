//! Waits for a descriptor, with a limit.
//!
//! Source: `include/uapi/asm-generic/poll.h`, poll(2).

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io;

/// The moment at which a wait ends, if it ends by itself.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// This long from now; a limit that is farther than the clock goes is none.
    pub fn after(limit: Duration) -> Self {
        Self(Instant::now().checked_add(limit))
    }

    /// What is left until then: zero afterwards, `None` if there is no limit.
    pub fn left(self) -> Option<Duration> {
        self.0.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

impl From<Instant> for Deadline {
    fn from(deadline: Instant) -> Self {
        Self(Some(deadline))
    }
}

/// Waits until a descriptor is ready for one of `events`, or has an error or an end to report;
/// `false` if it is not by the deadline.
///
/// It is looked at once even where the deadline is over. Signals do not end the wait.
pub fn wait(fd: BorrowedFd<'_>, events: PollFlags, deadline: Deadline) -> io::Result<bool> {
    let ready = io::retry_on_intr(|| {
        let timeout = deadline.left().map(timespec);
        poll(&mut [PollFd::new(&fd, events)], timeout.as_ref())
    })?;
    Ok(ready > 0)
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    #[test]
    fn a_wait_ends_at_its_deadline_or_when_there_is_something() {
        let event = eventfd(0, EventfdFlags::empty()).unwrap();
        let ready = |deadline| wait(event.as_fd(), PollFlags::IN, deadline).unwrap();
        let begun = Instant::now();
        assert!(!ready(Deadline::after(Duration::from_millis(20))));
        assert!(begun.elapsed() >= Duration::from_millis(20));
        assert!(!ready(begun.into()), "a deadline that is over");
        rustix::io::write(&event, &1u64.to_ne_bytes()).unwrap();
        assert!(ready(begun.into()));
        assert!(ready(Deadline::after(Duration::MAX)));
        assert_eq!(Deadline::after(Duration::MAX).left(), None);
    }
}
