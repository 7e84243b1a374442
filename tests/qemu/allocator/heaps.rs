//! The heaps that the uml machine lacks: pages of 2 MiB and contiguous memory.
//!
//! The ideas are those of the kernel's `tools/testing/selftests`: `drivers/dma-buf/udmabuf.c` and
//! `dmabuf-heaps`.
//!
//! `cargo xtask test --only qemu allocator_heaps`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use vcam_allocator::heaps::udmabuf::{MemfdRange, Udmabuf};
use vcam_allocator::{
    Alignment, AllocError, CpuAccess, Dmabuf, Fourcc, Layout, RangeError, fault, heaps,
};
use vcam_testing::accounting::BufferUsage;
use vcam_testing::raw::{self, SharedMapping};
use vcam_testing::syscall_faults;

const PAGE: u64 = 4096;
const HUGE: u64 = 2 << 20;
/// As many as the machine sets aside.
const POOL: u64 = 8;

/// Free pages of the pool.
fn free() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("HugePages_Free:")).unwrap();
    line.trim().parse().unwrap()
}

/// A picture of so many bytes, one row for each 4 KiB.
fn rows(bytes: u64) -> Layout {
    let rows = u32::try_from(bytes / PAGE).unwrap();
    let tight = Alignment { stride: PAGE, offset: 1, rows: 1, size: 1 };
    let layout = Layout::linear(Fourcc::R8, PAGE as u32, rows, tight).unwrap();
    assert_eq!(layout.size(), bytes);
    layout
}

/// A sealed memfd of so many pages of 2 MiB.
fn memfd(pages: u64) -> OwnedFd {
    let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC;
    let fd = memfd_create("test", flags | MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB).unwrap();
    ftruncate(&fd, pages * HUGE).unwrap();
    fcntl_add_seals(&fd, SealFlags::SHRINK).unwrap();
    fd
}

/// The byte that fills each row, or a panic if a row is not of one.
fn filled(buffer: &Dmabuf) -> Vec<u8> {
    let guard = buffer.cpu_access(CpuAccess::Read).unwrap();
    let rows = guard.plane(0).chunks(PAGE as usize);
    rows.map(|row| {
        assert!(row.iter().all(|byte| *byte == row[0]));
        row[0]
    })
    .collect()
}

#[test]
fn a_buffer_of_huge_pages_takes_them_from_the_pool_and_gives_them_back() {
    assert_eq!(free(), POOL);
    let heap = heaps::open("udmabuf:huge").unwrap();
    let layout = Layout::linear(Fourcc::XRGB8888, 640, 480, Alignment::default()).unwrap();
    let buffer = heap.allocate(&layout, "test-huge").unwrap();
    assert_eq!((&**buffer.heap(), buffer.bytes()), ("udmabuf:huge", HUGE));
    assert_eq!(free(), POOL - 1);
    buffer.cpu_access(CpuAccess::Write).unwrap().plane_mut(0).fill(7);
    assert!(buffer.cpu_access(CpuAccess::Read).unwrap().plane(0).iter().all(|byte| *byte == 7));
    // A device treats it as ordinary pages.
    for driver in ["vkms", "bochs-drm"] {
        raw::add_framebuffer(raw::card(driver).as_fd(), &buffer).unwrap();
    }
    drop(buffer);
    assert_eq!(free(), POOL);
}

#[test]
fn where_the_pool_is_empty_ordinary_pages_are_taken() {
    let heap = heaps::open("udmabuf:huge").unwrap();
    let huge = rows(HUGE);
    let taken: Vec<Dmabuf> =
        (0..POOL).map(|_| heap.allocate(&huge, "test-pool").unwrap()).collect();
    assert!(taken.iter().all(|buffer| &**buffer.heap() == "udmabuf:huge"));
    assert_eq!(free(), 0);
    let before = BufferUsage::read();
    let ordinary = heap.allocate(&huge, "test-ordinary").unwrap();
    assert_eq!(&**ordinary.heap(), "udmabuf");
    ordinary.cpu_access(CpuAccess::Write).unwrap().plane_mut(0).fill(1);
    drop(ordinary);
    assert_eq!(BufferUsage::read(), before, "the attempt left nothing behind");
    drop(taken);
    assert_eq!(free(), POOL);
    // More than there are: the pages that were got before the last one was missing go back.
    let large = heap.allocate(&rows((POOL + 1) * HUGE), "test-large").unwrap();
    assert_eq!((&**large.heap(), free()), ("udmabuf", POOL));
}

