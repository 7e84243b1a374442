//! The tone curve as a table, for both ISPs.
//!
//! A table whose entries are equally far apart is too coarse where it is dark, since the power of
//! gamma is infinitely steep at 0. So its entries are spaced as floating-point numbers are: a
//! light's index is the upper bits of its `f32`, which costs a shift, and is as precise relative to
//! the light in the shadows as it is in the highlights.

use crate::params::Tone;

/// Entries of each octave: 9 bits of the mantissa.
pub(crate) const STEPS: usize = 1 << 9;
/// Octaves below 1. Light below all of them, a millionth of white, is black.
pub(crate) const OCTAVES: usize = 20;
/// Entries.
pub(crate) const ENTRIES: usize = STEPS * OCTAVES;

/// How far the bits of a light are shifted.
pub(crate) const SHIFT: u32 = f32::MANTISSA_DIGITS - 1 - STEPS.trailing_zeros();
/// The least light of the table.
pub(crate) const LEAST: f32 = 1.0 / (1 << OCTAVES) as f32;
/// The most: just below 1.
pub(crate) const MOST: f32 = 1.0 - f32::EPSILON / 2.0;

/// The entry of a light.
#[inline(always)]
#[expect(clippy::manual_clamp, reason = "what is no number becomes the least light")]
pub(crate) fn index(light: f32) -> u32 {
    (light.max(LEAST).min(MOST).to_bits() >> SHIFT) - (LEAST.to_bits() >> SHIFT)
}

/// The level of every entry, from 0 to 1.
pub(crate) fn levels(tone: &Tone) -> impl Iterator<Item = f32> {
    (0..ENTRIES).map(|index| match index {
        0 => 0.0,
        last if last == ENTRIES - 1 => 1.0,
        // The middle of what has this index.
        _ => {
            let start = ((LEAST.to_bits() >> SHIFT) + index as u32) << SHIFT;
            tone.level(f32::from_bits(start + (1 << (SHIFT - 1))))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_the_curve() {
        for gamma in [0.5, 1.0, 2.2, 2.4] {
            for contrast in [1.0, 1.5, 2.0] {
                let tone = Tone { gamma, contrast };
                let table: Vec<f32> = levels(&tone).collect();
                assert!(table.is_sorted());
                for step in 0..=65535u16 {
                    let light = f32::from(step) / 65535.0;
                    let off = (table[index(light) as usize] - tone.level(light)).abs() * 255.0;
                    assert!(off < 0.5, "{tone:?}: {light} is off by {off} levels");
                }
            }
        }
    }

    #[test]
    fn every_number_has_an_entry() {
        for light in [f32::NEG_INFINITY, -1.0, 0.0, f32::MIN_POSITIVE, LEAST] {
            assert_eq!(index(light), 0, "{light}");
        }
        for light in [MOST, 1.0, 2.0, f32::INFINITY] {
            assert_eq!(index(light) as usize, ENTRIES - 1, "{light}");
        }
    }
}
