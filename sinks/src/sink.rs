//! What a sink is: frames in, and an account of what became of them.

use std::time::Duration;

use vcam_allocator::constraints::{Constraints, CpuUse, Rule, Statement};
use vcam_allocator::{
    ColourSpace, Dmabuf, Fence, Fourcc, Importer, LinkEnd, Modifier, PooledBuffer,
};

#[cfg(feature = "file")]
use crate::file::FileError;
#[cfg(feature = "kms")]
use crate::kms::KmsError;
use crate::pixels::ReadError;

/// A frame on its way to a sink: a finished picture, or the samples that pictures are made of.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Counts up by one for each frame of the camera.
    pub sequence: u64,
    /// `CLOCK_MONOTONIC` at the start of the exposure.
    pub timestamp: Duration,
    /// The frame. It goes back to its pool when the sink drops it.
    pub buffer: PooledBuffer,
    /// How its numbers stand for colours. A sink obeys it, or says that it cannot.
    pub colour_space: ColourSpace,
    /// Wait for this before reading the buffer; `None` if it is complete.
    pub ready: Option<Fence>,
    /// How it was taken; `None` if nobody says.
    pub taken: Option<Taken>,
}

/// How a frame was taken: what counted for this frame, not what was asked for since.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Taken {
    /// The time of exposure.
    pub exposure: Duration,
    /// The factor between light and numbers, 1 where nothing is amplified.
    pub gain: f32,
    /// What the sensor makes of white in this light: red, green and blue, the largest of them 1.
    pub neutral: Option<[f32; 3]>,
}

/// Which frames a sink wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stream {
    /// Pictures, as the ISP makes them.
    #[default]
    Picture,
    /// Samples, as the sensor sends them.
    Raw,
}

impl Frame {
    /// Gives the buffer back without having read it.
    ///
    /// Whoever draws into it may not be done yet: the pool hands it out only afterwards.
    pub(crate) fn discard(self) {
        if let Some(fence) = self.ready {
            self.buffer.release_after(fence);
        }
    }
}

/// A place that pictures go to.
///
/// A sink has a name, says what it needs of buffers, and takes frames; that is enough for a program
/// that reads pictures in place. The other methods are for sinks that are devices, that need an
/// orderly end, or that count.
///
/// One thread uses a sink at a time, and any thread may.
pub trait Sink: Send + std::fmt::Debug {
    /// The sink as reports name it: `kms:vkms`, `file:out.png`, `terminal`, `null`.
    fn name(&self) -> String;

    /// Which frames it wants.
    fn stream(&self) -> Stream {
        Stream::Picture
    }

    /// What it needs of the buffers that it is handed.
    fn constraints(&self) -> Constraints;

    /// The device to ask whether a buffer is taken; `None` where the CPU reads it.
    fn importer(&mut self) -> Option<&mut dyn Importer> {
        None
    }

    /// Does for each buffer what has to be done once, such as importing it, or learns that the
    /// device refuses. Without this call it happens at the buffer's first frame, and costs time
    /// there.
    ///
    /// The default does nothing.
    fn prepare(&mut self, buffers: &[Dmabuf]) {
        let _ = buffers;
    }

    /// Waits until a frame would be taken at once, but never without a limit.
    fn wait(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Takes a frame.
    ///
    /// This may wait, in order to go at the display's pace, but never without a limit. A frame
    /// that is accepted is shown, or is counted in [`SinkCounts`] as dropped, or was replaced by a
    /// newer one where the sink says that it shows no more than the latest; a frame that is
    /// answered with an error was not accepted.
    fn present(&mut self, frame: Frame) -> Result<(), SinkError>;

    /// Says that no frame comes for now; said again, ten times a second, as long as that lasts.
    ///
    /// A sink whose readers would wait shows them a placeholder. Most have nothing to do, and keep
    /// the last picture.
    fn pause(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Waits until the last frame is shown, then leaves everything as it was found.
    ///
    /// Dropping a sink does the same, and only logs what goes wrong. The default does nothing.
    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// What this owner did at its end of the link that frames arrive on.
    ///
    /// The default is the end of a sink whose CPU reads pictures in place. A sink with an
    /// [importer](Sink::importer) has to say whether it imports or copies.
    fn link_end(&self) -> LinkEnd {
        LinkEnd::native("the CPU reads it in place")
    }

    /// What became of the frames that were accepted.
    ///
    /// The default keeps no count: all zeros.
    fn counts(&self) -> SinkCounts {
        SinkCounts::default()
    }
}

/// What a sink needs whose CPU reads pictures in place and keeps some of them.
#[cfg_attr(not(any(feature = "file", feature = "terminal")), allow(dead_code))]
pub(crate) fn read_by_the_cpu(
    owner: &str,
    kept: u32,
    formats: impl IntoIterator<Item = Fourcc>,
) -> Constraints {
    let cpu = CpuUse { read: true, cached: true, ..CpuUse::default() };
    let linear = |format| (format, [Modifier::LINEAR].into());
    [
        Statement::new(
            owner,
            "it is a program",
            Rule::Formats(formats.into_iter().map(linear).collect()),
        ),
        Statement::new(owner, "it is a program", Rule::Cpu(cpu)),
        Statement::new(owner, "frames that it keeps", Rule::Camping(kept)),
    ]
    .into_iter()
    .collect()
}

/// What became of the frames that a sink accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SinkCounts {
    /// Frames that were really shown, drawn or written.
    ///
    /// A sink that by its nature shows only the latest picture, such as a terminal, passes over
    /// others; those are neither displayed nor dropped.
    pub displayed: u64,
    /// Frames that were to be shown and were lost.
    pub dropped: u64,
}

/// Why a sink did not do what it was asked for.
///
/// Which kinds there are is a matter of the crate's features, so a match has a last arm for others.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The display.
    #[cfg(feature = "kms")]
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// The V4L2 node.
    #[error(transparent)]
    V4l2(#[from] crate::v4l2::V4l2Error),
    /// The file.
    #[cfg(feature = "file")]
    #[error(transparent)]
    File(#[from] FileError),
    /// The CPU could not read a picture.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The kernel gives no thread.
    #[error("could not start the sink's thread")]
    Thread(#[source] std::io::Error),
    /// The terminal.
    #[cfg(feature = "terminal")]
    #[error("could not draw on the terminal")]
    Terminal(#[source] std::io::Error),
    /// A sink outside this crate failed in a way of its own.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl SinkError {
    /// The error of a sink outside this crate.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }
}
