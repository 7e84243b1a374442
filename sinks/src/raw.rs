//! What raw frames are, for the sinks that take them.

use std::fmt;
use std::sync::Arc;

use vcam_allocator::Fourcc;

/// Turns a row of samples, as it travels, into the samples themselves.
pub type Unpack = Arc<dyn Fn(&[u8], &mut [u16]) + Send + Sync>;

/// What a sensor's raw frames are.
#[derive(Clone)]
pub struct RawDescription {
    /// The samples' format by its V4L2 name, such as `SRGGB10P`.
    pub format: String,
    /// The format of the buffers in which they travel.
    pub carrier: Fourcc,
    /// Width and height in samples.
    pub size: (u32, u32),
    /// The filters of the first two samples of the first row, then those of the second: 0 is red,
    /// 1 green, 2 blue. `None` for a sensor that sees brightness alone.
    pub filters: Option<[u8; 4]>,
    /// The value that stands for no light.
    pub black: f32,
    /// The value of a saturated sample, above `black`.
    pub white: u16,
    /// Bytes of a row of samples, as they travel.
    pub row_bytes: u64,
    /// From CIE XYZ to the sensor's red, green and blue, in the light D65.
    pub xyz_to_sensor: [[f32; 3]; 3],
    /// What its rows mean.
    pub unpack: Unpack,
}

impl fmt::Debug for RawDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawDescription")
            .field("format", &self.format)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
