//! The allocator's heaps on real udmabuf, dma-heaps, DRM cards and V4L2 nodes.
//!
//! The ideas are those of the kernel's own tests (`tools/testing/selftests`: `drivers/dma-buf`,
//! `dmabuf-heaps`, and igt's `prime_*` and `dmabuf_sync_file`), put to every heap.
//!
//! `cargo xtask test --only uml allocator_heaps`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::error::Error;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use vcam_allocator::foreign::{self, Claim, ForeignError};
use vcam_allocator::heaps::udmabuf::{MAX_RANGES, MemfdRange, Udmabuf};
use vcam_allocator::socket::BufferSocket;
use vcam_allocator::{
    Accounting, Alignment, AllocError, CpuAccess, Dmabuf, Fence, Fourcc, Heap, Layout, MemoryKind,
    OpenError, Pool, RangeError, Shortage, WrapError, allocate_split, fault, heaps,
};
use vcam_testing::accounting::{self, Usage};
use vcam_testing::raw::{self, Interruptible};
use vcam_testing::syscall_errnos;
use vcam_testing::syscall_faults;

const SOON: Duration = Duration::from_secs(5);
const PAGE: u64 = 4096;
/// A size that every driver of the machine has, vivid's webcam included.
const SIZE: (u32, u32) = (640, 360);

fn layout(format: Fourcc) -> Layout {
    Layout::linear(format, SIZE.0, SIZE.1, Alignment::default()).unwrap()
}

/// Every heap of the machine whose buffers are dma-bufs, by name.
fn names() -> Vec<String> {
    let found = heaps::discover();
    let mut names = vec![];
    for found in found {
        let heap = found.heap.unwrap_or_else(|error| panic!("{}: {error}", found.name));
        assert_eq!(heap.name(), found.name);
        if found.name != "memfd" {
            names.push(found.name);
        }
    }
    for prefix in ["udmabuf", "dma_heap:system", "dumb:vkms", "v4l2:video"] {
        assert!(names.iter().any(|name| name.starts_with(prefix)), "no {prefix} in {names:?}");
    }
    // Not preferred, and so not found unless named.
    names.extend(["udmabuf:huge", "gbm:vkms"].map(str::to_owned));
    names
}

/// A sealed memfd of this size.
fn memfd(size: u64, seals: SealFlags) -> OwnedFd {
    let fd = memfd_create("test", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&fd, size).unwrap();
    fcntl_add_seals(&fd, seals).unwrap();
    fd
}

fn open(node: &str) -> std::fs::File {
    std::fs::File::options().read(true).open(node).unwrap()
}

#[test]
fn every_heap_gives_buffers_that_the_cpu_reads_back() {
    for name in names() {
        let heap = heaps::open(&name).unwrap();
        for format in [Fourcc::XRGB8888, Fourcc::R8, Fourcc::NV12] {
            let can = heap.formats().is_none_or(|formats| formats.contains_key(&format));
            let buffer = match heap.allocate(&layout(format), "test-heap") {
                Ok(buffer) => buffer,
                // A node may not have the format, and its error says so.
                Err(error) => {
                    let refused = matches!(
                        error,
                        AllocError::Adjusted { .. }
                            | AllocError::Format { .. }
                            | AllocError::System { .. }
                    );
                    assert!(refused && format != Fourcc::XRGB8888 || !can, "{name}: {error:?}");
                    continue;
                }
            };
            assert_eq!(buffer.kind(), MemoryKind::DmaBuf, "{name}");
            let given = buffer.layout();
            assert_eq!((given.format(), given.width(), given.height()), (format, SIZE.0, SIZE.1));
            if !heap.chooses_layout() {
                assert_eq!(given.planes(), layout(format).planes(), "{name}");
            }
            assert!(heap.capabilities().contains(vcam_allocator::Capabilities::CPU_MAP), "{name}");
            let mut guard = buffer.cpu_access(CpuAccess::Write).unwrap();
            for plane in 0..given.planes().len() {
                guard.plane_mut(plane).fill(plane as u8 + 1);
            }
            guard.end().unwrap();
            let guard = buffer.cpu_access(CpuAccess::Read).unwrap();
            for plane in 0..given.planes().len() {
                let bytes = guard.plane(plane);
                assert!(!bytes.is_empty(), "{name}");
                assert!(bytes.iter().all(|byte| *byte == plane as u8 + 1), "{name} {format}");
            }
            drop(guard);
            let inode = buffer.inodes().next().unwrap();
            let known =
                accounting::dma_bufs().into_iter().find(|known| known.inode == inode).unwrap();
            assert_eq!(known.name, "test-heap", "{name}: {known:?}");
        }
    }
}

