//! Auto exposure: as bright as the histogram should be, by exposure as far as it goes, then by gain.

use std::ops::RangeInclusive;

use vcam_isp_gpu::stats::{BINS, Statistics};

use crate::sensor::delay::Controls;
use crate::sensor::model::Mains;
use crate::sensor::timing::{GAINS, Timing};

/// The mean of linear light that a frame should have: that of a grey card in a scene whose white
/// just does not clip.
pub const TARGET: f32 = 0.16;

/// The part of the frame's pixels that may be brighter than [`HIGHLIGHT`].
const HIGHLIGHTS: f32 = 0.02;

/// Where bright parts should stay below, in linear light.
const HIGHLIGHT: f32 = 0.9;

/// How much darker than its target a frame may become so that bright parts keep their detail, as
/// a factor.
const HIGHLIGHT_PRICE: f32 = 0.5;

/// The part of the way to what is wanted that is gone with each frame, counted in stops: the rest
/// is below a hundredth after eleven frames.
const SPEED: f32 = 0.35;

/// The most that one frame's statistics are believed, as a factor.
const STEP: f32 = 16.0;

/// Below this many stops a difference is left alone; nobody sees it, and nothing trembles.
const DEAD_BAND: f32 = 0.03;

/// The range of [`AutoExposure::compensation`], in stops.
pub const COMPENSATION: RangeInclusive<f32> = -4.0..=4.0;

/// What the sensor can do at present.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Exposures in microseconds.
    pub exposure_us: RangeInclusive<f32>,
    /// Gains, as factors.
    pub gain: RangeInclusive<f32>,
}

impl From<&Timing> for Limits {
    fn from(timing: &Timing) -> Self {
        Self { exposure_us: timing.exposures(), gain: GAINS }
    }
}

/// Who decides.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Mode {
    /// The histogram.
    #[default]
    Auto,
    /// Nobody: what is, stays.
    Locked,
    /// The user, for what is given; the rest follows the histogram.
    Manual {
        /// The exposure in microseconds.
        exposure_us: Option<f32>,
        /// The gain, as a factor.
        gain: Option<f32>,
    },
}

/// Auto exposure.
#[derive(Debug, Clone)]
pub struct AutoExposure {
    /// Who decides.
    pub mode: Mode,
    /// Brighter or darker than the histogram asks for, in stops: within [`COMPENSATION`].
    pub compensation: f32,
    /// Whose flicker is avoided: exposures of at least one flicker are whole flickers.
    pub mains: Option<Mains>,
    /// Exposure times gain, in stops of a microsecond: on its way to what is wanted.
    stops: f32,
    /// What was decided last.
    controls: Controls,
    settled: bool,
}

impl AutoExposure {
    /// For a sensor that has these controls now.
    pub fn new(controls: Controls) -> Self {
        Self {
            mode: Mode::Auto,
            compensation: 0.0,
            mains: None,
            stops: stops(controls),
            controls,
            settled: false,
        }
    }

    /// Whether the last frame was as bright as it should be.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// What should count for a frame to come, from the statistics of one and what it was taken with.
    pub fn process(
        &mut self,
        statistics: &Statistics,
        taken: Controls,
        limits: &Limits,
    ) -> Controls {
        let longest = limits.exposure_us.end() * limits.gain.end();
        let shortest = limits.exposure_us.start() * limits.gain.start();
        if let Some(factor) = correction(statistics, self.compensation) {
            let wanted = (stops(taken) + factor.log2()).clamp(shortest.log2(), longest.log2());
            // Of what was decided, and not of what the frame was taken with: the sensor is late.
            let way = wanted - self.stops;
            self.settled = way.abs() < DEAD_BAND;
            if !self.settled && self.mode != Mode::Locked {
                self.stops += way * SPEED;
            }
        }
        // The limits may have changed, or what it began with be beyond them.
        self.stops = self.stops.clamp(shortest.log2(), longest.log2());
        self.controls = match self.mode {
            Mode::Locked => self.controls,
            Mode::Auto => split(self.stops.exp2(), None, None, self.mains, limits),
            Mode::Manual { exposure_us, gain } => {
                split(self.stops.exp2(), exposure_us, gain, self.mains, limits)
            }
        };
        self.controls
    }
}

