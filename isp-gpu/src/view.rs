//! Which part of the picture an output shows, which way up, and in which colours.

use std::fmt;

use vcam_allocator::{ColourSpace, Fourcc, YcbcrEncoding};

/// A part of the picture, in pixels of the raw frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crop {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Columns; at least 1.
    pub width: u32,
    /// Rows; at least 1.
    pub height: u32,
}

impl Crop {
    /// All of a frame.
    pub fn all((width, height): (u32, u32)) -> Self {
        Self { x: 0, y: 0, width, height }
    }

    /// Whether it has pixels, and all of them are in the frame.
    pub fn is_within(&self, (width, height): (u32, u32)) -> bool {
        let inside = |start: u32, count: u32, all: u32| {
            count > 0 && start.checked_add(count).is_some_and(|end| end <= all)
        };
        inside(self.x, self.width, width) && inside(self.y, self.height, height)
    }
}

impl fmt::Display for Crop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{} at {},{}", self.width, self.height, self.x, self.y)
    }
}

/// Which way up: one of eight, as rows and columns are swapped, then mirrored, then flipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Orientation {
    /// Rows become columns.
    pub transpose: bool,
    /// Left becomes right.
    pub mirror: bool,
    /// Top becomes bottom.
    pub flip: bool,
}

impl Orientation {
    /// As the sensor sees it.
    pub const UPRIGHT: Self = Self { transpose: false, mirror: false, flip: false };
    /// A quarter turn, clockwise.
    pub const ROTATE_90: Self = Self { transpose: true, mirror: true, flip: false };
    /// Half a turn.
    pub const ROTATE_180: Self = Self { transpose: false, mirror: true, flip: true };
    /// Three quarters of a turn, clockwise.
    pub const ROTATE_270: Self = Self { transpose: true, mirror: false, flip: true };

    /// All eight.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..8).map(|bits| Self {
            transpose: bits & 4 != 0,
            mirror: bits & 2 != 0,
            flip: bits & 1 != 0,
        })
    }

    /// Width and height of a picture once it is turned.
    pub fn size(self, (width, height): (u32, u32)) -> (u32, u32) {
        if self.transpose { (height, width) } else { (width, height) }
    }
}

/// Whether the ISP makes a format in these colours: it gives pictures the primaries and the transfer
/// function of sRGB, and YUV any encoding and range.
pub(crate) fn is_made(space: ColourSpace, format: Fourcc) -> bool {
    let ColourSpace { primaries, transfer, encoding, .. } = space;
    match format.is_yuv() {
        true => {
            primaries == ColourSpace::SRGB.primaries
                && transfer == ColourSpace::SRGB.transfer
                && encoding != YcbcrEncoding::None
        }
        false => space == ColourSpace::SRGB,
    }
}

/// The rows of [`ColourSpace::from_rgb`] in the precision of the ISPs.
pub(crate) fn yuv_rows(space: ColourSpace) -> [[f32; 4]; 3] {
    space.from_rgb().map(|row| row.map(|factor| factor as f32))
}

/// What an output shows of the picture. The default is all of it, upright, in the colours of
/// [`ColourSpace::of`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct View {
    /// The part that is shown, scaled to the output's size; `None` is all of the frame.
    pub crop: Option<Crop>,
    /// Which way up.
    pub orientation: Orientation,
    /// How the levels stand for colours: [`ColourSpace::SRGB`] in RGB, and in YUV the same with an
    /// encoding and a range. `None` is what [`ColourSpace::of`] says of the output.
    pub colour_space: Option<ColourSpace>,
}

impl View {
    /// The part of a frame of this size that is shown.
    pub fn crop_of(&self, frame: (u32, u32)) -> Crop {
        self.crop.unwrap_or(Crop::all(frame))
    }

    /// Whether each pixel of a frame of this size is a pixel of an output of that, in its place.
    pub fn is_whole(&self, frame: (u32, u32), output: (u32, u32)) -> bool {
        self.crop_of(frame) == Crop::all(frame)
            && self.orientation == Orientation::UPRIGHT
            && frame == output
    }

