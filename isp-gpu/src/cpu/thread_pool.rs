//! A pool of threads that all run the same closure, once per call.
//!
//! A frame takes milliseconds, and starting threads for it would take a good part of one. Work is
//! handed over without an allocation.

use std::num::NonZero;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

/// The most threads of a pool: the work is bound by memory, and more threads would wait for it.
pub(crate) const MAX_THREADS: usize = 16;

/// The work of every thread, given the thread's number.
type Work<'a> = dyn Fn(usize) + Sync + 'a;

/// The caller's thread and its helpers.
pub(crate) struct ThreadPool {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    begun: Condvar,
    done: Condvar,
}

#[derive(Default)]
struct State {
    /// The work of this round; valid until `running` is 0 again.
    work: Option<&'static Work<'static>>,
    /// Grows with each piece of work, so that no helper does one twice.
    round: u64,
    running: usize,
    panicked: bool,
    stopped: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn help(&self, number: usize) {
        let mut seen = 0;
        loop {
            let mut state = self.state();
            while !state.stopped && state.round == seen {
                state = self.begun.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.stopped {
                return;
            }
            seen = state.round;
            let Some(work) = state.work else { continue };
            drop(state);
            // A helper that is gone would be waited for in vain.
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(number)));
            let mut state = self.state();
            state.panicked |= done.is_err();
            state.running -= 1;
            self.done.notify_one();
        }
    }
}

/// Waits for the helpers when dropped, so also when the caller's own part panics.
struct Waiting<'a>(&'a Shared);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        while state.running > 0 {
            state = self.0.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.work = None;
    }
}

impl ThreadPool {
    /// Starts a thread for each core that this process may use.
    pub(crate) fn new() -> Self {
        Self::with_threads(thread::available_parallelism().map_or(1, NonZero::get))
    }

    /// Makes a pool of this many threads, of which the caller is one: from 1 to [`MAX_THREADS`]. If
    /// the system refuses a thread, the pool has fewer.
    pub(crate) fn with_threads(threads: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let start = |number| {
            let shared = shared.clone();
            let name = format!("isp-cpu-{number}");
            thread::Builder::new().name(name).spawn(move || shared.help(number))
        };
        let helpers =
            (1..threads.clamp(1, MAX_THREADS)).map_while(|number| start(number).ok()).collect();
        Self { shared, helpers }
    }

    /// Returns the number of threads, the caller's included.
    pub(crate) fn size(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Runs the work on all threads, each with a number of its own, and returns when all are done.
    ///
    /// The exclusive borrow keeps rounds apart: neither a second caller nor the work itself can
    /// start another round while this one runs.
    ///
    /// # Panics
    ///
    /// If the work panics on any thread.
    pub(crate) fn run(&mut self, work: &Work<'_>) {
        if self.helpers.is_empty() {
            return work(0);
        }
        // SAFETY: only the lifetime changes. `Waiting` does not let this function return, nor
        // unwind, before `running` is 0 and the reference is taken out of the state. `running`
        // counts the helpers of this round alone, since `&mut self` excludes any other round, and a
        // helper no longer uses the reference once it has counted itself down.
        let forever = unsafe { std::mem::transmute::<&Work<'_>, &'static Work<'static>>(work) };
        let mut state = self.shared.state();
        state.work = Some(forever);
        state.round += 1;
        state.running = self.helpers.len();
        drop(state);
        self.shared.begun.notify_all();
        {
            let _waiting = Waiting(&self.shared);
            work(0);
        }
        let panicked = std::mem::take(&mut self.shared.state().panicked);
        assert!(!panicked, "a thread of the ISP panicked");
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.state().stopped = true;
        self.shared.begun.notify_all();
        for helper in self.helpers.drain(..) {
            // It catches what panics.
            let _ = helper.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_thread_works_once_a_round() {
        for threads in [0, 1, 2, 5] {
            let mut pool = ThreadPool::with_threads(threads);
            let counts: Vec<AtomicUsize> = (0..pool.size()).map(|_| AtomicUsize::new(0)).collect();
            for round in 1..200 {
                pool.run(&|number| {
                    counts[number].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == round));
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let mut pool = ThreadPool::with_threads(3);
        for bad in [0, 2] {
            let run = || pool.run(&|number| assert!(number != bad, "on purpose"));
            assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err());
        }
        let count = AtomicUsize::new(0);
        pool.run(&|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 3);
    }
}
