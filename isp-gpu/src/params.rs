//! What is done to a raw frame.

use std::fmt;

/// The order of the colour filters: those of the first two pixels of the first row, then those of
/// the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Cfa {
    /// Red, green; green, blue.
    #[default]
    Rggb,
    /// Green, red; blue, green.
    Grbg,
    /// Green, blue; red, green.
    Gbrg,
    /// Blue, green; green, red.
    Bggr,
}

impl Cfa {
    /// All four orders.
    pub const ALL: [Self; 4] = [Self::Rggb, Self::Grbg, Self::Gbrg, Self::Bggr];

    /// Column and row of the first red site.
    pub const fn red(self) -> (u32, u32) {
        match self {
            Self::Rggb => (0, 0),
            Self::Grbg => (1, 0),
            Self::Gbrg => (0, 1),
            Self::Bggr => (1, 1),
        }
    }

    /// The colour that the site at this column and row sees: 0 is red, 1 green, 2 blue.
    pub const fn colour_at(self, column: u32, row: u32) -> usize {
        let (red_column, red_row) = self.red();
        ((column ^ red_column) as usize & 1) + ((row ^ red_row) as usize & 1)
    }
}

impl fmt::Display for Cfa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rggb => "RGGB",
            Self::Grbg => "GRBG",
            Self::Gbrg => "GBRG",
            Self::Bggr => "BGGR",
        })
    }
}

/// What to do to a raw frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IspParams {
    /// What the sensor reports for no light, as a fraction of full scale: from 0 to below 1.
    pub black_level: f32,
    /// White balance: factors for red, green and blue, each above 0.
    pub gains: [f32; 3],
    /// Light becomes level by the power `1 / gamma`, above 0; 1 keeps it linear.
    pub gamma: f32,
}

impl Default for IspParams {
    fn default() -> Self {
        Self { black_level: 16.0 / 255.0, gains: [1.0; 3], gamma: 2.2 }
    }
}

/// A parameter with which there is no picture.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
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
    /// The gamma is not a positive number.
    #[error("a gamma of {0} is not a number above 0")]
    Gamma(f32),
}

impl IspParams {
    /// Whether a picture can be made with these.
    pub fn validate(&self) -> Result<(), ParamsError> {
        if !(0.0..1.0).contains(&self.black_level) {
            return Err(ParamsError::BlackLevel(self.black_level));
        }
        let positive = |value: f32| value.is_finite() && value > 0.0;
        for (colour, gain) in ["red", "green", "blue"].into_iter().zip(self.gains) {
            if !positive(gain) {
                return Err(ParamsError::Gain { colour, gain });
            }
        }
        if positive(self.gamma) { Ok(()) } else { Err(ParamsError::Gamma(self.gamma)) }
    }

    /// The same, as both ISPs reckon with it.
    pub(crate) fn tone(&self) -> Tone {
        let black = self.black_level * 255.0;
        // An infinite factor would make `0 * factor` no number.
        let finite = |value: f32| value.min(f32::MAX);
        Tone {
            black,
            scale: self.gains.map(|gain| finite(gain / (255.0 - black))),
            exponent: finite(1.0 / self.gamma),
        }
    }
}

/// `((mean - black) * scale) ^ exponent`, for a mean in levels of 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tone {
    pub(crate) black: f32,
    pub(crate) scale: [f32; 3],
    pub(crate) exponent: f32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_order_has_its_letters() {
        for cfa in Cfa::ALL {
            let letters: String = [(0, 0), (1, 0), (0, 1), (1, 1)]
                .map(|(column, row)| ['R', 'G', 'B'][cfa.colour_at(column, row)])
                .iter()
                .collect();
            assert_eq!(letters, cfa.to_string());
            assert_eq!(cfa.colour_at(5, 7), cfa.colour_at(1, 1));
        }
        assert_eq!(Cfa::default(), Cfa::Rggb);
    }

    #[test]
    fn parameters_without_a_picture_are_refused() {
        let good = IspParams::default();
        assert_eq!(good.validate(), Ok(()));
        for black_level in [-0.1, 1.0, f32::NAN, f32::INFINITY] {
            let bad = IspParams { black_level, ..good };
            assert!(matches!(bad.validate(), Err(ParamsError::BlackLevel(_))), "{black_level}");
        }
        for value in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let bad = IspParams { gains: [1.0, value, 1.0], ..good };
            assert!(
                matches!(bad.validate(), Err(ParamsError::Gain { colour: "green", .. })),
                "{value}"
            );
            let bad = IspParams { gamma: value, ..good };
            assert!(matches!(bad.validate(), Err(ParamsError::Gamma(_))), "{value}");
        }
    }

    #[test]
    fn extreme_parameters_stay_numbers() {
        let params = IspParams { black_level: 0.999_999_9, gains: [f32::MAX; 3], gamma: 1e-40 };
        assert_eq!(params.validate(), Ok(()));
        let tone = params.tone();
        assert!(tone.scale.iter().all(|scale| scale.is_finite()) && tone.exponent.is_finite());
    }
}
