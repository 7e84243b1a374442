//! System calls that fail, and the check that nothing is left then.

use std::error::Error;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use vcam_allocator::{CpuAccess, Heap, Layout, fault};

use crate::accounting::{self, Usage};
use crate::syscall_errnos;

/// The call that gives a buffer its name.
const NAMES: &str = "DMA_BUF_SET_NAME";

/// An error with its sources, and the kernel's error number among them.
pub fn told(error: &(dyn Error + 'static)) -> (String, Option<Errno>) {
    let (mut text, mut errno) = (String::new(), None);
    let mut next = Some(error);
    while let Some(error) = next {
        text.push_str(&format!("{error}: "));
        errno = errno.or(error.downcast_ref::<Errno>().copied());
        next = error.source();
    }
    (text, errno)
}

/// Runs once for each system call of the run and each error that the call may answer. Asserts that
/// descriptors, mappings and dma-bufs are as before, and that the error names call and answer. A
/// failure may have no consequence where the caller allows that, and for the call that gives a
/// buffer its name, which is for people. Returns the names of the calls.
pub fn fail_each(
    before: &Usage,
    what: &str,
    forgiven: impl Fn(u64, &str) -> bool,
    run: impl Fn() -> Result<(), Box<dyn Error>>,
) -> Vec<&'static str> {
    let mut calls = Vec::new();
    for n in 1.. {
        let try_one = |errno: Errno| {
            let faulted = fault::inject(n, errno.raw_os_error(), &run);
            before.assert_unchanged();
            faulted
        };
        // The call is known by its name once it fails.
        let Some(call) = try_one(Errno::IO).failed else { break };
        calls.push(call);
        let failures = syscall_errnos::of(call);
        for errno in failures.reported {
            let faulted = try_one(*errno);
            assert_eq!(faulted.failed, Some(call), "{what}");
            let error = match faulted.result {
                Ok(()) if call == NAMES || forgiven(n, call) => continue,
                Ok(()) => panic!("{what}: {call} failed with {errno:?} and it went unnoticed"),
                Err(error) => error,
            };
            let (text, said) = told(&*error);
            assert_eq!(said, Some(*errno), "{what}, {call}: {text}");
            let named = failures.words.iter().any(|words| text.contains(words));
            assert!(named || failures.words.is_empty(), "{what}, {call} with {errno:?}: {text}");
        }
        for errno in failures.retried {
            let faulted = try_one(*errno);
            assert_eq!(faulted.failed, Some(call), "{what}");
            faulted.result.unwrap_or_else(|error| panic!("{what}, {call}: {error}"));
        }
    }
    calls
}

/// The whole life of a heap's buffer.
fn use_one(heap: &dyn Heap, layout: &Layout) -> Result<(), Box<dyn Error>> {
    let buffer = heap.allocate(layout, "test-fault")?;
    buffer.cpu_access(CpuAccess::ReadWrite)?.end()?;
    if let Some(fence) = buffer.export_fence(CpuAccess::Write)? {
        buffer.import_fence(&fence, CpuAccess::Read)?;
    }
    Ok(())
}

/// Makes each call in the life of a heap's buffer fail: see [`fail_each`].
pub fn fail_each_of(
    heap: &dyn Heap,
    layout: &Layout,
    forgiven: impl Fn(u64, &str) -> bool,
) -> Vec<&'static str> {
    let name = heap.name();
    let before = accounting::after_warming_up(|| use_one(heap, layout).unwrap());
    let calls = fail_each(&before, name, forgiven, || use_one(heap, layout));
    for call in ["fstatfs", "lseek", "fstat", "mmap", "DMA_BUF_IOCTL_SYNC"] {
        assert!(calls.contains(&call), "{name}: {calls:?}");
    }
    use_one(heap, layout).unwrap_or_else(|error| panic!("{name}, after all that: {error}"));
    calls
}

/// Uses a buffer of a heap with no descriptor left to open, then with one more each time, until it
/// works. Here the errors are the kernel's own.
pub fn run_out_of_descriptors(heap: &dyn Heap, layout: &Layout) {
    let name = heap.name();
    let before = accounting::after_warming_up(|| use_one(heap, layout).unwrap());
    let limit = getrlimit(Resource::Nofile);
    // The limit is for the numbers of new descriptors, some of which below are taken.
    for below in 0.. {
        setrlimit(Resource::Nofile, Rlimit { current: Some(below), ..limit }).unwrap();
        let result = use_one(heap, layout);
        setrlimit(Resource::Nofile, limit).unwrap();
        before.assert_unchanged();
        let Err(error) = result else {
            assert!(below > 0, "{name} needs no descriptor");
            return;
        };
        let (text, errno) = told(&*error);
        // libgbm says no more than that it failed.
        let known = errno == Some(Errno::MFILE) || name.starts_with("gbm:");
        assert!(known, "{name} below {below}: {text}");
    }
}