#[test]
fn a_failure_at_any_system_call_leaves_nothing_behind() {
    for name in names() {
        let heap = heaps::open(&name).unwrap();
        // In this machine it is the first call that finds no huge pages.
        let forgiven = |n, _: &str| name == "udmabuf:huge" && n == 1;
        syscall_faults::fail_each_of(&*heap, &layout(Fourcc::XRGB8888), forgiven);
    }
}

#[test]
fn a_heap_without_descriptors_says_so_and_leaves_nothing_behind() {
    for name in names() {
        syscall_faults::run_out_of_descriptors(
            &*heaps::open(&name).unwrap(),
            &layout(Fourcc::XRGB8888),
        );
    }
}

#[test]
fn a_failure_while_a_heap_is_opened_leaves_nothing_behind() {
    for name in names() {
        let open = || -> Result<(), Box<dyn Error>> {
            heaps::open(&name)?;
            Ok(())
        };
        let before = accounting::after_warming_up(|| open().unwrap());
        for n in 1.. {
            let try_one = |errno: Errno| {
                let faulted = fault::inject(n, errno.raw_os_error(), open);
                before.assert_unchanged();
                faulted
            };
            let Some(call) = try_one(Errno::IO).failed else { break };
            let failures = syscall_errnos::of(call);
            for errno in failures.reported {
                // A heap for which the mapping of its buffers cannot be set, or that cannot make
                // a buffer to find out, reports that itself, and is open.
                if let Err(error) = try_one(*errno).result {
                    let (text, _) = syscall_faults::told(&*error);
                    assert!(text.contains(&name), "{name}, {call} with {errno:?}: {text}");
                }
            }
            for errno in failures.retried {
                try_one(*errno).result.unwrap_or_else(|error| panic!("{name}, {call}: {error}"));
            }
        }
        open().unwrap();
    }
}

#[test]
fn a_failure_while_ranges_are_joined_leaves_nothing_behind() {
    let heap = Udmabuf::open().unwrap();
    let fd = memfd(16 * PAGE, SealFlags::SHRINK);
    let layout = Layout::linear(Fourcc::R8, 64, 64, Alignment::default()).unwrap();
    let range = |offset| MemfdRange { memfd: fd.as_fd(), offset, size: 4 * PAGE };
    let join = || -> Result<(), Box<dyn Error>> {
        heap.of_ranges(&layout, "test-fault", &[range(8 * PAGE), range(0)])?;
        Ok(())
    };
    let before = accounting::after_warming_up(|| join().unwrap());
    let calls = syscall_faults::fail_each(&before, "ranges", |_, _| false, join);
    assert_eq!(calls[..3], ["F_GET_SEALS", "lseek", "F_GET_SEALS"]);
    assert!(calls.contains(&"UDMABUF_CREATE_LIST"));
}

#[test]
fn an_interrupted_sync_is_tried_again() {
    let heap = heaps::open("udmabuf").unwrap();
    let buffer = heap.allocate(&layout(Fourcc::R8), "test").unwrap();
    drop(buffer.cpu_access(CpuAccess::Read).unwrap());
    for errno in [Errno::INTR, Errno::AGAIN] {
        for n in 1..=2 {
            let faulted = fault::inject(n, errno.raw_os_error(), || {
                buffer.cpu_access(CpuAccess::Write).unwrap().end()
            });
            assert_eq!(faulted.failed, Some("DMA_BUF_IOCTL_SYNC"));
            faulted.result.unwrap();
        }
    }
}

