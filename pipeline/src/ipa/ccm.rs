//! The colour correction matrix that fits a chart best.

use crate::sensor::model::colour::Matrix;

/// The matrix that takes `seen` colours, white balanced, nearest to what they are `meant` to be, by
/// the sum of squares; `None` if the colours do not determine one.
///
/// White, `[1.0; 3]`, stays white: each row adds up to 1. A row `[r, 1 - r - b, b]` then has two
/// unknowns, and `r (R - G) + b (B - G) = meant - G` for each colour is solved by the normal
/// equations.
pub(super) fn fit(seen: &[[f64; 3]], meant: &[[f64; 3]]) -> Option<Matrix> {
    let differences = || seen.iter().map(|[red, green, blue]| (red - green, blue - green));
    let (mut reds, mut blues, mut both) = (0.0, 0.0, 0.0);
    for (red, blue) in differences() {
        reds += red * red;
        blues += blue * blue;
        both += red * blue;
    }
    let determinant = reds * blues - both * both;
    // Colours on one line, or no colours at all. What is no number is refused as well.
    if determinant.is_nan() || determinant <= 1e-9 * reds * blues {
        return None;
    }
    let row = |channel: usize| {
        let (mut red_sum, mut blue_sum) = (0.0, 0.0);
        for ((red, blue), (seen, meant)) in differences().zip(seen.iter().zip(meant)) {
            red_sum += red * (meant[channel] - seen[1]);
            blue_sum += blue * (meant[channel] - seen[1]);
        }
        let r = (red_sum * blues - blue_sum * both) / determinant;
        let b = (blue_sum * reds - red_sum * both) / determinant;
        [r, 1.0 - r - b, b]
    };
    let matrix = [0, 1, 2].map(row);
    matrix.as_flattened().iter().all(|value| value.is_finite()).then_some(matrix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::model::colour::transform;

    const COLOURS: [[f64; 3]; 4] =
        [[0.4, 0.2, 0.1], [0.1, 0.5, 0.2], [0.2, 0.1, 0.6], [0.5, 0.5, 0.5]];

    #[test]
    fn a_matrix_is_found_again() {
        let matrix = [[1.6, -0.5, -0.1], [-0.2, 1.5, -0.3], [0.1, -0.7, 1.6]];
        let meant = COLOURS.map(|colour| transform(&matrix, colour));
        let found = fit(&COLOURS, &meant).unwrap();
        for (found, value) in found.as_flattened().iter().zip(matrix.as_flattened()) {
            assert!((found - value).abs() < 1e-9, "{found} is not {value}");
        }
    }

    #[test]
    fn white_stays_white_even_where_nothing_fits() {
        let meant = [[0.9, 0.1, 0.3], [0.2, 0.2, 0.9], [0.7, 0.1, 0.1], [0.1, 0.9, 0.4]];
        for row in fit(&COLOURS, &meant).unwrap() {
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn colours_that_say_too_little_give_no_matrix() {
        assert_eq!(fit(&[], &[]), None);
        assert_eq!(fit(&[[0.5; 3]; 3], &[[0.5; 3]; 3]), None);
        let line = [[0.4, 0.2, 0.1], [0.8, 0.4, 0.2]];
        assert_eq!(fit(&line, &line), None);
        assert_eq!(fit(&[[f64::NAN; 3]; 3], &[[0.5; 3]; 3]), None);
    }
}
