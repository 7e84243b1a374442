//! Signals that interrupt a thread in the kernel.

use std::sync::atomic::{AtomicU32, Ordering};

static INTERRUPTS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_interrupt(_: libc::c_int) {
    INTERRUPTS.fetch_add(1, Ordering::Relaxed);
}

/// Lets `SIGUSR1` interrupt a wait, which the kernel then does not restart.
pub fn let_signals_interrupt() {
    // SAFETY: all bytes zero are a `sigaction`: no flags (`SA_RESTART` among them), an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = count_interrupt as extern "C" fn(libc::c_int) as usize;
    // SAFETY: the handler does nothing but add to an atomic number, which any thread may at any
    // time.
    assert_eq!(unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) }, 0);
}

/// A thread that others interrupt.
#[derive(Debug)]
pub struct Interruptible(libc::pid_t);

impl Interruptible {
    /// The thread that asks.
    pub fn this_thread() -> Self {
        // SAFETY: the call takes nothing and cannot fail.
        Self(unsafe { libc::gettid() })
    }

    /// Waits until the thread sleeps in the kernel, sends it a signal, and waits for its arrival.
    pub fn interrupt(&self) {
        let stat = format!("/proc/self/task/{}/stat", self.0);
        let sleeps = || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") S "));
        while !sleeps() {
            std::thread::yield_now();
        }
        let before = INTERRUPTS.load(Ordering::Relaxed);
        // SAFETY: the signal has a handler, and goes to a thread of this process.
        let sent =
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.0, libc::SIGUSR1) };
        assert_eq!(sent, 0, "the thread has ended");
        while INTERRUPTS.load(Ordering::Relaxed) == before {
            std::thread::yield_now();
        }
    }
}
