//! The colours that a terminal of 256 colours has beside those of its theme.
//!
//! Source: `256colres.pl` of xterm. The numbers 16 to 231 are a cube of six levels for each of red,
//! green and blue; 232 to 255 are greys. What 0 to 15 look like is the theme's choice, so nothing is
//! drawn with them.

/// What a colour of the cube has of red, green or blue.
const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// The number of the cube's first colour, black.
const CUBE: u8 = 16;

/// The number of the first grey.
const GREYS: u8 = 232;

/// The number of the colour that is nearest to this one, by the distance between the two as points
/// in red, green and blue. Of several as near, the one with the lowest number.
pub(super) fn nearest(rgb: [u8; 3]) -> u8 {
    // In the cube each of the three can be chosen alone.
    let steps = rgb.map(|value| {
        let above = LEVELS.partition_point(|level| *level < value) as u8;
        let below = above.saturating_sub(1);
        if value.abs_diff(LEVELS[usize::from(below)]) <= LEVELS[usize::from(above)].abs_diff(value)
        {
            below
        } else {
            above
        }
    });
    // Of the greys, the one that is nearest to the mean of the three is the nearest.
    let sum: u32 = rgb.into_iter().map(u32::from).sum();
    let step = (sum.saturating_sub(10) / 30).min(23) as u8;
    let cube = distance(rgb, steps.map(|step| LEVELS[usize::from(step)]));
    if distance(rgb, [8 + 10 * step; 3]) < cube {
        GREYS + step
    } else {
        CUBE + 36 * steps[0] + 6 * steps[1] + steps[2]
    }
}

/// The square of the distance between two colours.
fn distance(one: [u8; 3], other: [u8; 3]) -> u32 {
    one.into_iter().zip(other).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2)).sum()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// All colours and their numbers, as xterm's script writes them down.
    fn colours() -> Vec<(u8, [u8; 3])> {
        let level = |step: u8| if step == 0 { 0 } else { step * 40 + 55 };
        let mut colours = Vec::new();
        for (red, green) in (0..36).map(|n| (n / 6, n % 6)) {
            for blue in 0..6 {
                let number = 16 + red * 36 + green * 6 + blue;
                colours.push((number, [level(red), level(green), level(blue)]));
            }
        }
        colours.extend((0..24).map(|grey| (232 + grey, [grey * 10 + 8; 3])));
        colours
    }

    fn squares(one: [u8; 3], other: [u8; 3]) -> i32 {
        (0..3).map(|n| (i32::from(one[n]) - i32::from(other[n])).pow(2)).sum()
    }

    /// What [`nearest`] is to answer, found by trying all.
    pub(in crate::terminal) fn search(rgb: [u8; 3]) -> u8 {
        colours().into_iter().min_by_key(|(_, colour)| squares(rgb, *colour)).unwrap().0
    }

    #[test]
    fn no_other_colour_is_nearer() {
        // From 0 by 15 to 255; the others fall between.
        let values = || (0..=255).step_by(15).chain((8..=255).step_by(17));
        for red in values() {
            for green in values() {
                for blue in values() {
                    let rgb = [red, green, blue];
                    assert_eq!(nearest(rgb), search(rgb), "{rgb:?}");
                }
            }
        }
    }

    #[test]
    fn each_grey_and_each_colour_of_the_palette() {
        for value in 0..=255 {
            assert_eq!(nearest([value; 3]), search([value; 3]), "{value}");
        }
        for (number, colour) in colours() {
            assert_eq!(
                squares(colours()[usize::from(nearest(colour)) - 16].1, colour),
                0,
                "{number}"
            );
        }
    }

    #[test]
    fn known_colours() {
        for (rgb, number) in [
            ([0, 0, 0], 16),
            ([255, 255, 255], 231),
            ([255, 0, 0], 196),
            ([0, 255, 0], 46),
            ([0, 0, 255], 21),
            ([95, 135, 175], 67),
            ([255, 175, 0], 214),
            ([128, 128, 128], 244),
            ([8, 8, 8], 232),
            ([238, 238, 238], 255),
        ] {
            assert_eq!(nearest(rgb), number, "{rgb:?}");
        }
    }
}
