//! Why a camera does not do what it is asked for.

use super::CameraState;
use super::configuration::Status;
use crate::controls::ControlError;
use crate::engine::error::{StageError, StartError};
use crate::request::{MAX_REQUESTS, Request};
use crate::stream::StreamId;

/// Why a camera does not do what it is asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CameraError {
    /// It is acquired already.
    #[error("camera '{0}' is in use")]
    Busy(String),
    /// It is gone from the configuration.
    #[error("camera '{0}' is gone")]
    Disconnected(String),
    /// It has not come so far, or is beyond that.
    #[error("a camera that is {state:?} cannot {wanted}; it must be {needed}")]
    State {
        /// The action.
        wanted: &'static str,
        /// The camera's state.
        state: CameraState,
        /// The state that it would have to be in.
        needed: &'static str,
    },
    /// The configuration would have to be changed, or is no good: what
    /// [`validate`](super::CameraConfiguration::validate) says.
    #[error("the configuration is not valid: {}", words(.0))]
    Configuration(Status),
    /// The configuration is another camera's.
    #[error("the configuration is for camera '{of}', and this is '{camera}'")]
    OtherCamera {
        /// The camera that it is for.
        of: String,
        /// This one.
        camera: String,
    },
    /// The camera does not start, or finds no buffers.
    #[error(transparent)]
    Start(Box<StartError>),
    /// A control is not taken.
    #[error(transparent)]
    Control(Box<ControlError>),
    /// A stream has no buffers.
    #[error("stream {} has no buffers: allocate or adopt some first", .0.index())]
    NoBuffers(StreamId),
    /// A buffer is not one of the stream's.
    #[error("buffer '{buffer}' is {is}, and stream {} has {should}", stream.index())]
    Buffer {
        /// The buffer's name.
        buffer: String,
        /// Its format, and width and height.
        is: String,
        /// The stream.
        stream: StreamId,
        /// The stream's format, and width and height.
        should: String,
    },
    /// A stage failed while frames were made.
    #[error(transparent)]
    Stage(Box<StageError>),
    /// The kernel gives no descriptor to poll.
    #[error("no descriptor to poll")]
    Poll(#[source] std::io::Error),
}

impl From<ControlError> for CameraError {
    fn from(error: ControlError) -> Self {
        Self::Control(Box::new(error))
    }
}

impl From<StartError> for CameraError {
    fn from(error: StartError) -> Self {
        Self::Start(Box::new(error))
    }
}

impl From<StageError> for CameraError {
    fn from(error: StageError) -> Self {
        Self::Stage(Box::new(error))
    }
}

/// Puts into words what is wrong with a configuration.
fn words(status: &Status) -> String {
    match status {
        Status::Valid => "it is".to_owned(),
        Status::Adjusted(changes) => {
            changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        }
        Status::Invalid(invalid) => invalid.to_string(),
    }
}

/// A request that was not queued, and why.
#[derive(Debug, thiserror::Error)]
#[error("the request was not queued")]
pub struct QueueError {
    /// The request, as it was.
    pub request: Request,
    /// Why.
    #[source]
    pub reason: QueueReason,
}

/// Why a request is not queued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueReason {
    /// The camera.
    #[error(transparent)]
    Camera(#[from] CameraError),
    /// It has no buffer, so there is nothing to do.
    #[error("it has no buffer")]
    Empty,
    /// It was completed and not made ready again.
    #[error("it was completed: call reuse() first")]
    Completed,
    /// It was made for another configuration.
    #[error("it was made for another configuration")]
    Stale,
    /// Too many wait.
    #[error("{MAX_REQUESTS} requests are queued already")]
    Full,
}
