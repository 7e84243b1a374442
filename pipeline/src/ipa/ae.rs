//! Exposure: how long, and amplified by how much.
//!
//! A frame's histogram says by which factor its exposure was off, and the metadata what that
//! exposure was; the product of both is the exposure that the scene needs, whatever was asked for
//! since:
//!
//! ```text
//! needed = exposure and gain of this frame × min(TARGET / mean, LIMIT / brightest) × 2^EV
//! ```
//!
//! Light is linear, so that is exact where nothing saturates. Where much does, the factor comes out
//! too near to 1 and never too far from it, so what follows comes nearer from the same side.
//! Exposure is counted in powers of two (EV), and each frame goes [`SPEED`] of the way that is
//! left.

use std::ops::RangeInclusive;

use vcam_isp_gpu::stats::BINS;

use super::controls::{AeControls, Flicker, Setting};
use crate::sensor::delay::Controls;
use crate::sensor::timing::{GAINS, Timing};

/// The mean luma that a frame should have, as a part of white: that of a grey card of 18 %, where
/// white saturates.
pub const TARGET: f32 = 0.18;

/// The mean luma that the brightest part of a frame may have: a white that reflects all has about
/// 0.8 of green in it, with the filters of common sensors, so its green is at three quarters of
/// white.
pub const LIMIT: f32 = 0.6;

/// Which part of a frame is its brightest.
const BRIGHTEST: f32 = 0.02;

/// How much of the way that is left each frame goes.
const SPEED: f32 = 0.35;

/// Nearer than this, in EV, it is there.
const NEAR: f32 = 0.02;

/// Once there, what is nearer than this, in EV, is noise.
const AWAY: f32 = 0.1;

/// The limits of the sensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// The shortest and the longest exposure, in microseconds, above 0; the longest follows from
    /// the frame's duration.
    pub exposure_us: RangeInclusive<f32>,
    /// The lowest and the highest gain, above 0.
    pub gain: RangeInclusive<f32>,
}

impl From<&Timing> for Limits {
    /// Those of the sensor.
    fn from(timing: &Timing) -> Self {
        Self { exposure_us: timing.exposures(), gain: GAINS }
    }
}

/// libcamera's `AeState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AeState {
    /// Neither exposure nor gain is automatic.
    Idle,
    /// On the way.
    Searching,
    /// There, or as near as the limits allow.
    Converged,
}

/// The algorithm, between one frame and the next.
#[derive(Debug, Clone)]
pub(super) struct Ae {
    pub(super) limits: Limits,
    /// The exposure that it works towards step by step, as [`stops`] counts; `None` until the
    /// first statistics.
    wanted: Option<f32>,
    state: AeState,
    decided: Controls,
}

impl Ae {
    pub(super) fn new(limits: Limits, start: Controls) -> Self {
        let decided = Controls {
            exposure_us: clamp(start.exposure_us, &limits.exposure_us),
            gain: clamp(start.gain, &limits.gain),
        };
        Self { limits, wanted: None, state: AeState::Searching, decided }
    }

    pub(super) fn decided(&self) -> (Controls, AeState) {
        (self.decided, self.state)
    }

