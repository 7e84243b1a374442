//! A frame on its way from the sensor to whoever ordered it.

use vcam_allocator::{Fence, PooledBuffer};
use vcam_isp_gpu::IspParams;

use super::error::StageError;
use crate::camera::Request;
use crate::controls::FrameControls;
use crate::ipa::Colour;
use crate::sensor::Metadata;
use crate::sensor::timing::Timing;

/// Processed streams that there can be at once.
pub(crate) const MAX_OUTPUTS: usize = 2;

/// The pictures of a frame.
pub(crate) type Outputs = [Option<PooledBuffer>; MAX_OUTPUTS];

/// A frame that the sensor has made.
pub(crate) struct Shot {
    pub(crate) sequence: u64,
    /// What it was taken with.
    pub(crate) taken: Metadata,
    pub(crate) timing: Timing,
    pub(crate) controls: FrameControls,
    /// The raw frame; none of a sensor that sends pictures.
    pub(crate) raw: Option<PooledBuffer>,
    /// The pictures: the sensor's own, or those that the ISP made.
    pub(crate) outputs: Outputs,
    /// Who ordered it, where frames are ordered one by one.
    pub(crate) request: Option<Request>,
}

/// A frame that is finished, or is not to be.
pub(crate) struct Done {
    pub(crate) shot: Shot,
    /// Wait for this before reading the pictures; without it, they are complete.
    pub(crate) ready: Option<Fence>,
    pub(crate) facts: Option<Facts>,
    pub(crate) result: Result<(), StageError>,
}

/// What an ISP did to a frame, and saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) params: IspParams,
    /// Without an algorithm at work, nothing.
    pub(crate) colour: Option<Colour>,
    /// As [`AeState`](crate::controls::AeState) has it.
    pub(crate) ae_state: i32,
    /// Of the latest frame that was measured.
    pub(crate) lux: Option<f32>,
    pub(crate) focus: Option<f32>,
}

/// What becomes of finished frames.
pub(crate) trait Deliver: Send {
    /// Passes a frame on. `false`: nobody takes any more.
    fn deliver(&mut self, done: Done) -> Result<bool, StageError>;
}
