//! Light and colour: what a lamp's white is, and what the sensor's filters make of a colour.

use std::ops::RangeInclusive;

/// Rows of a linear map between colours.
pub type Matrix = [[f64; 3]; 3];

/// The lamps that there are, in kelvin.
pub const KELVIN: RangeInclusive<f32> = 2000.0..=12_000.0;

/// Linear sRGB to XYZ, for the white of D65 (IEC 61966-2-1).
pub const RGB_TO_XYZ: Matrix = [
    [0.412_456_4, 0.357_576_1, 0.180_437_5],
    [0.212_672_9, 0.715_152_2, 0.072_175_0],
    [0.019_333_9, 0.119_192_0, 0.950_304_1],
];

/// XYZ to the responses of the eye's cones, sharpened, as Bradford's adaptation has them (ICC.1,
/// annex E).
const BRADFORD: Matrix =
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]];

/// XYZ to what this sensor's red, green and blue pixels see.
///
/// It is that of a real sensor, Canon's of the EOS 5D Mark II, as Adobe measured it under D65 for
/// DNG (`ColorMatrix2`; the same numbers are in dcraw's and LibRaw's tables). Real filters overlap,
/// so a colour matrix has real work to do, and without white balance its white is green.
pub const XYZ_TO_SENSOR: Matrix =
    [[0.4716, 0.0603, -0.0830], [-0.7798, 1.5474, 0.2480], [-0.1496, 0.1937, 0.6651]];

/// How brightness weighs red, green and blue in linear sRGB.
pub const LUMINANCE: [f32; 3] = [0.212_672_9, 0.715_152_2, 0.072_175];

/// Linear light, 0 to 1, of a level of sRGB, 0 to 1 (IEC 61966-2-1).
pub fn srgb_to_linear(level: f32) -> f32 {
    if level <= 0.040_45 { level / 12.92 } else { ((level + 0.055) / 1.055).powf(2.4) }
}

/// The level of sRGB, 0 to 1, of linear light, 0 to 1.
pub fn linear_to_srgb(light: f32) -> f32 {
    if light <= 0.003_130_8 { light * 12.92 } else { 1.055 * light.powf(1.0 / 2.4) - 0.055 }
}

/// The chromaticity of a lamp: that of a black body up to 4000 K (Kim and others, 2002), of
/// daylight from 5000 K (CIE 15), and between the two in between, so that nothing jumps.
pub fn chromaticity(kelvin: f32) -> [f64; 2] {
    let kelvin = f64::from(kelvin);
    let part = ((kelvin - 4000.0) / 1000.0).clamp(0.0, 1.0);
    let (body, day) = (black_body(kelvin), daylight(kelvin.max(4000.0)));
    [0, 1].map(|axis| body[axis] + (day[axis] - body[axis]) * part)
}

fn black_body(kelvin: f64) -> [f64; 2] {
    let t = 1000.0 / kelvin;
    let x = if kelvin <= 4000.0 {
        polynomial(t, [-0.266_123_9, -0.234_358_9, 0.877_695_6, 0.179_910])
    } else {
        polynomial(t, [-3.025_846_9, 2.107_037_9, 0.222_634_7, 0.240_390])
    };
    let y = if kelvin <= 2222.0 {
        polynomial(x, [-1.106_381_4, -1.348_110_20, 2.185_558_32, -0.202_196_83])
    } else if kelvin <= 4000.0 {
        polynomial(x, [-0.954_947_6, -1.374_185_93, 2.091_370_15, -0.167_488_67])
    } else {
        polynomial(x, [3.081_758_0, -5.873_386_70, 3.751_129_97, -0.370_014_83])
    };
    [x, y]
}

fn daylight(kelvin: f64) -> [f64; 2] {
    let t = 1000.0 / kelvin;
    let x = if kelvin <= 7000.0 {
        polynomial(t, [-4.6070, 2.9678, 0.099_11, 0.244_063])
    } else {
        polynomial(t, [-2.0064, 1.9018, 0.247_48, 0.237_040])
    };
    [x, polynomial(x, [0.0, -3.0, 2.870, -0.275])]
}

/// From the highest power down.
fn polynomial(x: f64, [cube, square, first, constant]: [f64; 4]) -> f64 {
    ((cube * x + square) * x + first) * x + constant
}

/// A lamp's white in XYZ, with a brightness of 1.
pub fn white(kelvin: f32) -> [f64; 3] {
    let [x, y] = chromaticity(kelvin);
    [x / y, 1.0, (1.0 - x - y) / y]
}

