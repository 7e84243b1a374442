//! Where a camera's frames go: a display, a V4L2 node, a file, a terminal, or nowhere.
//!
//! A [`Sink`] is handed [`Frame`]s: buffers of a pool, each with the fence after which it may be
//! read. A sink that is a device imports each buffer once and shows it where it lies
//! ([`KmsSink`]); when the device refuses, the sink copies *the same frame* into memory of the
//! device's own and says why. A sink that is the CPU reads the buffer in place. Either way
//! [`Sink::link_end`] tells what became of the bytes.
//!
//! Each kind of sink that needs libraries of its own is a feature, and all are on by default:
//!
//! | feature | what it has |
//! |---|---|
//! | `kms` | displays |
//! | `file` | PNG, PPM, Y4M and raw frames |
//! | `tiff` | raw frames as DNG too |
//! | `terminal` | pictures in a terminal; needs Rust 1.90 |
//!
//! A program that shows pictures alone takes `default-features = false, features = ["kms"]`.
//!
//! To add a sink: a file with a type that implements [`Sink`]; [`NullSink`] is the shortest.

mod device;
#[cfg(feature = "file")]
mod file;
#[cfg(feature = "kms")]
pub mod kms;
mod latest;
mod mapping;
mod null;
// What a picture is read with is shared, and no one sink uses all of it.
#[cfg_attr(not(all(feature = "file", feature = "terminal")), allow(dead_code))]
mod pixels;
#[cfg_attr(not(all(feature = "file", feature = "terminal")), allow(dead_code))]
mod planar;
mod raw;
mod sink;
#[cfg(feature = "terminal")]
mod terminal;
pub mod v4l2;

#[cfg(feature = "tiff")]
pub use file::write_dng;
#[cfg(feature = "file")]
pub use file::{
    Colour, FileError, FileSink, RawFileSink, RawFrame, StreamReader, StreamSink, XYZ_TO_SRGB,
    check_png, open_file, write_png, write_raw,
};
#[cfg(feature = "kms")]
pub use kms::{
    Captured, Cards, KmsError, KmsOptions, KmsSink, PlaneChoice, Rotate, SeatError, Transform,
    cards, preferred_size, seat_manager,
};
pub use latest::Latest;
pub use null::NullSink;
pub use pixels::ReadError;
pub use raw::{RawDescription, Unpack};
pub use sink::{Frame, Sink, SinkCounts, SinkError, Stream, Taken};
#[cfg(feature = "terminal")]
pub use terminal::TerminalSink;
