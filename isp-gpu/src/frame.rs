//! What both ISPs are asked for, what they ask of it before they touch it, and how it may fail.

use vcam_allocator::{AccessError, ColourSpace, Dmabuf, Fourcc, Modifier, Refusal};

use crate::egl::EglError;
use crate::gles::{GlError, ShaderError};
use crate::params::{IspParams, ParamsError};
use crate::raw::RawFormat;
use crate::view::{Crop, View, is_made};

/// A raw frame, and the pictures that are to be made of it.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The frame's number, for the report.
    pub sequence: u64,
    /// The format of the raw frame.
    pub format: RawFormat,
    /// Width and height of the raw frame in samples, each at least 2.
    pub size: (u32, u32),
    /// The raw frame, in a buffer of the format and width that [`RawFormat::carrier`] tells.
    pub raw: &'a Dmabuf,
    /// The pictures; the raw frame is read once for all of them.
    pub outputs: &'a [Output<'a>],
    /// What is to be done to it.
    pub params: &'a IspParams,
    /// Whether statistics are made of this frame; whoever reads none saves their time.
    pub measure: bool,
}

/// A picture that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Output<'a> {
    /// Where it goes; it is scaled to the size of this.
    pub buffer: &'a Dmabuf,
    /// What it shows.
    pub view: View,
}

impl<'a> Output<'a> {
    /// The whole picture, upright.
    pub fn new(buffer: &'a Dmabuf) -> Self {
        Self { buffer, view: View::default() }
    }

    /// How the levels of the picture stand for colours.
    pub fn colour_space(&self) -> ColourSpace {
        let chosen = self.view.colour_space;
        chosen.unwrap_or_else(|| ColourSpace::of(self.buffer.format(), size_of(self.buffer)))
    }
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IspError {
    /// The raw buffer does not hold a frame of the format and size that are named.
    #[error(
        "the raw buffer '{name}' is {}x{} of {carrier}, but a frame of {}x{} in {format} travels as \
         {}x{} of {expected}", is.0, is.1, size.0, size.1, should.0, should.1
    )]
    Carrier {
        /// The buffer's name.
        name: String,
        /// The format of the raw frame.
        format: RawFormat,
        /// Width and height of the raw frame.
        size: (u32, u32),
        /// The buffer's format.
        carrier: Fourcc,
        /// The buffer's width and height.
        is: (u32, u32),
        /// What the format should be.
        expected: Fourcc,
        /// What width and height should be.
        should: (u32, u32),
    },
    /// The ISP does not make this format.
    #[error(
        "the output buffer '{name}' is {format}, but the ISP makes {}",
        list(Fourcc::pictures())
    )]
    OutputFormat {
        /// The buffer's name.
        name: String,
        /// Its format.
        format: Fourcc,
    },
    /// The ISP does not make this format in these colours.
    #[error("the ISP makes no {format} in {space}: its colours are those of sRGB")]
    ColourSpace {
        /// The format.
        format: Fourcc,
        /// The colour space.
        space: ColourSpace,
    },
    /// The part that is to be shown is not in the frame, or has no pixels.
    #[error("{crop} is no part of a frame of {}x{}", size.0, size.1)]
    Crop {
        /// The part.
        crop: Crop,
        /// Width and height of the frame.
        size: (u32, u32),
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
    /// A shader that the parameters need was not compiled.
    #[error("the GPU cannot do what the parameters need")]
    Shader(#[from] ShaderError),
    /// The frame was not rendered.
    #[error("GL did not render the frame")]
    Gl(#[from] GlError),
    /// An ISP that is not of this crate failed.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

fn list(formats: impl Iterator<Item = Fourcc>) -> String {
    formats.map(|format| format.to_string()).collect::<Vec<_>>().join(", ")
}

impl Job<'_> {
    /// Whether it can be done at all.
    pub(crate) fn check(&self) -> Result<(), IspError> {
        let Self { format, size, raw, .. } = *self;
        let (width, height) = size;
        self.params.validate()?;
        if width < 2 || height < 2 {
            return Err(IspError::TooSmall { width, height });
        }
        let (expected, columns) = format.carrier(width);
        let is = (raw.layout().width(), raw.layout().height());
        if raw.format() != expected || is != (columns, height) {
            let (name, carrier, should) = (raw.name().to_owned(), raw.format(), (columns, height));
            return Err(IspError::Carrier { name, format, size, carrier, is, expected, should });
        }
        for output in self.outputs {
            let Output { buffer, view } = output;
            let format = buffer.format();
            if !format.is_picture() {
                return Err(IspError::OutputFormat { name: buffer.name().to_owned(), format });
            }
            let space = output.colour_space();
            if !is_made(space, format) {
                return Err(IspError::ColourSpace { format, space });
            }
            let crop = view.crop_of(size);
            if !crop.is_within(size) {
                return Err(IspError::Crop { crop, size });
            }
        }
        Ok(())
    }
}

/// Width and height of a buffer's picture.
pub(crate) fn size_of(buffer: &Dmabuf) -> (u32, u32) {
    (buffer.layout().width(), buffer.layout().height())
}

/// The stride of a plane whose pixels the CPU is about to touch.
pub(crate) fn cpu_stride(buffer: &Dmabuf, plane: usize) -> Result<usize, IspError> {
    let (name, modifier) = (buffer.name(), buffer.modifier());
    if modifier != Modifier::LINEAR {
        return Err(IspError::Modifier { name: name.into(), modifier });
    }
    // A plane that is mapped fits into the address space, and so does its stride unless there is
    // but one row, in which case it means nothing.
    let stride = buffer.layout().planes().get(plane).map_or(0, |plane| plane.stride);
    Ok(stride.try_into().unwrap_or(usize::MAX))
}