    /// Takes a frame's histogram into account, and the exposure that the frame was taken with.
    pub(super) fn process(
        &mut self,
        controls: &AeControls,
        taken: Controls,
        histogram: &[u32; BINS],
    ) {
        let split = Split {
            exposure: fixed(
                controls.exposure_time,
                self.decided.exposure_us,
                &self.limits.exposure_us,
            ),
            gain: fixed(controls.analogue_gain, self.decided.gain, &self.limits.gain),
            limits: &self.limits,
            flicker: controls.flicker,
        };
        if let (Some(exposure_us), Some(gain)) = (split.exposure, split.gain) {
            self.decided = Controls { exposure_us, gain };
            self.wanted = Some(stops(self.decided));
            self.state = AeState::Idle;
            return;
        }
        if self.state == AeState::Idle {
            self.state = AeState::Searching;
        }
        let reach = split.reach();
        let needed = Needed::of(taken, histogram, controls.exposure_value)
            .map(|needed| Needed { stops: clamp(needed.stops, &reach), ..needed });
        let was = self.wanted.map(|wanted| clamp(wanted, &reach));
        let (wanted, state) = match (was, needed) {
            (Some(was), Some(needed)) => needed.approach(was, self.state, self.arrived(taken)),
            // The first frame with statistics is believed at once.
            (None, Some(needed)) => (needed.stops, AeState::Searching),
            (Some(was), None) => (was, self.state),
            (None, None) => {
                self.decided = split.of(stops(self.decided));
                return;
            }
        };
        self.decided = split.of(wanted);
        (self.wanted, self.state) = (Some(wanted), state);
    }

    /// Returns whether a frame was taken with the latest decision, and not with an older one: only
    /// such a frame shows that it was right.
    fn arrived(&self, taken: Controls) -> bool {
        (stops(taken) - stops(self.decided)).abs() <= AWAY
    }
}

/// The power of two of exposure, in microseconds, times gain.
fn stops(Controls { exposure_us, gain }: Controls) -> f32 {
    (exposure_us * gain).log2()
}

/// The nearest in the range; what is no number becomes the lower limit.
fn clamp(value: f32, range: &RangeInclusive<f32>) -> f32 {
    value.max(*range.start()).min(*range.end())
}

/// The value, if the algorithm does not set it.
fn fixed(setting: Setting, decided: f32, range: &RangeInclusive<f32>) -> Option<f32> {
    match setting {
        Setting::Auto => None,
        Setting::Locked => Some(clamp(decided, range)),
        Setting::Manual(value) => Some(clamp(value, range)),
    }
}

/// The exposure that a scene needs.
#[derive(Debug, Clone, Copy)]
struct Needed {
    stops: f32,
    /// How far off that may be because a bin of the histogram is no narrower, in EV.
    blur: f32,
}

impl Needed {
    /// `None` if the frame says nothing.
    fn of(taken: Controls, histogram: &[u32; BINS], exposure_value: f32) -> Option<Self> {
        let taken = stops(taken);
        if !taken.is_finite() {
            return None;
        }
        let quads: f32 = histogram.iter().map(|count| *count as f32).sum();
        let mean = mean_of_brightest(histogram, quads)?;
        let brightest = mean_of_brightest(histogram, BRIGHTEST * quads)?;
        let needed = |luma: f32, should: f32| Self {
            stops: taken + (should / luma).log2() + exposure_value,
            // Half a bin.
            blur: (1.0 + 0.5 / (luma * BINS as f32)).log2(),
        };
        let (mean, brightest) = (needed(mean, TARGET), needed(brightest, LIMIT));
        Some(if mean.stops < brightest.stops { mean } else { brightest })
    }

    /// A step towards it, and whether it is there.
    fn approach(self, was: f32, state: AeState, arrived: bool) -> (f32, AeState) {
        let apart = self.stops - was;
        let near = if state == AeState::Converged { AWAY } else { NEAR };
        if arrived && apart.abs() <= near + self.blur {
            (was, AeState::Converged)
        } else {
            (was + SPEED * apart, AeState::Searching)
        }
    }
}

/// The mean luma of so many quads, the brightest: above 0, to 1. `None` without quads.
fn mean_of_brightest(histogram: &[u32; BINS], quads: f32) -> Option<f32> {
    let (mut left, mut sum) = (quads, 0.0);
    for (bin, count) in histogram.iter().enumerate().rev() {
        let counted = (*count as f32).min(left);
        sum += counted * (bin as f32 + 0.5) / BINS as f32;
        left -= counted;
        if left <= 0.0 {
            break;
        }
    }
    (quads > 0.0).then(|| sum / quads)
}

