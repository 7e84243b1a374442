//! Pixel formats and modifiers, by the names that DRM gives them, and the table of what is known of
//! each.
//!
//! Source: `include/uapi/drm/drm_fourcc.h`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A four-character format code, as in `drm_fourcc.h`.
///
/// Any code can be expressed; [`FORMATS`] describes those that vcam handles.
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

    /// The code of four ASCII characters.
    pub const fn new(code: [u8; 4]) -> Self {
        Self(u32::from_le_bytes(code))
    }

    /// What is known of the format, or `None` for one that vcam does not handle.
    pub const fn info(self) -> Option<&'static FormatInfo> {
        let mut index = 0;
        while index < FORMATS.len() {
            if FORMATS[index].format.0 == self.0 {
                return Some(&FORMATS[index]);
            }
            index += 1;
        }
        None
    }

    /// The geometry of each plane, or `None` for a format that vcam does not handle.
    pub const fn planes(self) -> Option<&'static [PlaneFormat]> {
        match self.info() {
            Some(info) => Some(info.planes),
            None => None,
        }
    }

    /// Whether its pixels are luma and chroma; not for a format that vcam does not handle.
    pub const fn is_yuv(self) -> bool {
        matches!(self.info(), Some(FormatInfo { model: Model::Yuv, .. }))
    }

    /// Whether it is a picture that both ISPs render and that the CPU reads as RGB.
    pub const fn is_picture(self) -> bool {
        matches!(self.info(), Some(FormatInfo { model: Model::Rgb | Model::Yuv, .. }))
    }

    /// The formats of pictures: both ISPs render them, and every sink whose CPU reads pictures
    /// takes them.
    pub fn pictures() -> impl Iterator<Item = Self> {
        FORMATS.iter().map(|info| info.format).filter(|format| format.is_picture())
    }
}

/// What the samples of a format stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// Numbers that mean nothing by themselves: a raw frame, or a plane of a picture.
    Samples,
    /// Red, green and blue.
    Rgb,
    /// Luma, and the blue and the red difference.
    Yuv,
}

/// What is known of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatInfo {
    /// The format.
    pub format: Fourcc,
    /// What its samples stand for.
    pub model: Model,
    /// Bits of a component; of the widest where they differ.
    pub bits: u8,
    /// The geometry of each plane, subsampling included.
    pub planes: &'static [PlaneFormat],
}

/// Every format that vcam handles.
pub const FORMATS: [FormatInfo; 13] = {
    use Model::{Rgb, Samples, Yuv};
    const fn of(
        format: Fourcc,
        model: Model,
        bits: u8,
        planes: &'static [PlaneFormat],
    ) -> FormatInfo {
        FormatInfo { format, model, bits, planes }
    }
    const fn plane(bytes: u32, hsub: u32, vsub: u32) -> PlaneFormat {
        PlaneFormat { bytes, hsub, vsub }
    }
    const BYTE: &[PlaneFormat] = &[plane(1, 1, 1)];
    const HALF_WORD: &[PlaneFormat] = &[plane(2, 1, 1)];
    const WORD: &[PlaneFormat] = &[plane(4, 1, 1)];
    const SEMI_PLANAR: &[PlaneFormat] = &[plane(1, 1, 1), plane(2, 2, 2)];
    const PLANAR: &[PlaneFormat] = &[plane(1, 1, 1), plane(1, 2, 2), plane(1, 2, 2)];
    // One sample of four bytes covers two pixels.
    const PACKED: &[PlaneFormat] = &[plane(4, 2, 1)];
    [
        of(Fourcc::R8, Samples, 8, BYTE),
        of(Fourcc::GR88, Samples, 8, HALF_WORD),
        of(Fourcc::R16, Samples, 16, HALF_WORD),
        of(Fourcc::XRGB8888, Rgb, 8, WORD),
        of(Fourcc::ARGB8888, Rgb, 8, WORD),
        of(Fourcc::XBGR8888, Rgb, 8, WORD),
        of(Fourcc::ABGR8888, Rgb, 8, WORD),
        of(Fourcc::RGB565, Rgb, 6, HALF_WORD),
        of(Fourcc::XRGB2101010, Rgb, 10, WORD),
        of(Fourcc::NV12, Yuv, 8, SEMI_PLANAR),
        of(Fourcc::NV21, Yuv, 8, SEMI_PLANAR),
        of(Fourcc::YUV420, Yuv, 8, PLANAR),
        of(Fourcc::YUYV, Yuv, 8, PACKED),
    ]
};

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

