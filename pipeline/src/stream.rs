//! Streams, from what is asked for to the port that sends them.

use vcam_allocator::{ColourSpace, Fourcc};
use vcam_isp_gpu::View;

use crate::sensor::Settings;
use crate::sensor::format::Format;
use crate::size::Size;

/// The most streams that a camera has at once: one of raw frames, the others of pictures.
pub const MAX_STREAMS: usize = 1 + MAX_OUTPUTS;

/// The most streams of pictures at once.
pub(crate) const MAX_OUTPUTS: usize = 2;

/// A stream of a [`CameraConfiguration`](crate::CameraConfiguration), by its index there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamId(pub(crate) usize);

impl StreamId {
    /// Its index in [`CameraConfiguration::streams`](crate::CameraConfiguration::streams).
    pub fn index(self) -> usize {
        self.0
    }
}

/// Where a stream leaves the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    /// Behind the sensor: raw frames.
    Raw,
    /// Behind the ISP, or behind a sensor that sends pictures: pictures, counted from 0.
    Output(usize),
}

/// A stream as it is asked for: one description from the configuration down to the buffers.
#[derive(Debug, Clone)]
pub(crate) struct StreamSpec {
    pub(crate) port: Port,
    /// The format of a buffer: of a raw frame, that of its carrier.
    pub(crate) format: Fourcc,
    /// The size of a buffer: a raw frame is rows of its carrier.
    pub(crate) size: Size,
    /// The part of the frame that pictures show, how, and in which colours; raw frames are whole.
    pub(crate) view: View,
    /// The fewest buffers, however few would do.
    pub(crate) min_buffers: u64,
}

impl StreamSpec {
    /// The raw frames of a sensor; `None` if it sends pictures.
    pub(crate) fn raw(sensor: &Settings, min_buffers: u64) -> Option<Self> {
        let Format::Raw(format) = sensor.format else { return None };
        let (carrier, columns) = format.carrier(sensor.size.width);
        let size = Size { width: columns, height: sensor.size.height };
        Some(Self { port: Port::Raw, format: carrier, size, view: View::default(), min_buffers })
    }

    /// How the numbers stand for colours.
    pub(crate) fn colour_space(&self) -> ColourSpace {
        match self.port {
            Port::Raw => ColourSpace::RAW,
            Port::Output(_) => {
                let usual = || ColourSpace::of(self.format, self.size.into());
                self.view.colour_space.unwrap_or_else(usual)
            }
        }
    }

    /// The name in reports.
    pub(crate) fn name(&self) -> &'static str {
        match self.port {
            Port::Raw => "raw",
            Port::Output(0) => "output",
            Port::Output(_) => "output-2",
        }
    }
}
