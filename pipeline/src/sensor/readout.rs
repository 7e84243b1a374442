//! Which pixels of the array are read out.

use std::fmt;
use std::str::FromStr;

use crate::size::Size;

/// How the array becomes a picture: all of it, or fewer pixels for a higher rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Readout {
    /// Every pixel.
    #[default]
    Full,
    /// The mean of four pixels of the same colour: less noise, fewer pixels.
    Bin2,
    /// Every second pixel of each colour, across and down.
    Skip2,
    /// Every fourth.
    Skip4,
}

impl Readout {
    /// Every one there is.
    pub const ALL: [Self; 4] = [Self::Full, Self::Bin2, Self::Skip2, Self::Skip4];

    /// Pixels of the array to a pixel of the picture, across and down alike.
    pub fn factor(self) -> usize {
        match self {
            Self::Full => 1,
            Self::Bin2 | Self::Skip2 => 2,
            Self::Skip4 => 4,
        }
    }

    /// How many pixels of the array one of the picture is the mean of.
    pub fn averaged(self) -> usize {
        if self == Self::Bin2 { 4 } else { 1 }
    }

    /// The size of the array behind a picture of this size.
    pub fn array(self, size: Size) -> Size {
        let factor = self.factor() as u32;
        let times = |side: u32| side.saturating_mul(factor);
        Size { width: times(size.width), height: times(size.height) }
    }

    /// The columns, or rows, of the array that one of the picture is made of, where colours come
    /// back after `period` of them: 2 in a mosaic, else 1.
    pub(super) fn sources(self, at: usize, period: usize) -> impl Iterator<Item = usize> {
        let first = at / period * period * self.factor() + at % period;
        let count = if self == Self::Bin2 { 2 } else { 1 };
        (0..count).map(move |step| first + step * period)
    }
}

impl fmt::Display for Readout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Bin2 => "bin2",
            Self::Skip2 => "skip2",
            Self::Skip4 => "skip4",
        })
    }
}

/// The text names no readout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no readout: it is full, bin2, skip2 or skip4")]
pub struct ParseReadoutError(String);

impl FromStr for Readout {
    type Err = ParseReadoutError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|readout| readout.to_string() == text);
        found.ok_or_else(|| ParseReadoutError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_stay_with_their_own() {
        let sources =
            |readout: Readout, at, period| -> Vec<_> { readout.sources(at, period).collect() };
        assert_eq!(sources(Readout::Full, 5, 2), [5]);
        assert_eq!(sources(Readout::Bin2, 0, 2), [0, 2]);
        assert_eq!(sources(Readout::Bin2, 1, 2), [1, 3]);
        assert_eq!(sources(Readout::Bin2, 2, 2), [4, 6]);
        assert_eq!(sources(Readout::Bin2, 3, 1), [6, 7]);
        assert_eq!(sources(Readout::Skip4, 3, 2), [9]);
        assert_eq!(sources(Readout::Skip2, 3, 1), [6]);
        for readout in Readout::ALL {
            assert_eq!(readout.to_string().parse(), Ok(readout));
        }
        assert!("bin4".parse::<Readout>().is_err());
    }
}