fn stops(controls: Controls) -> f32 {
    (controls.exposure_us * controls.gain).max(f32::MIN_POSITIVE).log2()
}

/// By which factor the frame should have been brighter; `None` of a frame without pixels.
pub fn correction(statistics: &Statistics, compensation: f32) -> Option<f32> {
    let histogram = &statistics.histogram;
    let count: u64 = histogram.iter().map(|bin| u64::from(*bin)).sum();
    if count == 0 {
        return None;
    }
    let middle = |bin: usize| (bin as f32 + 0.5) / BINS as f32;
    let sum: f64 =
        histogram.iter().enumerate().map(|(bin, n)| f64::from(*n) * f64::from(middle(bin))).sum();
    let mean = (sum / count as f64) as f32;
    let compensation = compensation.clamp(*COMPENSATION.start(), *COMPENSATION.end()).exp2();
    let wanted = TARGET * compensation / mean;
    // The light that all but the brightest stay below.
    let mut brighter = 0;
    let bright = (0..BINS).rev().find(|bin| {
        brighter += u64::from(histogram[*bin]);
        brighter as f32 > HIGHLIGHTS * count as f32
    });
    let kept = HIGHLIGHT / bright.map_or(HIGHLIGHT, middle);
    let factor = wanted.min(kept.max(wanted * HIGHLIGHT_PRICE));
    Some(factor.clamp(1.0 / STEP, STEP))
}

