//! Counters of heap allocations and system calls, for the report's steady state.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use perf_event::events::Tracepoint;
use perf_event::{Builder, Counter};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, with a counter before it.
pub(crate) struct Counting;

/// Allocations of this process so far, grown ones included.
pub(crate) fn heap_allocs() -> u64 {
    ALLOCATIONS.load(Ordering::Relaxed)
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract, which is this one's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as in `alloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Counts the system calls of all threads of this process that are started from now on.
///
/// It is the kernel's own count, by the tracepoint `raw_syscalls:sys_enter` (`perf_event_open(2)`);
/// there is none where the kernel has no such tracepoint, as in a User Mode Linux, or where the
/// user may not see it (`/proc/sys/kernel/perf_event_paranoid`, and tracefs, which is root's).
pub(crate) fn syscalls() -> Option<impl Fn() -> Option<u64> + Send + Sync> {
    let roots = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
    let id = roots.into_iter().find_map(|root| {
        let path = format!("{root}/events/raw_syscalls/sys_enter/id");
        fs::read_to_string(path).ok()?.trim().parse().ok()
    })?;
    let open = || -> std::io::Result<Counter> {
        let mut counter = Builder::new(Tracepoint::with_id(id))
            .inherit(true)
            // The tracepoint is in the kernel.
            .include_kernel()
            .build()?;
        counter.enable()?;
        Ok(counter)
    };
    let counter = open().inspect_err(|error| tracing::debug!(%error, "system calls: no count"));
    let counter = Mutex::new(counter.ok()?);
    Some(move || counter.lock().ok()?.read().ok())
}
