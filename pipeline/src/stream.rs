//! Streams, from what is asked for to the port that sends them.

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