#[test]
fn a_signal_does_not_end_the_wait_for_a_device() {
    raw::let_signals_interrupt();
    let timeline = raw::SwSyncTimeline::new();
    for (turn, name) in (1..).zip(["udmabuf", "dma_heap:system"]) {
        let heap = heaps::open(name).unwrap();
        let buffer = heap.allocate(&layout(Fourcc::R8), "test-signal").unwrap();
        buffer.import_fence(&Fence::from(timeline.fence(turn)), CpuAccess::Write).unwrap();
        let (tell, told) = channel();
        thread::scope(|scope| {
            // The call by itself gives up.
            let bare = scope.spawn(|| {
                tell.send(Interruptible::this_thread()).unwrap();
                raw::sync(buffer.planes().next().unwrap().0, 1)
            });
            told.recv().unwrap().interrupt();
            assert_eq!(bare.join().unwrap(), Err(Errno::INTR), "{name}");
            let ours = scope.spawn(|| {
                tell.send(Interruptible::this_thread()).unwrap();
                buffer.cpu_access(CpuAccess::Read).and_then(|guard| guard.end())
            });
            let waiter = told.recv().unwrap();
            for _ in 0..10 {
                waiter.interrupt();
            }
            assert!(!ours.is_finished(), "{name}");
            timeline.advance(1);
            ours.join().unwrap().unwrap_or_else(|error| panic!("{name}: {error}"));
        });
    }
}

#[test]
fn every_sync_start_has_its_end_on_every_path() {
    let heap = heaps::open("dma_heap:system").unwrap();
    let other = heaps::open("udmabuf").unwrap();
    let buffer =
        allocate_split(&[&*heap, &*other], Fourcc::NV12, SIZE, Alignment::default(), "test")
            .unwrap();
    let open = || {
        let (starts, ends) = vcam_allocator::sync_counts();
        starts - ends
    };
    // Other tests of this program have made an END fail, which does not count as one.
    let before = open();
    let equal = || assert_eq!(open(), before);
    drop(buffer.cpu_access(CpuAccess::ReadWrite).unwrap());
    equal();
    buffer.cpu_access(CpuAccess::Read).unwrap().end().unwrap();
    equal();
    // The second memory's START fails: the first gets its END.
    let faulted = fault::inject(2, Errno::IO.raw_os_error(), || {
        buffer.cpu_access(CpuAccess::Write).map(drop)
    });
    assert_eq!(faulted.failed, Some("DMA_BUF_IOCTL_SYNC"));
    assert!(faulted.result.is_err());
    equal();
    // No other program is locked out afterwards.
    assert!(buffer.cpu_access(CpuAccess::Write).is_ok());
}

