//! Where a camera's frames go: a display, a V4L2 node, a file, a terminal, or nowhere.
//!
//! A [`Sink`] is handed [`Frame`]s: buffers of a pool, each with the fence after which it may be
//! read. A sink that is a device imports each buffer once and shows it where it lies
//! ([`KmsSink`]); when the device refuses, the sink copies *the same frame* into memory of the
//! device's own and says why. A sink that is the CPU reads the buffer in place. Either way
//! [`Sink::link_end`] tells what became of the bytes.
//!
//! To add a sink: a file with a type that implements [`Sink`]; [`NullSink`] is the shortest.

mod device;
mod file;
pub mod kms;
mod latest;
mod mapping;
mod null;
mod pixels;
mod planar;
mod sink;
mod terminal;
pub mod v4l2;

pub use file::{
    Colour, FileError, FileSink, RawDescription, RawFileSink, RawFrame, StreamReader, StreamSink,
    Unpack, XYZ_TO_SRGB, check_png, open_file, write_dng, write_png, write_raw,
};
pub use kms::{
    Captured, Cards, KmsError, KmsOptions, KmsSink, PlaneChoice, Rotate, SeatError, Transform,
    cards, preferred_size, seat_manager,
};
pub use latest::Latest;
pub use null::NullSink;
pub use pixels::ReadError;
pub use sink::{Frame, Sink, SinkCounts, SinkError, Stream, Taken};
pub use terminal::TerminalSink;
