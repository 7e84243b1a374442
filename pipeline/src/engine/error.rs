//! Why a camera did not start, and why a stage ended early.

use std::any::Any;
use std::error::Error;

use vcam_allocator::{AccessError, FenceError, Fourcc, TakeError};
use vcam_isp_gpu::{GpuError, IspError};
use vcam_sinks::SinkError;

use super::negotiate::PlanError;
use crate::controls::ControlError;
use crate::ipa::CalibrationError;
use crate::sensor::SettingsError;
use crate::sensor::format::Format;
use crate::size::Size;

/// Why a camera did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no such sensor.
    #[error(transparent)]
    Sensor(#[from] SettingsError),
    /// The sensor sends pictures, and sends them as they are.
    #[error("the sensor sends pictures in {sends} of {size}, and there is no ISP to make others")]
    NoIsp {
        /// The format that it sends.
        sends: Format,
        /// The size of its frames.
        size: Size,
    },
    /// A sink wants raw frames.
    #[error("{sink} takes raw frames, and the sensor sends pictures")]
    NoRaw {
        /// The sink.
        sink: String,
    },
    /// A sink does not take pictures in this format.
    #[error("{sink} takes no pictures in {format}; it takes {takes}")]
    SinkFormat {
        /// The sink.
        sink: String,
        /// The format of pictures.
        format: Fourcc,
        /// The formats that it takes, in words.
        takes: String,
    },
    /// A control is not taken.
    #[error(transparent)]
    Control(Box<ControlError>),
    /// The camera does not know its colours.
    #[error("the camera cannot be calibrated")]
    Calibration(#[from] CalibrationError),
    /// There are no buffers.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The GPU's ISP was asked for, and there is none.
    #[error("the GPU ISP does not start")]
    Isp(#[from] GpuError),
    /// The application's own ISP is not made.
    #[error("the application's ISP does not start")]
    CustomIsp(#[source] Box<dyn Error + Send + Sync>),
    /// The GPU's ISP was asked for, and makes no picture of this size.
    #[error("{isp} makes pictures of at most {limit}x{limit}, not of {width}x{height}")]
    IspSize {
        /// The ISP.
        isp: String,
        /// The longest side that it makes.
        limit: u32,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The kernel gives no thread.
    #[error("could not start the thread '{0}'")]
    Thread(&'static str, #[source] std::io::Error),
    /// A thread failed before the first frame.
    #[error(transparent)]
    Stage(#[from] StageError),
}

impl From<ControlError> for StartError {
    fn from(error: ControlError) -> Self {
        Self::Control(Box::new(error))
    }
}

/// Why a run ended early; names the stage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// The sensor could not write a frame.
    #[error("sensor: frame {sequence} could not be written")]
    Sensor {
        /// The frame.
        sequence: u64,
        /// Why.
        source: AccessError,
    },
    /// No buffer came back.
    #[error("{stage}: no buffer for frame {sequence}")]
    NoBuffer {
        /// The stage that needed it.
        stage: &'static str,
        /// The frame.
        sequence: u64,
        /// Why.
        source: TakeError,
    },
    /// The last user of the buffer does not let go of it.
    #[error("{stage}: the acquire fence of frame {sequence} does not signal")]
    Acquire {
        /// The stage that waited.
        stage: &'static str,
        /// The frame.
        sequence: u64,
        /// Why the wait ended.
        source: FenceError,
    },
    /// The buffer that was brought for a raw frame could not be written, and there was no other.
    #[error("isp: there is no frame {sequence}, since its buffer could not be written")]
    NoFrame {
        /// The frame.
        sequence: u64,
    },
    /// The ISP could not render a frame.
    #[error("isp: frame {sequence} could not be rendered")]
    Isp {
        /// The frame.
        sequence: u64,
        /// Why.
        source: IspError,
    },
    /// A sink could not show a frame.
    #[error("{sink}: frame {sequence} could not be shown")]
    Sink {
        /// The sink.
        sink: String,
        /// The frame.
        sequence: u64,
        /// Why.
        source: SinkError,
    },
    /// A sink could not show that no frames come for now.
    #[error("{sink}: could not show a placeholder")]
    Pause {
        /// The sink.
        sink: String,
        /// Why.
        source: SinkError,
    },
    /// A sink showed every frame, but could not come to an orderly end.
    #[error("{sink}: could not finish")]
    Finish {
        /// The sink.
        sink: String,
        /// Why.
        source: SinkError,
    },
    /// A link copies, and [`CopyPolicy::Forbid`](crate::CopyPolicy::Forbid) was asked for.
    #[error("{link} copies: {reason}")]
    Copies {
        /// The link.
        link: String,
        /// Why it copies.
        reason: String,
    },
    /// A thread panicked.
    #[error("{stage} stopped: {message}")]
    Panic {
        /// The stage.
        stage: String,
        /// The panic's message.
        message: String,
    },
}

impl StageError {
    /// Returns whether a frame was lost with it.
    pub(crate) fn lost_a_frame(&self) -> bool {
        matches!(self, Self::Sensor { .. } | Self::Isp { .. } | Self::Sink { .. })
    }

    pub(crate) fn panic(stage: &str, payload: &(dyn Any + Send)) -> Self {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "panic".to_owned());
        Self::Panic { stage: stage.to_owned(), message }
    }
}
