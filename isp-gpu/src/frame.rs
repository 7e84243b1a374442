//! What both ISPs ask of a frame before they touch it, and how it may fail.

use vcam_allocator::{AccessError, Dmabuf, Fourcc, Modifier, Refusal};

use crate::egl::EglError;
use crate::gl::GlFault;
use crate::params::{IspParams, ParamsError};

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum IspError {
    /// The raw buffer is not 8-bit Bayer.
    #[error("the raw buffer '{name}' is {format}, but the ISP takes R8")]
    RawFormat {
        /// The buffer's name.
        name: String,
        /// Its format.
        format: Fourcc,
    },
    /// The ISP does not make this format.
    #[error("the output buffer '{name}' is {format}, but the ISP makes XR24, AR24, XB24 or AB24")]
    OutputFormat {
        /// The buffer's name.
        name: String,
        /// Its format.
        format: Fourcc,
    },
    /// The raw frame and the picture differ in size.
    #[error("a raw frame of {}x{} does not fill a picture of {}x{}", raw.0, raw.1, output.0, output.1)]
    Size {
        /// Width and height of the raw frame.
        raw: (u32, u32),
        /// Width and height of the picture.
        output: (u32, u32),
    },
    /// There is no site of every colour.
    #[error("a raw frame of {width}x{height} has not all colours: it needs 2x2 pixels or more")]
    TooSmall {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The renderer has no textures of this size.
    #[error("a frame of {width}x{height} is over the renderer's limit of {limit} pixels a side")]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The most pixels of a side.
        limit: u32,
    },
    /// The parameters make no picture.
    #[error("the ISP's parameters make no picture")]
    Params(#[from] ParamsError),
    /// Only the device that arranged the pixels can find them.
    #[error("buffer '{name}' is arranged as {modifier}, and the CPU can only use LINEAR")]
    Modifier {
        /// The buffer's name.
        name: String,
        /// The arrangement.
        modifier: Modifier,
    },
    /// The CPU cannot touch a buffer.
    #[error("the CPU cannot use the buffer")]
    Access(#[from] AccessError),
    /// An import was refused, and the copy instead of it failed as well.
    #[error("could not copy a frame instead of importing it ({refusal})")]
    Copy {
        /// Why the frame was to be copied.
        refusal: Refusal,
        /// Why it could not be.
        source: Box<IspError>,
    },
    /// The context cannot be used on this thread.
    #[error("EGL gave up")]
    Egl(#[from] EglError),
    /// The frame was not rendered.
    #[error("GL did not render the frame")]
    Gl(#[from] GlFault),
}

/// The order of a picture's bytes in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByteOrder {
    /// XRGB8888 and ARGB8888, whose names are those of a little-endian word.
    Bgrx,
    /// XBGR8888 and ABGR8888.
    Rgbx,
}

impl ByteOrder {
    pub(crate) fn of(format: Fourcc) -> Option<Self> {
        match format {
            Fourcc::XRGB8888 | Fourcc::ARGB8888 => Some(Self::Bgrx),
            Fourcc::XBGR8888 | Fourcc::ABGR8888 => Some(Self::Rgbx),
            _ => None,
        }
    }
}

/// Bytes of a pixel of every output format.
pub(crate) const OUTPUT_BYTES: usize = 4;

/// A frame that both ISPs can make.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) order: ByteOrder,
}

impl Frame {
    pub(crate) fn check(
        raw: &Dmabuf,
        output: &Dmabuf,
        params: &IspParams,
    ) -> Result<Self, IspError> {
        params.validate()?;
        if raw.format() != Fourcc::R8 {
            return Err(IspError::RawFormat { name: raw.name().into(), format: raw.format() });
        }
        let Some(order) = ByteOrder::of(output.format()) else {
            let format = output.format();
            return Err(IspError::OutputFormat { name: output.name().into(), format });
        };
        let size = |buffer: &Dmabuf| (buffer.layout().width(), buffer.layout().height());
        let (width, height) = size(raw);
        if size(output) != (width, height) {
            return Err(IspError::Size { raw: size(raw), output: size(output) });
        }
        if width < 2 || height < 2 {
            return Err(IspError::TooSmall { width, height });
        }
        Ok(Self { width, height, order })
    }
}

/// The stride of a buffer whose pixels the CPU is about to touch.
pub(crate) fn cpu_stride(buffer: &Dmabuf) -> Result<usize, IspError> {
    let (name, modifier) = (buffer.name(), buffer.modifier());
    if modifier != Modifier::LINEAR {
        return Err(IspError::Modifier { name: name.into(), modifier });
    }
    // A plane that is mapped fits into the address space, and so does its stride unless there is
    // but one row, in which case it means nothing.
    Ok(buffer.layout().planes()[0].stride.try_into().unwrap_or(usize::MAX))
}