#[test]
fn udmabuf_takes_what_the_kernel_takes_and_says_why_not() {
    let heap = Udmabuf::open().unwrap();
    let layout = Layout::linear(Fourcc::R8, 64, 64, Alignment::default()).unwrap();
    let good = memfd(16 * PAGE, SealFlags::SHRINK);
    let node = open("/dev/udmabuf");
    // Our answer, and the kernel's own to the same question.
    let both = |fd: BorrowedFd<'_>, offset, size, errno| {
        let range = MemfdRange { memfd: fd, offset, size };
        let ours = heap.of_ranges(&layout, "test", &[range]).unwrap_err();
        let kernel = raw::udmabuf_create(node.as_fd(), fd, offset, size);
        assert_eq!(kernel.err(), Some(errno), "offset {offset}, size {size}: {ours}");
        let kernel = raw::udmabuf_create_list(node.as_fd(), &[(fd, offset, size)]);
        assert_eq!(kernel.err(), Some(errno), "offset {offset}, size {size}: {ours}");
        match ours {
            AllocError::Ranges { source, .. } => source,
            other => panic!("{other:?}"),
        }
    };
    let fd = good.as_fd();
    let unaligned = |error| matches!(error, RangeError::Unaligned { index: 0, .. });
    assert!(unaligned(both(fd, PAGE / 2, PAGE, Errno::INVAL)));
    assert!(unaligned(both(fd, 0, PAGE / 2, Errno::INVAL)));
    assert!(unaligned(both(fd, 0, PAGE + 1, Errno::INVAL)));
    let file = open("/proc/self/exe");
    assert!(matches!(
        both(file.as_fd(), 0, PAGE, Errno::BADFD),
        RangeError::NotMemfd { index: 0, .. }
    ));
    let unsealed = memfd(PAGE, SealFlags::empty());
    assert!(matches!(both(unsealed.as_fd(), 0, PAGE, Errno::INVAL), RangeError::Seals { .. }));
    let written = memfd(PAGE, SealFlags::SHRINK | SealFlags::WRITE);
    assert!(matches!(both(written.as_fd(), 0, PAGE, Errno::INVAL), RangeError::Seals { .. }));
    let count = |count| {
        let range = MemfdRange { memfd: fd, offset: 0, size: PAGE };
        match heap.of_ranges(&layout, "test", &vec![range; count]) {
            Err(AllocError::Ranges { source: RangeError::Count { count, .. }, .. }) => Some(count),
            Ok(_) => None,
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(count(0), Some(0));
    assert_eq!(count(MAX_RANGES), None);
    assert_eq!(count(MAX_RANGES + 1), Some(MAX_RANGES + 1));
    let many = vec![(fd, 0, PAGE); MAX_RANGES + 1];
    assert_eq!(raw::udmabuf_create_list(node.as_fd(), &many).err(), Some(Errno::INVAL));
    // Past the end of the memory.
    let outside = MemfdRange { memfd: fd, offset: 15 * PAGE, size: 2 * PAGE };
    assert!(matches!(
        heap.of_ranges(&layout, "test", &[outside]),
        Err(AllocError::Ranges { source: RangeError::Outside { .. }, .. })
    ));
    // The limit is named with what raises it.
    let limit = heap.max_size().unwrap();
    let huge = memfd(limit + PAGE, SealFlags::SHRINK);
    let range = MemfdRange { memfd: huge.as_fd(), offset: 0, size: limit + PAGE };
    assert!(matches!(
        heap.of_ranges(&layout, "test", &[range]),
        Err(AllocError::TooLarge { limit: said, .. }) if said == limit
    ));
    let over = raw::udmabuf_create(node.as_fd(), huge.as_fd(), 0, limit + PAGE);
    assert_eq!(over.err(), Some(Errno::INVAL));
    // A write seal cannot be added under a dma-buf.
    let _buffer = raw::udmabuf_create(node.as_fd(), fd, 0, PAGE).unwrap();
    assert_eq!(fcntl_add_seals(&good, SealFlags::WRITE), Err(Errno::BUSY));
}

#[test]
fn a_list_of_ranges_is_one_buffer_that_sees_later_writes() {
    let heap = Udmabuf::open().unwrap();
    let (one, two) = (memfd(4 * PAGE, SealFlags::SHRINK), memfd(4 * PAGE, SealFlags::SHRINK));
    let layout = Layout::linear(
        Fourcc::R8,
        4096,
        6,
        Alignment { stride: PAGE, offset: 1, rows: 1, size: 1 },
    )
    .unwrap();
    // Six rows of a page: two of one, then one of two, then each alternately.
    let at = |fd, page, pages| MemfdRange { memfd: fd, offset: page * PAGE, size: pages * PAGE };
    let (a, b) = (one.as_fd(), two.as_fd());
    let ranges = [at(a, 1, 2), at(b, 3, 1), at(a, 0, 1), at(b, 0, 2)];
    let write = |fd: BorrowedFd<'_>, first: u8| {
        for page in 0..4u8 {
            rustix::io::pwrite(fd, &[first + page; 4096], u64::from(page) * PAGE).unwrap();
        }
    };
    write(a, 10);
    let buffer = heap.of_ranges(&layout, "test-list", &ranges).unwrap();
    write(b, 20);
    let rows = |buffer: &Dmabuf| {
        let guard = buffer.cpu_access(CpuAccess::Read).unwrap();
        guard.plane(0).chunks(4096).map(|row| (row[0], row[4095])).collect::<Vec<_>>()
    };
    let twice = |values: [u8; 6]| values.map(|value| (value, value)).to_vec();
    assert_eq!(rows(&buffer), twice([11, 12, 23, 10, 20, 21]));
    // Written after the mapping, too, and through either side.
    write(a, 50);
    assert_eq!(rows(&buffer), twice([51, 52, 23, 50, 20, 21]));
    buffer.cpu_access(CpuAccess::Write).unwrap().plane_mut(0).fill(7);
    let mut byte = [0];
    rustix::io::pread(b, &mut byte, 3 * PAGE).unwrap();
    assert_eq!(byte, [7]);
    rustix::io::pread(b, &mut byte, 2 * PAGE).unwrap();
    assert_eq!(byte, [22], "a page that is not in the buffer");
}

#[test]
fn huge_pages_are_taken_or_ordinary_ones_and_the_buffer_says_which() {
    let heap = heaps::open("udmabuf:huge").unwrap();
    let buffer = heap.allocate(&layout(Fourcc::XRGB8888), "test-huge").unwrap();
    let has = std::fs::read_to_string("/proc/meminfo").unwrap().contains("HugePages_Total");
    // No kernel of this machine has them: lab/README.md says why.
    assert_eq!(&**buffer.heap(), if has { "udmabuf:huge" } else { "udmabuf" });
}

