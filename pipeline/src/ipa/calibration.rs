//! The calibration of a camera: its numbers for white and for colours under each lamp.
//!
//! A lamp's colour temperature is counted in mireds here, millionths of a reciprocal kelvin, in
//! which equal steps look about equal. Between the lamps that were measured, everything is
//! interpolated.
//!
//! ```text
//! ln b/g
//!   ▲    12000 K
//!   │      ●──●──●__          the locus: where white lies under each lamp;
//!   │               ●__       tint is the distance from it
//!   │                  ●_
//!   └────────────────────●──▶ ln r/g
//!                     2000 K
//! ```

use std::ops::RangeInclusive;

use super::ccm;
use crate::sensor::model::colour::{KELVIN, response, srgb_to_linear, transform};
use crate::sensor::scene::colorchecker::PATCHES;

/// The colour of light without its brightness: the natural logarithms of red to green and of blue
/// to green. A gain is a shift, and the same ratio is everywhere the same distance.
pub(super) type Chroma = [f32; 2];

/// A white: which lamp's, and its distance from the locus, in units of [`Chroma`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct White {
    pub(super) mired: f32,
    pub(super) tint: f32,
}

/// Mireds from one measured lamp to the next, about.
const STEP: f32 = 15.0;

/// Why a camera cannot be calibrated.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum CalibrationError {
    /// The range is empty, or is none of temperatures.
    #[error("{0} to {1} K is no range of colour temperatures")]
    Range(f32, f32),
    /// White has no colour.
    #[error("under {kelvin} K, the camera sees white as {white:?}: not as light of three colours")]
    White {
        /// The lamp.
        kelvin: f32,
        /// Red, green and blue.
        white: [f64; 3],
    },
    /// No colour correction follows from the chart.
    #[error("under {0} K, the chart's colours do not determine a colour correction matrix")]
    Chart(f32),
}

/// A camera's numbers for white and for colours under the lamps of a range.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// Mireds of the first lamp, the coolest.
    first: f32,
    /// Mireds from one to the next.
    step: f32,
    lamps: Vec<Lamp>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Lamp {
    white: Chroma,
    ccm: [[f32; 3]; 3],
}

impl Calibration {
    /// Measures a camera: white for the locus, and a chart for the matrices, which are those that
    /// take its patches nearest to what they are, by least squares in linear sRGB, with white kept.
    /// Patches of which the camera sees nothing in some channel are left out.
    ///
    /// `camera` says which red, green and blue it sees, in linear light above black, when a lamp of
    /// so many kelvin shines on a surface of a colour in linear sRGB; `chart` has such colours.
    pub fn new(
        camera: impl Fn(f32, [f64; 3]) -> [f64; 3],
        chart: &[[f64; 3]],
        kelvin: RangeInclusive<f32>,
    ) -> Result<Self, CalibrationError> {
        let (warmest, coolest) = kelvin.into_inner();
        let (first, last) = (1e6 / coolest, 1e6 / warmest);
        if !(warmest > 0.0 && coolest.is_finite() && first < last) {
            return Err(CalibrationError::Range(warmest, coolest));
        }
        // At most some ten thousand: nothing is warmer than 1 K.
        let count = ((last - first) / STEP).ceil().min(1e4);
        let step = (last - first) / count;
        let measure = |index: u16| {
            let kelvin = 1e6 / (first + f32::from(index) * step);
            let white = camera(kelvin, [1.0; 3]);
            if !white.iter().all(|value| value.is_finite() && *value > 0.0) {
                return Err(CalibrationError::White { kelvin, white });
            }
            let balanced = |colour: &[f64; 3]| {
                let seen = camera(kelvin, *colour);
                // A colour of which a channel sees nothing says nothing about a linear map.
                let visible = seen.iter().all(|value| *value > 0.0);
                visible.then(|| ([0, 1, 2].map(|channel| seen[channel] / white[channel]), *colour))
            };
            let (seen, meant): (Vec<_>, Vec<_>) = chart.iter().filter_map(balanced).unzip();
            let ccm = ccm::fit(&seen, &meant).ok_or(CalibrationError::Chart(kelvin))?;
            let [red, green, blue] = white;
            Ok(Lamp {
                white: [(red / green).ln() as f32, (blue / green).ln() as f32],
                ccm: ccm.map(|row| row.map(|value| value as f32)),
            })
        };
        let lamps = (0..=count as u16).map(measure).collect::<Result<_, _>>()?;
        Ok(Self { first, step, lamps })
    }

