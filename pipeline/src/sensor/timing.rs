//! When rows are exposed and read: lines, blanking, and what follows from them.
//!
//! A sensor reads row after row, a row every line time: the pixels of a row, then a pause (the
//! horizontal blanking). After the last row it pauses for some lines more (the vertical blanking),
//! and the frame's length in lines, with both, is what its rate follows from. A row is reset one
//! exposure before it is read, so each row sees another moment: the rolling shutter.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Pixels that are read in a second.
const PIXEL_RATE: f64 = 1e9;

/// Horizontal blanking, in pixels.
const LINE_BLANKING: u32 = 160;

/// The shortest vertical blanking, in lines.
const FRAME_BLANKING: u32 = 45;

/// The longest frame, in lines: its register has 28 bits.
const MAX_FRAME_LINES: u32 = (1 << 28) - 1;

/// Lines of a frame that no exposure reaches: resetting and reading take their time.
const MARGIN: u32 = 8;

/// The shortest exposure, in lines.
const MIN_EXPOSURE_LINES: u32 = 1;

/// The factors by which a pixel's signal is amplified before it is converted.
pub const GAINS: RangeInclusive<f32> = 1.0..=16.0;

/// The times of a sensor that reads pictures of some size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    height: u32,
    /// Seconds of a line.
    line: f64,
    /// Lines of a frame, blanking included.
    frame_lines: u32,
}

impl Timing {
    /// As fast as pictures of this size can be read, in pixels.
    pub fn new(width: u32, height: u32) -> Self {
        let line = f64::from(width + LINE_BLANKING) / PIXEL_RATE;
        Self { height, line, frame_lines: height + FRAME_BLANKING }
    }

    /// Makes frames last this long, or as near to it as there are lines and limits for; says how
    /// long they then last. Zero makes them as short as they can be.
    pub fn set_frame_duration(&mut self, duration: Duration) -> Duration {
        let lines = (duration.as_secs_f64() / self.line).round();
        // A float beyond the range becomes its end.
        self.frame_lines = (lines as u32).clamp(self.height + FRAME_BLANKING, MAX_FRAME_LINES);
        self.frame_duration()
    }

    /// From one frame to the next.
    pub fn frame_duration(&self) -> Duration {
        self.lines(self.frame_lines)
    }

    /// The shortest and the longest that frames can last.
    pub fn frame_durations(&self) -> RangeInclusive<Duration> {
        self.lines(self.height + FRAME_BLANKING)..=self.lines(MAX_FRAME_LINES)
    }

    /// From one row to the next.
    pub fn line_duration(&self) -> Duration {
        self.lines(1)
    }

    /// From the first row's reading to the end of the last one's.
    pub fn readout(&self) -> Duration {
        self.lines(self.height)
    }

    /// The shortest and the longest exposure that fit into a frame of the present length, in
    /// microseconds.
    pub fn exposures(&self) -> RangeInclusive<f32> {
        let longest = self.frame_lines - MARGIN;
        self.microseconds(MIN_EXPOSURE_LINES)..=self.microseconds(longest)
    }

    /// The exposure that comes nearest, in microseconds: whole lines, within the limits. What is no
    /// number becomes the shortest.
    pub fn exposure(&self, microseconds: f32) -> f32 {
        let lines = (f64::from(microseconds) / (self.line * 1e6)).round() as u32;
        self.microseconds(lines.clamp(MIN_EXPOSURE_LINES, self.frame_lines - MARGIN))
    }

    /// When a row is read, to when the first one is, in seconds.
    pub(super) fn row_seconds(&self, y: usize) -> f64 {
        y as f64 * self.line
    }

    fn lines(&self, count: u32) -> Duration {
        Duration::from_secs_f64(f64::from(count) * self.line)
    }

    fn microseconds(&self, lines: u32) -> f32 {
        (f64::from(lines) * self.line * 1e6) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_follow_from_blanking() {
        let mut timing = Timing::new(1920, 1080);
        // (1920 + 160) pixels at 1 GHz are 2.08 µs; 1080 + 45 of them 2.34 ms.
        assert_eq!(timing.line_duration(), Duration::from_nanos(2080));
        assert_eq!(*timing.frame_durations().start(), Duration::from_micros(2340));
        assert_eq!(timing.readout(), Duration::from_nanos(2080 * 1080));
        assert_eq!(timing.frame_duration(), Duration::from_micros(2340));
        let longest = *timing.exposures().end();
        assert!((longest - 2.08 * 1117.0).abs() < 1e-3, "{longest}");
        let actual = timing.set_frame_duration(Duration::from_micros(33_333));
        assert!(actual.abs_diff(Duration::from_micros(33_333)) <= Duration::from_nanos(1040));
        assert!((*timing.exposures().end() - (33_333.0 - 8.0 * 2.08)).abs() < 2.0);
        assert_eq!(timing.set_frame_duration(Duration::ZERO), Duration::from_micros(2340));
        assert_eq!(timing.set_frame_duration(Duration::MAX), *timing.frame_durations().end());
    }

    #[test]
    fn exposures_are_whole_lines_within_limits() {
        let timing = Timing::new(1920, 1080);
        assert!((timing.exposure(1000.0) - 2.08 * 481.0).abs() < 1e-3);
        for wrong in [0.0, -1.0, f32::NAN, f32::NEG_INFINITY] {
            assert!((timing.exposure(wrong) - 2.08).abs() < 1e-6, "{wrong}");
        }
        assert_eq!(timing.exposure(f32::INFINITY), *timing.exposures().end());
    }
}