#[test]
fn dma_heap_memory_comes_cleared_after_use() {
    let heap = heaps::open("dma_heap:system").unwrap();
    for round in 0..4 {
        let buffer = heap.allocate(&layout(Fourcc::XRGB8888), "test-zero").unwrap();
        let mut guard = buffer.cpu_access(CpuAccess::ReadWrite).unwrap();
        assert!(guard.plane(0).iter().all(|byte| *byte == 0), "round {round}");
        guard.plane_mut(0).fill(0xa5);
    }
}

#[test]
fn dma_heap_refuses_bad_flags_and_bad_descriptors() {
    let node = open("/dev/dma_heap/system");
    assert!(raw::heap_alloc(node.as_fd(), PAGE, raw::FD_FLAGS, 0).is_ok());
    let bad = |len, fd_flags, flags| raw::heap_alloc(node.as_fd(), len, fd_flags, flags).err();
    assert_eq!(bad(PAGE, raw::FD_FLAGS, u64::MAX), Some(Errno::INVAL));
    assert_eq!(bad(PAGE, u32::MAX, 0), Some(Errno::INVAL));
    assert_eq!(bad(0, raw::FD_FLAGS, 0), Some(Errno::INVAL));
    assert!(bad(u64::MAX, raw::FD_FLAGS, 0).is_some());
    let other = open("/dev/null");
    assert_eq!(raw::heap_alloc(other.as_fd(), PAGE, raw::FD_FLAGS, 0).err(), Some(Errno::NOTTY));
}

#[test]
fn sync_refuses_flags_that_mean_nothing() {
    for name in names() {
        let heap = heaps::open(&name).unwrap();
        let buffer = heap.allocate(&layout(Fourcc::XRGB8888), "test-sync").unwrap();
        let (fd, _) = buffer.planes().next().unwrap();
        for flags in [0, 4, 8, 0xff, u64::MAX] {
            assert_eq!(raw::sync(fd, flags), Err(Errno::INVAL), "{name}: {flags:#x}");
        }
        for flags in 1..=3 {
            assert_eq!(raw::sync(fd, flags), Ok(()), "{name}: {flags:#x}");
            assert_eq!(raw::sync(fd, flags | 4), Ok(()), "{name}: {flags:#x}");
        }
    }
    let fd = memfd(PAGE, SealFlags::SHRINK);
    assert_eq!(raw::sync(fd.as_fd(), 1), Err(Errno::NOTTY));
}

#[test]
fn a_dma_buf_has_one_handle_on_a_card_however_often_it_is_imported() {
    for driver in ["vkms", "vgem"] {
        let (card, again) = (raw::card(driver), raw::card(driver));
        for name in names() {
            let heap = heaps::open(&name).unwrap();
            let buffer = heap.allocate(&layout(Fourcc::XRGB8888), "test-prime").unwrap();
            let (fd, _) = buffer.planes().next().unwrap();
            let copy = fd.try_clone_to_owned().unwrap();
            let import = |card: BorrowedFd<'_>, fd| drm_ffi::gem::fd_to_handle(card, fd);
            let first = import(card.as_fd(), fd).unwrap().handle;
            assert_eq!(import(card.as_fd(), copy.as_fd()).unwrap().handle, first, "{name}");
            // One close is the end of both.
            drm_ffi::gem::close(card.as_fd(), first).unwrap();
            assert!(drm_ffi::gem::close(card.as_fd(), first).is_err(), "{name} on {driver}");
            // Another opening of the node has handles of its own.
            let other = import(again.as_fd(), fd).unwrap().handle;
            let anew = import(card.as_fd(), fd).unwrap().handle;
            drm_ffi::gem::close(again.as_fd(), other).unwrap();
            drm_ffi::gem::close(card.as_fd(), anew).unwrap();
        }
    }
}

#[test]
fn a_card_exports_and_takes_back_its_own() {
    let card = raw::card("vkms");
    let heap = heaps::open("dumb:vkms").unwrap();
    let buffer = heap.allocate(&layout(Fourcc::XRGB8888), "test-own").unwrap();
    let (fd, _) = buffer.planes().next().unwrap();
    // The heap's handle is closed, so this is a new one, and the memory is still there.
    let handle = drm_ffi::gem::fd_to_handle(card.as_fd(), fd).unwrap().handle;
    drm_ffi::gem::close(card.as_fd(), handle).unwrap();
    drop(heap);
    assert!(buffer.cpu_access(CpuAccess::Write).is_ok());
}

