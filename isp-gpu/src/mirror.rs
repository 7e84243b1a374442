//! Mirrored positions, for sites outside of the frame.

/// The position inside of the frame for one that may be outside: mirrored at the border sample,
/// which is not repeated, as often as it takes. This keeps the colour of a site.
pub(crate) fn mirrored(at: isize, count: usize) -> usize {
    let period = 2 * (count as isize - 1);
    let within = at.rem_euclid(period);
    within.min(period - within) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_is_not_repeated_and_parity_is_kept() {
        let row =
            |count| (-3..count as isize + 3).map(|at| mirrored(at, count)).collect::<Vec<_>>();
        assert_eq!(row(4), [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]);
        assert_eq!(row(2), [1, 0, 1, 0, 1, 0, 1, 0]);
        assert_eq!(row(3), [1, 2, 1, 0, 1, 2, 1, 0, 1]);
    }
}
