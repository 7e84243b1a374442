//! Denoising: a bilateral filter over the nine nearest sites of the same colour.
//!
//! A neighbour weighs `k * max(0, 1 - |difference| / range)`, with `k` of 4 for the site itself, 2
//! in the row and the column, 1 in the corners (C. Tomasi and R. Manduchi, "Bilateral Filtering for
//! Gray and Color Images", 1998, with a triangle instead of a Gaussian, so that no power is
//! needed).

use super::Mosaic;
use crate::params::IspParams;
use crate::stats::WHITE;

pub(super) fn apply(light: Mosaic, params: &IspParams) -> Mosaic {
    let Some(denoise) = params.denoise else { return light };
    let range = denoise.range * f32::from(WHITE);
    let period = light.period();
    light.map(|x, y| {
        let (x, y) = (x as isize, y as isize);
        let value = f32::from(light.at(x, y));
        let (mut sum, mut weights) = (0.0, 0.0);
        for dy in -1..=1isize {
            for dx in -1..=1isize {
                let other = f32::from(light.at(x + dx * period, y + dy * period));
                let near = ((2 - dx.abs()) * (2 - dy.abs())) as f32;
                let weight = near * (1.0 - (other - value).abs() / range).max(0.0);
                sum += weight * other;
                weights += weight;
            }
        }
        (sum / weights + 0.5) as u16
    })
}
