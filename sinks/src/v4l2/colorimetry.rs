//! What a node knows of the colours of its pictures: `colorspace`, `xfer_func`, `ycbcr_enc` and
//! `quantization` of its format.
//!
//! A program that writes pictures says what they are. Some drivers keep only the `colorspace` and
//! leave the rest at its default, some insist on one of their own; so what is set is read back, and
//! what the driver makes of it by the rules for defaults is compared with what the pictures are.
//!
//! Sources: `include/uapi/linux/videodev2.h`, with its `V4L2_MAP_…_DEFAULT`;
//! `Documentation/userspace-api/media/v4l/colorspaces-defs.rst`.

use std::os::fd::AsFd;

use rustix::io::Errno;
use vcam_allocator::{ColourSpace, Primaries, Range, TransferFunction, YcbcrEncoding};
use vcam_uapi::v4l2::{self, Colorimetry};

use super::node::Node;

/// `enum v4l2_colorspace`, as far as it is used here.
mod colorspace {
    pub(super) const SMPTE170M: u32 = 1;
    pub(super) const SMPTE240M: u32 = 2;
    pub(super) const REC709: u32 = 3;
    pub(super) const SYSTEM_M: u32 = 5;
    pub(super) const SYSTEM_BG: u32 = 6;
    pub(super) const JPEG: u32 = 7;
    pub(super) const SRGB: u32 = 8;
    pub(super) const OPRGB: u32 = 9;
    pub(super) const BT2020: u32 = 10;
    pub(super) const RAW: u32 = 11;
    pub(super) const DCI_P3: u32 = 12;
}

/// `enum v4l2_xfer_func`.
mod transfer {
    pub(super) const REC709: u32 = 1;
    pub(super) const SRGB: u32 = 2;
    pub(super) const OPRGB: u32 = 3;
    pub(super) const SMPTE240M: u32 = 4;
    pub(super) const NONE: u32 = 5;
    pub(super) const DCI_P3: u32 = 6;
}

/// `enum v4l2_ycbcr_encoding`.
mod encoding {
    pub(super) const REC601: u32 = 1;
    pub(super) const REC709: u32 = 2;
    pub(super) const BT2020: u32 = 6;
    pub(super) const SMPTE240M: u32 = 8;
}

/// `enum v4l2_quantization`.
mod quantization {
    pub(super) const FULL: u32 = 1;
    pub(super) const LIMITED: u32 = 2;
}

/// What all four fields call "that which the colorspace has".
const DEFAULT: u32 = 0;

/// The four fields of a colour space. The colorspace is that whose defaults come nearest, for drivers
/// that keep no more.
fn fields(space: ColourSpace) -> Colorimetry {
    let jpeg = ColourSpace { encoding: YcbcrEncoding::Rec601, ..ColourSpace::SRGB };
    let colorspace = match (space.primaries, space.encoding) {
        _ if space == jpeg => colorspace::JPEG,
        (Primaries::Raw, _) => colorspace::RAW,
        (Primaries::Smpte170m, _) => colorspace::SMPTE170M,
        (Primaries::Rec2020, _) => colorspace::BT2020,
        (Primaries::Rec709, YcbcrEncoding::Rec709) => colorspace::REC709,
        (Primaries::Rec709, _) if space.transfer == TransferFunction::Rec709 => colorspace::REC709,
        (Primaries::Rec709, _) => colorspace::SRGB,
    };
    Colorimetry {
        colorspace,
        xfer_func: match space.transfer {
            TransferFunction::Linear => transfer::NONE,
            TransferFunction::Srgb => transfer::SRGB,
            TransferFunction::Rec709 => transfer::REC709,
        },
        ycbcr_enc: match space.encoding {
            YcbcrEncoding::None => DEFAULT,
            YcbcrEncoding::Rec601 => encoding::REC601,
            YcbcrEncoding::Rec709 => encoding::REC709,
            YcbcrEncoding::Rec2020 => encoding::BT2020,
        },
        quantization: match space.range {
            Range::Full => quantization::FULL,
            Range::Limited => quantization::LIMITED,
        },
    }
}

/// Every field as it counts where it says "default".
fn resolved(fields: Colorimetry, is_yuv: bool) -> Colorimetry {
    use self::colorspace::{BT2020, DCI_P3, JPEG, OPRGB, RAW, REC709, SMPTE240M, SRGB};
    let is_default = |field: u32, then: u32| if field == DEFAULT { then } else { field };
    let transfer = match fields.colorspace {
        OPRGB => transfer::OPRGB,
        SMPTE240M => transfer::SMPTE240M,
        DCI_P3 => transfer::DCI_P3,
        RAW => transfer::NONE,
        SRGB | JPEG => transfer::SRGB,
        _ => transfer::REC709,
    };
    let encoding = match fields.colorspace {
        REC709 | DCI_P3 => encoding::REC709,
        BT2020 => encoding::BT2020,
        SMPTE240M => encoding::SMPTE240M,
        _ => encoding::REC601,
    };
    let quantization = match fields.colorspace == JPEG || !is_yuv {
        true => quantization::FULL,
        false => quantization::LIMITED,
    };
    Colorimetry {
        colorspace: fields.colorspace,
        xfer_func: is_default(fields.xfer_func, transfer),
        ycbcr_enc: is_default(fields.ycbcr_enc, encoding),
        quantization: is_default(fields.quantization, quantization),
    }
}

