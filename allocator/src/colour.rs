//! How the numbers of a picture stand for colours: primaries, transfer function, Y'CbCr encoding and
//! range, in the words of libcamera's `ColorSpace` and of V4L2.
//!
//! A colour space is chosen once, when a stream is configured ([`ColourSpace::of`]), and travels with
//! every frame; readers ask the frame. The only other place where the custom of video
//! ([`ColourSpace::of_video`]) counts is a file that says nothing of itself.
//!
//! Sources: ITU-R BT.601-7, BT.709-6, BT.2020-2; IEC 61966-2-1 (sRGB) and its amendment 1 (sYCC);
//! libcamera's `color_space.h`; `Documentation/userspace-api/media/v4l/colorspaces-defs.rst`.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::format::Fourcc;

/// The colours that red, green and blue stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Primaries {
    /// Those of a sensor's filters.
    Raw,
    /// Those of SMPTE 170M, which BT.601 with 525 lines has.
    Smpte170m,
    /// Those of BT.709, which sRGB has as well.
    Rec709,
    /// Those of BT.2020.
    Rec2020,
}

/// How levels follow from light.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransferFunction {
    /// In proportion.
    Linear,
    /// As sRGB has it.
    Srgb,
    /// As BT.709 has it, which BT.601 and BT.2020 share.
    Rec709,
}

/// Which weights make luma of red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum YcbcrEncoding {
    /// None: the picture is RGB or raw.
    None,
    /// BT.601, as standard-definition video and JPEG.
    Rec601,
    /// BT.709, as high-definition video.
    Rec709,
    /// BT.2020 with constant weights of the levels ("non-constant luminance").
    Rec2020,
}

/// Which levels are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Range {
    /// All: 0 to 255 of eight bits.
    Full,
    /// Luma from 16 to 235 and chroma from 16 to 240 of eight bits.
    Limited,
}

impl YcbcrEncoding {
    /// The weights of red and blue in luma; green has the rest. Without an encoding they are those
    /// of BT.601, which libcamera's `ColorSpace::adjust` gives to YUV that names none.
    pub const fn weights(self) -> (f64, f64) {
        match self {
            // BT.601-7 2.5.1, BT.709-6 3.2, BT.2020-2 table 4.
            Self::None | Self::Rec601 => (0.299, 0.114),
            Self::Rec709 => (0.2126, 0.0722),
            Self::Rec2020 => (0.2627, 0.0593),
        }
    }
}

/// How the numbers of a picture stand for colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ColourSpace {
    /// The colours that red, green and blue stand for.
    pub primaries: Primaries,
    /// How levels follow from light.
    pub transfer: TransferFunction,
    /// Which weights make luma.
    pub encoding: YcbcrEncoding,
    /// Which levels are in use.
    pub range: Range,
}

impl ColourSpace {
    /// A sensor's numbers.
    pub const RAW: Self = Self {
        primaries: Primaries::Raw,
        transfer: TransferFunction::Linear,
        encoding: YcbcrEncoding::None,
        range: Range::Full,
    };
    /// RGB as screens and picture files have it.
    pub const SRGB: Self = Self {
        primaries: Primaries::Rec709,
        transfer: TransferFunction::Srgb,
        encoding: YcbcrEncoding::None,
        range: Range::Full,
    };
    /// YUV as JPEG has it.
    pub const SYCC: Self = Self { encoding: YcbcrEncoding::Rec601, ..Self::SRGB };
    /// Standard-definition video.
    pub const SMPTE170M: Self = Self {
        primaries: Primaries::Smpte170m,
        transfer: TransferFunction::Rec709,
        encoding: YcbcrEncoding::Rec601,
        range: Range::Limited,
    };
    /// High-definition video.
    pub const REC709: Self = Self {
        primaries: Primaries::Rec709,
        transfer: TransferFunction::Rec709,
        encoding: YcbcrEncoding::Rec709,
        range: Range::Limited,
    };
    /// Ultra-high-definition video.
    pub const REC2020: Self = Self {
        primaries: Primaries::Rec2020,
        transfer: TransferFunction::Rec709,
        encoding: YcbcrEncoding::Rec2020,
        range: Range::Limited,
    };

