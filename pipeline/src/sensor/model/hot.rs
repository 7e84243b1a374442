//! Hot pixels: those that collect electrons in the dark.

use super::random::{key, mix};

/// Electrons a second of the mildest and of the worst.
const RATES: [f32; 2] = [1e4, 1e6];

/// The hot pixels of a sensor, which are always the same ones.
#[derive(Debug)]
pub(crate) struct HotPixels {
    width: usize,
    /// Index of the pixel, and electrons a second; in the order of the pixels.
    pixels: Vec<(usize, f32)>,
}

impl HotPixels {
    /// This part of all pixels, chosen by the seed.
    pub(crate) fn new(seed: u64, part: f32, width: usize, height: usize) -> Self {
        let count = (f64::from(part) * (width * height) as f64).round() as u32;
        let [place, heat] = key(seed, u64::MAX, 0);
        let mut pixels: Vec<_> = (0..count)
            .map(|index| {
                let random = u64::from(mix(index ^ place)) << 32 | u64::from(mix(!index ^ place));
                let at = ((u128::from(random) * (width * height) as u128) >> 64) as usize;
                let exponent = mix(index ^ heat) as f32 / u32::MAX as f32;
                (at, RATES[0] * (RATES[1] / RATES[0]).powf(exponent))
            })
            .collect();
        pixels.sort_by_key(|(at, _)| *at);
        pixels.dedup_by_key(|(at, _)| *at);
        Self { width, pixels }
    }

    /// Column and electrons a second of those in row `y`.
    pub(crate) fn row(&self, y: usize) -> impl Iterator<Item = (usize, f32)> {
        let (start, end) = (y * self.width, (y + 1) * self.width);
        let before = |limit: usize| self.pixels.partition_point(|(at, _)| *at < limit);
        self.pixels[before(start)..before(end)].iter().map(move |(at, rate)| (at - start, *rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_as_asked_for_and_always_the_same() {
        let hot = HotPixels::new(3, 1e-3, 640, 480);
        let all: Vec<_> = (0..480).flat_map(|y| hot.row(y).map(move |(x, _)| (x, y))).collect();
        // A few are chosen twice.
        assert!((300..=307).contains(&all.len()), "{}", all.len());
        assert!(all.iter().all(|(x, _)| *x < 640));
        assert!((0..480).flat_map(|y| hot.row(y)).all(|(_, rate)| (1e4..=1e6).contains(&rate)));
        let again = HotPixels::new(3, 1e-3, 640, 480);
        assert_eq!(again.pixels, hot.pixels);
        assert_ne!(HotPixels::new(4, 1e-3, 640, 480).pixels, hot.pixels);
        assert!(HotPixels::new(3, 0.0, 640, 480).pixels.is_empty());
    }
}
