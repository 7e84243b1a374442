//! Errors that end the command, and their exit codes.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

use vcam_allocator::OpenError;
use vcam_pipeline::sensor::config::ConfigError;
use vcam_pipeline::{PlanError, StageError, StartError};
use vcam_sinks::v4l2::{NodeError, V4l2Error};
use vcam_sinks::{FileError, KmsError, SinkError};

/// Why the command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The arguments contradict each other or the machine.
    #[error("{0}")]
    Usage(String),
    /// None of the heaps that were asked for can be used.
    #[error(transparent)]
    Heap(#[from] OpenError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the display cannot be used")]
    Display(#[from] KmsError),
    #[error("the output cannot be written")]
    File(#[from] FileError),
    #[error("the V4L2 node cannot be used")]
    Node(#[from] V4l2Error),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error("could not write {}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("the terminal cannot show pictures")]
    Terminal(#[source] SinkError),
    #[error("could not run a process that tries a device out")]
    Probe(#[source] std::io::Error),
    #[error("could not start the thread that shows how a run goes")]
    Status(#[source] std::io::Error),
    #[error("could not watch for signals")]
    Signals(#[source] std::io::Error),
}

/// The contract of the command's exit codes.
mod code {
    pub(super) const FAILED: u8 = 1;
    pub(super) const USAGE: u8 = 2;
    pub(super) const COPIES: u8 = 3;
    pub(super) const LACKING: u8 = 4;
}

impl Error {
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Usage(_) | Self::Heap(OpenError::Unknown { .. }) => code::USAGE,
            Self::Config(_)
            | Self::Start(
                StartError::Sensor(_)
                | StartError::NoIsp { .. }
                | StartError::NoRaw { .. }
                | StartError::Control(_)
                | StartError::SinkFormat { .. }
                | StartError::Plan(PlanError::Layout(_)),
            ) => code::USAGE,
            Self::Stage(StageError::Copies { .. })
            | Self::Start(StartError::Stage(StageError::Copies { .. })) => code::COPIES,
            Self::Heap(_) | Self::Start(StartError::Isp(_) | StartError::IspSize { .. }) => {
                code::LACKING
            }
            Self::Start(StartError::Plan(PlanError::Alloc(error)))
                if error.shortage().is_some() =>
            {
                code::LACKING
            }
            Self::Display(error) => display_code(error),
            Self::Node(error) => node_code(error),
            Self::File(FileError::Folder { source, .. })
                if matches!(
                    source.kind(),
                    ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                code::LACKING
            }
            Self::File(
                FileError::Kind(_)
                | FileError::NotPng(_)
                | FileError::NotAFile(_)
                | FileError::Folder { .. },
            ) => code::USAGE,
            _ => code::FAILED,
        })
    }
}

/// A name that the machine does not know is bad usage; a display that is not there, not permitted
/// or not able is what the machine lacks; what breaks while it is used has failed.
fn display_code(error: &KmsError) -> u8 {
    use KmsError as E;
    match error {
        E::NoCard { asked: Some(_), .. } | E::NoConnector { asked: Some(_), .. } => code::USAGE,
        E::NoMode { .. } | E::Taken { .. } => code::USAGE,
        E::NoCard { .. }
        | E::NoConnector { .. }
        | E::Permission { .. }
        | E::NoSeat(_)
        | E::Seat { .. }
        | E::Background { .. }
        | E::NoKms { .. }
        | E::NoAtomic { .. }
        | E::Master { .. }
        | E::NoCrtc { .. }
        | E::Format { .. }
        | E::Transform { .. }
        | E::NoWriteback { .. } => code::LACKING,
        _ => code::FAILED,
    }
}

/// As [`display_code`], for a V4L2 node.
fn node_code(error: &V4l2Error) -> u8 {
    use V4l2Error as E;
    match error {
        E::Missing { .. }
        | E::NotOutput { .. }
        | E::Size { .. }
        | E::Node(NodeError::Capabilities { .. }) => code::USAGE,
        E::Busy { .. } | E::Format { .. } | E::Node(NodeError::Permission(_)) => code::LACKING,
        _ => code::FAILED,
    }
}
