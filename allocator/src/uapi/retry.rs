//! Calls that a signal may interrupt, or that the kernel wants to be made again.

use rustix::io::{self, Errno};

use super::fault;

/// Makes a call until the answer is neither `EINTR` nor `EAGAIN`.
///
/// For the calls whose documentation asks for it: DRM's, as libdrm's `drmIoctl` does; those of
/// dma-bufs that wait for devices (`Documentation/driver-api/dma-buf.rst`); ftruncate(2).
pub(crate) fn retried<T>(
    name: &'static str,
    mut call: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match fault::call(name).and_then(|()| call()) {
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
}
