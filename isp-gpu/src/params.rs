//! The parameters of each pass, in the order of the passes.

use crate::raw::RawFormat;

/// The parameters of a frame; the maths of each field is in [`reference`](mod@crate::reference).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IspParams {
    /// Defect correction; `None` leaves samples as they are.
    pub defects: Option<Defects>,
    /// The sensor's value for no light, as a fraction of full scale: from 0 to below 1.
    pub black_level: f32,
    /// Lens shading correction.
    pub shading: Shading,
    /// Denoising; `None` leaves noise as it is.
    pub denoise: Option<Denoise>,
    /// White balance: factors for red, green and blue, each above 0.
    pub gains: [f32; 3],
    /// How the two colours that a site did not see are found.
    pub demosaic: Demosaic,
    /// From the sensor's colours to the picture's.
    pub colour: ColourCorrection,
    /// From light to levels.
    pub tone: Tone,
    /// How much of what a small blur takes away is added once more, from 0 (nothing) to 4.
    pub sharpen: f32,
}

impl Default for IspParams {
    fn default() -> Self {
        Self {
            defects: None,
            black_level: 16.0 / 255.0,
            shading: Shading::default(),
            denoise: None,
            gains: [1.0; 3],
            demosaic: Demosaic::default(),
            colour: ColourCorrection::default(),
            tone: Tone::default(),
            sharpen: 0.0,
        }
    }
}

/// Samples that stick out are replaced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Defects {
    /// By how much a sample may exceed all its neighbours, as a fraction of full scale: 0 to 1.
    pub threshold: f32,
}

impl Defects {
    /// The threshold in values of a sample.
    pub(crate) fn steps(self, format: RawFormat) -> u32 {
        (self.threshold * f32::from(format.white()) + 0.5) as u32
    }
}

/// Lenses are darker towards the corners; this makes up for it.
///
/// The gain is `1 + c0 r^2 + c1 r^4 + c2 r^6`, where `r` is the distance from the frame's centre,
/// 1 in its corners (the polynomial of DNG's opcode `FixVignetteRadial`, cut off after `r^6`).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Shading {
    /// `c0`, `c1` and `c2` for red, green and blue; all 0 changes nothing.
    pub coefficients: [[f32; 3]; 3],
}

impl Shading {
    /// The gain of a colour (0 is red) at a squared distance from 0 to 1.
    pub fn gain(&self, colour: usize, squared: f32) -> f32 {
        let [c0, c1, c2] = self.coefficients[colour];
        1.0 + squared * (c0 + squared * (c1 + squared * c2))
    }

    /// Whether it changes nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Samples become more like those neighbours of their colour that are similar already.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Denoise {
    /// From this difference on a neighbour has no say, as a fraction of full scale: above 0 to 1.
    pub range: f32,
}

/// How the two colours that a site did not see are found; from the fastest to the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Demosaic {
    /// The mean of the neighbours that saw the colour.
    Bilinear,
    /// The same, corrected by the curvature of the colour that the site did see: the linear filters
    /// of Malvar, He and Cutler.
    #[default]
    Malvar,
    /// Green along edges and not across them, then red and blue by their difference from green: as
    /// Hamilton and Adams, with soft decisions.
    Directional,
}

impl Demosaic {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Bilinear, Self::Malvar, Self::Directional];
}

/// From the sensor's colours to the picture's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ColourCorrection {
    /// The colour correction matrix: rows give red, green and blue of the picture.
    pub matrix: [[f32; 3]; 3],
    /// 0 is grey, 1 changes nothing, up to 4.
    pub saturation: f32,
}

impl Default for ColourCorrection {
    fn default() -> Self {
        Self { matrix: IDENTITY, saturation: 1.0 }
    }
}

