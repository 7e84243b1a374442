//! Why a stage ended early.

use std::any::Any;

use vcam_allocator::{AccessError, FenceError, TakeError};
use vcam_isp_gpu::IspError;
use vcam_sinks::SinkError;

/// Why a run ended early; names the stage.
#[derive(Debug, thiserror::Error)]
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
    /// Whoever had the buffer before does not let go of it.
    #[error("{stage}: the acquire fence of frame {sequence} does not signal")]
    Acquire {
        /// The stage that waited.
        stage: &'static str,
        /// The frame.
        sequence: u64,
        /// What became of the wait.
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
    /// A link copies, and the run was to be without copies.
    #[error("{link} copies: {reason}")]
    Strict {
        /// Which link.
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
    /// Whether a frame was lost with it.
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