    /// The calibration of the [`sensor`](crate::sensor)'s model, by the 24 patches of a
    /// ColorChecker.
    pub fn of_sensor() -> Result<Self, CalibrationError> {
        let linear = |level: u8| f64::from(srgb_to_linear(f32::from(level) / 255.0));
        let chart = PATCHES.map(|patch| patch.map(linear));
        // A pixel sees no less than nothing.
        let camera = |kelvin: f32, colour: [f64; 3]| {
            transform(&response(kelvin), colour).map(|value| value.max(0.0))
        };
        Self::new(camera, &chart, KELVIN)
    }

    /// The white balance for a lamp: factors for red, green and blue that make its white grey; the
    /// least of them is 1. Beyond the range, those of the nearest lamp.
    pub fn gains(&self, kelvin: f32) -> [f32; 3] {
        gains(self.chroma(White { mired: 1e6 / kelvin, tint: 0.0 }))
    }

    /// The colour correction matrix for a lamp, to linear sRGB; each row adds up to 1. Beyond the
    /// range, that of the nearest lamp.
    pub fn ccm(&self, kelvin: f32) -> [[f32; 3]; 3] {
        let (index, part) = self.place(1e6 / kelvin);
        let [here, there] = [self.lamps[index], self.lamps[index + 1]];
        let between = |row: usize, column: usize| {
            let (here, there) = (here.ccm[row][column], there.ccm[row][column]);
            here + part * (there - here)
        };
        [0, 1, 2].map(|row| [0, 1, 2].map(|column| between(row, column)))
    }

    /// The mireds of the coolest lamp and of the warmest.
    pub(super) fn mireds(&self) -> (f32, f32) {
        (self.first, self.first + self.step * (self.lamps.len() - 1) as f32)
    }

    /// Where a white lies.
    pub(super) fn chroma(&self, white: White) -> Chroma {
        let (index, part) = self.place(white.mired);
        let (from, along) = self.segment(index);
        let normal = normal(along);
        [0, 1].map(|axis| from[axis] + part * along[axis] + white.tint * normal[axis])
    }

    /// The white whose place on the locus is the nearest. What is beyond an end of the locus is
    /// brought to it.
    pub(super) fn nearest(&self, [x, y]: Chroma) -> White {
        let mut best = (f32::INFINITY, White { mired: self.first, tint: 0.0 });
        for index in 0..self.lamps.len() - 1 {
            let (from, along) = self.segment(index);
            let (dx, dy) = (x - from[0], y - from[1]);
            let square = along[0] * along[0] + along[1] * along[1];
            // Lamps whose whites are the same have no direction.
            let part = match (dx * along[0] + dy * along[1]) / square {
                part if part.is_finite() => part.clamp(0.0, 1.0),
                _ => 0.0,
            };
            let (away_x, away_y) = (dx - part * along[0], dy - part * along[1]);
            let distance = away_x * away_x + away_y * away_y;
            if distance < best.0 {
                let [nx, ny] = normal(along);
                let mired = self.first + self.step * (index as f32 + part);
                best = (distance, White { mired, tint: away_x * nx + away_y * ny });
            }
        }
        best.1
    }

    /// The lamp before, and how far it is from there to the next, 0 to 1.
    fn place(&self, mired: f32) -> (usize, f32) {
        let (first, last) = self.mireds();
        // In this order, what is no number becomes the first.
        let place = (mired.max(first).min(last) - first) / self.step;
        let index = (place as usize).min(self.lamps.len() - 2);
        (index, place - index as f32)
    }

    /// A lamp's white, and the way to that of the next.
    fn segment(&self, index: usize) -> (Chroma, Chroma) {
        let [from, to] = [self.lamps[index].white, self.lamps[index + 1].white];
        (from, [to[0] - from[0], to[1] - from[1]])
    }
}

/// The direction of tint away from a piece of the locus.
fn normal([x, y]: Chroma) -> Chroma {
    let length = x.hypot(y);
    if length > 0.0 { [-y / length, x / length] } else { [0.0, 0.0] }
}

