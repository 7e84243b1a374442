//! The output's format: levels become bytes, to the nearest whole number.
//!
//! YUV is made by [`ColourSpace::from_rgb`]. A chroma sample is that of the mean of its two or four
//! pixels and so lies in their middle, as in JPEG; at an odd edge the last pixel counts twice.

use vcam_allocator::{ColourSpace, Fourcc};

use super::DevelopedImage;
use crate::view::yuv_rows;

pub(super) fn bytes(picture: &DevelopedImage, format: Fourcc, space: ColourSpace) -> Vec<Vec<u8>> {
    let pixels = |encode: fn([f32; 3]) -> u32, bytes: usize| {
        let words = picture.levels.iter().map(|levels| encode(*levels).to_le_bytes());
        vec![words.flat_map(|word| word.into_iter().take(bytes)).collect()]
    };
    let yuv = Yuv { picture, matrix: yuv_rows(space) };
    match format {
        Fourcc::XRGB8888 | Fourcc::ARGB8888 => {
            pixels(|[r, g, b]| 255 << 24 | bits(r, 8) << 16 | bits(g, 8) << 8 | bits(b, 8), 4)
        }
        Fourcc::XBGR8888 | Fourcc::ABGR8888 => {
            pixels(|[r, g, b]| 255 << 24 | bits(b, 8) << 16 | bits(g, 8) << 8 | bits(r, 8), 4)
        }
        Fourcc::XRGB2101010 => {
            pixels(|[r, g, b]| 3 << 30 | bits(r, 10) << 20 | bits(g, 10) << 10 | bits(b, 10), 4)
        }
        Fourcc::RGB565 => pixels(|[r, g, b]| bits(r, 5) << 11 | bits(g, 6) << 5 | bits(b, 5), 2),
        Fourcc::NV12 => vec![yuv.luma(), yuv.chroma(2, &[1, 2])],
        Fourcc::NV21 => vec![yuv.luma(), yuv.chroma(2, &[2, 1])],
        Fourcc::YUV420 => vec![yuv.luma(), yuv.chroma(2, &[1]), yuv.chroma(2, &[2])],
        Fourcc::YUYV => vec![yuv.yuyv()],
        other => panic!("{other} is not made here"),
    }
}

/// A level in this many bits.
fn bits(level: f32, count: u32) -> u32 {
    let most = ((1 << count) - 1) as f32;
    (level.clamp(0.0, 1.0) * most + 0.5) as u32
}

struct Yuv<'a> {
    picture: &'a DevelopedImage,
    matrix: [[f32; 4]; 3],
}

impl Yuv<'_> {
    fn level(&self, channel: usize, [r, g, b]: [f32; 3]) -> u8 {
        let [of_r, of_g, of_b, offset] = self.matrix[channel];
        bits(of_r * r + of_g * g + of_b * b + offset, 8) as u8
    }

    fn luma(&self) -> Vec<u8> {
        self.picture.levels.iter().map(|levels| self.level(0, *levels)).collect()
    }

    /// The mean of two pixels, or of two rows of two.
    fn mean(&self, column: usize, row: usize, rows: usize) -> [f32; 3] {
        let DevelopedImage { width, height, .. } = *self.picture;
        let at = |dx: usize, dy: usize| {
            let (x, y) = ((2 * column + dx).min(width - 1), (rows * row + dy).min(height - 1));
            self.picture.levels[y * width + x]
        };
        let mut sum = [0.0; 3];
        for dy in 0..rows {
            for dx in 0..2 {
                sum.iter_mut().zip(at(dx, dy)).for_each(|(sum, level)| *sum += level);
            }
        }
        sum.map(|sum| sum / (2 * rows) as f32)
    }

    /// These channels of each square of pixels.
    fn chroma(&self, rows: usize, channels: &[usize]) -> Vec<u8> {
        let mut plane = Vec::new();
        for row in 0..self.picture.height.div_ceil(rows) {
            for column in 0..self.picture.width.div_ceil(2) {
                let mean = self.mean(column, row, rows);
                plane.extend(channels.iter().map(|channel| self.level(*channel, mean)));
            }
        }
        plane
    }

    fn yuyv(&self) -> Vec<u8> {
        let chroma = self.chroma(1, &[1, 2]);
        let width = self.picture.width;
        let rows = self.picture.levels.chunks(width).zip(chroma.chunks(2 * width.div_ceil(2)));
        rows.flat_map(|(pixels, chroma)| {
            pixels.chunks(2).zip(chroma.chunks(2)).flat_map(|(pair, chroma)| {
                let luma = [pair[0], pair[pair.len() - 1]].map(|levels| self.level(0, levels));
                [luma[0], chroma[0], luma[1], chroma[1]]
            })
        })
        .collect()
    }
}
