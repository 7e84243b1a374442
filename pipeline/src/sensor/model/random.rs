//! Random numbers that depend on where and when, and on nothing else: the same pixel of the same
//! frame has the same noise, in whatever order and by however many threads frames are made.

/// Pixels that get their noise at once.
pub const BLOCK: usize = 64;

/// A number whose every bit depends on every bit of `x`, one to one (C. Wellons' `lowbias32`).
#[inline(always)]
pub fn mix(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ x >> 16
}

/// Two keys for a row of a frame (SplitMix64, by G. Steele and others, 2014).
pub fn key(seed: u64, frame: u64, row: u64) -> [u32; 2] {
    let scramble = |mut x: u64| {
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    };
    let step = |state: u64, next: u64| {
        scramble(state.wrapping_add(next).wrapping_add(0x9e37_79b9_7f4a_7c15))
    };
    let bits = step(step(step(0, seed), frame), row);
    [bits as u32, (bits >> 32) as u32]
}

/// Numbers of the normal distribution (mean 0, variance 1) for a block of a row's pixels, by the
/// method of Box and Muller: a pair of uniform numbers is a radius and an angle.
///
/// It is arithmetic without branches or tables, so that it is done for many pixels at once; its
/// logarithm is right to 1e-5, its sine to 4e-6. No number is beyond 5.8.
#[inline(always)]
pub fn normal(key: [u32; 2], block: u32, out: &mut [f32; BLOCK]) {
    const PAIRS: usize = BLOCK / 2;
    let (first, second) = out.split_at_mut(PAIRS);
    for (pair, (first, second)) in first.iter_mut().zip(second).enumerate() {
        let counter = block.wrapping_mul(PAIRS as u32).wrapping_add(pair as u32);
        let [a, b] = key.map(|key| mix(counter ^ key));
        let radius = (-2.0 * ln((a >> 8) + 1)).max(0.0).sqrt();
        // An angle within an eighth of a turn to either side of the diagonal; two more bits choose
        // the quadrant.
        let angle = ((b >> 8) as f32 * (1.0 / 16_777_216.0) - 0.5) * std::f32::consts::FRAC_PI_2;
        let square = angle * angle;
        let sine = angle
            * (1.0 + square * (-1.0 / 6.0 + square * (1.0 / 120.0 - square * (1.0 / 5040.0))));
        let cosine = 1.0 + square * (-0.5 + square * (1.0 / 24.0 - square * (1.0 / 720.0)));
        let scale = radius * std::f32::consts::FRAC_1_SQRT_2;
        let signed = |value: f32, bit: u32| f32::from_bits(value.to_bits() ^ bit << 31);
        *first = signed(scale * (cosine - sine), b & 1);
        *second = signed(scale * (cosine + sine), b >> 1 & 1);
    }
}

/// The natural logarithm of `number` over 2^24, for a number from 1 to 2^24.
#[inline(always)]
fn ln(number: u32) -> f32 {
    let bits = (number as f32).to_bits();
    let exponent = (bits >> 23) as i32 - (127 + 24);
    let mantissa = f32::from_bits(bits & 0x007f_ffff | 0x3f80_0000);
    // ln m = 2 artanh s, as its series.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let series = 2.0 + square * (2.0 / 3.0 + square * (2.0 / 5.0 + square * (2.0 / 7.0)));
    exponent as f32 * std::f32::consts::LN_2 + s * series
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: u64) -> Vec<[f32; BLOCK]> {
        let mut numbers = Vec::new();
        for row in 0..count {
            for block in 0..30 {
                let mut out = [0.0; BLOCK];
                normal(key(1, row / 100, row % 100), block, &mut out);
                numbers.push(out);
            }
        }
        numbers
    }

    #[test]
    fn the_logarithm_is_one() {
        for number in (1..1 << 24).step_by(997).chain([1 << 24]) {
            let expected = (f64::from(number) / f64::from(1 << 24)).ln();
            assert!((f64::from(ln(number)) - expected).abs() < 2e-5, "{number}");
        }
    }

    #[test]
    fn the_distribution_is_normal() {
        let numbers = rows(400);
        let flat: Vec<f64> = numbers.iter().flatten().map(|number| f64::from(*number)).collect();
        let mean = |power: i32| flat.iter().map(|n| n.powi(power)).sum::<f64>() / flat.len() as f64;
        // Limits are five standard errors of 768 000 numbers.
        assert!(mean(1).abs() < 0.006, "mean {}", mean(1));
        assert!((mean(2) - 1.0).abs() < 0.009, "variance {}", mean(2));
        assert!(mean(3).abs() < 0.023, "skewness {}", mean(3));
        assert!((mean(4) - 3.0).abs() < 0.06, "kurtosis {}", mean(4));
        let within =
            |limit: f64| flat.iter().filter(|n| n.abs() < limit).count() as f64 / flat.len() as f64;
        assert!((within(1.0) - 0.6827).abs() < 0.003, "{}", within(1.0));
        assert!((within(3.0) - 0.9973).abs() < 0.0004, "{}", within(3.0));
    }

    #[test]
    fn neighbours_have_nothing_in_common() {
        let numbers = rows(400);
        let count = (numbers.len() * BLOCK) as f64;
        let correlation = |of: &dyn Fn(usize, usize) -> f32| {
            let sum: f64 = (0..numbers.len())
                .flat_map(|block| (0..BLOCK).map(move |at| (block, at)))
                .map(|(block, at)| f64::from(numbers[block][at] * of(block, at)))
                .sum();
            sum / count
        };
        let next_pixel = correlation(&|block, at| numbers[block][(at + 1) % BLOCK]);
        let partner = correlation(&|block, at| numbers[block][(at + BLOCK / 2) % BLOCK]);
        let next_block = correlation(&|block, at| numbers[(block + 1) % numbers.len()][at]);
        let next_row = correlation(&|block, at| numbers[(block + 30) % numbers.len()][at]);
        let next_frame = correlation(&|block, at| numbers[(block + 3000) % numbers.len()][at]);
        for value in [next_pixel, partner, next_block, next_row, next_frame] {
            assert!(value.abs() < 0.006, "{value}");
        }
    }
}
