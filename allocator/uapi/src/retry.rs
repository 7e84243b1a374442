//! Calls that a signal may interrupt, or that the kernel wants to be made again.
//!
//! Source: signal(7), "Interruption of system calls"; `drmIoctl` of libdrm's `xf86drm.c`.

use rustix::io::{self, Errno};

use crate::fault;

/// Makes a call until no signal interrupts it: the answer is anything but `EINTR`.
pub fn uninterrupted<T>(
    name: &'static str,
    mut call: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    io::retry_on_intr(|| fault::call(name).and_then(|()| call()))
}

/// Makes a call until the answer is neither `EINTR` nor `EAGAIN`.
///
/// For the calls whose documentation asks for it: DRM's, as libdrm's `drmIoctl` does; those of
/// dma-bufs that wait for devices (`Documentation/driver-api/dma-buf.rst`); ftruncate(2).
pub fn retried<T>(name: &'static str, mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    finished(|| fault::call(name).and_then(|()| call()))
}

/// As [`retried`], for a call that no test makes fail.
pub(crate) fn finished<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR | Errno::AGAIN) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_interrupted_is_done_again_and_what_fails_is_not() {
        let mut answers =
            [Err(Errno::INTR), Err(Errno::AGAIN), Ok(7), Err(Errno::INVAL)].into_iter();
        let mut next = || retried("test", || answers.next().unwrap());
        assert_eq!((next(), next()), (Ok(7), Err(Errno::INVAL)));
    }

    #[test]
    fn what_there_is_nothing_of_yet_is_not_asked_for_again_and_again() {
        let mut answers = [Err(Errno::INTR), Err(Errno::AGAIN), Ok(7)].into_iter();
        let mut next = || uninterrupted("test", || answers.next().unwrap());
        assert_eq!((next(), next()), (Err(Errno::AGAIN), Ok(7)));
    }
}
