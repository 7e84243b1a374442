//! What a queue's pictures are: formats, sizes, and the time from one to the next.

use std::os::fd::BorrowedFd;

use rustix::io;

use super::BufType;
use super::request::{
    Request, VIDIOC_ENUM_FMT, VIDIOC_ENUM_FRAMESIZES, VIDIOC_G_FMT, VIDIOC_G_PARM, VIDIOC_S_FMT,
    VIDIOC_S_PARM, VIDIOC_TRY_FMT, call,
};
use super::videodev2::{
    Plain, v4l2_fmtdesc, v4l2_format, v4l2_fract, v4l2_frmsizeenum, v4l2_plane_pix_format,
    v4l2_streamparm,
};

/// `V4L2_FRMSIZE_TYPE_DISCRETE`.
const FRMSIZE_TYPE_DISCRETE: u32 = 1;

/// Which rows a picture has, by its number in `enum v4l2_field`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field(pub u32);

impl Field {
    /// `V4L2_FIELD_ANY`: the driver chooses.
    pub const ANY: Self = Self(0);
    /// `V4L2_FIELD_NONE`: all, of one moment.
    pub const NONE: Self = Self(1);
}

/// A picture's format: `struct v4l2_pix_format`, or `struct v4l2_pix_format_mplane`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// The code of `videodev2.h`, which is not always DRM's.
    pub pixelformat: u32,
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Which rows.
    pub field: Field,
    /// The memories that a picture is spread over: at least one, and of a multi-planar queue at
    /// most eight.
    pub planes: Vec<PlaneFormat>,
}

/// A memory of a picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlaneFormat {
    /// Bytes from one row to the next, of the first plane of colours in it; 0 lets the driver
    /// choose.
    pub bytesperline: u32,
    /// Bytes of it; 0 lets the driver choose.
    pub sizeimage: u32,
}

/// The pixel format with this index in the driver's list; `EINVAL` after the last.
pub fn enum_fmt(node: BorrowedFd<'_>, queue: BufType, index: u32) -> io::Result<u32> {
    let mut format = v4l2_fmtdesc { index, type_: queue as u32, ..v4l2_fmtdesc::zeroed() };
    call(node, &VIDIOC_ENUM_FMT, &mut format)?;
    Ok(format.pixelformat)
}

/// Sizes in pixels, width and height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// The smallest.
    pub min: (u32, u32),
    /// The largest.
    pub max: (u32, u32),
}

/// The size, or range of sizes, with this index in the driver's list; `EINVAL` after the last, and
/// `ENOTTY` without a list.
pub fn enum_framesizes(node: BorrowedFd<'_>, pixelformat: u32, index: u32) -> io::Result<Sizes> {
    let mut found =
        v4l2_frmsizeenum { index, pixel_format: pixelformat, ..v4l2_frmsizeenum::zeroed() };
    call(node, &VIDIOC_ENUM_FRAMESIZES, &mut found)?;
    Ok(if found.type_ == FRMSIZE_TYPE_DISCRETE {
        // SAFETY: any bits are numbers.
        let size = unsafe { found.size.discrete };
        Sizes { min: (size.width, size.height), max: (size.width, size.height) }
    } else {
        // SAFETY: any bits are numbers.
        let range = unsafe { found.size.stepwise };
        Sizes { min: (range.min_width, range.min_height), max: (range.max_width, range.max_height) }
    })
}

/// The format that the queue has now.
pub fn g_fmt(node: BorrowedFd<'_>, queue: BufType) -> io::Result<Format> {
    let mut raw = v4l2_format { type_: queue as u32, ..v4l2_format::zeroed() };
    call(node, &VIDIOC_G_FMT, &mut raw)?;
    Ok(read(queue, &raw))
}

/// Sets a format, and returns what the driver made of it; `EBUSY` while the queue has buffers.
pub fn s_fmt(node: BorrowedFd<'_>, queue: BufType, wish: &Format) -> io::Result<Format> {
    ask(node, &VIDIOC_S_FMT, queue, wish)
}

/// Asks what the driver would make of a format, and changes nothing.
pub fn try_fmt(node: BorrowedFd<'_>, queue: BufType, wish: &Format) -> io::Result<Format> {
    ask(node, &VIDIOC_TRY_FMT, queue, wish)
}

fn ask(
    node: BorrowedFd<'_>,
    request: &Request<v4l2_format>,
    queue: BufType,
    wish: &Format,
) -> io::Result<Format> {
    let mut raw = write(queue, wish);
    call(node, request, &mut raw)?;
    Ok(read(queue, &raw))
}

