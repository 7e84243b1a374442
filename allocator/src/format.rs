//! Pixel formats and modifiers, by the names that DRM gives them.
//!
//! Source: `include/uapi/drm/drm_fourcc.h`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A four-character format code, as in `drm_fourcc.h`.
///
/// Any code can be expressed; [`Fourcc::planes`] knows the geometry of those that vcam handles.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fourcc(pub u32);

impl Fourcc {
    /// One 8-bit channel; a raw Bayer frame travels as this.
    pub const R8: Self = Self::new(*b"R8  ");
    /// Two 8-bit channels; the chroma plane of NV12 as a render target.
    pub const GR88: Self = Self::new(*b"GR88");
    /// One 16-bit channel.
    pub const R16: Self = Self::new(*b"R16 ");
    /// 32 bits a pixel; in memory blue, green, red, unused.
    pub const XRGB8888: Self = Self::new(*b"XR24");
    /// 32 bits a pixel; in memory blue, green, red, alpha.
    pub const ARGB8888: Self = Self::new(*b"AR24");
    /// 32 bits a pixel; in memory red, green, blue, unused.
    pub const XBGR8888: Self = Self::new(*b"XB24");
    /// 32 bits a pixel; in memory red, green, blue, alpha.
    pub const ABGR8888: Self = Self::new(*b"AB24");
    /// 16 bits a pixel, red in the top five.
    pub const RGB565: Self = Self::new(*b"RG16");
    /// 32 bits a pixel: two unused, then ten each of red, green and blue, from the top.
    pub const XRGB2101010: Self = Self::new(*b"XR30");
    /// Full-size luma, then half-size interleaved chroma, blue difference first.
    pub const NV12: Self = Self::new(*b"NV12");
    /// Full-size luma, then half-size interleaved chroma, red difference first.
    pub const NV21: Self = Self::new(*b"NV21");
    /// Full-size luma, half-size blue difference, half-size red difference.
    pub const YUV420: Self = Self::new(*b"YU12");
    /// Two pixels in four bytes: luma, blue difference, luma, red difference.
    pub const YUYV: Self = Self::new(*b"YUYV");

    /// Every format whose geometry is known here.
    pub const KNOWN: [Self; 13] = [
        Self::R8,
        Self::GR88,
        Self::R16,
        Self::XRGB8888,
        Self::ARGB8888,
        Self::XBGR8888,
        Self::ABGR8888,
        Self::RGB565,
        Self::XRGB2101010,
        Self::NV12,
        Self::NV21,
        Self::YUV420,
        Self::YUYV,
    ];

    /// The code of four ASCII characters.
    pub const fn new(code: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(code))
    }

    /// The geometry of each plane, or `None` for a format that vcam does not handle.
    pub const fn planes(self) -> Option<&'static [PlaneFormat]> {
        const fn plane(bytes: u32, hsub: u32, vsub: u32) -> PlaneFormat {
            PlaneFormat { bytes, hsub, vsub }
        }
        Some(match self {
            Self::R8 => &const { [plane(1, 1, 1)] },
            Self::GR88 | Self::R16 | Self::RGB565 => &const { [plane(2, 1, 1)] },
            Self::XRGB8888
            | Self::ARGB8888
            | Self::XBGR8888
            | Self::ABGR8888
            | Self::XRGB2101010 => &const { [plane(4, 1, 1)] },
            Self::NV12 | Self::NV21 => &const { [plane(1, 1, 1), plane(2, 2, 2)] },
            Self::YUV420 => &const { [plane(1, 1, 1), plane(1, 2, 2), plane(1, 2, 2)] },
            // One sample of four bytes covers two pixels.
            Self::YUYV => &const { [plane(4, 2, 1)] },
            _ => return None,
        })
    }
}

/// The geometry of one plane of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaneFormat {
    /// Bytes of one sample.
    pub bytes: u32,
    /// Pixels of the picture that one sample covers, horizontally.
    pub hsub: u32,
    /// Pixels of the picture that one sample covers, vertically.
    pub vsub: u32,
}

impl PlaneFormat {
    /// The format of this plane as a picture of its own, as a GPU renders to it.
    pub const fn alone(&self) -> Option<Fourcc> {
        match self.bytes {
            1 => Some(Fourcc::R8),
            2 => Some(Fourcc::GR88),
            4 => Some(Fourcc::XRGB8888),
            _ => None,
        }
    }
}

impl fmt::Display for Fourcc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in String::from_utf8_lossy(&self.0.to_le_bytes()).trim_end().chars() {
            write!(f, "{}", if byte.is_ascii_graphic() { byte } else { '?' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fourcc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not one to four printable ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a fourcc: one to four letters or digits, as in XR24")]
pub struct ParseFourccError(String);

impl FromStr for Fourcc {
    type Err = ParseFourccError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.as_bytes();
        if bytes.is_empty() || bytes.len() > 4 || !bytes.iter().all(u8::is_ascii_graphic) {
            return Err(ParseFourccError(text.to_owned()));
        }
        let mut code = *b"    ";
        code[..bytes.len()].copy_from_slice(bytes);
        Ok(Self::new(code))
    }
}

impl TryFrom<String> for Fourcc {
    type Error = ParseFourccError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Fourcc> for String {
    fn from(fourcc: Fourcc) -> Self {
        fourcc.to_string()
    }
}

/// How the pixels of a plane are arranged in memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Modifier(pub u64);

impl Modifier {
    /// Row after row, each `stride` bytes after the one before.
    pub const LINEAR: Self = Self(0);
    /// `DRM_FORMAT_MOD_INVALID`: unknown to all but the driver that allocated the buffer.
    pub const INVALID: Self = Self(0x00ff_ffff_ffff_ffff);
}

impl fmt::Display for Modifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::LINEAR => f.write_str("LINEAR"),
            Self::INVALID => f.write_str("INVALID"),
            Self(other) => write!(f, "{other:#018x}"),
        }
    }
}

impl fmt::Debug for Modifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back_as_they_are_written() {
        for text in ["R8", "XR24", "NV12", "GR88"] {
            assert_eq!(text.parse::<Fourcc>().unwrap().to_string(), text);
        }
        assert_eq!("R8".parse::<Fourcc>().unwrap(), Fourcc::R8);
        for text in ["", "XR243", "a b", "é"] {
            assert!(text.parse::<Fourcc>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn unprintable_codes_do_not_reach_a_terminal() {
        assert_eq!(Fourcc(0x1b1b_1b1b).to_string(), "????");
    }
}
