//! Sync files: descriptors of one or several fences.
//!
//! Source: `include/uapi/linux/sync_file.h` and `Documentation/driver-api/sync_file.rst`.

use std::os::fd::BorrowedFd;

use linux_raw_sys::ioctl::SYNC_IOC_FILE_INFO;
use rustix::io;
use rustix::ioctl::{Opcode, Updater, ioctl};

use crate::fault;

/// `struct sync_file_info`.
#[repr(C)]
struct FileInfo {
    name: [u8; 32],
    status: i32,
    flags: u32,
    num_fences: u32,
    pad: u32,
    sync_fence_info: u64,
}

const _: () = assert!(size_of::<FileInfo>() == crate::argument_size(SYNC_IOC_FILE_INFO));

/// A fence of a sync file: `struct sync_fence_info`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FenceInfo {
    /// The name of the timeline, ended by a zero.
    pub obj_name: [u8; 32],
    /// The name of the driver that signals it, ended by a zero.
    pub driver_name: [u8; 32],
    /// 1 if it is signalled, 0 if not, less than 0 after an error.
    pub status: i32,
    /// Reserved.
    pub flags: u32,
    /// When it was signalled, in nanoseconds of the monotonic clock.
    pub timestamp_ns: u64,
}

const _: () = assert!(size_of::<FenceInfo>() == 80);

/// Describes the fences of a sync file in the first places of `room`, and returns those.
///
/// `EINVAL` if there are more fences than room, `ENOTTY` for what is no sync file. Room for none is
/// `EINVAL` too: to the kernel that is the question how many there are.
pub fn fences<'a>(
    sync_file: BorrowedFd<'_>,
    room: &'a mut [FenceInfo],
) -> io::Result<&'a [FenceInfo]> {
    fault::call("SYNC_IOC_FILE_INFO")?;
    let count = u32::try_from(room.len()).ok().filter(|count| *count > 0);
    let mut info = FileInfo {
        name: [0; 32],
        status: 0,
        flags: 0,
        num_fences: count.ok_or(io::Errno::INVAL)?,
        pad: 0,
        sync_fence_info: room.as_mut_ptr().expose_provenance() as u64,
    };
    // SAFETY: the opcode's argument is a `struct sync_file_info`, which leads the kernel to
    // `num_fences` elements that it may write; both live until the call returns, and any bits are
    // a `FenceInfo`.
    unsafe {
        ioctl(sync_file, Updater::<{ SYNC_IOC_FILE_INFO as Opcode }, _>::new(&mut info))?;
    }
    room.get(..info.num_fences as usize).ok_or(io::Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn the_opcode_is_the_kernels() {
        // As on every architecture that numbers ioctls the usual way.
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        assert_eq!(SYNC_IOC_FILE_INFO, 0xc038_3e04);
        assert_eq!(size_of::<FenceInfo>(), 80);
    }

    #[test]
    fn what_is_no_sync_file_has_no_fences() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let mut room = [FenceInfo::default(); 1];
        assert_eq!(fences(file.as_fd(), &mut room), Err(io::Errno::NOTTY));
        assert_eq!(fences(file.as_fd(), &mut []), Err(io::Errno::INVAL));
    }
}
