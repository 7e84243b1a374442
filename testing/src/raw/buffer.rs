//! udmabuf, dma-heaps and `DMA_BUF_IOCTL_SYNC`.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io;
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode, Setter, Updater, opcode};

/// An ioctl that reads words and returns a descriptor.
struct Create(Opcode, Vec<u64>);

// SAFETY: the opcode's argument are these words, which the kernel only reads, and its result is a
// new descriptor.
unsafe impl Ioctl for Create {
    type Output = OwnedFd;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        self.0
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        self.1.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut std::ffi::c_void) -> io::Result<OwnedFd> {
        // SAFETY: the call succeeded, so this is a new descriptor without another owner.
        Ok(unsafe { OwnedFd::from_raw_fd(out) })
    }
}

fn word(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// `UDMABUF_CREATE`.
pub fn udmabuf_create(
    node: BorrowedFd<'_>,
    memfd: BorrowedFd<'_>,
    offset: u64,
    size: u64,
) -> io::Result<OwnedFd> {
    let words = vec![word(memfd.as_raw_fd() as u32, 1), offset, size];
    // SAFETY: the words are a `struct udmabuf_create`.
    unsafe { ioctl::ioctl(node, Create(opcode::write::<[u64; 3]>(b'u', 0x42), words)) }
}

/// `UDMABUF_CREATE_LIST`.
pub fn udmabuf_create_list(
    node: BorrowedFd<'_>,
    ranges: &[(BorrowedFd<'_>, u64, u64)],
) -> io::Result<OwnedFd> {
    let mut words = vec![word(1, ranges.len() as u32)];
    for (memfd, offset, size) in ranges {
        words.extend([word(memfd.as_raw_fd() as u32, 0), *offset, *size]);
    }
    // SAFETY: the words are a `struct udmabuf_create_list` and its items.
    unsafe { ioctl::ioctl(node, Create(opcode::write::<[u64; 1]>(b'u', 0x43), words)) }
}

/// The flags of a dma-heap's new descriptor.
pub const FD_FLAGS: u32 = OFlags::RDWR.union(OFlags::CLOEXEC).bits();

/// `DMA_HEAP_IOCTL_ALLOC`.
pub fn heap_alloc(
    node: BorrowedFd<'_>,
    len: u64,
    fd_flags: u32,
    heap_flags: u64,
) -> io::Result<OwnedFd> {
    const ALLOC: Opcode = opcode::read_write::<[u64; 3]>(b'H', 0);
    let mut words = [len, word(0, fd_flags), heap_flags];
    // SAFETY: the words are a `struct dma_heap_allocation_data`.
    unsafe { ioctl::ioctl(node, Updater::<ALLOC, _>::new(&mut words))? };
    // SAFETY: the call succeeded, so this is a new descriptor without another owner.
    Ok(unsafe { OwnedFd::from_raw_fd(words[1] as u32 as i32) })
}

/// `DMA_BUF_IOCTL_SYNC`.
pub fn sync(fd: BorrowedFd<'_>, flags: u64) -> io::Result<()> {
    const SYNC: Opcode = opcode::write::<u64>(b'b', 0);
    // SAFETY: the argument is a `struct dma_buf_sync`, one word of flags.
    unsafe { ioctl::ioctl(fd, Setter::<SYNC, u64>::new(flags)) }
}