#[test]
fn a_failure_on_the_way_to_huge_pages_leaves_none_behind() {
    let heap = heaps::open("udmabuf:huge").unwrap();
    // On any failure before there is a buffer, ordinary pages are taken.
    const HUGE_ALONE: [&str; 7] =
        ["memfd_create", "ftruncate", "F_ADD_SEALS", "UDMABUF_CREATE", "fstatfs", "lseek", "fstat"];
    let forgiven = |_, call: &str| HUGE_ALONE.contains(&call);
    let calls = syscall_faults::fail_each_of(&*heap, &rows(HUGE), forgiven);
    assert_eq!(calls[..7], HUGE_ALONE);
    assert_eq!(free(), POOL);
    for call in 1..=7 {
        let faulted = fault::inject(call, Errno::NOMEM.raw_os_error(), || {
            heap.allocate(&rows(HUGE), "test-fault").map(|buffer| buffer.heap().to_string())
        });
        assert_eq!((faulted.result.unwrap().as_str(), free()), ("udmabuf", POOL));
    }
    syscall_faults::run_out_of_descriptors(&*heap, &rows(HUGE));
    assert_eq!(free(), POOL);
}

#[test]
fn contiguous_memory_comes_cleared_and_goes_back_whole() {
    let heap = heaps::open("dma_heap:cma").unwrap();
    let layout = Layout::linear(Fourcc::XRGB8888, 640, 480, Alignment::default()).unwrap();
    for round in 0..4 {
        let buffer = heap.allocate(&layout, "test-zero").unwrap();
        let mut guard = buffer.cpu_access(CpuAccess::ReadWrite).unwrap();
        assert!(guard.plane(0).iter().all(|byte| *byte == 0), "round {round}");
        guard.plane_mut(0).fill(0xa5);
    }
    syscall_faults::fail_each_of(&*heap, &layout, |_, _| false);
    syscall_faults::run_out_of_descriptors(&*heap, &layout);
    // The kernel refuses more than the area has; the error has the call's name and number.
    let huge = rows(1 << 30);
    let before = BufferUsage::read();
    match heap.allocate(&huge, "test-huge") {
        Err(AllocError::System { step, source, .. }) => {
            assert_eq!((step, source), ("call DMA_HEAP_IOCTL_ALLOC", Errno::NOMEM));
        }
        other => panic!("{other:?}"),
    }
    before.assert_unchanged();
}

#[test]
fn the_heap_of_contiguous_memory_refuses_bad_flags() {
    let name = heaps::open("dma_heap:cma").unwrap().name().replace("dma_heap:", "/dev/dma_heap/");
    let node = std::fs::File::open(name).unwrap();
    assert!(raw::heap_alloc(node.as_fd(), PAGE, raw::FD_FLAGS, 0).is_ok());
    let bad = |len, fd_flags, flags| raw::heap_alloc(node.as_fd(), len, fd_flags, flags).err();
    assert_eq!(bad(PAGE, raw::FD_FLAGS, u64::MAX), Some(Errno::INVAL));
    assert_eq!(bad(PAGE, u32::MAX, 0), Some(Errno::INVAL));
    assert_eq!(bad(0, raw::FD_FLAGS, 0), Some(Errno::INVAL));
}