/// How exposure is split into time and gain.
#[derive(Debug, Clone, Copy)]
struct Split<'a> {
    /// If it is not automatic.
    exposure: Option<f32>,
    gain: Option<f32>,
    limits: &'a Limits,
    flicker: Flicker,
}

impl Split<'_> {
    /// First time, which costs nothing but blur, then gain, which shows noise.
    fn of(&self, stops: f32) -> Controls {
        let total = stops.exp2();
        let lowest = *self.limits.gain.start();
        let exposure_us = match (self.exposure, self.gain) {
            (Some(exposure_us), _) => exposure_us,
            // Gain makes up for what the flicker's period takes away.
            (None, None) => self.without_flicker(total / lowest, f32::floor),
            (None, Some(gain)) => self.without_flicker(total / gain, f32::round),
        };
        let gain = match self.gain {
            Some(gain) => gain,
            None => clamp(total / exposure_us, &self.limits.gain),
        };
        Controls { exposure_us, gain }
    }

    /// From the least to the most exposure that there is.
    fn reach(&self) -> RangeInclusive<f32> {
        let end = |stops: f32| self::stops(self.of(stops));
        end(f32::MIN)..=end(f32::MAX)
    }

    /// The exposure time within the limits, in whole periods of the flicker from one period on.
    fn without_flicker(&self, exposure_us: f32, round: fn(f32) -> f32) -> f32 {
        let exposure_us = clamp(exposure_us, &self.limits.exposure_us);
        let Flicker::Manual(period) = self.flicker else { return exposure_us };
        // A little more, lest a period be lost to rounding.
        let periods = round(exposure_us / period + 1e-3);
        let longest = (*self.limits.exposure_us.end() / period + 1e-3).floor();
        match periods.min(longest) * period {
            whole if whole >= *self.limits.exposure_us.start() && whole > 0.0 => whole,
            _ => exposure_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { exposure_us: 20.0..=33_000.0, gain: 1.0..=16.0 };
    const START: Controls = Controls { exposure_us: 10_000.0, gain: 1.0 };

    /// The histogram of quads of these lumas, each as many.
    fn histogram(lumas: &[f32], scale: f32) -> [u32; BINS] {
        let mut histogram = [0; BINS];
        for luma in lumas {
            histogram[((luma * scale).clamp(0.0, 1.0) * 255.999) as usize] += 100;
        }
        histogram
    }

    /// The level of these scenes after an exposure of one microsecond.
    const GREY: [f32; 1] = [2e-5];
    const CONTRASTY: [f32; 8] = [1e-6, 2e-6, 5e-6, 8e-6, 1e-5, 2e-5, 3e-5, 9e-5];

    /// Runs so many frames with settings that count three frames later.
    fn run(ae: &mut Ae, controls: &AeControls, scene: &[f32], frames: usize) -> Vec<f32> {
        let mut underway = [ae.decided; 3];
        (0..frames)
            .map(|frame| {
                let taken = underway[frame % 3];
                let total = taken.exposure_us * taken.gain;
                ae.process(controls, taken, &histogram(scene, total));
                underway[frame % 3] = ae.decided;
                total
            })
            .collect()
    }

    fn settled(controls: &AeControls, scene: &[f32]) -> (Ae, Controls) {
        let mut ae = Ae::new(LIMITS, START);
        run(&mut ae, controls, scene, 40);
        let (decided, state) = ae.decided();
        assert_eq!(state, AeState::Converged);
        (ae, decided)
    }

    fn near(value: f32, should: f32, tolerance: f32) -> bool {
        (value / should).log2().abs() <= tolerance
    }

    #[test]
    fn grey_becomes_grey_and_highlights_do_not_clip() {
        let (_, grey) = settled(&AeControls::default(), &GREY);
        assert!(near(GREY[0] * grey.exposure_us * grey.gain, TARGET, 0.04), "{grey:?}");
        let (_, contrasty) = settled(&AeControls::default(), &CONTRASTY);
        assert!(near(CONTRASTY[7] * contrasty.exposure_us, LIMIT, 0.04), "{contrasty:?}");
    }

    #[test]
    fn changes_are_followed_without_overshoot() {
        for scene in [&GREY[..], &CONTRASTY] {
            for stops in [-4.0_f32, -3.0, -1.0, 1.0, 3.0, 4.0] {
                let (mut ae, before) = settled(&AeControls::default(), scene);
                let changed: Vec<_> = scene.iter().map(|light| light * stops.exp2()).collect();
                let totals = run(&mut ae, &AeControls::default(), &changed, 40);
                let (start, end) = (before.exposure_us * before.gain, totals[39]);
                assert!(near(end, start * (-stops).exp2(), 0.08), "{stops}: {totals:?}");
                let settled = totals.iter().rposition(|total| !near(*total, end, 0.1));
                assert!(settled.is_none_or(|frame| frame < 20), "{stops}: {totals:?}");
                // Always towards the end, and never beyond.
                let steps = totals.windows(2).map(|pair| (pair[1] / pair[0]).log2() * -stops);
                assert!(steps.into_iter().all(|step| step >= -1e-4), "{stops}: {totals:?}");
            }
        }
    }

    #[test]
    fn once_there_it_stays() {
        let (mut ae, decided) = settled(&AeControls::default(), &GREY);
        // Noise, of any phase to the delays.
        for frame in 0..60 {
            let scale = 1.0 + 0.03 * (frame as f32).sin();
            let total = decided.exposure_us * decided.gain;
            ae.process(&AeControls::default(), decided, &histogram(&GREY, total * scale));
            assert_eq!(ae.decided(), (decided, AeState::Converged));
        }
    }

    #[test]
    fn exposure_value_is_in_powers_of_two() {
        let (_, plain) = settled(&AeControls::default(), &GREY);
        for exposure_value in [-2.0, -1.0, 1.0] {
            let controls = AeControls { exposure_value, ..AeControls::default() };
            let (_, decided) = settled(&controls, &GREY);
            let should = plain.exposure_us * plain.gain * exposure_value.exp2();
            assert!(near(decided.exposure_us * decided.gain, should, 0.12), "{decided:?}");
        }
    }

    #[test]
    fn time_comes_before_gain() {
        let dark = GREY.map(|light| light / 8.0);
        let (_, decided) = settled(&AeControls::default(), &dark);
        assert_eq!(decided.exposure_us, 33_000.0);
        assert!(near(decided.gain, 8.0 * 9_000.0 / 33_000.0, 0.06), "{decided:?}");
        let (_, decided) = settled(&AeControls::default(), &GREY);
        assert_eq!(decided.gain, 1.0);
    }

    #[test]
    fn whole_periods_do_not_flicker() {
        for (flicker, period) in [(Flicker::HZ_50, 10_000.0), (Flicker::HZ_60, 1e6 / 120.0)] {
            for scale in [0.04, 0.1, 0.3, 0.6, 1.0] {
                let controls = AeControls { flicker, ..AeControls::default() };
                let scene = GREY.map(|light| light * scale);
                let (_, decided) = settled(&controls, &scene);
                let periods = decided.exposure_us / period;
                if scale < 1.0 {
                    assert!((periods - periods.round()).abs() < 1e-3, "{decided:?}");
                }
                let luma = scene[0] * decided.exposure_us * decided.gain;
                assert!(near(luma, TARGET, 0.05), "{decided:?}");
            }
            // Gain cannot make up for it: the nearest period does.
            let controls = AeControls {
                flicker,
                analogue_gain: Setting::Manual(2.0),
                ..AeControls::default()
            };
            let (_, decided) = settled(&controls, &GREY.map(|light| light * 0.3));
            let periods = decided.exposure_us / period;
            assert!((periods - periods.round()).abs() < 1e-3 && periods > 0.5, "{decided:?}");
        }
    }

    #[test]
    fn each_can_be_manual_alone() {
        let manual = Setting::Manual;
        let shutter = AeControls { exposure_time: manual(2000.0), ..AeControls::default() };
        let (_, decided) = settled(&shutter, &GREY);
        assert_eq!(decided.exposure_us, 2000.0);
        assert!(near(decided.gain, 4.5, 0.05), "{decided:?}");
        let gain = AeControls { analogue_gain: manual(4.0), ..AeControls::default() };
        let (_, decided) = settled(&gain, &GREY);
        assert_eq!(decided.gain, 4.0);
        assert!(near(decided.exposure_us, 2250.0, 0.05), "{decided:?}");
        let both = AeControls { exposure_time: manual(1e9), ..gain };
        let mut ae = Ae::new(LIMITS, START);
        run(&mut ae, &both, &GREY, 1);
        let nearest = Controls { exposure_us: 33_000.0, gain: 4.0 };
        assert_eq!(ae.decided(), (nearest, AeState::Idle));
    }

    #[test]
    fn a_lock_holds_and_lets_go_without_a_jump() {
        let (mut ae, decided) = settled(&AeControls::default(), &GREY);
        let locked = AeControls {
            exposure_time: Setting::Locked,
            analogue_gain: Setting::Locked,
            ..AeControls::default()
        };
        let bright = GREY.map(|light| 4.0 * light);
        run(&mut ae, &locked, &bright, 10);
        assert_eq!(ae.decided(), (decided, AeState::Idle));
        run(&mut ae, &AeControls::default(), &bright, 1);
        assert_eq!(ae.decided().1, AeState::Searching);
        let first = ae.decided().0.exposure_us / decided.exposure_us;
        assert!(near(first, (-2.0 * SPEED).exp2(), 0.05), "{first}");
    }

    #[test]
    fn what_cannot_be_reached_does_not_wind_up() {
        // A lens cap, and the sun.
        for (dark, limit) in [(true, 33_000.0 * 16.0), (false, 20.0)] {
            let mut ae = Ae::new(LIMITS, START);
            let scene = [if dark { 0.0 } else { 1.0 }];
            run(&mut ae, &AeControls::default(), &scene, 200);
            let (decided, state) = ae.decided();
            assert!(near(decided.exposure_us * decided.gain, limit, 0.05), "{decided:?}");
            assert_eq!(state, AeState::Converged);
            // The first frame that is lit, or no longer blinding, already turns it back.
            run(&mut ae, &AeControls::default(), &GREY, 1);
            let turned = (stops(ae.decided().0) - stops(decided)).abs();
            assert!(turned > 0.5, "{turned}");
            let totals = run(&mut ae, &AeControls::default(), &GREY, 40);
            let late = totals.iter().rposition(|total| !near(*total, totals[39], 0.1));
            assert!(late.is_some_and(|frame| frame < 30), "{late:?} {totals:?}");
            assert!(near(GREY[0] * totals[39], TARGET, 0.05), "{totals:?}");
        }
    }

    #[test]
    fn frames_that_say_nothing_change_nothing() {
        let (mut ae, decided) = settled(&AeControls::default(), &GREY);
        let bad = |exposure_us| Controls { exposure_us, gain: 1.0 };
        let controls = AeControls::default();
        ae.process(&controls, decided, &[0; BINS]);
        for exposure in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            ae.process(&controls, bad(exposure), &histogram(&GREY, 1.0));
        }
        assert_eq!(ae.decided().0, decided);
    }

    #[test]
    fn the_user_s_word_counts_from_the_first_frame_even_if_that_is_empty() {
        let mut ae = Ae::new(LIMITS, START);
        let controls =
            AeControls { exposure_time: Setting::Manual(5000.0), ..AeControls::default() };
        ae.process(&controls, START, &[0; BINS]);
        let (decided, state) = ae.decided();
        assert_eq!((decided.exposure_us, state), (5000.0, AeState::Searching));
        // The same light as before.
        assert!(near(decided.gain, 2.0, 1e-5), "{decided:?}");
    }
}