    /// The presets, by the names that libcamera gives them.
    pub const PRESETS: [(&'static str, Self); 6] = [
        ("RAW", Self::RAW),
        ("sRGB", Self::SRGB),
        ("sYCC", Self::SYCC),
        ("SMPTE170M", Self::SMPTE170M),
        ("Rec709", Self::REC709),
        ("Rec2020", Self::REC2020),
    ];

    /// What a stream of pictures has if nothing else is asked for: sRGB, and where the format is YUV,
    /// its colours in the encoding and range of video of this height ([`ColourSpace::of_video`]).
    ///
    /// This is where the colour space of a stream is decided; all others are told.
    pub fn of(format: Fourcc, (_, height): (u32, u32)) -> Self {
        match format.is_yuv() {
            true => Self::of_video(height),
            false => Self::SRGB,
        }
    }

    /// The colours of sRGB in YUV as players expect it of a video with so many rows that says
    /// nothing of itself: limited range, BT.601 up to the 576 rows of PAL and BT.709 above.
    ///
    /// SDL, GStreamer, VLC and mpv go by the height (mpv also by a width from 1280); ffmpeg's own
    /// conversions always take BT.601.
    pub fn of_video(height: u32) -> Self {
        let encoding = if height > 576 { YcbcrEncoding::Rec709 } else { YcbcrEncoding::Rec601 };
        Self { encoding, range: Range::Limited, ..Self::SRGB }
    }

    /// What luma and chroma of 0 to 1 do not reach: factors for luma and chroma, and the level of
    /// black, all over 255.
    fn scale(self) -> (f64, f64, f64) {
        match self.range {
            Range::Limited => (219.0 / 255.0, 224.0 / 255.0, 16.0 / 255.0),
            Range::Full => (1.0, 1.0, 0.0),
        }
    }

    /// Rows that make Y', Cb and Cr of R', G' and B': the factors of the three, and what is added.
    /// All levels are those of eight bits over 255, so black is 16/255 in the limited range and grey
    /// has a chroma of 128/255.
    pub fn from_rgb(self) -> [[f64; 4]; 3] {
        let (red, blue) = self.encoding.weights();
        let (luma, chroma, black) = self.scale();
        let weights = [red, 1.0 - red - blue, blue];
        let difference = |channel: usize| {
            let factor = chroma / (2.0 * (1.0 - weights[channel]));
            let of = |at: usize| factor * (f64::from(u8::from(at == channel)) - weights[at]);
            [of(0), of(1), of(2), 128.0 / 255.0]
        };
        let [r, g, b] = weights.map(|weight| weight * luma);
        [[r, g, b, black], difference(2), difference(0)]
    }

    /// Rows that make R', G' and B' of Y', Cb and Cr: the reverse of [`ColourSpace::from_rgb`], with
    /// levels over 255 as there. A result may lie outside of 0 to 1, as not all of YUV is a colour.
    pub fn to_rgb(self) -> [[f64; 4]; 3] {
        let (red, blue) = self.encoding.weights();
        let green = 1.0 - red - blue;
        let (luma, chroma, black) = self.scale();
        let of_blue = 2.0 * (1.0 - blue) / chroma;
        let of_red = 2.0 * (1.0 - red) / chroma;
        let row = |cb: f64, cr: f64| {
            let grey = 1.0 / luma;
            [grey, cb, cr, -grey * black - (cb + cr) * 128.0 / 255.0]
        };
        [row(0.0, of_red), row(-of_blue * blue / green, -of_red * red / green), row(of_blue, 0.0)]
    }
}

impl fmt::Display for ColourSpace {
    /// As libcamera writes it: the name of a preset, or the four words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = Self::PRESETS.iter().find(|(_, preset)| preset == self) {
            return f.write_str(name);
        }
        let primaries = match self.primaries {
            Primaries::Raw => "RAW",
            Primaries::Smpte170m => "SMPTE170M",
            Primaries::Rec709 => "Rec709",
            Primaries::Rec2020 => "Rec2020",
        };
        let transfer = match self.transfer {
            TransferFunction::Linear => "Linear",
            TransferFunction::Srgb => "sRGB",
            TransferFunction::Rec709 => "Rec709",
        };
        let encoding = match self.encoding {
            YcbcrEncoding::None => "None",
            YcbcrEncoding::Rec601 => "Rec601",
            YcbcrEncoding::Rec709 => "Rec709",
            YcbcrEncoding::Rec2020 => "Rec2020",
        };
        let range = match self.range {
            Range::Full => "Full",
            Range::Limited => "Limited",
        };
        write!(f, "{primaries}/{transfer}/{encoding}/{range}")
    }
}

