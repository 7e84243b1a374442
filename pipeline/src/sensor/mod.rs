//! The sensor: fills raw Bayer frames in place, at its own pace.
//!
//! One picture, made so that a program can check it: colour bars, a bar that moves with every
//! frame, a grey ramp, and the frame's number as a [`strip`] of blocks along the top.

use std::ops::RangeInclusive;

use vcam_isp_gpu::Cfa;

pub mod pace;
pub mod strip;

/// What the sensor can be set to, in pixels. The lower bounds leave room for the [`strip`].
pub const WIDTHS: RangeInclusive<u32> = 128..=16_384;
/// As [`WIDTHS`], for the height.
pub const HEIGHTS: RangeInclusive<u32> = 32..=16_384;

/// The raw value of no light at all, out of 255.
pub const BLACK_LEVEL: u8 = 16;

/// The colours of the bars as red, green and blue, each on or off.
const BARS: [[bool; 3]; 8] = [
    [true, true, true],
    [true, true, false],
    [false, true, true],
    [false, true, false],
    [true, false, true],
    [true, false, false],
    [false, false, true],
    [false, false, false],
];

/// The raw value of a lit bar: three quarters of the way from black to saturation.
const LIT: u8 = 195;

/// The moving bar advances by this many columns with each frame.
const STEP: u64 = 4;

/// The frame has a size that the sensor does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the sensor has no frame of {width}x{height}: its smallest is {}x{}, its largest {}x{}",
    WIDTHS.start(), HEIGHTS.start(), WIDTHS.end(), HEIGHTS.end()
)]
pub struct SizeError {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// Whether the sensor has frames of this size.
pub fn check_size(width: u32, height: u32) -> Result<(), SizeError> {
    if WIDTHS.contains(&width) && HEIGHTS.contains(&height) {
        Ok(())
    } else {
        Err(SizeError { width, height })
    }
}

/// An 8-bit Bayer sensor of a given size.
#[derive(Debug)]
pub struct Sensor {
    width: usize,
    height: usize,
    /// An even and an odd row of colour bars.
    bars: [Vec<u8>; 2],
    /// An even and an odd row of the grey ramp; grey is the same in all channels.
    ramp: Vec<u8>,
    /// The row of the strip, made anew for each frame.
    strip: Vec<u8>,
}

impl Sensor {
    /// A sensor whose frames have this size, in pixels.
    pub fn new(width: u32, height: u32, cfa: Cfa) -> Result<Self, SizeError> {
        check_size(width, height)?;
        let (width, height) = (width as usize, height as usize);
        let bar = |x: usize, y: usize| {
            let lit = BARS[x * BARS.len() / width][cfa.colour_at(x as u32, y as u32)];
            if lit { LIT } else { BLACK_LEVEL }
        };
        let span = usize::from(u8::MAX - BLACK_LEVEL);
        let grey = |x: usize| BLACK_LEVEL + u8::try_from(x * span / (width - 1)).unwrap_or(0);
        Ok(Self {
            width,
            height,
            bars: [0, 1].map(|y| (0..width).map(|x| bar(x, y)).collect()),
            ramp: (0..width).map(grey).collect(),
            strip: vec![0; width],
        })
    }

    /// Writes frame number `sequence`, row by row and without reading what was there, so that it
    /// is as fast into uncached memory as into cached.
    ///
    /// `plane` starts with the first pixel and has rows `stride` bytes apart; rows that it is too
    /// short for are left out.
    pub fn fill(&mut self, sequence: u64, plane: &mut [u8], stride: usize) {
        strip::write(sequence as u32, &mut self.strip);
        let strip_end = strip::rows(self.height);
        let ramp_start = self.height - self.height / 4;
        let moving = self.moving_bar(sequence);
        for (y, row) in plane.chunks_mut(stride).take(self.height).enumerate() {
            let Some(row) = row.get_mut(..self.width) else { break };
            if y < strip_end {
                row.copy_from_slice(&self.strip);
            } else if y < ramp_start {
                row.copy_from_slice(&self.bars[y % 2]);
                row[moving.clone()].fill(u8::MAX);
            } else {
                row.copy_from_slice(&self.ramp);
            }
        }
    }

    /// The columns of the bar that moves.
    fn moving_bar(&self, sequence: u64) -> std::ops::Range<usize> {
        let start = (sequence.wrapping_mul(STEP) % self.width as u64) as usize;
        start..(start + self.width / 32).min(self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bounded() {
        for (width, height) in [(0, 0), (1, 1), (127, 480), (640, 31), (65_536, 65_536)] {
            assert!(Sensor::new(width, height, Cfa::Rggb).is_err(), "{width}x{height}");
        }
        assert!(Sensor::new(129, 33, Cfa::Rggb).is_ok());
    }

    #[test]
    fn a_bar_is_seen_through_its_colour_filters() {
        let (width, height) = (640, 480);
        let mut frame = vec![0; width * height];
        Sensor::new(640, 480, Cfa::Rggb).unwrap().fill(0, &mut frame, width);
        // The red bar is the sixth of eight; RGGB has red at even columns of even rows.
        let x = (640 * 11 / 16) & !1;
        let at = |x: usize, y: usize| frame[y * width + x];
        assert_eq!([at(x, 200), at(x + 1, 200)], [LIT, BLACK_LEVEL]);
        assert_eq!([at(x, 201), at(x + 1, 201)], [BLACK_LEVEL, BLACK_LEVEL]);
    }

    #[test]
    fn every_frame_differs_and_carries_its_number() {
        let (width, height, stride) = (320, 240, 512);
        let mut sensor = Sensor::new(320, 240, Cfa::Rggb).unwrap();
        let mut frames = Vec::new();
        for sequence in [0, 1, 2, 1000, u64::from(u32::MAX)] {
            let mut frame = vec![0; stride * height];
            sensor.fill(sequence, &mut frame, stride);
            assert_eq!(strip::read(width, |x| frame[x]), Some(sequence as u32));
            assert!(!frames.contains(&frame));
            frames.push(frame);
        }
    }

    #[test]
    fn padding_is_left_alone() {
        let mut frame = vec![0xaa; 512 * 240];
        Sensor::new(320, 240, Cfa::Rggb).unwrap().fill(3, &mut frame, 512);
        assert!(frame.chunks(512).all(|row| row[320..].iter().all(|byte| *byte == 0xaa)));
    }
}
