//! The cost of a pool for each frame: no system call, and no allocation. The kernel kills a thread
//! that makes a system call where it may not.
//!
//! `cargo xtask test --only uml allocator_pool`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vcam_allocator::{Alignment, Fourcc, Layout, Pool, heaps};
use vcam_testing::allocations::{self, CountingAllocator};

const SOON: Duration = Duration::from_secs(5);

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// A pool of this heap. It outlives the measured thread, so that the thread does not free its
/// memory.
fn pool(heap: &str, count: usize) -> Arc<Pool> {
    let layout = Layout::linear(Fourcc::R8, 640, 480, Alignment::default()).unwrap();
    let heap = heaps::open(heap).unwrap();
    Arc::new(Pool::new(&*heap, &layout, "test-pool", count).unwrap())
}

/// Returns the number of allocations of the run; `None` if a system call killed it.
///
/// It has a thread of its own, which the kernel kills at any call but `read`, `write`, `exit` and
/// `sigreturn` (`SECCOMP_MODE_STRICT`). So that thread does not survive its own end either.
fn allocations(run: impl FnOnce() + Send + 'static) -> Option<u64> {
    let (said, mut says) = std::io::pipe().unwrap();
    let (tell, told) = channel();
    thread::spawn(move || {
        tell.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
        drop(tell);
        // SAFETY: from here on the thread may do less; this changes no memory.
        let strict = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) };
        assert_eq!(strict, 0);
        let before = allocations::of_this_thread();
        run();
        let count = allocations::of_this_thread() - before;
        says.write_all(&count.to_ne_bytes()).unwrap();
    });
    let task = Path::new("/proc").join(told.recv().unwrap());
    while task.exists() {
        thread::sleep(Duration::from_millis(1));
    }
    // A thread that was killed has closed nothing, so that there is no end of the file to wait for.
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut [PollFd::new(&said, PollFlags::IN)], Some(&now)).unwrap() == 0 {
        return None;
    }
    let mut count = [0; 8];
    rustix::io::read(&said, &mut count).unwrap();
    Some(u64::from_ne_bytes(count))
}

#[test]
fn a_system_call_and_an_allocation_are_noticed() {
    assert_eq!(allocations(|| ()), Some(0));
    assert_eq!(allocations(|| _ = black_box(rustix::process::getppid())), None);
    assert_eq!(allocations(thread::yield_now), None);
    assert_eq!(allocations(|| drop(black_box(Box::new(1)))), Some(1));
}

#[test]
fn taking_and_returning_a_buffer_makes_no_system_call_and_allocates_nothing() {
    for heap in ["udmabuf", "dma_heap:system"] {
        let pool = pool(heap, 3);
        let used = pool.clone();
        let run = move || {
            // Not even the first time.
            for _ in 0..1000 {
                let first = used.take(SOON).unwrap();
                let second = used.take(SOON).unwrap();
                let holder = first.clone();
                drop(first);
                drop((second, holder));
            }
        };
        assert_eq!(allocations(run), Some(0), "{heap}");
        assert_eq!(pool.buffers().len(), 3);
    }
}

#[test]
fn waiting_for_a_buffer_is_what_costs() {
    let pool = pool("udmabuf", 1);
    let used = pool.clone();
    let run = move || {
        let _held = used.take(SOON).unwrap();
        drop(used.take(Duration::from_millis(10)));
    };
    assert_eq!(allocations(run), None);
    assert_eq!(pool.buffers().len(), 1);
}
