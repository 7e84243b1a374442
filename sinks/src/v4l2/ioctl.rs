//! The one call that all of V4L2 is made of.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::raw::c_int;

use rustix::io::Errno;
use rustix::ioctl::opcode;
pub(super) use v4l::v4l_sys as sys;
pub(super) use v4l::v4l2::vidioc;

/// `VIDIOC_G_SELECTION` of `include/uapi/linux/videodev2.h`, which the bindings lack.
pub(super) const VIDIOC_G_SELECTION: vidioc::_IOC_TYPE =
    opcode::read_write::<sys::v4l2_selection>(b'V', 94) as vidioc::_IOC_TYPE;

/// `VIDIOC_S_SELECTION`, likewise.
pub(super) const VIDIOC_S_SELECTION: vidioc::_IOC_TYPE =
    opcode::read_write::<sys::v4l2_selection>(b'V', 95) as vidioc::_IOC_TYPE;

/// All that an ioctl's argument may be: plain numbers, for which zero is a value like any other.
///
/// # Safety
///
/// Every pattern of bits must be a value of the type, and it must be the one that the kernel
/// expects for the ioctls that it is used with.
pub(super) unsafe trait Argument {}

macro_rules! arguments {
    ($($name:ident)*) => {
        $(
            // SAFETY: one of the kernel's own structures of numbers, raw pointers and unions.
            unsafe impl Argument for sys::$name {}
        )*
    };
}

arguments! {
    v4l2_buffer v4l2_capability v4l2_control v4l2_fmtdesc v4l2_format v4l2_frmsizeenum v4l2_input
    v4l2_output v4l2_plane v4l2_queryctrl v4l2_querymenu v4l2_requestbuffers v4l2_selection
    v4l2_streamparm
}

// SAFETY: a number.
unsafe impl Argument for c_int {}

pub(super) fn zeroed<T: Argument>() -> T {
    // SAFETY: `Argument` promises that zeros are a value.
    unsafe { std::mem::zeroed() }
}

/// Calls until no signal comes in between.
///
/// Pointers within the argument must be valid for what the kernel reads and writes there.
pub(super) fn ioctl<T: Argument>(
    file: &File,
    request: vidioc::_IOC_TYPE,
    argument: &mut T,
) -> Result<(), Errno> {
    loop {
        // SAFETY: `Argument` promises that the kernel expects this type; it is writable and lives
        // through the call, and our requests carry its size. The only pointer within an argument
        // is that of `v4l2_buffer` to its planes, which its one user keeps alive and counts.
        match unsafe { v4l::v4l2::ioctl(file.as_raw_fd(), request, (&raw mut *argument).cast()) } {
            Ok(()) => return Ok(()),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::INTR) => {}
                errno => return Err(errno.unwrap_or(Errno::IO)),
            },
        }
    }
}

/// A text that ends with a zero, or where its array does.
pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