#[cfg(feature = "drm-fourcc")]
impl From<drm_fourcc::DrmFourcc> for Fourcc {
    fn from(format: drm_fourcc::DrmFourcc) -> Self {
        Self(format as u32)
    }
}

#[cfg(feature = "drm-fourcc")]
impl TryFrom<Fourcc> for drm_fourcc::DrmFourcc {
    type Error = drm_fourcc::UnrecognizedFourcc;

    fn try_from(format: Fourcc) -> Result<Self, Self::Error> {
        Self::try_from(format.0)
    }
}

#[cfg(feature = "drm-fourcc")]
impl From<drm_fourcc::DrmModifier> for Modifier {
    fn from(modifier: drm_fourcc::DrmModifier) -> Self {
        Self(modifier.into())
    }
}

#[cfg(feature = "drm-fourcc")]
impl From<Modifier> for drm_fourcc::DrmModifier {
    fn from(modifier: Modifier) -> Self {
        modifier.0.into()
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
    fn formats_are_known_by_what_they_are() {
        for FormatInfo { format, planes, bits, .. } in FORMATS {
            assert_eq!(format.info().map(|info| info.planes), Some(planes), "{format}");
            // No component is wider than the bits of the first plane's sample.
            assert!(u32::from(bits) <= 8 * planes[0].bytes, "{format}");
        }
        let pictures: Vec<_> = Fourcc::pictures().map(|format| format.to_string()).collect();
        assert_eq!(pictures.join(" "), "XR24 AR24 XB24 AB24 RG16 XR30 NV12 NV21 YU12 YUYV");
        let yuv: Vec<_> = Fourcc::pictures().filter(|format| format.is_yuv()).collect();
        assert_eq!(yuv, [Fourcc::NV12, Fourcc::NV21, Fourcc::YUV420, Fourcc::YUYV]);
        assert!(!Fourcc::R8.is_picture() && Fourcc::new(*b"AB48").info().is_none());
    }

    #[cfg(feature = "drm-fourcc")]
    #[test]
    fn drm_fourcc_has_the_same_codes() {
        use drm_fourcc::{DrmFourcc, DrmModifier};
        for (ours, theirs) in [
            (Fourcc::XRGB8888, DrmFourcc::Xrgb8888),
            (Fourcc::XRGB2101010, DrmFourcc::Xrgb2101010),
            (Fourcc::NV12, DrmFourcc::Nv12),
            (Fourcc::YUV420, DrmFourcc::Yuv420),
        ] {
            assert_eq!((Fourcc::from(theirs), DrmFourcc::try_from(ours)), (ours, Ok(theirs)));
        }
        for FormatInfo { format, .. } in FORMATS {
            assert!(DrmFourcc::try_from(format).is_ok(), "{format}");
        }
        assert!(DrmFourcc::try_from(Fourcc::new(*b"zzzz")).is_err());
        assert_eq!(Modifier::from(DrmModifier::Linear), Modifier::LINEAR);
        assert_eq!(DrmModifier::from(Modifier::INVALID), DrmModifier::Invalid);
    }

    #[test]
    fn unprintable_codes_do_not_reach_a_terminal() {
        assert_eq!(Fourcc(0x1b1b_1b1b).to_string(), "????");
    }
}