/// The factors that make a colour grey; the least of them is 1, so that what is saturated in all
/// three channels stays white.
pub(super) fn gains([red, blue]: Chroma) -> [f32; 3] {
    let least = (-red).min(-blue).min(0.0);
    [(-red - least).exp(), (-least).exp(), (-blue - least).exp()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::colour::Lab;

    fn sensor() -> Calibration {
        Calibration::of_sensor().unwrap()
    }

    #[test]
    fn white_and_patches_come_out_right_under_every_lamp() {
        let calibration = sensor();
        // Lamps between those that were measured, too.
        for kelvin in (2000..=12_000).step_by(171).map(|kelvin| kelvin as f32) {
            let gains = calibration.gains(kelvin);
            let ccm = calibration.ccm(kelvin).map(|row| row.map(f64::from));
            assert_eq!(gains.into_iter().fold(f32::INFINITY, f32::min), 1.0);
            let white = transform(&response(kelvin), [1.0; 3]);
            for patch in PATCHES {
                let linear = patch.map(|level| f64::from(srgb_to_linear(f32::from(level) / 255.0)));
                let seen = transform(&response(kelvin), linear);
                if !seen.iter().all(|value| *value > 0.0) {
                    // No matrix brings back what no pixel saw.
                    assert!(kelvin < 2800.0, "{kelvin} K, {patch:?}: {seen:?}");
                    continue;
                }
                let balanced = [0, 1, 2].map(|channel| {
                    let scale = white[1] * f64::from(gains[1]);
                    seen[channel] * f64::from(gains[channel]) / scale
                });
                let corrected = Lab::of_linear_srgb(transform(&ccm, balanced));
                let difference = corrected.difference(Lab::of_linear_srgb(linear));
                assert!(difference < 0.7, "{kelvin} K, {patch:?}: {difference}");
            }
        }
    }

    #[test]
    fn every_white_is_found_again() {
        let calibration = sensor();
        for mired in (84..500).step_by(7).map(|mired| mired as f32) {
            for tint in [-0.04, 0.0, 0.03] {
                let white = White { mired, tint };
                let found = calibration.nearest(calibration.chroma(white));
                // Where the locus bends, the tint of one piece is nearer to the next.
                assert!((found.mired - mired).abs() < 5.0, "{white:?} {found:?}");
                assert!((found.tint - tint).abs() < 2e-3, "{white:?} {found:?}");
                if tint == 0.0 {
                    assert!((found.mired - mired).abs() < 0.01, "{white:?} {found:?}");
                }
            }
        }
    }

    #[test]
    fn beyond_the_range_the_nearest_lamp_counts() {
        let calibration = sensor();
        for (beyond, nearest) in [(500.0, 2000.0), (1e9, 12_000.0), (f32::INFINITY, 12_000.0)] {
            assert_eq!(calibration.gains(beyond), calibration.gains(nearest));
            assert_eq!(calibration.ccm(beyond), calibration.ccm(nearest));
        }
        let (coolest, warmest) = calibration.mireds();
        assert_eq!(calibration.nearest([9.0, -9.0]).mired, warmest);
        assert_eq!(calibration.nearest([-9.0, 9.0]).mired, coolest);
        assert!(calibration.nearest([f32::NAN; 2]).mired.is_finite());
    }

    #[test]
    fn what_cannot_be_calibrated_is_refused() {
        let chart = [[0.4, 0.2, 0.1], [0.1, 0.5, 0.2], [0.2, 0.1, 0.6]];
        let same = |_: f32, colour: [f64; 3]| colour;
        assert!(Calibration::new(same, &chart, 2000.0..=9000.0).is_ok());
        for (warmest, coolest) in [(0.0, 9000.0), (5000.0, 5000.0), (f32::NAN, 9000.0)] {
            let refused = Calibration::new(same, &chart, warmest..=coolest);
            assert!(matches!(refused, Err(CalibrationError::Range(..))), "{warmest} {coolest}");
        }
        let blind =
            Calibration::new(|_, [red, green, _]| [red, green, 0.0], &chart, 2000.0..=9000.0);
        assert!(matches!(blind, Err(CalibrationError::White { .. })));
        let grey = Calibration::new(same, &[[0.5; 3]], 2000.0..=9000.0);
        assert!(matches!(grey, Err(CalibrationError::Chart(_))));
    }
}