fn write(queue: BufType, wish: &Format) -> v4l2_format {
    let mut raw = v4l2_format { type_: queue as u32, ..v4l2_format::zeroed() };
    if queue.is_mplane() {
        // SAFETY: the union is zeroed whole, and any bits are numbers.
        let pix = unsafe { &mut raw.fmt.pix_mp };
        (pix.width, pix.height) = (wish.width, wish.height);
        (pix.pixelformat, pix.field) = (wish.pixelformat, wish.field.0);
        pix.num_planes = u8::try_from(wish.planes.len()).unwrap_or(u8::MAX);
        for (plane, wish) in pix.plane_fmt.iter_mut().zip(&wish.planes) {
            (plane.bytesperline, plane.sizeimage) = (wish.bytesperline, wish.sizeimage);
        }
    } else {
        let plane = wish.planes.first().copied().unwrap_or_default();
        // SAFETY: the union is zeroed whole, and any bits are numbers.
        let pix = unsafe { &mut raw.fmt.pix };
        (pix.width, pix.height) = (wish.width, wish.height);
        (pix.pixelformat, pix.field) = (wish.pixelformat, wish.field.0);
        (pix.bytesperline, pix.sizeimage) = (plane.bytesperline, plane.sizeimage);
    }
    raw
}

fn read(queue: BufType, raw: &v4l2_format) -> Format {
    if queue.is_mplane() {
        // SAFETY: any bits are numbers.
        let pix = unsafe { raw.fmt.pix_mp };
        let planes = pix.plane_fmt;
        let plane = |plane: &v4l2_plane_pix_format| PlaneFormat {
            bytesperline: plane.bytesperline,
            sizeimage: plane.sizeimage,
        };
        Format {
            pixelformat: pix.pixelformat,
            width: pix.width,
            height: pix.height,
            field: Field(pix.field),
            planes: planes.iter().take(pix.num_planes.into()).map(plane).collect(),
        }
    } else {
        // SAFETY: any bits are numbers.
        let pix = unsafe { raw.fmt.pix };
        Format {
            pixelformat: pix.pixelformat,
            width: pix.width,
            height: pix.height,
            field: Field(pix.field),
            planes: vec![PlaneFormat { bytesperline: pix.bytesperline, sizeimage: pix.sizeimage }],
        }
    }
}

/// A part of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fraction {
    /// So many parts.
    pub numerator: u32,
    /// Of so many.
    pub denominator: u32,
}

/// The time from one picture to the next.
pub fn g_parm(node: BorrowedFd<'_>, queue: BufType) -> io::Result<Fraction> {
    let mut raw = v4l2_streamparm { type_: queue as u32, ..v4l2_streamparm::zeroed() };
    call(node, &VIDIOC_G_PARM, &mut raw)?;
    Ok(interval(&raw))
}

/// Asks for a time from one picture to the next, and returns what the driver made of it.
pub fn s_parm(node: BorrowedFd<'_>, queue: BufType, wish: Fraction) -> io::Result<Fraction> {
    let mut raw = v4l2_streamparm { type_: queue as u32, ..v4l2_streamparm::zeroed() };
    let Fraction { numerator, denominator } = wish;
    raw.parm.capture.timeperframe = v4l2_fract { numerator, denominator };
    call(node, &VIDIOC_S_PARM, &mut raw)?;
    Ok(interval(&raw))
}

fn interval(raw: &v4l2_streamparm) -> Fraction {
    // SAFETY: any bits are numbers, and both directions have the interval in the same place.
    let v4l2_fract { numerator, denominator } = unsafe { raw.parm.capture.timeperframe };
    Fraction { numerator, denominator }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(planes: &[(u32, u32)]) -> Format {
        let plane =
            |&(bytesperline, sizeimage): &(u32, u32)| PlaneFormat { bytesperline, sizeimage };
        Format {
            pixelformat: u32::from_le_bytes(*b"NM12"),
            width: 640,
            height: 480,
            field: Field::NONE,
            planes: planes.iter().map(plane).collect(),
        }
    }

    #[test]
    fn a_format_lies_where_the_header_has_it() {
        let bytes = |queue, format: &Format| {
            let raw = write(queue, format);
            // SAFETY: the union was zeroed whole.
            unsafe { raw.fmt.raw_data }
        };
        let word = |bytes: &[u8], at| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
        let single = bytes(BufType::VideoOutput, &format(&[(704, 1000)]));
        assert_eq!([0, 4, 12, 16, 20].map(|at| word(&single, at)), [640, 480, 1, 704, 1000]);
        let several = bytes(BufType::VideoCaptureMplane, &format(&[(704, 1000), (768, 500)]));
        assert_eq!([0, 4, 12].map(|at| word(&several, at)), [640, 480, 1]);
        // Each plane has its size first, and 20 bytes.
        assert_eq!([20, 24, 40, 44].map(|at| word(&several, at)), [1000, 704, 500, 768]);
        assert_eq!(several[180], 2, "num_planes");
    }

    #[test]
    fn a_format_is_read_as_it_was_written() {
        for (queue, planes) in [
            (BufType::VideoCapture, &[(640, 1000)][..]),
            (BufType::VideoOutputMplane, &[(640, 1000), (640, 500), (1, 2)]),
        ] {
            let format = format(planes);
            assert_eq!(read(queue, &write(queue, &format)), format);
        }
        // More planes than there are places for are not made up.
        let many = read(BufType::VideoOutputMplane, &{
            let mut raw = write(BufType::VideoOutputMplane, &format(&[]));
            raw.fmt.pix_mp.num_planes = u8::MAX;
            raw
        });
        assert_eq!(many.planes.len(), 8);
    }
}