/// Makes exposure and gain of their product, in microseconds: exposure as long as it may be, in
/// whole flickers where it can be, and gain for the rest.
fn split(
    product: f32,
    exposure_us: Option<f32>,
    gain: Option<f32>,
    mains: Option<Mains>,
    limits: &Limits,
) -> Controls {
    let (exposures, gains) = (&limits.exposure_us, &limits.gain);
    let within = |value: f32, range: &RangeInclusive<f32>| {
        // In this order, what is no number becomes the lower limit.
        value.max(*range.start()).min(*range.end())
    };
    let exposure = exposure_us.unwrap_or_else(|| {
        let lowest_gain = gain.unwrap_or(*gains.start()).max(*gains.start());
        let longest = within(product / lowest_gain, exposures);
        match mains {
            Some(mains) => {
                let flicker = (1e6 / mains.flicker()) as f32;
                // A little short of a whole number is that number: exposures come in lines.
                let whole = (longest / flicker + 1e-3).floor();
                if whole >= 1.0 { whole * flicker } else { longest }
            }
            None => longest,
        }
    });
    let exposure_us = within(exposure, exposures);
    let gain = within(gain.unwrap_or(product / exposure_us), gains);
    Controls { exposure_us, gain }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { exposure_us: 10.0..=33_000.0, gain: 1.0..=16.0 };

    fn even(light: f32) -> Statistics {
        let mut statistics = Statistics::default();
        statistics.histogram[(light * BINS as f32) as usize] = 1000;
        statistics
    }

    #[test]
    fn exposure_comes_first_and_gain_after() {
        let auto = |product| split(product, None, None, None, &LIMITS);
        assert_eq!(auto(5000.0), Controls { exposure_us: 5000.0, gain: 1.0 });
        assert_eq!(auto(66_000.0), Controls { exposure_us: 33_000.0, gain: 2.0 });
        assert_eq!(auto(1e9), Controls { exposure_us: 33_000.0, gain: 16.0 });
        assert_eq!(auto(f32::NAN), Controls { exposure_us: 10.0, gain: 1.0 });
    }

    #[test]
    fn whole_flickers_where_there_is_room_for_one() {
        let split = |product, mains| split(product, None, None, Some(mains), &LIMITS);
        assert_eq!(split(5000.0, Mains::Hz50), Controls { exposure_us: 5000.0, gain: 1.0 });
        assert_eq!(split(25_000.0, Mains::Hz50), Controls { exposure_us: 20_000.0, gain: 1.25 });
        assert_eq!(split(9999.5, Mains::Hz50).exposure_us, 10_000.0);
        let sixty = split(30_000.0, Mains::Hz60);
        assert!((sixty.exposure_us - 25_000.0).abs() < 0.1, "{sixty:?}");
    }

    #[test]
    fn what_the_user_gives_stays_and_the_rest_follows() {
        let mut exposure = AutoExposure::new(Controls { exposure_us: 1000.0, gain: 1.0 });
        exposure.mode = Mode::Manual { exposure_us: Some(2000.0), gain: None };
        let taken = Controls { exposure_us: 2000.0, gain: 1.0 };
        // The frame is half as bright as it should be, and was taken with twice the exposure.
        let decided = exposure.process(&even(TARGET / 2.0), taken, &LIMITS);
        assert_eq!(decided.exposure_us, 2000.0);
        assert!(decided.gain >= 1.0 && decided.gain < 2.0, "{decided:?}");
        exposure.mode = Mode::Manual { exposure_us: None, gain: Some(4.0) };
        let decided = exposure.process(&even(TARGET / 2.0), taken, &LIMITS);
        assert_eq!(decided.gain, 4.0);
        exposure.mode = Mode::Manual { exposure_us: Some(1e9), gain: Some(0.0) };
        let decided = exposure.process(&even(TARGET), taken, &LIMITS);
        assert_eq!(decided, Controls { exposure_us: 33_000.0, gain: 1.0 });
        exposure.mode = Mode::Locked;
        assert_eq!(exposure.process(&even(0.9), taken, &LIMITS), decided);
        assert!(!exposure.is_settled());
    }

    #[test]
    fn bright_parts_are_spared_within_reason() {
        let mut statistics = Statistics::default();
        statistics.histogram[4] = 950;
        statistics.histogram[200] = 50;
        // The mean is 0.056, but 5 % would clip: 0.783 may rise to 0.9, or the frame be half as
        // bright as it should be, whichever is more.
        let mean = (0.95 * 4.5 + 0.05 * 200.5) / 256.0;
        let factor = correction(&statistics, 0.0).unwrap();
        assert!((factor - TARGET / mean * HIGHLIGHT_PRICE).abs() < 1e-3, "{factor}");
        // A few specks do not count.
        statistics.histogram[4] = 9950;
        let mean = (0.995 * 4.5 + 0.005 * 200.5) / 256.0;
        let factor = correction(&statistics, 0.0).unwrap();
        assert!((factor - TARGET / mean).abs() < 1e-3, "{factor}");
        assert_eq!(correction(&Statistics::default(), 0.0), None);
    }

    proptest! {
        #[test]
        fn whatever_is_seen_limits_are_kept(
            bins in proptest::collection::vec(0u32.., BINS),
            exposure_us in 1.0f32..1e6,
            gain in 0.1f32..100.0,
            compensation in -10f32..10.0,
        ) {
            let mut statistics = Statistics::default();
            statistics.histogram.copy_from_slice(&bins);
            let controls = Controls { exposure_us, gain };
            let mut exposure = AutoExposure::new(controls);
            exposure.compensation = compensation;
            for mains in [None, Some(Mains::Hz50)] {
                exposure.mains = mains;
                let decided = exposure.process(&statistics, controls, &LIMITS);
                prop_assert!(LIMITS.exposure_us.contains(&decided.exposure_us));
                prop_assert!(LIMITS.gain.contains(&decided.gain));
            }
        }
    }
}
