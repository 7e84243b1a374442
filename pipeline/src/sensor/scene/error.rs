//! Why a file is no scene.

use std::io;
use std::path::PathBuf;

use super::names;

/// The longest side of a picture or video, in pixels.
pub(super) const MAX_SIDE: u32 = 16_384;

/// Why a file is no scene.
#[derive(Debug, thiserror::Error)]
pub enum SceneError {
    /// There is no such file, or it may not be read.
    #[error("the scene {path} cannot be read; scenes that have a name are {names}", names = names())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a device, a pipe or a socket.
    #[error("the scene {path} is neither a file nor a folder")]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// It is neither PNG nor JPEG nor Y4M.
    #[error("the scene {path} is no PNG, JPEG or Y4M file")]
    UnknownType {
        /// The file.
        path: PathBuf,
    },
    /// It is larger than any picture for a camera.
    #[error("the scene {path} is too large: {what}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The quantity, and its limit.
        what: String,
    },
    /// It ends too early.
    #[error("the scene {path} is cut off: {what}")]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Where.
        what: String,
    },
    /// It is damaged.
    #[error("the scene {path} cannot be decoded")]
    Picture {
        /// The file.
        path: PathBuf,
        /// Why.
        source: image::ImageError,
    },
    /// It is damaged, or of a kind that is not read.
    #[error("the scene {path} cannot be decoded")]
    Video {
        /// The file.
        path: PathBuf,
        /// Why.
        source: y4m::Error,
    },
    /// Its samples have more than eight bits.
    #[error("the scene {path} has {bits} bits a sample: only videos of 8 bits are read")]
    Depth {
        /// The file.
        path: PathBuf,
        /// Bits of a sample.
        bits: usize,
    },
    /// It is a video without a frame.
    #[error("the scene {path} has no frame")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It is a folder without a first picture.
    #[error("the scene {path} is a folder without a picture named 0.jpg")]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
    },
}
