//! What is known of the sensor beforehand: how it sees white under each lamp, and what makes true
//! colours of what it sees.
//!
//! A maker measures this with a chart under a few lamps. Here it is reckoned from the sensor's own
//! matrix, at as few lamps; between them it is interpolated, as it must be with any sensor.

use crate::sensor::model::colour::{
    self, KELVIN, RGB_TO_XYZ, inverse, product, relight, transform,
};

/// The lamps that the sensor is tuned under, in kelvin.
const LAMPS: [f32; 9] = [2000.0, 2400.0, 2856.0, 3500.0, 4200.0, 5000.0, 6500.0, 8500.0, 12_000.0];

/// What is known of one lamp.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lamp {
    /// Its colour temperature.
    pub kelvin: f32,
    /// Red and blue of white, as parts of green.
    pub white: [f32; 2],
    /// White-balanced colours of the sensor to linear sRGB; grey stays grey.
    pub matrix: [[f32; 3]; 3],
}

/// What is known of a sensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    lamps: Vec<Lamp>,
}

impl Default for Tuning {
    /// That of vcam's sensor.
    fn default() -> Self {
        Self { lamps: LAMPS.map(measured).to_vec() }
    }
}

/// Measures the sensor under a lamp.
fn measured(kelvin: f32) -> Lamp {
    let response = colour::response(kelvin);
    let [red, green, blue] = transform(&response, [1.0; 3]);
    // From what the sensor sees to the surface's colour; both matrices see the same lamp.
    let to_xyz =
        product(&inverse(&relight(kelvin)), &product(&lamp_xyz(kelvin), &inverse(&response)));
    let to_rgb = product(&inverse(&RGB_TO_XYZ), &to_xyz);
    let balanced = [red, green, blue];
    let matrix =
        to_rgb.map(|row| [0, 1, 2].map(|channel| (row[channel] * balanced[channel]) as f32));
    Lamp { kelvin, white: [(red / green) as f32, (blue / green) as f32], matrix }
}

/// Linear sRGB of surfaces to XYZ under the lamp.
fn lamp_xyz(kelvin: f32) -> colour::Matrix {
    product(&relight(kelvin), &RGB_TO_XYZ)
}

impl Tuning {
    /// What is known of a lamp of this temperature, or of the nearest that there is.
    ///
    /// Between lamps it is interpolated by reciprocal temperature, along which colour changes
    /// evenly.
    pub fn at(&self, kelvin: f32) -> Lamp {
        let kelvin = kelvin.max(*KELVIN.start()).min(*KELVIN.end());
        let after = self.lamps.partition_point(|lamp| lamp.kelvin < kelvin);
        let upper = &self.lamps[after.min(self.lamps.len() - 1)];
        let lower = &self.lamps[after.saturating_sub(1)];
        let span = 1.0 / lower.kelvin - 1.0 / upper.kelvin;
        let part = if span > 0.0 { (1.0 / lower.kelvin - 1.0 / kelvin) / span } else { 0.0 };
        let mix = |low: f32, high: f32| low + (high - low) * part;
        Lamp {
            kelvin,
            white: [0, 1].map(|at| mix(lower.white[at], upper.white[at])),
            matrix: [0, 1, 2].map(|row| {
                [0, 1, 2].map(|column| mix(lower.matrix[row][column], upper.matrix[row][column]))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_stays_grey_and_colours_become_true() {
        let tuning = Tuning::default();
        for kelvin in LAMPS {
            let lamp = tuning.at(kelvin);
            for row in lamp.matrix {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-4, "{kelvin} {row:?}");
            }
            for rgb in [[0.5, 0.2, 0.1], [0.1, 0.4, 0.2], [0.2, 0.2, 0.6]] {
                let seen = transform(&colour::response(kelvin), rgb);
                let green = transform(&colour::response(kelvin), [1.0; 3])[1];
                let balanced = [
                    seen[0] / f64::from(lamp.white[0]),
                    seen[1],
                    seen[2] / f64::from(lamp.white[1]),
                ]
                .map(|light| light / green);
                for (row, true_colour) in lamp.matrix.iter().zip(rgb) {
                    let sum: f64 = row.iter().zip(balanced).map(|(a, b)| f64::from(*a) * b).sum();
                    assert!((sum - true_colour).abs() < 1e-4, "{kelvin} {rgb:?}");
                }
            }
        }
    }

    #[test]
    fn between_lamps_it_is_nearly_as_if_measured() {
        let tuning = Tuning::default();
        for kelvin in [2250.0, 2800.0, 3700.0, 4700.0, 6500.0, 9500.0] {
            let (between, there) = (tuning.at(kelvin), measured(kelvin));
            for (here, there) in between.white.iter().zip(there.white) {
                assert!((here / there - 1.0).abs() < 0.02, "{kelvin}: {here} {there}");
            }
        }
        assert_eq!(tuning.at(f32::NAN), tuning.at(2000.0));
        assert_eq!(tuning.at(1e6), tuning.at(12_000.0));
    }
}