#[test]
fn a_heap_of_a_card_leaves_the_display_to_others() {
    let _heaps = heaps::discover();
    let card = raw::card("vkms");
    assert!(drm_ffi::auth::acquire_master(card.as_fd()).is_ok());
    drm_ffi::auth::release_master(card.as_fd()).unwrap();
}

#[test]
fn planes_in_different_heaps_make_one_picture_for_a_display() {
    let (one, two) = (heaps::open("udmabuf").unwrap(), heaps::open("dma_heap:system").unwrap());
    let card = raw::card("vkms");
    for heaps in [[&*one, &*two], [&*two, &*one], [&*one, &*one]] {
        let buffer =
            allocate_split(&heaps, Fourcc::NV12, SIZE, Alignment::default(), "test-split").unwrap();
        assert_eq!(buffer.inodes().count(), 2);
        let names: Vec<_> = heaps.iter().map(|heap| heap.name()).collect();
        assert!(names.iter().all(|name| buffer.heap().contains(name)));
        let mut guard = buffer.cpu_access(CpuAccess::Write).unwrap();
        guard.plane_mut(0).fill(100);
        guard.plane_mut(1).fill(200);
        guard.end().unwrap();
        let guard = buffer.cpu_access(CpuAccess::Read).unwrap();
        assert!(guard.plane(0).iter().all(|byte| *byte == 100));
        assert!(guard.plane(1).iter().all(|byte| *byte == 200));
        drop(guard);
        raw::add_framebuffer(card.as_fd(), &buffer).unwrap();
    }
    let error = allocate_split(&[&*one], Fourcc::NV12, SIZE, Alignment::default(), "test");
    assert!(matches!(error, Err(AllocError::Format { .. })));
}

#[test]
fn a_framebuffer_that_makes_no_sense_is_refused() {
    let card = raw::card("vkms");
    let heap = heaps::open("udmabuf").unwrap();
    let buffer = heap.allocate(&layout(Fourcc::XRGB8888), "test-fb").unwrap();
    let claim = Claim::of(&buffer);
    assert_eq!(raw::add_framebuffer_as(card.as_fd(), &buffer, &claim), Ok(()));
    let refused = |change: &dyn Fn(&mut Claim)| {
        let mut claim = claim.clone();
        change(&mut claim);
        raw::add_framebuffer_as(card.as_fd(), &buffer, &claim).unwrap_err()
    };
    assert_eq!(refused(&|claim| claim.planes[0].stride = 4), Errno::INVAL);
    assert_eq!(refused(&|claim| claim.height *= 2), Errno::INVAL);
    assert_eq!(refused(&|claim| claim.planes[0].offset = 1 << 30), Errno::INVAL);
    // An importer would refuse this late, or accept it; we refuse it early.
    let lie = Claim { height: 2 * SIZE.1, ..claim.clone() };
    let fd = buffer.planes().next().unwrap().0.try_clone_to_owned().unwrap();
    assert!(matches!(
        foreign::import("test", &lie, vec![fd]),
        Err(ForeignError::Wrap(WrapError::TooSmall { .. }))
    ));
}

#[test]
fn buffers_of_every_heap_travel_through_a_socket() {
    // The first pass loads Mesa, for good.
    let names = names();
    let before = Usage::read();
    for name in names {
        let heap = heaps::open(&name).unwrap();
        let buffer = heap.allocate(&layout(Fourcc::XRGB8888), "test-travel").unwrap();
        let (one, other) = BufferSocket::pair().unwrap();
        one.send(&buffer).unwrap();
        let came = other.receive(SOON).unwrap();
        assert_eq!((came.id(), came.layout().planes()), (buffer.id(), buffer.layout().planes()));
        assert_eq!((came.kind(), &**came.heap()), (MemoryKind::DmaBuf, "foreign"));
        buffer.cpu_access(CpuAccess::Write).unwrap().plane_mut(0).fill(9);
        drop(buffer);
        let guard = came.cpu_access(CpuAccess::Read).unwrap();
        assert!(guard.plane(0).iter().all(|byte| *byte == 9), "{name}");
    }
    before.assert_unchanged();
}

