//! Controls: what else there is to set on a device.

use std::os::fd::BorrowedFd;

use bitflags::bitflags;
use rustix::io;

use super::request::{VIDIOC_G_CTRL, VIDIOC_QUERYCTRL, VIDIOC_QUERYMENU, VIDIOC_S_CTRL, call};
use super::text;
use super::videodev2::{Plain, v4l2_control, v4l2_queryctrl, v4l2_querymenu};

/// `V4L2_CID_MIN_BUFFERS_FOR_CAPTURE`: the fewest buffers that a capture queue streams with.
pub const MIN_BUFFERS_FOR_CAPTURE: u32 = 0x0098_0927;

/// `V4L2_CID_MIN_BUFFERS_FOR_OUTPUT`: the fewest buffers that an output queue streams with.
pub const MIN_BUFFERS_FOR_OUTPUT: u32 = 0x0098_0928;

bitflags! {
    /// What cannot be done with a control, or what it does by itself: `V4L2_CTRL_FLAG_*`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct ControlFlags: u32 {
        /// It does not work on this device.
        const DISABLED = 0x1;
        /// It cannot be set now: while the device streams, say.
        const GRABBED = 0x2;
        /// It cannot be set.
        const READ_ONLY = 0x4;
        /// It has no value to be asked for.
        const WRITE_ONLY = 0x40;
        /// The device changes it.
        const VOLATILE = 0x80;
        /// There are others.
        const _ = !0;
    }
}

/// `V4L2_CTRL_FLAG_NEXT_CTRL`.
const NEXT_CTRL: u32 = 0x8000_0000;

/// What the value of a control is: `enum v4l2_ctrl_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlKind {
    /// `V4L2_CTRL_TYPE_INTEGER`.
    Integer,
    /// `V4L2_CTRL_TYPE_BOOLEAN`.
    Boolean,
    /// `V4L2_CTRL_TYPE_MENU`: the index of an item with a name.
    Menu,
    /// `V4L2_CTRL_TYPE_BITMASK`.
    Bitmask,
    /// `V4L2_CTRL_TYPE_INTEGER_MENU`: the index of an item with a number.
    IntegerMenu,
    /// Of another type, by its number: nothing that [`g_ctrl`] and [`s_ctrl`] deal in.
    Other(u32),
}

impl From<u32> for ControlKind {
    fn from(kind: u32) -> Self {
        match kind {
            1 => Self::Integer,
            2 => Self::Boolean,
            3 => Self::Menu,
            8 => Self::Bitmask,
            9 => Self::IntegerMenu,
            other => Self::Other(other),
        }
    }
}

/// A control, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Its number: `V4L2_CID_*`, or the driver's own.
    pub id: u32,
    /// What its value is.
    pub kind: ControlKind,
    /// Its name, for people.
    pub name: String,
    /// The smallest value.
    pub minimum: i32,
    /// The largest value.
    pub maximum: i32,
    /// What holds for it.
    pub flags: ControlFlags,
}

/// Describes the first control after `id`, 0 being before all; `EINVAL` after the last.
pub fn next_ctrl(node: BorrowedFd<'_>, id: u32) -> io::Result<Control> {
    let mut raw = v4l2_queryctrl { id: id | NEXT_CTRL, ..v4l2_queryctrl::zeroed() };
    call(node, &VIDIOC_QUERYCTRL, &mut raw)?;
    Ok(Control {
        id: raw.id,
        kind: raw.type_.into(),
        name: text(&raw.name),
        minimum: raw.minimum,
        maximum: raw.maximum,
        flags: ControlFlags::from_bits_retain(raw.flags),
    })
}

/// The name of an item of a [menu](ControlKind::Menu); `EINVAL` for an index without one.
pub fn querymenu(node: BorrowedFd<'_>, id: u32, index: u32) -> io::Result<String> {
    let mut item = v4l2_querymenu { id, index, ..v4l2_querymenu::zeroed() };
    call(node, &VIDIOC_QUERYMENU, &mut item)?;
    // SAFETY: any bits are bytes.
    let name = unsafe { item.item.name };
    Ok(text(&name))
}

/// The value of a control; `EINVAL` if the device does not have it.
pub fn g_ctrl(node: BorrowedFd<'_>, id: u32) -> io::Result<i32> {
    let mut control = v4l2_control { id, value: 0 };
    call(node, &VIDIOC_G_CTRL, &mut control)?;
    Ok(control.value)
}

/// Sets a control; `ERANGE` for a value that it does not take.
pub fn s_ctrl(node: BorrowedFd<'_>, id: u32, value: i32) -> io::Result<()> {
    call(node, &VIDIOC_S_CTRL, &mut v4l2_control { id, value })
}
