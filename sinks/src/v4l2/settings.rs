//! How a node was found, so that it can be left like that.

use std::os::fd::AsFd;

use rustix::io::Errno;
use vcam_uapi::v4l2::{
    self, Colorimetry, Control, ControlFlags, ControlKind, Format, Fraction, Rectangle, Target,
};

use super::node::{Direction, Node};

/// All of a picture of this size.
pub(super) fn whole((width, height): (u32, u32)) -> Rectangle {
    Rectangle { left: 0, top: 0, width, height }
}

/// What a node is set to; `None` for what it does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    connector: Option<u32>,
    format: Option<Format>,
    colorimetry: Option<Colorimetry>,
    /// The target first: where it lies bounds how much of the source may be taken.
    parts: Vec<(Target, Rectangle)>,
    interval: Option<Fraction>,
    /// Controls with a number, and their values. Some change with the connector.
    controls: Vec<(u32, i32)>,
}

impl Settings {
    pub(super) fn of(node: &Node) -> Self {
        let order = match node.direction {
            Direction::Capture => [Target::Compose, Target::Crop],
            Direction::Output => [Target::Crop, Target::Compose],
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
        let others = ControlFlags::DISABLED
            | ControlFlags::READ_ONLY
            | ControlFlags::WRITE_ONLY
            | ControlFlags::VOLATILE
            | ControlFlags::GRABBED;
        let ours = |control: &Control| {
            !control.flags.intersects(others) && !matches!(control.kind, ControlKind::Other(_))
        };
        self.each_control()
            .filter(ours)
            .filter_map(|control| Some((control.id, self.control(control.id)?)))
            .collect()
    }

    /// The controls of the device, as they describe themselves.
    pub(super) fn each_control(&self) -> impl Iterator<Item = Control> {
        let mut last = 0;
        std::iter::from_fn(move || {
            let control = v4l2::next_ctrl(self.as_fd(), last).ok()?;
            last = control.id;
            Some(control)
        })
    }

    /// The input or output that is chosen; `None` if the device has no choice.
    pub(super) fn connector(&self) -> Option<u32> {
        let chosen = match self.direction {
            Direction::Capture => v4l2::g_input(self.as_fd()),
            Direction::Output => v4l2::g_output(self.as_fd()),
        };
        chosen.ok()
    }

    /// Chooses an input or output; `EBUSY` while somebody streams.
    pub(super) fn set_connector(&self, index: u32) -> Result<(), Errno> {
        match self.direction {
            Direction::Capture => v4l2::s_input(self.as_fd(), index),
            Direction::Output => v4l2::s_output(self.as_fd(), index),
        }
    }

    /// A part of the picture.
    pub(super) fn part(&self, part: Target) -> Result<Rectangle, Errno> {
        v4l2::g_selection(self.as_fd(), self.kind, part)
    }

    /// Asks for a part of the picture; the device answers with what it makes of it.
    pub(super) fn set_part(&self, part: Target, wish: Rectangle) -> Result<Rectangle, Errno> {
        v4l2::s_selection(self.as_fd(), self.kind, part, wish)
    }
}
