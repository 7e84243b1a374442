//! The brightness of the lamp, estimated from statistics.

use vcam_isp_gpu::{Statistics, stats};

use crate::sensor::delay::Controls;

/// Light to numbers for a pixel that sees grey (18 %): the part of full scale for each lux, second
/// and factor of gain. See `sensor::model::expose`: white in 500 lux half fills a pixel in 10 ms.
const LIGHT: f32 = 0.18 * 0.5 / (500.0 * 0.01);

/// Returns how bright the lamp is, in lux, if the scene is grey on average; `None` without light or
/// without a measurement.
pub(crate) fn lux(taken: Controls, statistics: &Statistics) -> Option<f32> {
    let quads: f32 = statistics.histogram.iter().map(|count| *count as f32).sum();
    let bins = statistics.histogram.iter().enumerate();
    let sum: f32 = bins.map(|(bin, count)| (bin as f32 + 0.5) * *count as f32).sum();
    let exposure = taken.exposure_us * 1e-6 * taken.gain;
    let lux = sum / quads / stats::BINS as f32 / (exposure * LIGHT);
    lux.is_finite().then_some(lux)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lamp_follows_from_the_level_of_grey() {
        let mut statistics = Statistics::default();
        // A scene of 18 % grey under 500 lux in 10 ms: half of 18 % of full scale.
        statistics.histogram[23] = 1000;
        let taken = Controls { exposure_us: 10_000.0, gain: 1.0 };
        let lux_of = |taken| lux(taken, &statistics).unwrap();
        assert!((lux_of(taken) - 500.0).abs() < 20.0, "{}", lux_of(taken));
        let longer = Controls { exposure_us: 20_000.0, gain: 2.0 };
        assert!((lux_of(longer) - 125.0).abs() < 5.0);
        assert_eq!(lux(taken, &Statistics::default()), None);
    }
}
