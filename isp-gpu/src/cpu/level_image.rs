//! A whole picture of levels, for the passes that need more than a row: sharpening, cropping,
//! scaling and rotating.

use multiversion::multiversion;

use super::bands::in_bands;
use super::levels::{HALF, UNIT, coded, decoded};
use super::thread_pool::ThreadPool;
use crate::reference::LUMA;
use crate::view::{Axis, Orientation, View};

/// Levels: of each row red, then green, then blue.
#[derive(Debug, Default)]
pub(super) struct LevelImage {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) codes: Vec<u16>,
}

impl LevelImage {
    pub(super) fn fit(&mut self, width: usize, height: usize) {
        (self.width, self.height) = (width, height);
        self.codes.resize(3 * width * height, 0);
    }

    pub(super) fn row(&self, y: usize) -> [&[u16]; 3] {
        let row = &self.codes[3 * self.width * y..][..3 * self.width];
        [0, 1, 2].map(|channel| &row[channel * self.width..][..self.width])
    }

    /// Becomes the sharpened copy of another image.
    pub(super) fn sharpen(&mut self, from: &Self, amount: f32, pool: &mut ThreadPool) {
        let Self { width, height, .. } = *from;
        self.fit(width, height);
        in_bands(pool, height, &mut self.codes, 3 * width, &|_, rows, band| {
            for (y, out) in rows.zip(band.chunks_exact_mut(3 * width)) {
                let around = [y.saturating_sub(1), y, (y + 1).min(height - 1)];
                sharpen(around.map(|y| from.row(y)), amount, out);
            }
        });
    }
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn sharpen(rows: [[&[u16]; 3]; 3], amount: f32, out: &mut [u16]) {
    let width = rows[0][0].len();
    let luma = |dy: usize, x: usize| {
        let [r, g, b] = rows[dy].map(|row| f32::from(row[x]));
        LUMA[0] * r + LUMA[1] * g + LUMA[2] * b
    };
    let column = |x: usize| luma(0, x) + 2.0 * luma(1, x) + luma(2, x);
    let (red, rest) = out.split_at_mut(width);
    let (green, blue) = rest.split_at_mut(width);
    for x in 0..width {
        let blurred =
            (column(x.saturating_sub(1)) + 2.0 * column(x) + column((x + 1).min(width - 1)))
                * (1.0 / 16.0);
        let detail = amount * (luma(1, x) - blurred);
        let sharp = |row: &[u16]| {
            (f32::from(row[x]) + detail).clamp(HALF, HALF + 255.0 * UNIT).round_ties_even() as u16
        };
        red[x] = sharp(rows[1][0]);
        green[x] = sharp(rows[1][1]);
        blue[x] = sharp(rows[1][2]);
    }
}

/// The filter weights of an axis, computed once for its size and place.
#[derive(Debug, Default)]
struct Taps {
    of: Option<(Axis, u32)>,
    /// The first pixel for each pixel of the output, and how many taps it has.
    starts: Vec<(u32, u32)>,
    /// Their weights, which add up to 1.
    weights: Vec<f32>,
}

impl Taps {
    fn fit(&mut self, axis: Axis, count: u32) {
        if self.of == Some((axis, count)) {
            return;
        }
        self.of = Some((axis, count));
        self.starts.clear();
        self.weights.clear();
        for at in 0..count {
            let first = axis.taps(at).next().map_or(0, |(pixel, _)| pixel as u32);
            let sum: f32 = axis.taps(at).map(|(_, weight)| weight).sum();
            let before = self.weights.len();
            self.weights.extend(axis.taps(at).map(|(_, weight)| weight / sum));
            self.starts.push((first, (self.weights.len() - before) as u32));
        }
    }

    /// The taps of all pixels of the output, one after the other.
    fn all(&self) -> impl Iterator<Item = (usize, &[f32])> {
        self.starts.iter().scan(0, |used, (first, count)| {
            let weights = &self.weights[*used..][..*count as usize];
            *used += *count as usize;
            Some((*first as usize, weights))
        })
    }
}

/// Crops, scales and rotates for one output, with the memory that it needs.
#[derive(Debug, Default)]
pub(super) struct Resampler {
    across: Taps,
    down: Taps,
    /// The frame's rows, each as wide as the output's picture before it is turned.
    narrow: Vec<f32>,
    shown: LevelImage,
}

impl Resampler {
    /// Returns the picture as an output of this size shows it: the picture itself if it is shown
    /// whole.
    pub(super) fn show<'a>(
        &'a mut self,
        picture: &'a LevelImage,
        view: &View,
        size: (u32, u32),
        pool: &mut ThreadPool,
    ) -> &'a LevelImage {
        let frame = (picture.width as u32, picture.height as u32);
        if view.is_whole(frame, size) {
            return picture;
        }
        let [across, down] = view.mapping(frame, size);
        let Orientation { transpose, .. } = view.orientation;
        let (columns, rows) = view.orientation.size(size);
        self.across.fit(across, columns);
        self.down.fit(down, rows);
        // First each row of the frame becomes as wide as it is to be.
        let columns = columns as usize;
        self.narrow.resize(3 * columns * picture.height, 0.0);
        let taps = &self.across;
        in_bands(pool, picture.height, &mut self.narrow, 3 * columns, &|_, rows, band| {
            for (y, out) in rows.zip(band.chunks_exact_mut(3 * columns)) {
                for (from, out) in picture.row(y).into_iter().zip(out.chunks_exact_mut(columns)) {
                    for ((first, weights), out) in taps.all().zip(out) {
                        let levels = from[first..].iter().zip(weights);
                        *out = levels.map(|(code, weight)| decoded(*code) * weight).sum();
                    }
                }
            }
        });
        // Then rows are mixed, and turned if they are to be columns.
        let (width, height) = (size.0 as usize, size.1 as usize);
        self.shown.fit(width, height);
        let (narrow, taps) = (&self.narrow, &self.down);
        let level = |first: usize, weights: &[f32], channel: usize, column: usize| {
            let at = |row: usize| narrow[(3 * row + channel) * columns + column];
            coded(weights.iter().zip(first..).map(|(weight, row)| at(row) * weight).sum())
        };
        in_bands(pool, height, &mut self.shown.codes, 3 * width, &|_, rows, band| {
            if transpose {
                for (y, out) in rows.zip(band.chunks_exact_mut(3 * width)) {
                    for (channel, out) in out.chunks_exact_mut(width).enumerate() {
                        for ((first, weights), out) in taps.all().zip(out) {
                            *out = level(first, weights, channel, y);
                        }
                    }
                }
            } else {
                let taps = taps.all().skip(rows.start);
                for ((first, weights), out) in taps.zip(band.chunks_exact_mut(3 * width)) {
                    for (channel, out) in out.chunks_exact_mut(width).enumerate() {
                        for (column, out) in out.iter_mut().enumerate() {
                            *out = level(first, weights, channel, column);
                        }
                    }
                }
            }
        });
        &self.shown
    }
}
