//! Which fences the card may be given to wait for.
//!
//! A commit that waits for a fence holds up every later commit of its CRTC, those of other programs
//! and the one that restores the display among them, and the kernel waits without a limit. That is
//! sound because drivers promise that their fences signal in finite time
//! (`Documentation/driver-api/dma-buf.rst`, "DMA Fence Cross-Driver Contract"). Fences of `sw_sync`
//! belong to a program, which promises nothing: for those the sink waits itself.

use std::os::fd::AsFd;

use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use vcam_allocator::Fence;

/// `struct sync_file_info` of `include/uapi/linux/sync_file.h`.
#[repr(C)]
struct FileInfo {
    name: [u8; 32],
    status: i32,
    flags: u32,
    num_fences: u32,
    pad: u32,
    sync_fence_info: u64,
}

/// `struct sync_fence_info`.
#[repr(C)]
#[derive(Clone, Copy)]
struct FenceInfo {
    obj_name: [u8; 32],
    driver_name: [u8; 32],
    status: i32,
    flags: u32,
    timestamp_ns: u64,
}

const FILE_INFO: Opcode = opcode::read_write::<FileInfo>(b'>', 4);

/// As many fences as a frame may have been drawn behind; one of more is not looked at.
const MOST: usize = 8;

/// What sw_sync's fences call their driver.
const SW_SYNC: &[u8] = b"sw_sync\0";

/// Whether drivers alone have to signal a fence.
pub(super) fn is_of_drivers(fence: &Fence) -> bool {
    let none =
        FenceInfo { obj_name: [0; 32], driver_name: [0; 32], status: 0, flags: 0, timestamp_ns: 0 };
    let mut fences = [none; MOST];
    let mut info = FileInfo {
        name: [0; 32],
        status: 0,
        flags: 0,
        num_fences: MOST as u32,
        pad: 0,
        sync_fence_info: fences.as_mut_ptr().expose_provenance() as u64,
    };
    // SAFETY: the opcode's argument is a `struct sync_file_info`, which leads the kernel to
    // `num_fences` elements that it may write; both live until the call returns.
    let asked = unsafe { ioctl(fence.as_fd(), Updater::<FILE_INFO, _>::new(&mut info)) };
    let found = fences.get(..info.num_fences as usize).unwrap_or_default();
    // A file of more fences than fit is an error, and so is one that is no sync file.
    asked.is_ok() && !found.iter().any(|fence| fence.driver_name.starts_with(SW_SYNC))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_opcode_is_the_kernels() {
        // `SYNC_IOC_FILE_INFO`, as on every architecture that numbers ioctls the usual way.
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        assert_eq!(FILE_INFO, 0xc038_3e04);
        assert_eq!(size_of::<FenceInfo>(), 80);
    }

    #[test]
    fn what_is_no_sync_file_is_not_trusted() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_of_drivers(&Fence::from(std::os::fd::OwnedFd::from(file))));
    }
}
