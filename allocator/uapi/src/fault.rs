//! Faults on demand: makes one chosen system call of this thread fail, for tests.
//!
//! An allocation makes half a dozen system calls, and each may fail. No machine can be talked
//! into failing the third of them; this seam can. Every function of this crate that asks the kernel
//! for something passes here first, and those of other libraries that a caller names; to wait
//! ([`poll`](crate::poll)) is not such a call. Only tests and the feature `fault` have it: without,
//! [`call`] is a constant and nothing is left of it.

#[cfg(not(any(test, feature = "fault")))]
use rustix::io;

#[cfg(any(test, feature = "fault"))]
pub use on_demand::{Faulted, call, inject, suspended};

/// Fails if a test wants this system call to fail.
#[cfg(not(any(test, feature = "fault")))]
#[inline(always)]
pub const fn call(_: &'static str) -> io::Result<()> {
    Ok(())
}

/// Runs without faults: for what gives things back, whose failure has no remedy.
#[cfg(not(any(test, feature = "fault")))]
#[inline(always)]
pub fn suspended<T>(run: impl FnOnce() -> T) -> T {
    run()
}

#[cfg(any(test, feature = "fault"))]
mod on_demand {
    use std::cell::Cell;

    use rustix::io::{self, Errno};

    thread_local! {
        static ARMED: Cell<Option<Armed>> = const { Cell::new(None) };
    }

    #[derive(Debug, Clone, Copy)]
    struct Armed {
        calls: u64,
        fail_at: u64,
        errno: Errno,
        failed: Option<&'static str>,
    }

    /// What became of a run with a fault in it.
    #[derive(Debug)]
    pub struct Faulted<T> {
        /// What the run returned.
        pub result: T,
        /// The system call that was made to fail; `None` if the run makes fewer.
        pub failed: Option<&'static str>,
    }

    /// Runs with the `n`-th system call of this thread failing (from 1), once, with this error
    /// number.
    ///
    /// Only calls that pass [`call`] count, and not those that give things back ([`suspended`]).
    pub fn inject<T>(n: u64, errno: i32, run: impl FnOnce() -> T) -> Faulted<T> {
        let errno = Errno::from_raw_os_error(errno);
        let armed = Armed { calls: 0, fail_at: n, errno, failed: None };
        let before = ARMED.replace(Some(armed));
        let result = run();
        let failed = ARMED.replace(before).and_then(|armed| armed.failed);
        Faulted { result, failed }
    }

    /// Runs without faults: for what gives things back, whose failure has no remedy.
    pub fn suspended<T>(run: impl FnOnce() -> T) -> T {
        let armed = ARMED.take();
        let result = run();
        ARMED.set(armed);
        result
    }

    /// Fails if a test wants this system call to fail.
    pub fn call(name: &'static str) -> io::Result<()> {
        let Some(mut armed) = ARMED.get() else { return Ok(()) };
        armed.calls += 1;
        let fails = armed.calls == armed.fail_at;
        if fails {
            armed.failed = Some(name);
        }
        ARMED.set(Some(armed));
        if fails { Err(armed.errno) } else { Ok(()) }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_chosen_call_fails_and_no_other() {
            let run = || [call("one").is_ok(), call("two").is_ok(), call("three").is_ok()];
            let faulted = inject(2, 12, run);
            assert_eq!((faulted.result, faulted.failed), ([true, false, true], Some("two")));
            assert_eq!(inject(4, 12, run).failed, None);
            assert!(call("later").is_ok());
        }
    }
}
