//! Which fences the card may be given to wait for.
//!
//! A commit that waits for a fence holds up every later commit of its CRTC, those of other programs
//! and the one that restores the display among them, and the kernel waits without a limit. That is
//! sound because drivers promise that their fences signal in finite time
//! (`Documentation/driver-api/dma-buf.rst`, "DMA Fence Cross-Driver Contract"). Fences of `sw_sync`
//! belong to a program, which promises nothing: for those the sink waits itself.

use std::os::fd::AsFd;

use vcam_allocator::Fence;
use vcam_uapi::sync_file::{FenceInfo, fences};

/// As many fences as a frame may have been drawn behind; one of more is not looked at.
const MOST: usize = 8;

/// What sw_sync's fences call their driver.
const SW_SYNC: &[u8] = b"sw_sync\0";

/// Whether drivers alone have to signal a fence.
pub(super) fn is_of_drivers(fence: &Fence) -> bool {
    // A file of more fences than fit is an error, and so is one that is no sync file.
    fences(fence.as_fd(), &mut [FenceInfo::default(); MOST])
        .is_ok_and(|found| !found.iter().any(|fence| fence.driver_name.starts_with(SW_SYNC)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_sync_file_is_not_trusted() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(!is_of_drivers(&Fence::from(std::os::fd::OwnedFd::from(file))));
    }
}
