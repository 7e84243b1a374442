//! Pictures in files, one each or a stream of them.
//!
//! | what | file | how |
//! |---|---|---|
//! | [`FileSink`] | `.png`, `.ppm` | the last picture, or, for a name with `%d`, every one |
//! | [`StreamSink`] | `.y4m`, `.yuv`, or the standard output | every picture, one after the other |
//! | [`RawFileSink`] | `.dng`; `.raw`, and `.raw.json` | raw frames, as [`FileSink`] has pictures |
//! | `write_dng`, [`write_raw`] | `.dng`; any, and `.json` | a raw frame |
//!
//! DNG is there with the feature `tiff`.
//!
//! No file is ever there by half. Each is written beside its place, brought to the disk and then
//! renamed into it, and then the folder is brought to the disk as well (`beside.rs`).

mod beside;
#[cfg(feature = "tiff")]
mod dng;
mod number;
mod pictures;
mod pipe;
mod png;
mod ppm;
mod raw;
mod samples;
mod stream;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sink::Sink;

#[cfg(feature = "tiff")]
pub use dng::write_dng;
pub use pictures::FileSink;
pub use pipe::StreamReader;
pub use png::{check_png, write_png};
pub use raw::{Colour, RawFrame, XYZ_TO_SRGB, write_raw};
pub use samples::RawFileSink;
pub use stream::StreamSink;

/// Prepares to write to `path`, as its ending says, and checks here and now that it can be written.
///
/// `period` is the time from one frame to the next, for streams that state their rate; zero where
/// there is none.
pub fn open_file(path: &Path, period: Duration) -> Result<Box<dyn Sink>, FileError> {
    Ok(match Kind::of(path)? {
        Kind::Still(_) => Box::new(FileSink::create(path)?),
        Kind::Stream(_) => Box::new(StreamSink::create(path, period)?),
    })
}

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Still(Still),
    Stream(Stream),
}

/// How a file holds one picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Still {
    Png,
    Ppm,
}

/// How a file holds pictures that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    /// YUV4MPEG2, which states size, rate and sampling.
    Y4m,
    /// The planes and nothing else.
    Yuv,
}

impl Kind {
    /// The kind that the ending of a name asks for, whatever its case.
    fn of(path: &Path) -> Result<Self, FileError> {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match ending.to_ascii_lowercase().as_str() {
            "png" => Ok(Self::Still(Still::Png)),
            "ppm" => Ok(Self::Still(Still::Ppm)),
            "y4m" => Ok(Self::Stream(Stream::Y4m)),
            "yuv" => Ok(Self::Stream(Stream::Yuv)),
            _ => Err(FileError::Kind(path.to_owned())),
        }
    }
}

/// Why a picture cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The path ends in no file name, or something else than a file has that name.
    #[error("{} is not the name of a file", .0.display())]
    NotAFile(PathBuf),
    /// The ending stands for no kind of file that can be written.
    #[error("{} does not end in .png, .ppm, .y4m or .yuv", .0.display())]
    Kind(PathBuf),
    /// The ending stands for no kind of file that holds raw frames.
    #[cfg_attr(
        feature = "tiff",
        error("{} does not end in .dng or .raw, as files of raw frames do", .0.display())
    )]
    #[cfg_attr(
        not(feature = "tiff"),
        error("{} does not end in .raw, as files of raw frames do", .0.display())
    )]
    RawKind(PathBuf),
    /// What is to be a PNG does not end like one.
    #[error("{} does not end in .png", .0.display())]
    NotPng(PathBuf),
    /// The folder is missing, or nothing can be written into it.
    #[error("could not write into the folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Writing failed half-way; the file is as it was before.
    #[error("could not write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The disk, the user's share of it, or the largest file that it takes is used up; the file is
    /// as it was before.
    #[error("there is no room for {}; make some, or write elsewhere", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A sequence of frames ended early.
    #[error("{}", safe(*frames, place))]
    Stopped {
        /// How many frames were written before, whole and brought to the disk.
        frames: u64,
        /// Where they are: the file, or the pattern of the files' names.
        place: PathBuf,
        /// What went wrong with the next frame.
        source: Box<FileError>,
    },
    /// A stream ended early, and what there is of it could not be brought to the disk.
    #[error("{frames} frames were written to {}, and may be lost", place.display())]
    Doubtful {
        /// How many frames were written.
        frames: u64,
        /// The file.
        place: PathBuf,
        /// Why they could not be brought to the disk.
        source: io::Error,
    },
    /// A raw frame's description contradicts itself or its samples.
    #[error("a raw frame that cannot be: {0}")]
    Raw(&'static str),
    /// A raw frame differs from what the sink was opened for.
    #[error("a raw frame travels as {got}, but the file was set up for {expected}")]
    WrongFrame {
        /// Size and format of the buffer.
        got: String,
        /// Size and format that were announced.
        expected: String,
    },
    /// The standard output does not take the stream.
    #[error("could not write to the standard output")]
    Output(#[source] io::Error),
}

fn safe(frames: u64, place: &Path) -> String {
    match frames {
        0 => "no frame was written".to_owned(),
        1 => format!("only 1 frame is safe, in {}", place.display()),
        _ => format!("only {frames} frames are safe, in {}", place.display()),
    }
}

impl FileError {
    /// A failure to write the file at `path`.
    fn write(path: &Path, source: io::Error) -> Self {
        use io::ErrorKind as Kind;
        let path = path.to_owned();
        match source.kind() {
            Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => {
                Self::Full { path, source }
            }
            _ => Self::Write { path, source },
        }
    }
}