#[test]
fn a_list_of_huge_pages_is_one_buffer_that_sees_later_writes() {
    let heap = Udmabuf::open().unwrap();
    let (one, two) = (memfd(2), memfd(2));
    let (of_one, of_two) = (
        SharedMapping::new(one.as_fd(), 2 * HUGE).unwrap(),
        SharedMapping::new(two.as_fd(), 2 * HUGE).unwrap(),
    );
    let at = |fd, offset, size| MemfdRange { memfd: fd, offset, size };
    let (a, b): (BorrowedFd<'_>, BorrowedFd<'_>) = (one.as_fd(), two.as_fd());
    // A whole page of each, the later one first; then 4 KiB out of the middle of one, and 8 KiB
    // across the border of two.
    let ranges = [
        at(a, HUGE, HUGE),
        at(b, 0, HUGE),
        at(b, HUGE + 5 * PAGE, PAGE),
        at(a, HUGE - PAGE, 2 * PAGE),
    ];
    of_one.fill(0..HUGE, 10);
    of_one.fill(HUGE..2 * HUGE, 11);
    let buffer = heap.of_ranges(&rows(2 * HUGE + 3 * PAGE), "test-list", &ranges).unwrap();
    of_two.fill(0..HUGE, 20);
    of_two.fill(HUGE..2 * HUGE, 21);
    let expected = |values: [u8; 5]| {
        let [first, second, third, fourth, fifth] = values;
        let huge = (HUGE / PAGE) as usize;
        let mut expected = vec![first; huge];
        expected.extend(vec![second; huge]);
        expected.extend([third, fourth, fifth]);
        expected
    };
    assert_eq!(filled(&buffer), expected([11, 20, 21, 10, 11]));
    // Written after the mapping, too, and through either side.
    of_one.fill(HUGE..2 * HUGE, 51);
    of_two.fill(HUGE + 5 * PAGE..HUGE + 6 * PAGE, 52);
    assert_eq!(filled(&buffer), expected([51, 20, 52, 10, 51]));
    buffer.cpu_access(CpuAccess::Write).unwrap().plane_mut(0).fill(7);
    assert_eq!((of_one.read(HUGE), of_one.read(2 * HUGE - 1)), (7, 7));
    assert_eq!(of_one.read(HUGE - PAGE), 7);
    assert_eq!(of_one.read(HUGE - PAGE - 1), 10, "a page that is not in the buffer");
    assert_eq!(of_two.read(HUGE + 6 * PAGE), 21, "a page that is not in the buffer");
    // The dma-buf keeps the pages when the memfds are gone.
    drop((of_one, of_two, one, two));
    assert!(free() <= POOL - 4);
    assert!(filled(&buffer).iter().all(|byte| *byte == 7));
    drop(buffer);
    assert_eq!(free(), POOL);
}

#[test]
fn a_huge_memfd_is_judged_like_any_other() {
    let heap = Udmabuf::open().unwrap();
    let node = std::fs::File::open("/dev/udmabuf").unwrap();
    let good = memfd(1);
    let both = |fd: BorrowedFd<'_>, offset, size, errno| {
        let range = MemfdRange { memfd: fd, offset, size };
        let ours = heap.of_ranges(&rows(PAGE), "test", &[range]).unwrap_err();
        let kernel = raw::udmabuf_create(node.as_fd(), fd, offset, size);
        assert_eq!(kernel.err(), Some(errno), "offset {offset}, size {size}: {ours}");
        match ours {
            AllocError::Ranges { source, .. } => source,
            other => panic!("{other:?}"),
        }
    };
    let half = PAGE / 2;
    let unaligned = both(good.as_fd(), half, PAGE, Errno::INVAL);
    assert!(matches!(unaligned, RangeError::Unaligned { .. }), "{unaligned}");
    let outside = both(good.as_fd(), HUGE, PAGE, Errno::INVAL);
    assert!(matches!(outside, RangeError::Outside { .. }), "{outside}");
    fcntl_add_seals(&good, SealFlags::WRITE).unwrap();
    let sealed = both(good.as_fd(), 0, PAGE, Errno::INVAL);
    assert!(matches!(sealed, RangeError::Seals { .. }), "{sealed}");
}
