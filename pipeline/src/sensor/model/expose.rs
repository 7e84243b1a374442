//! From light to numbers: what a row of pixels makes of the light that falls on it.

use multiversion::multiversion;

use super::random::{BLOCK, normal};

/// Electrons that a pixel holds. At a gain of 1, a full pixel is white.
pub const FULL_WELL: f32 = 10_000.0;

/// Electrons that a white surface in one lux frees in one second in a green pixel.
///
/// A surface that reflects all light sends a sixteenth of its illuminance through a lens of f/2; 16
/// 000 electrons a lux-second are those of a pixel of about 3 µm. So a white surface in an office
/// (500 lux) half fills a pixel in 10 ms.
pub const ELECTRONS_PER_LUX_SECOND: f32 = 1000.0;

/// Standard deviation of what reading a pixel adds, in electrons.
pub const READ_NOISE: f32 = 3.0;

/// The exposure of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exposure {
    /// Electrons of a pixel that gets a light of 1.
    pub electrons: f32,
    /// Numbers of the converter to an electron.
    pub numbers: f32,
    /// The number of no light.
    pub black: f32,
    /// The highest number.
    pub white: f32,
    /// The part of the noise's variance that is left: below 1 where several pixels are averaged.
    /// None at all makes an ideal sensor.
    pub variance: f32,
}

/// Turns light into numbers.
///
/// The numbers of a row depend on the light, the exposure and the key alone, and not on the
/// instructions that the machine has: nothing is fused, and a square root is exact.
#[multiversion(targets(
    "x86_64+avx512f+avx512bw+avx512dq+avx512vl",
    "x86_64+avx2",
    "aarch64+neon"
))]
pub fn expose(exposure: &Exposure, key: [u32; 2], light: &[f32], numbers: &mut [u16]) {
    expose_anywhere(exposure, key, light, numbers);
}

/// The same, with the instruction set of its caller.
#[inline(always)]
fn expose_anywhere(exposure: &Exposure, key: [u32; 2], light: &[f32], numbers: &mut [u16]) {
    let mut noise = [0.0; BLOCK];
    let blocks = light.chunks(BLOCK).zip(numbers.chunks_mut(BLOCK));
    for (block, (light, numbers)) in (0..).zip(blocks) {
        if exposure.variance > 0.0 {
            normal(key, block, &mut noise);
        }
        match (<&[f32; BLOCK]>::try_from(light), <&mut [u16; BLOCK]>::try_from(&mut *numbers)) {
            // The length is known here, and the loop becomes one without a rest.
            (Ok(light), Ok(numbers)) => convert(exposure, light, &noise, numbers),
            _ => convert(exposure, light, &noise, numbers),
        }
    }
}

#[inline(always)]
fn convert(exposure: &Exposure, light: &[f32], noise: &[f32; BLOCK], numbers: &mut [u16]) {
    /// Added to a number from 0 to 2^16, this leaves it, rounded, in the low bits.
    const ROUND: f32 = 8_388_608.0;
    let Exposure { electrons, numbers: scale, black, white, variance } = *exposure;
    for ((light, noise), number) in light.iter().zip(noise).zip(numbers) {
        let signal = light * electrons;
        // Photons come as Poisson has it, whose variance is its mean; of the many that there are,
        // a normal distribution is as good.
        let deviation = ((signal + READ_NOISE * READ_NOISE) * variance).sqrt();
        let collected = (signal + noise * deviation).min(FULL_WELL);
        let level = (black + collected * scale).max(0.0).min(white);
        *number = (level + ROUND).to_bits() as u16;
    }
}

#[cfg(test)]
mod tests {
    use super::super::random;
    use super::*;

    const TWELVE_BITS: Exposure = Exposure {
        electrons: 5000.0,
        numbers: 3839.0 / FULL_WELL,
        black: 256.0,
        white: 4095.0,
        variance: 1.0,
    };

    fn measured(exposure: &Exposure, light: f32) -> (f64, f64) {
        let light = vec![light; 4099];
        let mut numbers = vec![0; light.len()];
        let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
        for row in 0..100 {
            expose(exposure, random::key(7, 0, row), &light, &mut numbers);
            for number in &numbers {
                let number = f64::from(*number);
                (sum, squares, count) = (sum + number, squares + number * number, count + 1.0);
            }
        }
        let mean = sum / count;
        (mean, squares / count - mean * mean)
    }

    #[test]
    fn mean_and_variance_are_those_of_photons() {
        for light in [0.02_f32, 0.1, 0.5, 1.0] {
            let (mean, variance) = measured(&TWELVE_BITS, light);
            let electrons = f64::from(light * TWELVE_BITS.electrons);
            let gain = f64::from(TWELVE_BITS.numbers);
            let expected = 256.0 + electrons * gain;
            // Rounding to whole numbers adds a twelfth.
            let noise = (electrons + 9.0) * gain * gain + 1.0 / 12.0;
            assert!(
                (mean - expected).abs() < 5.0 * (noise / 409_900.0).sqrt(),
                "{mean} {expected}"
            );
            assert!((variance / noise - 1.0).abs() < 0.012, "{variance} {noise}");
        }
    }

    #[test]
    fn averaging_takes_noise_and_nothing_takes_all() {
        let quarter = Exposure { variance: 0.25, ..TWELVE_BITS };
        let (whole, part) = (measured(&TWELVE_BITS, 0.5).1, measured(&quarter, 0.5).1);
        assert!((part / whole - 0.25).abs() < 0.01, "{part} {whole}");
        let ideal = Exposure { variance: 0.0, ..TWELVE_BITS };
        let (mean, variance) = measured(&ideal, 0.5);
        assert_eq!((mean, variance), ((256.0 + 2500.0 * ideal.numbers).round().into(), 0.0));
    }

    #[test]
    fn numbers_saturate_at_both_ends() {
        assert_eq!(measured(&TWELVE_BITS, 3.0), (4095.0, 0.0));
        let negative = Exposure { black: 0.0, ..TWELVE_BITS };
        // Half of what reading adds to nothing is below it, and becomes zero.
        let (mean, _) = measured(&negative, 0.0);
        assert!(mean > 0.1 && mean < 1.0, "{mean}");
        let full = Exposure { white: 65_535.0, numbers: 6.5279, ..TWELVE_BITS };
        assert_eq!(measured(&full, 3.0).0, 65_535.0);
    }

    #[test]
    fn every_machine_makes_the_same_numbers() {
        let light: Vec<f32> = (0..5000).map(|at| at as f32 / 4000.0).collect();
        let [mut here, mut anywhere] = [vec![0; light.len()], vec![0; light.len()]];
        for row in 0..20 {
            let key = random::key(3, 1, row);
            expose(&TWELVE_BITS, key, &light, &mut here);
            expose_anywhere(&TWELVE_BITS, key, &light, &mut anywhere);
            assert_eq!(here, anywhere);
        }
    }

    #[test]
    fn a_row_s_noise_does_not_depend_on_its_length() {
        let light = vec![0.3; 1000];
        let [mut long, mut short] = [vec![0; 1000], vec![0; 333]];
        expose(&TWELVE_BITS, [1, 2], &light, &mut long);
        expose(&TWELVE_BITS, [1, 2], &light[..333], &mut short);
        assert_eq!(long[..333], short);
    }
}