/// XYZ under D65 to what the same surface shows under this lamp, by Bradford's adaptation.
pub fn relight(kelvin: f32) -> Matrix {
    let to = transform(&BRADFORD, white(kelvin));
    let from = transform(&BRADFORD, transform(&RGB_TO_XYZ, [1.0; 3]));
    let scale = [0, 1, 2].map(|cone| to[cone] / from[cone]);
    let scaled = [0, 1, 2].map(|cone| BRADFORD[cone].map(|value| value * scale[cone]));
    product(&inverse(&BRADFORD), &scaled)
}

/// Linear sRGB of surfaces to what the sensor sees of them under this lamp.
///
/// Green of a white surface under D65 is 1.
pub fn response(kelvin: f32) -> Matrix {
    let green = transform(&XYZ_TO_SENSOR, transform(&RGB_TO_XYZ, [1.0; 3]))[1];
    let sensor = product(&XYZ_TO_SENSOR, &product(&relight(kelvin), &RGB_TO_XYZ));
    sensor.map(|row| row.map(|value| value / green))
}

/// The map of one colour.
pub fn transform(matrix: &Matrix, colour: [f64; 3]) -> [f64; 3] {
    matrix.map(|row| row.iter().zip(colour).map(|(factor, value)| factor * value).sum())
}

/// First `second`, then `first`.
pub fn product(first: &Matrix, second: &Matrix) -> Matrix {
    let column = |index: usize| [0, 1, 2].map(|row| second[row][index]);
    let columns = [0, 1, 2].map(|index| transform(first, column(index)));
    [0, 1, 2].map(|row| columns.map(|column| column[row]))
}

/// The way back; of a matrix that has none, no numbers.
pub fn inverse(m: &Matrix) -> Matrix {
    // Cofactors, in the cyclic order in which none needs a sign.
    let cofactor = |row: usize, column: usize| {
        let (a, b) = ((row + 1) % 3, (row + 2) % 3);
        let (c, d) = ((column + 1) % 3, (column + 2) % 3);
        m[a][c] * m[b][d] - m[a][d] * m[b][c]
    };
    let determinant: f64 = (0..3).map(|column| m[0][column] * cofactor(0, column)).sum();
    [0, 1, 2].map(|row| [0, 1, 2].map(|column| cofactor(column, row) / determinant))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: [f64; 2], b: [f64; 2]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1.5e-3)
    }

    #[test]
    fn known_lamps_have_their_chromaticities() {
        // CIE 15: standard illuminants A, D50 and D65.
        for (kelvin, xy) in [
            (2856.0, [0.447_57, 0.407_45]),
            (5003.0, [0.345_67, 0.358_50]),
            (6504.0, [0.3127, 0.3290]),
        ] {
            assert!(close(chromaticity(kelvin), xy), "{kelvin}: {:?}", chromaticity(kelvin));
        }
    }

    #[test]
    fn nothing_jumps() {
        let mut kelvin = *KELVIN.start();
        while kelvin < *KELVIN.end() {
            let [here, there] = [kelvin, kelvin + 1.0].map(chromaticity);
            assert!(close(here, there), "{kelvin}");
            kelvin += 1.0;
        }
    }

    #[test]
    fn matrices_have_their_ways_back() {
        let identity = product(&inverse(&BRADFORD), &BRADFORD);
        for (row, values) in identity.iter().enumerate() {
            for (column, value) in values.iter().enumerate() {
                assert!((value - f64::from(u8::from(row == column))).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn white_is_the_colour_of_the_lamp() {
        let seen = |kelvin| transform(&response(kelvin), [1.0; 3]);
        assert!((seen(6504.0)[1] - 1.0).abs() < 2e-3);
        // The cooler the lamp, the less red and the more blue.
        let ratios = [2500.0, 3500.0, 4500.0, 6500.0, 9000.0].map(|kelvin| {
            let [red, green, blue] = seen(kelvin);
            [red / green, blue / green]
        });
        assert!(ratios.windows(2).all(|pair| pair[0][0] > pair[1][0] && pair[0][1] < pair[1][1]));
    }

    #[test]
    fn levels_and_light_are_each_other_s_way_back() {
        for level in 0..=255 {
            let level = level as f32 / 255.0;
            assert!((linear_to_srgb(srgb_to_linear(level)) - level).abs() < 1e-5);
        }
    }
}
