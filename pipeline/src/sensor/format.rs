//! Formats that a sensor sends: raw numbers, or pictures.

use std::fmt;
use std::str::FromStr;

use vcam_allocator::{ColourSpace, Fourcc};
use vcam_isp_gpu::RawFormat;

use crate::size::Size;

/// Pictures that a sensor with an ISP of its own sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PictureFormat {
    /// Brightness in full size, then both differences of colour in half size, interleaved.
    Nv12,
    /// Brightness, blue difference, brightness, red difference: four bytes for two pixels.
    Yuyv,
    /// Blue, green, red and an unused byte.
    Xrgb8888,
}

impl PictureFormat {
    /// Every one there is.
    pub const ALL: [Self; 3] = [Self::Nv12, Self::Yuyv, Self::Xrgb8888];

    /// The format's code in DRM.
    pub const fn fourcc(self) -> Fourcc {
        match self {
            Self::Nv12 => Fourcc::NV12,
            Self::Yuyv => Fourcc::YUYV,
            Self::Xrgb8888 => Fourcc::XRGB8888,
        }
    }

    /// Bytes of a row of one of its planes, for a width in pixels.
    pub fn row_bytes(self, width: usize) -> usize {
        match self {
            Self::Nv12 => width,
            Self::Yuyv => 2 * width,
            Self::Xrgb8888 => 4 * width,
        }
    }
}

/// A format that a sensor sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// The numbers of its pixels.
    Raw(RawFormat),
    /// Pictures, as of a camera that needs no ISP.
    Picture(PictureFormat),
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw(format) => format.fmt(f),
            Self::Picture(format) => format.fourcc().fmt(f),
        }
    }
}

impl Format {
    /// How its numbers stand for colours in frames of this size.
    pub fn colour_space(self, size: Size) -> ColourSpace {
        match self {
            Self::Raw(_) => ColourSpace::RAW,
            Self::Picture(picture) => ColourSpace::of(picture.fourcc(), size.into()),
        }
    }
}

/// The text names no format that a sensor has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no format of a sensor: pictures are NV12, YUYV or XR24; raw ones are S and the order \
     of the colour filters (RGGB, GRBG, GBRG, BGGR), or Y for none, then 8, 10, 12 or 16 bits, \
     then P if packed (10 and 12 only), as in SRGGB10P"
)]
pub struct ParseFormatError(String);

impl FromStr for Format {
    type Err = ParseFormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let same = |format: &PictureFormat| {
            format.fourcc().to_string().eq_ignore_ascii_case(text)
                || *format == PictureFormat::Xrgb8888 && text.eq_ignore_ascii_case("XRGB8888")
        };
        if let Some(format) = PictureFormat::ALL.into_iter().find(same) {
            return Ok(Self::Picture(format));
        }
        text.parse().map(Self::Raw).map_err(|_| ParseFormatError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let raw = RawFormat::all().map(Format::Raw);
        for format in raw.chain(PictureFormat::ALL.map(Format::Picture)) {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert_eq!("xrgb8888".parse(), Ok(Format::Picture(PictureFormat::Xrgb8888)));
        assert!("NV21".parse::<Format>().is_err());
    }
}
