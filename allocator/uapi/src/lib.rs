//! The kernel's interfaces that vcam uses, one file for each: the call and nothing else.
//!
//! Each function takes safe parameters and returns owned results, so that its callers need no
//! `unsafe`. Each file names the header that it follows. Opcodes come from [`linux_raw_sys`], which
//! is generated from those headers; the sizes of our argument structures are checked against them
//! at compile time.
//!
//! An error is the kernel's number ([`rustix::io::Errno`]), for the caller to give a meaning.
//! Every call that may fail passes [`fault`], where a test can make it fail.

pub mod dma_buf;
pub mod dma_heap;
pub mod drm;
pub mod fault;
pub mod kd;
pub mod memfd;
pub mod mmap;
pub mod node;
pub mod poll;
pub mod retry;
pub mod sync_file;
pub mod udmabuf;
pub mod v4l2;

/// The size of an ioctl's argument, as its opcode says: `_IOC_SIZE` of
/// `include/uapi/asm-generic/ioctl.h`.
///
/// Of the architectures with another encoding, none has a bit there that these opcodes set.
const fn argument_size(opcode: u32) -> usize {
    (opcode as usize >> 16) & 0x3fff
}