impl Serialize for ColourSpace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(rows: [[f64; 4]; 3], levels: [u8; 3]) -> [f64; 3] {
        let levels = levels.map(|level| f64::from(level) / 255.0);
        rows.map(|[a, b, c, added]| 255.0 * (a * levels[0] + b * levels[1] + c * levels[2] + added))
    }

    fn rounded(levels: [f64; 3]) -> [u8; 3] {
        levels.map(|level| level.round().clamp(0.0, 255.0) as u8)
    }

    #[test]
    fn bars_have_the_levels_of_the_recommendations() {
        let [sd, hd] = [576, 720].map(ColourSpace::of_video);
        // BT.601 and BT.709, 8-bit levels of 100 % bars; full range as JFIF 1.02 has it.
        for (rgb, levels_601, levels_709, jpeg) in [
            ([255, 255, 255], [235, 128, 128], [235, 128, 128], [255, 128, 128]),
            ([255, 255, 0], [210, 16, 146], [219, 16, 138], [226, 1, 149]),
            ([0, 255, 255], [170, 166, 16], [188, 154, 16], [179, 171, 1]),
            ([0, 255, 0], [145, 54, 34], [173, 42, 26], [150, 44, 21]),
            ([255, 0, 0], [81, 90, 240], [63, 102, 240], [76, 85, 255]),
            ([0, 0, 255], [41, 240, 110], [32, 240, 118], [29, 255, 107]),
            ([0, 0, 0], [16, 128, 128], [16, 128, 128], [0, 128, 128]),
        ] {
            for (space, levels) in [(sd, levels_601), (hd, levels_709), (ColourSpace::SYCC, jpeg)] {
                for (exact, level) in times(space.from_rgb(), rgb).into_iter().zip(levels) {
                    // Half a level, which chroma of full range meets exactly.
                    assert!((exact - f64::from(level)).abs() < 0.501, "{space} {rgb:?} {exact}");
                }
                let back = times(space.to_rgb(), levels);
                for (back, level) in back.into_iter().zip(rgb) {
                    assert!((back - f64::from(level)).abs() < 2.2, "{space} {rgb:?} {back}");
                }
            }
        }
    }

    #[test]
    fn one_colour_is_read_as_each_space_says() {
        // Made by ffmpeg's swscale of the same bytes (`-vf scale=in_color_matrix=…:in_range=…`),
        // which rounds to within a level.
        for (space, expected) in [
            (ColourSpace::of_video(576), [94, 54, 58]),
            (ColourSpace::SYCC, [97, 62, 66]),
            (ColourSpace::of_video(577), [97, 58, 58]),
            (ColourSpace { range: Range::Full, ..ColourSpace::REC709 }, [100, 66, 66]),
        ] {
            assert_eq!(rounded(times(space.to_rgb(), [73, 124, 145])), expected, "{space}");
        }
    }

    #[test]
    fn grey_has_no_colour_and_white_is_the_top_of_the_range() {
        for (name, space) in ColourSpace::PRESETS {
            let [luma, cb, cr] = times(space.from_rgb(), [255; 3]);
            let top = if space.range == Range::Full { 255.0 } else { 235.0 };
            for (is, should) in [(luma, top), (cb, 128.0), (cr, 128.0)] {
                assert!((is - should).abs() < 1e-9, "{name}: {is}");
            }
        }
    }

    #[test]
    fn a_stream_has_the_colours_that_players_expect() {
        let names = [(Fourcc::NV12, 576), (Fourcc::YUYV, 577), (Fourcc::XRGB8888, 1080)]
            .map(|(format, height)| ColourSpace::of(format, (640, height)).to_string());
        assert_eq!(names, ["Rec709/sRGB/Rec601/Limited", "Rec709/sRGB/Rec709/Limited", "sRGB"]);
        assert_eq!(ColourSpace::RAW.to_string(), "RAW");
    }
}
