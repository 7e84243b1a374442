//! From levels and light to the bytes of a row.

use vcam_allocator::ColourSpace;
use vcam_isp_gpu::RawFormat;

use super::format::{Format, PictureFormat};
use crate::size::Size;

/// The number of no light: a sixteenth of full scale, as near as the depth allows.
pub(crate) fn black(format: RawFormat) -> u16 {
    u16::from(super::BLACK_LEVEL) << (format.bits() - 8)
}

/// Turns levels from 0 to 1 into the numbers of pixels in row `y`, without noise.
pub(super) fn numbers(format: RawFormat, y: usize, colours: &[[f32; 3]], numbers: &mut [u16]) {
    let (black, white) = (f32::from(black(format)), f32::from(format.white()));
    for (x, (colour, number)) in colours.iter().zip(numbers).enumerate() {
        let level = match format.cfa() {
            Some(cfa) => colour[cfa.colour_at(x as u32, y as u32)],
            None => super::model::colour::LUMINANCE.iter().zip(colour).map(|(w, l)| w * l).sum(),
        };
        *number = (black + level * (white - black)).round() as u16;
    }
}

/// How levels become bytes.
#[derive(Debug)]
pub(super) enum Encoding {
    /// By [`numbers`], which are packed.
    Raw(RawFormat),
    /// As a picture.
    Picture(Encoder),
}

impl Encoding {
    /// For frames of this size.
    pub(super) fn new(format: Format, size: Size) -> Self {
        match format {
            Format::Raw(raw) => Self::Raw(raw),
            Format::Picture(picture) => Self::Picture(Encoder::new(picture, size)),
        }
    }
}

/// Makes the bytes of pictures from levels of sRGB, 0 to 1.
#[derive(Debug)]
pub(super) struct Encoder {
    format: PictureFormat,
    /// Rows that make luma and both differences of colour, in bytes.
    yuv: [[f32; 4]; 3],
}

impl Encoder {
    /// For frames of this size.
    pub(super) fn new(format: PictureFormat, size: Size) -> Self {
        let space = ColourSpace::of(format.fourcc(), size.into());
        Self { format, yuv: space.from_rgb().map(|row| row.map(|factor| 255.0 * factor as f32)) }
    }

    /// The bytes of a row; of NV12, those of plane 0.
    pub(super) fn row(&self, levels: &[[f32; 3]], row: &mut [u8]) {
        match self.format {
            PictureFormat::Xrgb8888 => {
                for (level, bytes) in levels.iter().zip(row.chunks_exact_mut(4)) {
                    let [red, green, blue] = level.map(byte);
                    bytes.copy_from_slice(&[blue, green, red, u8::MAX]);
                }
            }
            PictureFormat::Yuyv => {
                for (pair, bytes) in levels.chunks_exact(2).zip(row.chunks_exact_mut(4)) {
                    let [cb, cr] = self.chroma(mean(pair));
                    bytes.copy_from_slice(&[self.luma(pair[0]), cb, self.luma(pair[1]), cr]);
                }
            }
            PictureFormat::Nv12 => {
                levels.iter().zip(row).for_each(|(level, byte)| *byte = self.luma(*level));
            }
        }
    }

    /// The bytes of a row of plane 1 of NV12, from the two rows of levels that share it.
    pub(super) fn nv12_chroma(&self, levels: [&[[f32; 3]]; 2], row: &mut [u8]) {
        let pairs = levels[0].chunks_exact(2).zip(levels[1].chunks_exact(2));
        for ((above, below), bytes) in pairs.zip(row.chunks_exact_mut(2)) {
            let mean = mean(&[above[0], above[1], below[0], below[1]]);
            bytes.copy_from_slice(&self.chroma(mean));
        }
    }

    fn luma(&self, levels: [f32; 3]) -> u8 {
        component(&self.yuv[0], levels)
    }

    fn chroma(&self, levels: [f32; 3]) -> [u8; 2] {
        [component(&self.yuv[1], levels), component(&self.yuv[2], levels)]
    }
}

/// The nearest byte.
fn component([of_red, of_green, of_blue, added]: &[f32; 4], [red, green, blue]: [f32; 3]) -> u8 {
    (added + 0.5 + of_red * red + of_green * green + of_blue * blue) as u8
}

fn mean(levels: &[[f32; 3]]) -> [f32; 3] {
    [0, 1, 2]
        .map(|channel| levels.iter().map(|level| level[channel]).sum::<f32>() / levels.len() as f32)
}

fn byte(level: f32) -> u8 {
    // A float beyond the range becomes its end.
    (level * 255.0 + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_colours_have_their_bytes() {
        let white_red = [[1.0; 3], [1.0, 0.0, 0.0]];
        let bytes = |format, height, length| {
            let mut row = vec![0xee; length];
            Encoder::new(format, (640, height).into()).row(&white_red, &mut row);
            row
        };
        assert_eq!(bytes(PictureFormat::Xrgb8888, 720, 8), [255, 255, 255, 255, 0, 0, 255, 255]);
        // BT.601 has red as 81, 90, 240, and BT.709 as 63, 102, 240.
        assert_eq!(bytes(PictureFormat::Nv12, 576, 2), [235, 81]);
        assert_eq!(bytes(PictureFormat::Nv12, 577, 2), [235, 63]);
        // The mean with white (128, 128).
        assert_eq!(bytes(PictureFormat::Yuyv, 480, 4), [235, 109, 81, 184]);
        assert_eq!(bytes(PictureFormat::Yuyv, 720, 4), [235, 115, 63, 184]);
        for (height, chroma) in [(576, [90, 240]), (578, [102, 240])] {
            let mut row = [0; 2];
            let encoder = Encoder::new(PictureFormat::Nv12, (640, height).into());
            encoder.nv12_chroma([&[[1.0, 0.0, 0.0]; 2], &[[1.0, 0.0, 0.0]; 2]], &mut row);
            assert_eq!(row, chroma);
        }
    }

    #[test]
    fn black_and_white_are_those_of_the_depth() {
        for format in RawFormat::all() {
            let mut out = [0; 3];
            numbers(format, 0, &[[0.0; 3], [1.0; 3], [0.5; 3]], &mut out);
            assert_eq!(out[..2], [black(format), format.white()], "{format}");
            assert_eq!(u32::from(out[0]) << (16 - format.bits()), 4096);
        }
    }
}
