//! What a node is: `VIDIOC_QUERYCAP`.

use std::fmt;
use std::os::fd::BorrowedFd;

use bitflags::bitflags;
use rustix::io;

use super::request::{VIDIOC_QUERYCAP, call};
use super::videodev2::{Plain, v4l2_capability};
use super::{BufType, text};

bitflags! {
    /// What a node can do: `V4L2_CAP_*`, by the kernel's names without that.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Capabilities: u32 {
        /// Gives pictures, each in one memory.
        const VIDEO_CAPTURE = 0x1;
        /// Takes pictures, each in one memory.
        const VIDEO_OUTPUT = 0x2;
        /// Puts what it captures straight on a screen.
        const VIDEO_OVERLAY = 0x4;
        /// Gives the raw vertical blanking interval.
        const VBI_CAPTURE = 0x10;
        /// Takes a raw vertical blanking interval.
        const VBI_OUTPUT = 0x20;
        /// Gives what the vertical blanking interval says.
        const SLICED_VBI_CAPTURE = 0x40;
        /// Takes what the vertical blanking interval is to say.
        const SLICED_VBI_OUTPUT = 0x80;
        /// Gives radio data.
        const RDS_CAPTURE = 0x100;
        /// Puts a screen over the pictures that it shows.
        const VIDEO_OUTPUT_OVERLAY = 0x200;
        /// Looks for stations by itself.
        const HW_FREQ_SEEK = 0x400;
        /// Takes radio data.
        const RDS_OUTPUT = 0x800;
        /// Gives pictures, each in one or several memories.
        const VIDEO_CAPTURE_MPLANE = 0x1000;
        /// Takes pictures, each in one or several memories.
        const VIDEO_OUTPUT_MPLANE = 0x2000;
        /// Makes pictures of pictures, each in one or several memories.
        const VIDEO_M2M_MPLANE = 0x4000;
        /// Makes pictures of pictures.
        const VIDEO_M2M = 0x8000;
        /// Has a tuner.
        const TUNER = 0x1_0000;
        /// Has sound.
        const AUDIO = 0x2_0000;
        /// Is a radio.
        const RADIO = 0x4_0000;
        /// Has a modulator.
        const MODULATOR = 0x8_0000;
        /// Gives the samples of a radio.
        const SDR_CAPTURE = 0x10_0000;
        /// Knows all fields of `struct v4l2_pix_format`.
        const EXT_PIX_FORMAT = 0x20_0000;
        /// Takes the samples of a radio.
        const SDR_OUTPUT = 0x40_0000;
        /// Gives metadata.
        const META_CAPTURE = 0x80_0000;
        /// Can be read or written as a file.
        const READWRITE = 0x100_0000;
        /// Has an EDID and no pictures.
        const EDID = 0x200_0000;
        /// Streams buffers.
        const STREAMING = 0x400_0000;
        /// Takes metadata.
        const META_OUTPUT = 0x800_0000;
        /// Is a touch device.
        const TOUCH = 0x1000_0000;
        /// Has its inputs and outputs chosen through the media controller.
        const IO_MC = 0x2000_0000;
        /// Tells what this node can do apart from what the device can.
        const DEVICE_CAPS = 0x8000_0000;
    }
}

impl Capabilities {
    /// The queues of pictures that a node with these has.
    pub fn queues(self) -> impl Iterator<Item = BufType> {
        let queues = [
            (Self::VIDEO_CAPTURE, BufType::VideoCapture),
            (Self::VIDEO_OUTPUT, BufType::VideoOutput),
            (Self::VIDEO_CAPTURE_MPLANE, BufType::VideoCaptureMplane),
            (Self::VIDEO_OUTPUT_MPLANE, BufType::VideoOutputMplane),
        ];
        queues.into_iter().filter(move |(bit, _)| self.contains(*bit)).map(|(_, queue)| queue)
    }
}

impl fmt::Display for Capabilities {
    /// As in `VIDEO_CAPTURE | STREAMING`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bitflags::parser::to_writer(self, f)
    }
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// The driver, such as `vivid`.
    pub driver: String,
    /// Where the device is: nodes of one device have the same.
    pub bus_info: String,
    /// What this node can do; before Linux 3.4, what all nodes of the device can.
    pub capabilities: Capabilities,
}

/// Asks a node what it is; `ENOTTY` from what is no video node.
pub fn querycap(node: BorrowedFd<'_>) -> io::Result<Capability> {
    let mut raw = v4l2_capability::zeroed();
    call(node, &VIDIOC_QUERYCAP, &mut raw)?;
    let of_device = Capabilities::from_bits_retain(raw.capabilities);
    let capabilities = match of_device.contains(Capabilities::DEVICE_CAPS) {
        true => Capabilities::from_bits_retain(raw.device_caps),
        false => of_device,
    };
    Ok(Capability { driver: text(&raw.driver), bus_info: text(&raw.bus_info), capabilities })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_those_of_pictures() {
        let all = Capabilities::VIDEO_OUTPUT | Capabilities::VBI_CAPTURE | Capabilities::STREAMING;
        assert_eq!(all.queues().collect::<Vec<_>>(), [BufType::VideoOutput]);
        let codec = Capabilities::VIDEO_M2M_MPLANE | Capabilities::STREAMING;
        assert_eq!(codec.queues().count(), 0);
        assert_eq!(codec.to_string(), "VIDEO_M2M_MPLANE | STREAMING");
    }
}
