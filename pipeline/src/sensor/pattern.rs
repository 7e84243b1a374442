//! Test patterns: numbers that no lens, lamp or noise has touched.
//!
//! A program can check them: every number is known. They are made of few different rows, so that
//! making a frame is little more than writing it.

use std::fmt;
use std::str::FromStr;

use super::encode::{self, Encoding};
use super::format::{Format, PictureFormat};
use super::frame_counter;
use super::row_cache::RowCache;
use super::workers::Workers;
use crate::size::Size;

/// The colours of bars as red, green and blue, each on or off.
pub(super) const BARS: [[bool; 3]; 8] = [
    [true, true, true],
    [true, true, false],
    [false, true, true],
    [false, true, false],
    [true, false, true],
    [true, false, false],
    [false, false, true],
    [false, false, false],
];

/// A lit bar: three quarters of the way from black to saturation.
const LIT: f32 = 0.75;

/// The moving bar advances by this many columns with each frame.
const STEP: u64 = 4;

/// Which pattern.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TestPattern {
    /// Colour bars, a bar that moves, a grey ramp, and the frame's number as a [`frame_counter`].
    #[default]
    Test,
    /// Colour bars.
    ColourBars,
    /// Colour bars that fade to grey towards the bottom.
    FadeToGrey,
    /// Bits of the pseudo-random sequence PN9 (ITU-T O.150), in every number's highest nine bits.
    Pn9,
}

impl TestPattern {
    /// Every one there is.
    pub const ALL: [Self; 4] = [Self::Test, Self::ColourBars, Self::FadeToGrey, Self::Pn9];
}

impl fmt::Display for TestPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Test => "test",
            Self::ColourBars => "test:bars",
            Self::FadeToGrey => "test:fade",
            Self::Pn9 => "test:pn9",
        })
    }
}

/// The text names no test pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no test pattern: it is test, test:bars, test:fade or test:pn9")]
pub struct ParseTestPatternError(String);

impl FromStr for TestPattern {
    type Err = ParseTestPatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|pattern| pattern.to_string() == text);
        found.ok_or_else(|| ParseTestPatternError(text.to_owned()))
    }
}

/// The content of a row of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Strip,
    Bars,
    /// Bars, and one that moves over them.
    MovingBars,
    Ramp,
    Faded(usize),
    Random(usize),
}

/// Makes the frames of a pattern.
#[derive(Debug)]
pub(super) struct Painter {
    pattern: TestPattern,
    size: Size,
    /// The content of each row of the caches, and a row of the frame where it is.
    rows: Vec<(Kind, usize)>,
    /// The bytes of each plane, and of which frame they are.
    planes: Vec<(RowCache, Option<u64>)>,
    colours: Vec<[f32; 3]>,
    numbers: Vec<u16>,
    encoding: Encoding,
}

impl Painter {
    pub(super) fn new(pattern: TestPattern, format: Format, size: Size) -> Self {
        let kind = |y: usize| match pattern {
            TestPattern::Test if y < frame_counter::rows(size.rows()) => Kind::Strip,
            TestPattern::Test if y < size.rows() - size.rows() / 4 => Kind::MovingBars,
            TestPattern::Test => Kind::Ramp,
            TestPattern::ColourBars => Kind::Bars,
            TestPattern::FadeToGrey => Kind::Faded(y),
            TestPattern::Pn9 => Kind::Random(y),
        };
        // Rows of one kind differ where the colour filters do.
        let mut rows: Vec<(Kind, usize)> = Vec::new();
        let mut index = Vec::with_capacity(size.rows());
        for y in 0..size.rows() {
            let same = |row: &(Kind, usize)| row.0 == kind(y) && row.1 % 2 == y % 2;
            // A row like this one is among the last few, if there is any.
            let recent = rows.len().saturating_sub(6);
            let found = rows[recent..].iter().position(same).map(|at| recent + at);
            index.push(found.unwrap_or(rows.len()) as u32);
            if found.is_none() {
                rows.push((kind(y), y));
            }
        }
        let mut planes = Vec::new();
        match format {
            Format::Raw(raw) => {
                planes.push(RowCache::new(raw.row_bytes(size.width) as usize, index));
            }
            Format::Picture(picture) => {
                // A row of chroma is like the first of its two rows.
                let chroma = index.iter().step_by(2).copied().collect();
                let row_bytes = picture.row_bytes(size.columns());
                planes.push(RowCache::new(row_bytes, index));
                if picture == PictureFormat::Nv12 {
                    planes.push(RowCache::new(row_bytes, chroma));
                }
            }
        }
        Self {
            pattern,
            size,
            rows,
            planes: planes.into_iter().map(|cache| (cache, None)).collect(),
            colours: vec![[0.0; 3]; size.columns()],
            numbers: vec![0; size.columns()],
            encoding: Encoding::new(format, size),
        }
    }