    /// From pixels of the output to pixels of the frame, both counted from the middle of the first.
    pub(crate) fn mapping(&self, frame: (u32, u32), output: (u32, u32)) -> [Axis; 2] {
        let crop = self.crop_of(frame);
        let Orientation { transpose, mirror, flip } = self.orientation;
        let (across, down) = self.orientation.size(output);
        // Of the frame's axes, which one runs backwards.
        let (x_back, y_back) = if transpose { (flip, mirror) } else { (mirror, flip) };
        [
            Axis::new(crop.x, crop.width, across, x_back),
            Axis::new(crop.y, crop.height, down, y_back),
        ]
    }
}

/// How positions along one axis of the frame follow from those of an output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Axis {
    /// The frame's position for the output's 0, and by how much it grows from one to the next.
    pub(crate) start: f32,
    pub(crate) step: f32,
    /// How far a tap of the filter reaches: 1 unless the picture becomes smaller.
    pub(crate) reach: f32,
    /// First and last pixel of the crop.
    pub(crate) first: u32,
    pub(crate) last: u32,
}

impl Axis {
    fn new(first: u32, count: u32, output: u32, backwards: bool) -> Self {
        let ratio = count as f32 / output as f32;
        let (start, step) = if backwards {
            (first as f32 + count as f32 - 0.5 - 0.5 * ratio, -ratio)
        } else {
            (first as f32 - 0.5 + 0.5 * ratio, ratio)
        };
        Self { start, step, reach: ratio.max(1.0), first, last: first + count - 1 }
    }

    /// The pixels of the frame that make a pixel of the output, each with its weight.
    pub(crate) fn taps(&self, at: u32) -> impl Iterator<Item = (usize, f32)> + use<> {
        let Self { start, step, reach, first, last } = *self;
        let centre = start + step * at as f32;
        let from = ((centre - reach).ceil().max(first as f32)) as u32;
        let to = ((centre + reach).floor().min(last as f32)) as u32;
        (from..=to).map(move |pixel| {
            (pixel as usize, (1.0 - (pixel as f32 - centre).abs() / reach).max(0.0))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crops_stay_in_the_frame() {
        let crop = Crop { x: 10, y: 0, width: 6, height: 4 };
        assert!(crop.is_within((16, 4)));
        assert!(!crop.is_within((15, 4)));
        assert!(!Crop { width: u32::MAX, ..crop }.is_within((16, 4)));
        assert!(!Crop { height: 0, ..crop }.is_within((16, 4)));
    }

    #[test]
    fn pictures_have_the_colours_of_srgb() {
        let [sd, hd] = [576, 720].map(ColourSpace::of_video);
        for space in [sd, hd, ColourSpace::SYCC] {
            assert!(is_made(space, Fourcc::NV12) && !is_made(space, Fourcc::XRGB8888), "{space}");
        }
        assert!(is_made(ColourSpace::SRGB, Fourcc::XRGB8888));
        assert!(!is_made(ColourSpace::SRGB, Fourcc::NV12));
        for space in [ColourSpace::REC709, ColourSpace::SMPTE170M, ColourSpace::RAW] {
            assert!(!is_made(space, Fourcc::NV12), "{space}");
        }
    }

    #[test]
    fn taps_of_the_same_size_are_the_pixel_itself() {
        for backwards in [false, true] {
            let axis = Axis::new(3, 5, 5, backwards);
            for at in 0..5 {
                let taps: Vec<_> = axis.taps(at).filter(|(_, weight)| *weight > 0.0).collect();
                let pixel = if backwards { 7 - at } else { 3 + at } as usize;
                assert_eq!(taps, [(pixel, 1.0)]);
            }
        }
        // Half the size: two whole neighbours and two a little.
        let taps: Vec<_> = Axis::new(0, 8, 4, false).taps(1).collect();
        assert_eq!(taps, [(1, 0.25), (2, 0.75), (3, 0.75), (4, 0.25)]);
    }
}
