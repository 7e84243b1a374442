//! How different two colours look: CIE L\*a\*b\* and CIEDE2000.
//!
//! A difference of 1 is about the smallest that an eye sees side by side; below 3, a picture looks
//! right.

use crate::sensor::model::colour::{RGB_TO_XYZ, transform};

/// A colour in CIE L\*a\*b\*, under D65.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lab {
    /// Lightness, from 0 (black) to 100 (white).
    pub l: f64,
    /// From green (below 0) to red.
    pub a: f64,
    /// From blue (below 0) to yellow.
    pub b: f64,
}

impl Lab {
    /// The colour of linear light in the primaries of sRGB, 0 to 1 each; whatever has three equal
    /// values is grey (CIE 15:2018, 8.2.1).
    pub fn of_linear_srgb(light: [f64; 3]) -> Self {
        let white = transform(&RGB_TO_XYZ, [1.0; 3]);
        let seen = transform(&RGB_TO_XYZ, light);
        let [x, y, z] = [0, 1, 2].map(|axis| compressed(seen[axis] / white[axis]));
        Self { l: 116.0 * y - 16.0, a: 500.0 * (x - y), b: 200.0 * (y - z) }
    }

    /// The grey that is as light.
    #[must_use]
    pub fn grey(self) -> Self {
        Self { a: 0.0, b: 0.0, ..self }
    }

    /// How different two colours look: ΔE by CIEDE2000 with all weights 1, as Sharma, Wu and Dalal
    /// write it ("The CIEDE2000 color-difference formula", Color Research & Application 30, 2005).
    pub fn difference(self, other: Self) -> f64 {
        let chroma = |lab: Self| lab.a.hypot(lab.b);
        // Near grey, a is stretched.
        let stretch = 1.0 + 0.5 * (1.0 - saturating((chroma(self) + chroma(other)) / 2.0));
        let [here, there] = [self, other].map(|lab| Self { a: lab.a * stretch, ..lab });
        let [chroma_here, chroma_there] = [here, there].map(chroma);
        let grey = chroma_here * chroma_there == 0.0;
        // Degrees from 0 to below 360.
        let [hue_here, hue_there] = [here, there].map(|lab| match grey && chroma(lab) == 0.0 {
            true => 0.0,
            false => lab.b.atan2(lab.a).to_degrees().rem_euclid(360.0),
        });

        let turn = match hue_there - hue_here {
            _ if grey => 0.0,
            turn if turn > 180.0 => turn - 360.0,
            turn if turn < -180.0 => turn + 360.0,
            turn => turn,
        };
        let lightness_apart = there.l - here.l;
        let chroma_apart = chroma_there - chroma_here;
        let hue_apart = 2.0 * (chroma_here * chroma_there).sqrt() * (turn / 2.0).to_radians().sin();

        let lightness = (here.l + there.l) / 2.0;
        let chroma = (chroma_here + chroma_there) / 2.0;
        let hue = match hue_here + hue_there {
            sum if grey => sum,
            sum if (hue_here - hue_there).abs() <= 180.0 => sum / 2.0,
            sum if sum < 360.0 => (sum + 360.0) / 2.0,
            sum => (sum - 360.0) / 2.0,
        };

        let cosine = |degrees: f64| degrees.to_radians().cos();
        let tone = 1.0 - 0.17 * cosine(hue - 30.0)
            + 0.24 * cosine(2.0 * hue)
            + 0.32 * cosine(3.0 * hue + 6.0)
            - 0.20 * cosine(4.0 * hue - 63.0);
        let middle = (lightness - 50.0).powi(2);
        let lightness_part = lightness_apart / (1.0 + 0.015 * middle / (20.0 + middle).sqrt());
        let chroma_part = chroma_apart / (1.0 + 0.045 * chroma);
        let hue_part = hue_apart / (1.0 + 0.015 * chroma * tone);
        // Blues turn towards purple as they get paler.
        let blue = 30.0 * (-((hue - 275.0) / 25.0).powi(2)).exp();
        let rotation = -(2.0 * blue).to_radians().sin() * 2.0 * saturating(chroma);

        let squares = lightness_part.powi(2) + chroma_part.powi(2) + hue_part.powi(2);
        (squares + rotation * chroma_part * hue_part).sqrt()
    }
}

/// The cube root, with a line for a start.
fn compressed(value: f64) -> f64 {
    const EDGE: f64 = 6.0 / 29.0;
    if value > EDGE.powi(3) { value.cbrt() } else { value / (3.0 * EDGE * EDGE) + 4.0 / 29.0 }
}