    /// Writes a plane of a frame.
    pub(super) fn fill(
        &mut self,
        frame: u64,
        plane: usize,
        bytes: &mut [u8],
        stride: usize,
        workers: &Workers,
    ) {
        let shows = if self.pattern == TestPattern::Test { frame } else { 0 };
        let Self { size, rows, planes, colours, numbers, encoding, .. } = self;
        let Some((cache, shown)) = planes.get_mut(plane) else { return };
        if *shown != Some(shows) {
            for (row, (kind, y)) in cache.rows_mut().zip(rows) {
                paint(*kind, shows, *size, colours);
                match &*encoding {
                    Encoding::Raw(raw) => {
                        encode::numbers(*raw, *y, colours, numbers);
                        raw.pack(numbers, row);
                    }
                    Encoding::Picture(encoder) if plane == 1 => {
                        encoder.nv12_chroma([colours, colours], row);
                    }
                    Encoding::Picture(encoder) => encoder.row(colours, row),
                }
            }
            *shown = Some(shows);
        }
        cache.write(bytes, stride, workers);
    }
}

/// The levels of a row, 0 to 1.
fn paint(kind: Kind, frame: u64, size: Size, row: &mut [[f32; 3]]) {
    let width = row.len();
    let bar = |x: usize| BARS[x * BARS.len() / width].map(|on| if on { LIT } else { 0.0 });
    match kind {
        Kind::Strip => frame_counter::write(frame as u32, row, [0.0; 3], [1.0; 3]),
        Kind::Bars => row.iter_mut().enumerate().for_each(|(x, pixel)| *pixel = bar(x)),
        Kind::MovingBars => {
            paint(Kind::Bars, frame, size, row);
            row[moving_bar(frame, width)].fill([1.0; 3]);
        }
        Kind::Ramp => {
            let step = 1.0 / (width - 1) as f32;
            row.iter_mut().enumerate().for_each(|(x, pixel)| *pixel = [x as f32 * step; 3]);
        }
        Kind::Faded(y) => {
            let part = y as f32 / size.rows() as f32;
            let fade = |level: f32| level + (0.5 - level) * part;
            row.iter_mut().enumerate().for_each(|(x, pixel)| *pixel = bar(x).map(fade));
        }
        Kind::Random(y) => {
            // Each row begins elsewhere in the sequence; no state of it is zero.
            let mut state = 1 + (y * 67 % 511) as u16;
            for pixel in row {
                for _ in 0..9 {
                    state = (state << 1 | (state >> 8 ^ state >> 4) & 1) & 0x1ff;
                }
                *pixel = [f32::from(state) / 511.0; 3];
            }
        }
    }
}

/// The columns of the bar that moves.
fn moving_bar(frame: u64, width: usize) -> std::ops::Range<usize> {
    let start = (frame.wrapping_mul(STEP) % width as u64) as usize;
    start..(start + width / 32).min(width)
}