/// In words, what pictures that are `wish` are taken for by a driver that answers `got`.
fn misread(wish: Colorimetry, got: Colorimetry, is_yuv: bool) -> Option<String> {
    let (is, taken) = (resolved(wish, is_yuv), resolved(got, is_yuv));
    let pairs = [
        ("primaries", primaries(is.colorspace), primaries(taken.colorspace)),
        ("a transfer function", transfer_name(is.xfer_func), transfer_name(taken.xfer_func)),
        ("an encoding", encoding_name(is.ycbcr_enc), encoding_name(taken.ycbcr_enc)),
        ("a range", range(is.quantization), range(taken.quantization)),
    ];
    let differs =
        |(what, is, taken): &(&str, &str, &str)| is != taken && (is_yuv || *what != "an encoding");
    let words: Vec<_> = pairs
        .into_iter()
        .filter(differs)
        .map(|(what, is, taken)| format!("{what} of {taken} instead of {is}"))
        .collect();
    (!words.is_empty()).then(|| words.join(", and "))
}

/// The primaries of a colorspace.
fn primaries(code: u32) -> &'static str {
    match code {
        colorspace::SMPTE170M | colorspace::SMPTE240M => "SMPTE 170M",
        colorspace::REC709 | colorspace::SRGB | colorspace::JPEG => "Rec. 709",
        colorspace::SYSTEM_M => "470 System M",
        colorspace::SYSTEM_BG => "470 System BG",
        colorspace::OPRGB => "opRGB",
        colorspace::BT2020 => "BT.2020",
        colorspace::RAW => "the sensor",
        colorspace::DCI_P3 => "DCI-P3",
        _ => "an unknown colorspace",
    }
}

fn transfer_name(code: u32) -> &'static str {
    match code {
        transfer::REC709 => "Rec. 709",
        transfer::SRGB => "sRGB",
        transfer::OPRGB => "opRGB",
        transfer::SMPTE240M => "SMPTE 240M",
        transfer::NONE => "none",
        transfer::DCI_P3 => "DCI-P3",
        _ => "an unknown kind",
    }
}

fn encoding_name(code: u32) -> &'static str {
    match code {
        encoding::REC601 => "BT.601",
        encoding::REC709 => "BT.709",
        encoding::BT2020 => "BT.2020",
        encoding::SMPTE240M => "SMPTE 240M",
        _ => "an unknown kind",
    }
}

fn range(code: u32) -> &'static str {
    match code {
        quantization::FULL => "all levels",
        quantization::LIMITED => "limited levels",
        _ => "an unknown kind",
    }
}

impl Node {
    /// Says what the pictures are; answers, in words, what the driver takes them for instead.
    ///
    /// To be called after the format is set, and before buffers are asked for.
    pub(super) fn tell_colours(
        &self,
        space: ColourSpace,
        is_yuv: bool,
    ) -> Result<Option<String>, Errno> {
        let wish = fields(space);
        Ok(misread(wish, self.set_colorimetry(wish)?, is_yuv))
    }

    /// The four fields of the format that is set.
    pub(super) fn colorimetry(&self) -> Result<Colorimetry, Errno> {
        v4l2::g_colorimetry(self.as_fd(), self.kind)
    }

    /// Sets the four fields and nothing else; returns what the driver made of them.
    pub(super) fn set_colorimetry(&self, wish: Colorimetry) -> Result<Colorimetry, Errno> {
        v4l2::s_colorimetry(self.as_fd(), self.kind, wish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(colorspace: u32) -> Colorimetry {
        Colorimetry { colorspace, xfer_func: 0, ycbcr_enc: 0, quantization: 0 }
    }

    #[test]
    fn drivers_that_keep_the_colorspace_alone_still_know_the_encoding_and_the_range() {
        for (space, kept) in [
            (ColourSpace::of_video(576), colorspace::SRGB),
            (ColourSpace::SYCC, colorspace::JPEG),
            (ColourSpace::SMPTE170M, colorspace::SMPTE170M),
            (ColourSpace::REC709, colorspace::REC709),
            (ColourSpace::REC2020, colorspace::BT2020),
        ] {
            let ours = fields(space);
            assert_eq!(ours.colorspace, kept, "{space}");
            assert_eq!(misread(ours, alone(kept), true), None, "{space}");
        }
        let ours = fields(ColourSpace::SRGB);
        assert_eq!(misread(ours, alone(colorspace::SRGB), false), None);
    }

    #[test]
    fn what_a_driver_takes_for_something_else_is_told() {
        let hd = fields(ColourSpace::of_video(720));
        assert_eq!(
            misread(hd, alone(colorspace::REC709), true).as_deref(),
            Some("a transfer function of Rec. 709 instead of sRGB")
        );
        let sd = fields(ColourSpace::of_video(480));
        assert_eq!(
            misread(sd, alone(colorspace::REC709), true).as_deref(),
            Some(
                "a transfer function of Rec. 709 instead of sRGB, and an encoding of BT.709 \
                 instead of BT.601"
            )
        );
        let rgb = fields(ColourSpace::SRGB);
        let limited = Colorimetry { quantization: 2, ..alone(colorspace::SMPTE170M) };
        assert_eq!(
            misread(rgb, limited, false).as_deref(),
            Some(
                "primaries of SMPTE 170M instead of Rec. 709, and a transfer function of Rec. 709 \
                 instead of sRGB, and a range of limited levels instead of all levels"
            )
        );
    }
}
