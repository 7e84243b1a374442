//! A point in a device's work that others can wait for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use vcam_uapi::poll::{self, Deadline};

/// A sync file: a file descriptor that becomes readable when the work behind it is done.
///
/// Source: `Documentation/driver-api/sync_file.rst`. A clone is the same fence.
#[derive(Debug, Clone)]
pub struct Fence(Arc<OwnedFd>);

/// Why a fence was not waited for to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FenceError {
    /// The work is still not done.
    #[error("the fence was not signalled within {0:?}")]
    Timeout(Duration),
    /// The kernel does not poll it.
    #[error("could not poll the fence")]
    Poll(#[source] Errno),
}

impl Fence {
    /// A fence of a sync file whose work is not done yet; `None` if it is, because then nobody
    /// has to carry it on.
    pub fn pending(sync_file: OwnedFd) -> Option<Self> {
        match wait(sync_file.as_fd(), PollFlags::IN, Duration::ZERO) {
            Ok(()) => None,
            Err(_) => Some(Self::from(sync_file)),
        }
    }

    /// Whether the work is done; does not wait.
    pub fn is_signalled(&self) -> bool {
        self.wait(Duration::ZERO).is_ok()
    }

    /// Waits until the work is done, for no longer than the limit.
    pub fn wait(&self, limit: Duration) -> Result<(), FenceError> {
        wait(self.as_fd(), PollFlags::IN, limit)
    }
}

/// Waits until a descriptor is ready for this.
pub(crate) fn wait(
    fd: BorrowedFd<'_>,
    ready: PollFlags,
    limit: Duration,
) -> Result<(), FenceError> {
    match poll::wait(fd, ready, Deadline::after(limit)) {
        Ok(true) => Ok(()),
        Ok(false) => Err(FenceError::Timeout(limit)),
        Err(error) => Err(FenceError::Poll(error)),
    }
}

impl From<OwnedFd> for Fence {
    fn from(fd: OwnedFd) -> Self {
        Self(Arc::new(fd))
    }
}

impl AsFd for Fence {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    #[test]
    fn a_wait_is_bounded_and_sees_the_signal() {
        // An eventfd polls as a sync file does: readable once, and then for good.
        let fake = eventfd(0, EventfdFlags::empty()).unwrap();
        let fence = Fence::from(fake.try_clone().unwrap());
        assert!(!fence.is_signalled());
        assert!(matches!(fence.wait(Duration::from_millis(1)), Err(FenceError::Timeout(_))));
        rustix::io::write(&fake, &1u64.to_ne_bytes()).unwrap();
        assert!(fence.is_signalled());
        assert!(Fence::pending(fake).is_none());
    }
}