#[test]
fn a_pool_waits_for_fences_that_only_the_kernel_knows() {
    let heap = heaps::open("udmabuf").unwrap();
    let pool = Pool::new(&*heap, &layout(Fourcc::R8), "test-implicit", 1).unwrap();
    let timeline = raw::SwSyncTimeline::new();
    let buffer = pool.take(SOON).unwrap();
    buffer.import_fence(&Fence::from(timeline.fence(1)), CpuAccess::Write).unwrap();
    drop(buffer);
    // The pool does not know that there may be a fence, and does not look.
    let buffer = pool.take(SOON).unwrap();
    buffer.release_implicit();
    drop(buffer);
    std::thread::scope(|scope| {
        let taker = scope.spawn(|| pool.take(SOON).map(drop));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!taker.is_finished());
        timeline.advance(1);
        taker.join().unwrap().unwrap();
    });
    // The fences as a descriptor, to hand them on.
    let buffer = pool.take(SOON).unwrap();
    buffer.import_fence(&Fence::from(timeline.fence(2)), CpuAccess::Read).unwrap();
    let fence = buffer.export_fence(CpuAccess::Write).unwrap().unwrap();
    assert!(!fence.is_signalled());
    let reader = buffer.export_fence(CpuAccess::Read).unwrap().unwrap();
    assert!(reader.is_signalled(), "readers do not wait for readers");
    timeline.advance(1);
    fence.wait(SOON).unwrap();
}

#[test]
fn taking_and_returning_a_buffer_costs_next_to_nothing() {
    const TURNS: u32 = 100_000;
    let heap = heaps::open("udmabuf").unwrap();
    let pool = Pool::new(&*heap, &layout(Fourcc::R8), "test-fast", 3).unwrap();
    let best = (0..5)
        .map(|_| {
            let begun = Instant::now();
            (0..TURNS).for_each(|_| drop(pool.take(SOON).unwrap()));
            begun.elapsed() / TURNS
        })
        .min()
        .unwrap();
    assert!(best < Duration::from_nanos(200), "{best:?}");
}

#[test]
fn the_books_of_the_process_tell_buffers_by_exporter() {
    let before = Accounting::read().unwrap();
    assert_eq!(before.total().buffers, 0, "{before:?}");
    let (one, two) = (heaps::open("udmabuf").unwrap(), heaps::open("dma_heap:system").unwrap());
    let _pool = Pool::new(&*one, &layout(Fourcc::XRGB8888), "test-books", 3).unwrap();
    let buffer = two.allocate(&layout(Fourcc::XRGB8888), "test-books").unwrap();
    let _copy = buffer.planes().next().unwrap().0.try_clone_to_owned().unwrap();
    let books = Accounting::read().unwrap();
    let bytes = layout(Fourcc::XRGB8888).size();
    let udmabuf = books.exporters["udmabuf"];
    assert_eq!((udmabuf.buffers, udmabuf.bytes, udmabuf.descriptors), (3, 3 * bytes, 3));
    let system = books.exporters["system"];
    assert_eq!((system.buffers, system.bytes, system.descriptors), (1, bytes, 2));
}

#[test]
fn a_pool_that_needs_more_descriptors_than_there_are_says_so_up_front() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let heap = heaps::open("udmabuf").unwrap();
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: before.maximum }).unwrap();
    let books = Usage::read();
    let error = Pool::new(&*heap, &layout(Fourcc::R8), "test", 60).unwrap_err();
    books.assert_unchanged();
    setrlimit(Resource::Nofile, before).unwrap();
    assert!(matches!(error, AllocError::Descriptors { of_process: true, .. }), "{error:?}");
    assert_eq!(error.shortage(), Some(Shortage::ProcessDescriptors), "{error}");
}

#[test]
fn what_is_no_heap_says_what_it_is() {
    let error = |name: &str| heaps::open(name).unwrap_err();
    assert!(matches!(error("dumb:nonsense"), OpenError::Missing { .. }));
    assert!(matches!(error("gbm:nonsense"), OpenError::Missing { .. }));
    assert!(matches!(error("v4l2:video999"), OpenError::Missing { .. }));
    assert!(matches!(error("/dev/udmabuf0"), OpenError::NotAHeap { .. }));
    assert!(error("udmabuf0").to_string().contains("out-of-tree"));
    assert!(matches!(error("nonsense"), OpenError::Unknown { .. }));
    let names = error("dumb:nonsense").to_string();
    assert!(names.contains("dumb:vkms"), "{names}");
}
