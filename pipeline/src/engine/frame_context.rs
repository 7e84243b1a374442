//! A frame on its way from the sensor to its consumer, with all that is known of it.

use vcam_allocator::{Fence, PooledBuffer};
use vcam_isp_gpu::IspParams;

use super::error::StageError;
use crate::controls::FrameControls;
use crate::ipa::AwbResult;
use crate::request::Request;
use crate::sensor::Metadata;
use crate::sensor::timing::Timing;
use crate::stream::MAX_OUTPUTS;

/// The pictures of a frame.
pub(crate) type Outputs = [Option<PooledBuffer>; MAX_OUTPUTS];

/// A frame in flight: what the sensor made, and the buffers that it fills.
pub(crate) struct FrameContext {
    pub(crate) sequence: u64,
    /// Its time, and the exposure and gain that it was taken with.
    pub(crate) taken: Metadata,
    pub(crate) timing: Timing,
    pub(crate) controls: FrameControls,
    /// The raw frame; none of a sensor that sends pictures.
    pub(crate) raw: Option<PooledBuffer>,
    /// The pictures: the sensor's own, or those that the ISP made.
    pub(crate) outputs: Outputs,
    /// The request that it fulfils; none in a run, which is not asked for each frame.
    pub(crate) request: Option<Request>,
}

/// A frame that is finished, or failed.
pub(crate) struct CompletedFrame {
    pub(crate) frame: FrameContext,
    /// Wait for this before reading the pictures; without it, they are complete.
    pub(crate) ready: Option<Fence>,
    pub(crate) metadata: Option<FrameMetadata>,
    pub(crate) result: Result<(), StageError>,
}

/// The ISP's parameters and measurements for a frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameMetadata {
    pub(crate) params: IspParams,
    /// Without an algorithm at work, nothing.
    pub(crate) colour: Option<AwbResult>,
    /// As [`AeState`](crate::controls::AeState) has it.
    pub(crate) ae_state: i32,
    /// Of the latest frame that was measured.
    pub(crate) lux: Option<f32>,
    pub(crate) focus: Option<f32>,
}

/// The consumer of finished frames: sinks, or an application.
pub(crate) trait FrameConsumer: Send {
    /// Passes a frame on; an error ends the run.
    fn consume(&mut self, done: CompletedFrame) -> Result<(), StageError>;
}
