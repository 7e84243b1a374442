//! Selections: which part of the source is taken, and where in the target it is put.
//!
//! To a capture queue the source is what comes in and the target the buffer; to an output queue it
//! is the other way round.

use std::os::fd::BorrowedFd;

use rustix::io;

use super::BufType;
use super::request::{VIDIOC_G_SELECTION, VIDIOC_S_SELECTION, call};
use super::videodev2::{Plain, v4l2_rect, v4l2_selection};

/// Which part is meant, by its `V4L2_SEL_TGT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// `V4L2_SEL_TGT_CROP`: what is taken of the source.
    Crop = 0,
    /// `V4L2_SEL_TGT_COMPOSE`: where it is put in the target.
    Compose = 0x100,
}

/// A part of a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rectangle {
    /// From the picture's left edge.
    pub left: i32,
    /// From the picture's upper edge.
    pub top: i32,
    /// From left to right.
    pub width: u32,
    /// From top to bottom.
    pub height: u32,
}

/// Where a part is; `ENOTTY` or `EINVAL` from a device that neither crops nor composes.
pub fn g_selection(node: BorrowedFd<'_>, queue: BufType, target: Target) -> io::Result<Rectangle> {
    let mut selection = selection(queue, target);
    call(node, &VIDIOC_G_SELECTION, &mut selection)?;
    Ok(rectangle(&selection))
}

/// Asks for a part, and returns what the driver made of it.
pub fn s_selection(
    node: BorrowedFd<'_>,
    queue: BufType,
    target: Target,
    wish: Rectangle,
) -> io::Result<Rectangle> {
    let Rectangle { left, top, width, height } = wish;
    let r = v4l2_rect { left, top, width, height };
    let mut selection = v4l2_selection { r, ..selection(queue, target) };
    call(node, &VIDIOC_S_SELECTION, &mut selection)?;
    Ok(rectangle(&selection))
}

/// Multi-planar queues are asked by the single-planar type as well, which every kernel takes.
fn selection(queue: BufType, target: Target) -> v4l2_selection {
    let queue = match queue.is_output() {
        false => BufType::VideoCapture,
        true => BufType::VideoOutput,
    };
    v4l2_selection { type_: queue as u32, target: target as u32, ..v4l2_selection::zeroed() }
}

fn rectangle(selection: &v4l2_selection) -> Rectangle {
    let v4l2_rect { left, top, width, height } = selection.r;
    Rectangle { left, top, width, height }
}
