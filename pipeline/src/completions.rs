//! The queue of completed requests, on their way back to the application.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use crate::request::{MAX_REQUESTS, Owner, Request};

/// Where completed requests wait.
#[derive(Debug)]
pub(crate) struct Completions {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Counts the requests that wait, from the first call of `fd` on.
    event: OnceLock<OwnedFd>,
}

#[derive(Debug)]
struct Queue {
    requests: VecDeque<Request>,
    more: More,
}

/// Whether more may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum More {
    /// As long as frames are made.
    Frames,
    /// Also afterwards: what was not made will be cancelled.
    Cancelled,
    Nothing,
}

impl Completions {
    pub(crate) fn new() -> Self {
        // For a request that completes nothing is allocated.
        let requests = VecDeque::with_capacity(MAX_REQUESTS);
        let queue = Mutex::new(Queue { requests, more: More::Nothing });
        Self { queue, changed: Condvar::new(), event: OnceLock::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frames begin to be made.
    pub(crate) fn open(&self) {
        self.lock().more = More::Frames;
    }

    /// The camera is being stopped, and what is left will be cancelled.
    pub(crate) fn expect_cancelled(&self) {
        self.lock().more = More::Cancelled;
    }

    /// There will be no more.
    pub(crate) fn close(&self) {
        self.lock().more = More::Nothing;
        self.changed.notify_all();
    }

    /// No more frames are made.
    pub(crate) fn end_of_frames(&self) {
        let mut queue = self.lock();
        if queue.more == More::Frames {
            queue.more = More::Nothing;
            self.changed.notify_all();
        }
    }

    pub(crate) fn push(&self, mut request: Request) {
        request.returns();
        let mut queue = self.lock();
        queue.requests.push_back(request);
        if let Some(event) = self.event.get() {
            // Under the lock, or a `pop` in between finds nothing to count down, and the
            // count stays one too high. It is full at 2^64 requests.
            let _ = rustix::io::write(event, &1_u64.to_ne_bytes());
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// The next one, waiting for it until `deadline`; none if it passes, or if no more can come.
    pub(crate) fn pop(&self, deadline: Option<Instant>) -> Option<Request> {
        let mut queue = self.lock();
        loop {
            if let Some(request) = queue.requests.pop_front() {
                if let Some(event) = self.event.get() {
                    // One less; it does not block.
                    let _ = rustix::io::read(event, &mut [0_u8; 8]);
                }
                return Some(request);
            }
            if queue.more == More::Nothing {
                return None;
            }
            queue = match deadline {
                None => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    let waited = self.changed.wait_timeout(queue, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// A descriptor that is readable as long as requests wait.
    pub(crate) fn fd(&self) -> std::io::Result<BorrowedFd<'_>> {
        let queue = self.lock();
        if self.event.get().is_none() {
            let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK | EventfdFlags::SEMAPHORE;
            let waiting = u32::try_from(queue.requests.len()).unwrap_or(u32::MAX);
            let _ = self.event.set(eventfd(waiting, flags)?);
        }
        match self.event.get() {
            Some(event) => Ok(event.as_fd()),
            None => unreachable!("it was just set, under the lock"),
        }
    }
}

impl Owner for Completions {
    fn take_back(&self, lost: Request) {
        self.push(lost);
    }
}

/// A deadline so far from now.
pub(crate) fn deadline(limit: Duration) -> Option<Instant> {
    Instant::now().checked_add(limit)
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    #[test]
    fn the_descriptor_is_readable_only_as_long_as_something_waits() {
        let completions = Completions::new();
        completions.open();
        let fd = completions.fd().unwrap();
        // One thread takes as fast as the other brings.
        const COUNT: u64 = 20_000;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for cookie in 0..COUNT {
                    completions.push(Request::new(cookie, [None; 3]));
                }
            });
            for cookie in 0..COUNT {
                assert_eq!(completions.pop(None).unwrap().cookie(), cookie);
            }
        });
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let ready = || poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&now)).unwrap();
        assert_eq!(ready(), 0);
        completions.push(Request::new(0, [None; 3]));
        assert_eq!(ready(), 1);
    }
}
