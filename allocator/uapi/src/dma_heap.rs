//! `/dev/dma_heap/*`: allocates a dma-buf from a named heap.
//!
//! Source: `include/uapi/linux/dma-heap.h` and `Documentation/userspace-api/dma-buf-heaps.rst`.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use linux_raw_sys::ioctl::DMA_HEAP_IOCTL_ALLOC;
use rustix::fs::OFlags;
use rustix::io;
use rustix::ioctl::{Opcode, Updater, ioctl};

use crate::fault;

/// `struct dma_heap_allocation_data`.
#[repr(C)]
struct AllocationData {
    len: u64,
    fd: u32,
    fd_flags: u32,
    heap_flags: u64,
}

const _: () = assert!(size_of::<AllocationData>() == crate::argument_size(DMA_HEAP_IOCTL_ALLOC));

/// Allocates `len` bytes, which the kernel rounds up to whole pages and clears.
pub fn alloc(heap: BorrowedFd<'_>, len: u64) -> io::Result<OwnedFd> {
    fault::call("DMA_HEAP_IOCTL_ALLOC")?;
    // Dma-heap wants the access mode of the new descriptor spelled out: with `O_RDWR` it can be
    // mapped for writing.
    let fd_flags = (OFlags::RDWR | OFlags::CLOEXEC).bits();
    let mut data = AllocationData { len, fd: 0, fd_flags, heap_flags: 0 };
    // SAFETY: the opcode's argument is a `struct dma_heap_allocation_data` that the kernel reads
    // and writes, and `AllocationData` has its layout (size asserted above).
    unsafe {
        ioctl(heap, Updater::<{ DMA_HEAP_IOCTL_ALLOC as Opcode }, _>::new(&mut data))?;
    }
    // SAFETY: the call succeeded, so `fd` is a new descriptor that belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(data.fd as RawFd) })
}
