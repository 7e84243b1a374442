//! How a node was found, so that it can be left like that.

use std::os::raw::c_int;

use rustix::io::Errno;

use super::colorimetry::Colorimetry;
use super::ioctl::{VIDIOC_G_SELECTION, VIDIOC_S_SELECTION, ioctl, sys, vidioc, zeroed};
use super::node::{Direction, Format, Node};

/// Where in a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rectangle {
    pub(super) left: i32,
    pub(super) top: i32,
    pub(super) width: u32,
    pub(super) height: u32,
}

impl Rectangle {
    /// The upper left corner.
    pub(super) fn corner((width, height): (u32, u32)) -> Self {
        Self { left: 0, top: 0, width, height }
    }
}

/// Which part of a picture is meant: what is taken out of the source, and where in the target it is
/// put. To a capture node the source is what comes in and the target the buffer; to an output node
/// it is the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Crop,
    Compose,
}

impl Part {
    fn target(self) -> u32 {
        match self {
            Self::Crop => sys::V4L2_SEL_TGT_CROP,
            Self::Compose => sys::V4L2_SEL_TGT_COMPOSE,
        }
    }
}

/// What a node is set to; `None` for what it does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    connector: Option<u32>,
    format: Option<Format>,
    colorimetry: Option<Colorimetry>,
    /// The target first: where it lies bounds how much of the source may be taken.
    parts: Vec<(Part, Rectangle)>,
    interval: Option<(u32, u32)>,
    /// Controls with a number, and their values. Some change with the connector.
    controls: Vec<(u32, i32)>,
}

impl Settings {
    pub(super) fn of(node: &Node) -> Self {
        let order = match node.direction {
            Direction::Capture => [Part::Compose, Part::Crop],
            Direction::Output => [Part::Crop, Part::Compose],
        };
        let parts = order.into_iter().filter_map(|part| Some((part, node.part(part).ok()?)));
        Self {
            connector: node.connector(),
            format: node.format().ok(),
            colorimetry: node.colorimetry().ok(),
            parts: parts.collect(),
            interval: node.interval(),
            controls: node.controls(),
        }
    }

    /// Puts them back. What fails is logged: there is nobody to tell.
    pub(super) fn restore(&self, node: &Node) {
        let mut all = vec![];
        if let Some(connector) = self.connector {
            all.push(node.set_connector(connector));
        }
        if let Some(format) = &self.format {
            all.push(node.set_format(format).map(drop));
        }
        if let Some(colorimetry) = self.colorimetry {
            all.push(node.set_colorimetry(colorimetry).map(drop));
        }
        for (part, rectangle) in &self.parts {
            all.push(node.set_part(*part, *rectangle).map(drop));
        }
        let now = node.controls();
        for (control, value) in self.controls.iter().filter(|before| !now.contains(before)) {
            all.push(node.set_control(*control, *value));
        }
        for errno in all.into_iter().filter_map(Result::err) {
            tracing::warn!(%errno, node = %node.path.display(), "a setting was not put back");
        }
        if let Some(interval) = self.interval {
            node.set_interval(interval);
        }
    }
}

impl Node {
    /// The controls that hold a number which nobody but the user changes, with their values.
    fn controls(&self) -> Vec<(u32, i32)> {
        const OTHERS: u32 = sys::V4L2_CTRL_FLAG_DISABLED
            | sys::V4L2_CTRL_FLAG_READ_ONLY
            | sys::V4L2_CTRL_FLAG_WRITE_ONLY
            | sys::V4L2_CTRL_FLAG_VOLATILE
            | sys::V4L2_CTRL_FLAG_GRABBED;
        const KINDS: [u32; 5] = [
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER,
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BOOLEAN,
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_MENU,
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_BITMASK,
            sys::v4l2_ctrl_type_V4L2_CTRL_TYPE_INTEGER_MENU,
        ];
        let ours = |control: &sys::v4l2_queryctrl| {
            control.flags & OTHERS == 0 && KINDS.contains(&control.type_)
        };
        self.each_control()
            .filter(ours)
            .filter_map(|control| Some((control.id, self.control(control.id)?)))
            .collect()
    }

    /// The controls of the device, as they describe themselves.
    pub(super) fn each_control(&self) -> impl Iterator<Item = sys::v4l2_queryctrl> {
        let mut last = 0;
        std::iter::from_fn(move || {
            let mut control: sys::v4l2_queryctrl = zeroed();
            control.id = last | sys::V4L2_CTRL_FLAG_NEXT_CTRL;
            ioctl(&self.file, vidioc::VIDIOC_QUERYCTRL, &mut control).ok()?;
            last = control.id;
            Some(control)
        })
    }

    /// The input or output that is chosen; `None` if the device has no choice.
    pub(super) fn connector(&self) -> Option<u32> {
        let request = match self.direction {
            Direction::Capture => vidioc::VIDIOC_G_INPUT,
            Direction::Output => vidioc::VIDIOC_G_OUTPUT,
        };
        let mut index: c_int = 0;
        ioctl(&self.file, request, &mut index).ok()?;
        u32::try_from(index).ok()
    }

    /// Chooses an input or output; `EBUSY` while somebody streams.
    pub(super) fn set_connector(&self, index: u32) -> Result<(), Errno> {
        let request = match self.direction {
            Direction::Capture => vidioc::VIDIOC_S_INPUT,
            Direction::Output => vidioc::VIDIOC_S_OUTPUT,
        };
        ioctl(&self.file, request, &mut c_int::try_from(index).unwrap_or(c_int::MAX))
    }

    /// A part of the picture.
    pub(super) fn part(&self, part: Part) -> Result<Rectangle, Errno> {
        let mut selection = self.selection(part);
        ioctl(&self.file, VIDIOC_G_SELECTION, &mut selection)?;
        Ok(rectangle(&selection))
    }

    /// Asks for a part of the picture; the device answers with what it makes of it.
    pub(super) fn set_part(&self, part: Part, wish: Rectangle) -> Result<Rectangle, Errno> {
        let mut selection = self.selection(part);
        let Rectangle { left, top, width, height } = wish;
        selection.r = sys::v4l2_rect { left, top, width, height };
        ioctl(&self.file, VIDIOC_S_SELECTION, &mut selection)?;
        Ok(rectangle(&selection))
    }

    /// Multi-planar nodes are asked by the single-planar type as well.
    fn selection(&self, part: Part) -> sys::v4l2_selection {
        let mut selection: sys::v4l2_selection = zeroed();
        selection.target = part.target();
        selection.type_ = match self.direction {
            Direction::Capture => sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_CAPTURE,
            Direction::Output => sys::v4l2_buf_type_V4L2_BUF_TYPE_VIDEO_OUTPUT,
        };
        selection
    }
}

fn rectangle(selection: &sys::v4l2_selection) -> Rectangle {
    let sys::v4l2_rect { left, top, width, height } = selection.r;
    Rectangle { left, top, width, height }
}