const IDENTITY: [[f32; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

/// How much red, green and blue light adds to what is seen as brightness (BT.709).
const LUMINANCE: [f32; 3] = [0.2126, 0.7152, 0.0722];

impl ColourCorrection {
    /// Matrix and saturation as one matrix: `s m + (1 - s) 1 l m`, with the luminance `l`.
    pub fn combined(&self) -> [[f32; 3]; 3] {
        let Self { matrix, saturation } = self;
        let grey: [f32; 3] = std::array::from_fn(|column| {
            (0..3).map(|row| LUMINANCE[row] * matrix[row][column]).sum()
        });
        matrix.map(|row| {
            std::array::from_fn(|column| {
                saturation * row[column] + (1.0 - saturation) * grey[column]
            })
        })
    }

    /// Whether it changes nothing.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// From light to levels.
///
/// `v = light ^ (1 / gamma)`, then contrast around the middle: `level = (2v)^c / 2` up to `v =
/// 1/2`, and `1 - (2 - 2v)^c / 2` above.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tone {
    /// From 0.25 to 5; 1 keeps levels proportional to light.
    pub gamma: f32,
    /// From 0.25 to 4; 1 changes nothing, more is steeper in the middle.
    pub contrast: f32,
}

impl Default for Tone {
    fn default() -> Self {
        Self { gamma: 2.2, contrast: 1.0 }
    }
}

impl Tone {
    /// The level of light, both from 0 to 1.
    pub fn level(&self, light: f32) -> f32 {
        let value = light.clamp(0.0, 1.0).powf(1.0 / self.gamma);
        match self.contrast {
            1.0 => value,
            contrast if value <= 0.5 => 0.5 * (2.0 * value).powf(contrast),
            contrast => 1.0 - 0.5 * (2.0 - 2.0 * value).powf(contrast),
        }
    }
}

/// A parameter with which there is no picture.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ParamsError {
    /// The black level leaves no range, or is not a number.
    #[error("a black level of {0} is not a fraction of full scale, from 0 to below 1")]
    BlackLevel(f32),
    /// A gain is not a positive number.
    #[error("a gain of {gain} for {colour} is not a number above 0")]
    Gain {
        /// `red`, `green` or `blue`.
        colour: &'static str,
        /// The gain.
        gain: f32,
    },
    /// The lens shading correction makes light vanish, or is not a number.
    #[error("the lens shading correction of {colour} is {gain} somewhere, and not from 0.1 to 32")]
    Shading {
        /// `red`, `green` or `blue`.
        colour: &'static str,
        /// The gain.
        gain: f32,
    },
    /// The colour correction matrix has something else than numbers.
    #[error("the colour correction matrix has {0} among its numbers")]
    Matrix(f32),
    /// A number is not in its range.
    #[error("{what} of {value} is not from {} to {}", range.0, range.1)]
    Range {
        /// The parameter.
        what: &'static str,
        /// Its value.
        value: f32,
        /// The least and the most.
        range: (f32, f32),
    },
}

const COLOURS: [&str; 3] = ["red", "green", "blue"];

impl IspParams {
    /// Checks that a picture can be made with these.
    pub fn validate(&self) -> Result<(), ParamsError> {
        if !(0.0..1.0).contains(&self.black_level) {
            return Err(ParamsError::BlackLevel(self.black_level));
        }
        for (colour, gain) in COLOURS.into_iter().zip(self.gains) {
            if !gain.is_finite() || gain <= 0.0 {
                return Err(ParamsError::Gain { colour, gain });
            }
        }
        for (index, colour) in COLOURS.into_iter().enumerate() {
            // A polynomial of the third degree does not hide between 65 points.
            for point in 0..=64u8 {
                let gain = self.shading.gain(index, f32::from(point) / 64.0);
                if !(0.1..=32.0).contains(&gain) {
                    return Err(ParamsError::Shading { colour, gain });
                }
            }
        }
        let numbers = self.colour.matrix.as_flattened();
        if let Some(number) = numbers.iter().find(|number| !number.is_finite()) {
            return Err(ParamsError::Matrix(*number));
        }
        let in_range = |what, value: f32, range: (f32, f32)| {
            let inside = (range.0..=range.1).contains(&value);
            if inside { Ok(()) } else { Err(ParamsError::Range { what, value, range }) }
        };
        if let Some(Defects { threshold }) = self.defects {
            in_range("a defect threshold", threshold, (0.0, 1.0))?;
        }
        if let Some(Denoise { range }) = self.denoise {
            in_range("a denoising range", range, (1e-3, 1.0))?;
        }
        in_range("a saturation", self.colour.saturation, (0.0, 4.0))?;
        in_range("a gamma", self.tone.gamma, (0.25, 5.0))?;
        in_range("a contrast", self.tone.contrast, (0.25, 4.0))?;
        in_range("a sharpness", self.sharpen, (0.0, 4.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_without_a_picture_are_refused() {
        type Set = fn(&mut IspParams, f32);
        let refused = |set: Set, value| {
            let mut params = IspParams::default();
            set(&mut params, value);
            params.validate().is_err()
        };
        assert_eq!(IspParams::default().validate(), Ok(()));
        let fields: [(Set, &[f32], &[f32]); 9] = [
            (|p, v| p.black_level = v, &[0.0, 0.5], &[-0.1, 1.0]),
            (|p, v| p.gains[1] = v, &[0.01, 100.0], &[0.0, -1.0]),
            (|p, v| p.defects = Some(Defects { threshold: v }), &[0.0, 1.0], &[-0.1, 1.1]),
            (|p, v| p.denoise = Some(Denoise { range: v }), &[0.01, 1.0], &[0.0, 1.1]),
            (|p, v| p.shading.coefficients[2][1] = v, &[0.0, 3.0], &[-1.0, 1e9]),
            (|p, v| p.colour.saturation = v, &[0.0, 4.0], &[-1.0, 5.0]),
            (|p, v| p.tone.gamma = v, &[0.25, 5.0], &[0.0, -1.0, 6.0]),
            (|p, v| p.tone.contrast = v, &[0.25, 4.0], &[0.0, 5.0]),
            (|p, v| p.sharpen = v, &[0.0, 4.0], &[-0.1, 4.1]),
        ];
        for (index, (set, good, bad)) in fields.into_iter().enumerate() {
            for value in good {
                assert!(!refused(set, *value), "{index}: {value}");
            }
            for value in bad.iter().copied().chain([f32::NAN, f32::INFINITY]) {
                assert!(refused(set, value), "{index}: {value}");
            }
        }
        assert!(refused(|params, value| params.colour.matrix[2][0] = value, f32::NAN));
    }

    #[test]
    fn without_saturation_all_three_are_the_luminance() {
        let colour = ColourCorrection { saturation: 0.0, ..ColourCorrection::default() };
        assert_eq!(colour.combined(), [LUMINANCE; 3]);
        assert_eq!(ColourCorrection::default().combined(), IDENTITY);
    }

    #[test]
    fn tone_keeps_black_white_and_the_order_between() {
        for gamma in [0.25, 1.0, 2.2, 5.0] {
            for contrast in [0.25, 1.0, 1.5, 4.0] {
                let tone = Tone { gamma, contrast };
                assert_eq!((tone.level(-1.0), tone.level(0.0)), (0.0, 0.0));
                assert_eq!((tone.level(1.0), tone.level(7.0)), (1.0, 1.0));
                let levels: Vec<f32> = (0..=100).map(|at| tone.level(at as f32 / 100.0)).collect();
                assert!(levels.is_sorted(), "{tone:?}");
            }
        }
        assert_eq!(Tone { gamma: 1.0, contrast: 2.0 }.level(0.25), 0.125);
        assert_eq!(Tone { gamma: 1.0, contrast: 2.0 }.level(0.75), 0.875);
    }
}
