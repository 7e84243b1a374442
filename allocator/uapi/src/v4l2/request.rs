//! The ioctls, each with the structure that it takes, and the one call that they are made by.

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;

use linux_raw_sys::ioctl as raw;
use rustix::io;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode};

use super::videodev2::*;
use crate::retry::uninterrupted;

/// An ioctl that reads and writes a `T`.
pub(super) struct Request<T> {
    name: &'static str,
    opcode: u32,
    argument: PhantomData<fn(T)>,
}

impl<T> Request<T> {
    /// Does not compile if the kernel's structure has another size than `T`.
    const fn new(name: &'static str, opcode: u32) -> Self {
        assert!(size_of::<T>() == crate::argument_size(opcode));
        Self { name, opcode, argument: PhantomData }
    }
}

macro_rules! requests {
    ($($name:ident: $argument:ty,)*) => {
        $(
            pub(super) const $name: Request<$argument> =
                Request::new(stringify!($name), raw::$name);
        )*
    };
}

requests! {
    VIDIOC_QUERYCAP: v4l2_capability,
    VIDIOC_ENUM_FMT: v4l2_fmtdesc,
    VIDIOC_ENUM_FRAMESIZES: v4l2_frmsizeenum,
    VIDIOC_G_FMT: v4l2_format,
    VIDIOC_S_FMT: v4l2_format,
    VIDIOC_TRY_FMT: v4l2_format,
    VIDIOC_G_PARM: v4l2_streamparm,
    VIDIOC_S_PARM: v4l2_streamparm,
    VIDIOC_G_CTRL: v4l2_control,
    VIDIOC_S_CTRL: v4l2_control,
    VIDIOC_QUERYCTRL: v4l2_queryctrl,
    VIDIOC_QUERYMENU: v4l2_querymenu,
    VIDIOC_ENUMINPUT: v4l2_input,
    VIDIOC_G_INPUT: c_int,
    VIDIOC_S_INPUT: c_int,
    VIDIOC_ENUMOUTPUT: v4l2_output,
    VIDIOC_G_OUTPUT: c_int,
    VIDIOC_S_OUTPUT: c_int,
    VIDIOC_G_SELECTION: v4l2_selection,
    VIDIOC_S_SELECTION: v4l2_selection,
    VIDIOC_REQBUFS: v4l2_requestbuffers,
    VIDIOC_QUERYBUF: v4l2_buffer,
    VIDIOC_QBUF: v4l2_buffer,
    VIDIOC_DQBUF: v4l2_buffer,
    VIDIOC_EXPBUF: v4l2_exportbuffer,
    VIDIOC_STREAMON: c_int,
    VIDIOC_STREAMOFF: c_int,
}

/// An argument in which the kernel follows no pointer, whatever its bits are.
///
/// # Safety
///
/// It has no pointer, or no `type_` of ours has the kernel look for one.
pub(super) unsafe trait NoPointers: Plain {}

macro_rules! no_pointers {
    ($($name:ident)*) => {
        $(
            // SAFETY: numbers alone; of `v4l2_format` our types select members of numbers.
            unsafe impl NoPointers for $name {}
        )*
    };
}

// All but `v4l2_buffer`.
no_pointers! {
    c_int v4l2_capability v4l2_control v4l2_exportbuffer v4l2_fmtdesc v4l2_format v4l2_frmsizeenum
    v4l2_input v4l2_output v4l2_queryctrl v4l2_querymenu v4l2_requestbuffers v4l2_selection
    v4l2_streamparm
}

/// Makes a call, again if a signal interrupted it.
pub(super) fn call<T: NoPointers>(
    node: BorrowedFd<'_>,
    request: &Request<T>,
    argument: &mut T,
) -> io::Result<()> {
    // SAFETY: the kernel follows no pointer in the argument.
    unsafe { call_with_pointers(node, request, argument) }
}

/// As [`call`], for an argument with pointers.
///
/// # Safety
///
/// Those that the kernel follows are valid for what it reads and writes there.
pub(super) unsafe fn call_with_pointers<T: Plain>(
    node: BorrowedFd<'_>,
    request: &Request<T>,
    argument: &mut T,
) -> io::Result<()> {
    uninterrupted(request.name, || {
        let call = Call { opcode: request.opcode as Opcode, argument: (&raw mut *argument).cast() };
        // SAFETY: a `Request` is made of an opcode and the structure that it takes (its size is
        // checked), which is writable and lives through the call, and of which any bits are a
        // value. The caller vouches for what it points at.
        unsafe { rustix::ioctl::ioctl(node, call) }
    })
}

struct Call {
    opcode: Opcode,
    argument: *mut c_void,
}

// SAFETY: opcode and argument are passed on unchanged; whoever makes the call vouches that they
// belong together.
unsafe impl Ioctl for Call {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.opcode
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.argument
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> io::Result<()> {
        Ok(())
    }
}