/// From 0 for greys to 1 for chromas well above 25.
fn saturating(chroma: f64) -> f64 {
    let power = chroma.powi(7);
    (power / (power + 25_f64.powi(7))).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Table 1 of Sharma, Wu and Dalal: two colours and their difference.
    const PAIRS: [([f64; 3], [f64; 3], f64); 34] = [
        ([50.0000, 2.6772, -79.7751], [50.0000, 0.0000, -82.7485], 2.0425),
        ([50.0000, 3.1571, -77.2803], [50.0000, 0.0000, -82.7485], 2.8615),
        ([50.0000, 2.8361, -74.0200], [50.0000, 0.0000, -82.7485], 3.4412),
        ([50.0000, -1.3802, -84.2814], [50.0000, 0.0000, -82.7485], 1.0000),
        ([50.0000, -1.1848, -84.8006], [50.0000, 0.0000, -82.7485], 1.0000),
        ([50.0000, -0.9009, -85.5211], [50.0000, 0.0000, -82.7485], 1.0000),
        ([50.0000, 0.0000, 0.0000], [50.0000, -1.0000, 2.0000], 2.3669),
        ([50.0000, -1.0000, 2.0000], [50.0000, 0.0000, 0.0000], 2.3669),
        ([50.0000, 2.4900, -0.0010], [50.0000, -2.4900, 0.0009], 7.1792),
        ([50.0000, 2.4900, -0.0010], [50.0000, -2.4900, 0.0010], 7.1792),
        ([50.0000, 2.4900, -0.0010], [50.0000, -2.4900, 0.0011], 7.2195),
        ([50.0000, 2.4900, -0.0010], [50.0000, -2.4900, 0.0012], 7.2195),
        ([50.0000, -0.0010, 2.4900], [50.0000, 0.0009, -2.4900], 4.8045),
        ([50.0000, -0.0010, 2.4900], [50.0000, 0.0010, -2.4900], 4.8045),
        ([50.0000, -0.0010, 2.4900], [50.0000, 0.0011, -2.4900], 4.7461),
        ([50.0000, 2.5000, 0.0000], [50.0000, 0.0000, -2.5000], 4.3065),
        ([50.0000, 2.5000, 0.0000], [73.0000, 25.0000, -18.0000], 27.1492),
        ([50.0000, 2.5000, 0.0000], [61.0000, -5.0000, 29.0000], 22.8977),
        ([50.0000, 2.5000, 0.0000], [56.0000, -27.0000, -3.0000], 31.9030),
        ([50.0000, 2.5000, 0.0000], [58.0000, 24.0000, 15.0000], 19.4535),
        ([50.0000, 2.5000, 0.0000], [50.0000, 3.1736, 0.5854], 1.0000),
        ([50.0000, 2.5000, 0.0000], [50.0000, 3.2972, 0.0000], 1.0000),
        ([50.0000, 2.5000, 0.0000], [50.0000, 1.8634, 0.5757], 1.0000),
        ([50.0000, 2.5000, 0.0000], [50.0000, 3.2592, 0.3350], 1.0000),
        ([60.2574, -34.0099, 36.2677], [60.4626, -34.1751, 39.4387], 1.2644),
        ([63.0109, -31.0961, -5.8663], [62.8187, -29.7946, -4.0864], 1.2630),
        ([61.2901, 3.7196, -5.3901], [61.4292, 2.2480, -4.9620], 1.8731),
        ([35.0831, -44.1164, 3.7933], [35.0232, -40.0716, 1.5901], 1.8645),
        ([22.7233, 20.0904, -46.6940], [23.0331, 14.9730, -42.5619], 2.0373),
        ([36.4612, 47.8580, 18.3852], [36.2715, 50.5065, 21.2231], 1.4146),
        ([90.8027, -2.0831, 1.4410], [91.1528, -1.6435, 0.0447], 1.4441),
        ([90.9257, -0.5406, -0.9208], [88.6381, -0.8985, -0.7239], 1.5381),
        ([6.7747, -0.2908, -2.4247], [5.8714, -0.0985, -2.2286], 0.6377),
        ([2.0776, 0.0795, -1.1350], [0.9033, -0.0636, -0.5514], 0.9082),
    ];

    fn lab([l, a, b]: [f64; 3]) -> Lab {
        Lab { l, a, b }
    }

    #[test]
    fn differences_are_those_of_the_published_pairs() {
        for (here, there, expected) in PAIRS {
            for (one, other) in [(here, there), (there, here)] {
                let difference = lab(one).difference(lab(other));
                assert!((difference - expected).abs() < 1e-4, "{one:?} {other:?}: {difference}");
            }
        }
    }

    #[test]
    fn greys_differ_in_lightness_alone() {
        for level in [0.0, 0.001, 0.18, 0.5, 1.0] {
            let grey = Lab::of_linear_srgb([level; 3]);
            assert!(grey.a.abs() < 1e-9 && grey.b.abs() < 1e-9, "{grey:?}");
            assert!(grey.difference(grey.grey()) < 1e-9);
        }
        assert!((Lab::of_linear_srgb([1.0; 3]).l - 100.0).abs() < 1e-9);
        assert!((Lab::of_linear_srgb([0.184_187; 3]).l - 50.0).abs() < 1e-3);
    }

    #[test]
    fn red_is_where_it_belongs() {
        // As computed from IEC 61966-2-1 and CIE 15 with the white of D65.
        let red = Lab::of_linear_srgb([1.0, 0.0, 0.0]);
        let expected = lab([53.2408, 80.0925, 67.2032]);
        assert!(red.difference(expected) < 0.01, "{red:?}");
    }
}
