//! White balance: which lamp shines, and what makes its white grey.
//!
//! Grey world, among what may be grey. Each zone of the statistics is a point, by its ratios of red
//! to green and of blue to green. Wherever something grey is, the point lies at the white of the
//! lamp; colours lie elsewhere, each somewhere else. So:
//!
//! 1. The lamp is that one of the locus to which the zones are nearest, where a zone farther than
//!    [`REACH`] counts as if it were just as far: colours have no say in which grey is the right
//!    one.
//! 2. The white is the mean of the zones about it, the nearer the weightier, until it stays.
//! 3. It is brought back to within [`TINT`] of the locus: real lamps are near, and a meadow is no
//!    green lamp.
//!
//! Then each frame goes [`SPEED`] of the way, in mireds and tint, so that all whites in between are
//! those of lamps. Statistics are of light before white balance: what is decided does not come back
//! as a measurement, and nothing can oscillate.

use vcam_isp_gpu::stats::{COLUMNS, ROWS};
use vcam_isp_gpu::{Statistics, Zone};

use super::calibration::{Calibration, Chroma, White, gains};
use super::controls::AwbMode;

/// How far from a lamp's white a zone may lie and still be grey: about an eighth of a ratio.
const REACH: f32 = 0.12;

/// The largest distance of a lamp from the locus: a twenty-fifth of a ratio.
const TINT: f32 = 0.04;

/// How much of the way that is left each frame goes.
const SPEED: f32 = 0.25;

/// From one lamp that is tried to the next, in mireds; fewer than an eye can tell apart.
const STEP: f32 = 5.0;

/// The least light of a zone that has a colour, in green, and in the others a quarter of it.
const DARK: f32 = 0.004;

/// The least number of grey zones that say which lamp shines.
const FEW: usize = 4;

/// How often the mean is taken.
const ROUNDS: usize = 4;

/// The white balance of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Balance {
    pub(super) gains: [f32; 3],
    pub(super) kelvin: f32,
}

/// The algorithm, between one frame and the next.
#[derive(Debug, Clone)]
pub(super) struct Awb {
    calibration: Calibration,
    white: White,
    /// A frame, or the user, has said what white is.
    told: bool,
    balance: Balance,
}

impl Awb {
    /// Starts at daylight.
    pub(super) fn new(calibration: Calibration) -> Self {
        let kelvin = 5500.0;
        let balance = Balance { gains: calibration.gains(kelvin), kelvin };
        let white = White { mired: 1e6 / kelvin, tint: 0.0 };
        Self { calibration, white, told: false, balance }
    }

    pub(super) fn balance(&self) -> Balance {
        self.balance
    }

    pub(super) fn ccm(&self) -> [[f32; 3]; 3] {
        self.calibration.ccm(self.balance.kelvin)
    }

    /// Takes the user's word, which counts at once; says whether there was one.
    pub(super) fn obey(&mut self, mode: AwbMode) -> bool {
        match mode {
            AwbMode::Auto => return false,
            AwbMode::Locked => {}
            AwbMode::ColourGains([red, blue]) => {
                self.white = self.calibration.nearest([-red.ln(), -blue.ln()]);
                self.told = true;
                let kelvin = 1e6 / self.white.mired;
                self.balance = Balance { gains: [red, 1.0, blue], kelvin };
            }
            AwbMode::ColourTemperature(kelvin) => {
                let (coolest, warmest) = self.calibration.mireds();
                let mired = (1e6 / kelvin).max(coolest).min(warmest);
                self.told = true;
                self.set(White { mired, tint: 0.0 });
            }
        }
        true
    }

    /// Takes a frame's statistics into account, where the user has said nothing.
    pub(super) fn process(&mut self, mode: AwbMode, statistics: &Statistics) {
        if self.obey(mode) {
            return;
        }
        let Some(seen) = estimate(&self.calibration, statistics) else { return };
        // The first frame with a white is believed at once.
        let part = if self.told { SPEED } else { 1.0 };
        self.told = true;
        self.set(White {
            mired: self.white.mired + part * (seen.mired - self.white.mired),
            tint: self.white.tint + part * (seen.tint - self.white.tint),
        });
    }

    fn set(&mut self, white: White) {
        self.white = white;
        let gains = gains(self.calibration.chroma(white));
        self.balance = Balance { gains, kelvin: 1e6 / white.mired };
    }
}

/// The white of the lamp that shines; `None` if nothing in the frame is grey under any.
fn estimate(calibration: &Calibration, statistics: &Statistics) -> Option<White> {
    let mut zones = [[0.0; 2]; COLUMNS * ROWS];
    let mut count = 0;
    for chroma in statistics.zones.iter().filter_map(chroma) {
        zones[count] = chroma;
        count += 1;
    }
    let zones = &zones[..count];

    let (coolest, warmest) = calibration.mireds();
    let tries = ((warmest - coolest) / STEP).ceil() as u16;
    let lamp = |at: u16| {
        let mired = coolest + (warmest - coolest) * f32::from(at) / f32::from(tries);
        calibration.chroma(White { mired, tint: 0.0 })
    };
    let distances = |white: Chroma| -> f32 {
        zones.iter().map(|zone| square(*zone, white).min(REACH * REACH)).sum()
    };
    let (mut white, _) = (0..=tries)
        .map(lamp)
        .map(|white| (white, distances(white)))
        .min_by(|(_, here), (_, there)| here.total_cmp(there))?;
    let grey = zones.iter().filter(|zone| square(**zone, white) < REACH * REACH).count();
    if grey < FEW {
        return None;
    }
    for _ in 0..ROUNDS {
        let (mut sum, mut weights) = ([0.0; 2], 0.0);
        for zone in zones {
            // Tukey's biweight.
            let weight = (1.0 - square(*zone, white) / (REACH * REACH)).max(0.0).powi(2);
            weights += weight;
            sum = [0, 1].map(|axis| sum[axis] + weight * zone[axis]);
        }
        if weights > 0.0 {
            white = sum.map(|sum| sum / weights);
        }
    }
    let White { mired, tint } = calibration.nearest(white);
    Some(White { mired, tint: tint.clamp(-TINT, TINT) })
}

/// The colour of a zone, if it has enough light, and not too much, to have one.
fn chroma(zone: &Zone) -> Option<Chroma> {
    let Zone { sum: [red, green, blue], quads, saturated } = *zone;
    // The rest of a zone that is mostly saturated is its darker part, often another thing.
    if quads == 0 || saturated > quads {
        return None;
    }
    let dark = DARK * quads as f32;
    let lit = green >= dark && red >= dark / 4.0 && blue >= dark / 4.0;
    let chroma = [(red / green).ln(), (blue / green).ln()];
    (lit && chroma.iter().all(|ratio| ratio.is_finite())).then_some(chroma)
}

fn square([red, blue]: Chroma, white: Chroma) -> f32 {
    (red - white[0]).powi(2) + (blue - white[1]).powi(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::model::colour::{response, transform};

    fn awb() -> Awb {
        Awb::new(Calibration::of_sensor().unwrap())
    }

    /// The statistics of a frame whose zones show these surfaces in turn, in linear sRGB.
    fn frame(kelvin: f32, surfaces: &[[f64; 3]], light: f64) -> Statistics {
        let mut statistics = Statistics::default();
        for (zone, surface) in statistics.zones.iter_mut().zip(surfaces.iter().cycle()) {
            let seen = transform(&response(kelvin), *surface);
            zone.sum = seen.map(|value| (value.max(0.0) * light * 300.0) as f32);
            zone.quads = 300;
        }
        statistics
    }

    const GREY: [f64; 3] = [0.18; 3];
    const COLOURS: [[f64; 3]; 4] =
        [[0.3, 0.1, 0.05], [0.05, 0.2, 0.1], [0.1, 0.1, 0.4], [0.6, 0.5, 0.1]];

    fn mired_error(kelvin: f32, should: f32) -> f32 {
        (1e6 / kelvin - 1e6 / should).abs()
    }

    #[test]
    fn grey_tells_the_lamp_at_once() {
        for kelvin in [2000.0, 2400.0, 2856.0, 4200.0, 5003.0, 6504.0, 9000.0, 12_000.0] {
            let mut awb = awb();
            awb.process(AwbMode::Auto, &frame(kelvin, &[GREY], 1.0));
            let Balance { gains, kelvin: found } = awb.balance();
            assert!(mired_error(found, kelvin) < 1.0, "{kelvin} {found}");
            let white = transform(&response(kelvin), [1.0; 3]);
            for channel in [0, 2] {
                let ratio = white[channel] / white[1] * f64::from(gains[channel] / gains[1]);
                assert!((ratio - 1.0).abs() < 0.005, "{kelvin}: {ratio}");
            }
        }
    }

    #[test]
    fn colours_do_not_count() {
        for kelvin in [2400.0, 3500.0, 5000.0, 6500.0, 9000.0] {
            let mut awb = awb();
            let scene: Vec<_> = COLOURS.into_iter().chain([GREY]).collect();
            awb.process(AwbMode::Auto, &frame(kelvin, &scene, 1.0));
            let found = awb.balance().kelvin;
            assert!(mired_error(found, kelvin) < 5.0, "{kelvin} {found}");
        }
    }

    #[test]
    fn changes_are_followed_in_one_direction() {
        for (from, to) in [(2800.0, 6500.0), (6500.0, 2800.0), (2000.0, 12_000.0)] {
            let mut awb = awb();
            awb.process(AwbMode::Auto, &frame(from, &[GREY], 1.0));
            let kelvins: Vec<_> = (0..20)
                .map(|_| {
                    awb.process(AwbMode::Auto, &frame(to, &[GREY], 1.0));
                    awb.balance().kelvin
                })
                .collect();
            let rising = kelvins.windows(2).all(|pair| (pair[1] - pair[0]) * (to - from) >= 0.0);
            assert!(rising, "{kelvins:?}");
            assert!(mired_error(kelvins[19], to) < 2.0, "{kelvins:?}");
        }
    }

    #[test]
    fn a_green_lamp_is_believed_as_far_as_lamps_go() {
        let mut awb = awb();
        let tinted = |tint: f32| {
            let mut frame = frame(5000.0, &[GREY], 1.0);
            frame.zones.iter_mut().for_each(|zone| zone.sum[1] *= 1.0 + tint);
            frame
        };
        awb.process(AwbMode::Auto, &tinted(0.02));
        let gains = awb.balance().gains;
        let plain = awb.calibration.gains(5000.0);
        let [red, blue] =
            [0, 2].map(|channel| gains[channel] / gains[1] * plain[1] / plain[channel]);
        assert!((red * blue - 1.02 * 1.02).abs() < 0.01, "{red} {blue}");
        for _ in 0..40 {
            awb.process(AwbMode::Auto, &tinted(0.08));
        }
        assert!((awb.white.tint.abs() - TINT).abs() < 1e-3, "{:?}", awb.white);
    }

    #[test]
    fn what_cannot_be_grey_changes_nothing() {
        let mut awb = awb();
        awb.process(AwbMode::Auto, &frame(4000.0, &[GREY], 1.0));
        let before = awb.balance();
        let meadow = frame(5000.0, &[[0.05, 0.25, 0.03]], 1.0);
        let saturated = {
            let mut frame = frame(6500.0, &[GREY], 1.0);
            frame.zones.iter_mut().for_each(|zone| zone.saturated = 301);
            frame
        };
        let dark = frame(6500.0, &[GREY], 0.01);
        let wrong = |value: f32| {
            let mut frame = frame(6500.0, &[GREY], 1.0);
            frame.zones.iter_mut().for_each(|zone| zone.sum[0] = value);
            frame
        };
        let wrong = [f32::NAN, f32::INFINITY, -1.0, 0.0].map(wrong);
        let empty = Statistics::default();
        for frame in [meadow, saturated, dark, empty].iter().chain(&wrong) {
            awb.process(AwbMode::Auto, frame);
            assert_eq!(awb.balance(), before);
        }
    }

    #[test]
    fn the_user_s_word_counts_until_it_is_auto_again() {
        let mut awb = awb();
        let daylight = frame(6500.0, &[GREY], 1.0);
        awb.process(AwbMode::ColourTemperature(3000.0), &daylight);
        assert_eq!(awb.balance().kelvin, 1e6 / (1e6 / 3000.0));
        assert_eq!(awb.balance().gains, awb.calibration.gains(awb.balance().kelvin));
        awb.process(AwbMode::ColourTemperature(50.0), &daylight);
        assert!((awb.balance().kelvin - 2000.0).abs() < 0.01);
        let [red, green, blue] = awb.calibration.gains(4000.0);
        let manual = [red / green, blue / green];
        awb.process(AwbMode::ColourGains(manual), &daylight);
        let Balance { gains, kelvin } = awb.balance();
        assert_eq!(gains, [manual[0], 1.0, manual[1]]);
        assert!((kelvin - 4000.0).abs() < 5.0, "{kelvin}");
        awb.process(AwbMode::Locked, &daylight);
        assert_eq!(awb.balance().gains, gains);
        // A quarter of the way from 4000 K, in mireds.
        awb.process(AwbMode::Auto, &daylight);
        assert!(mired_error(awb.balance().kelvin, 4000.0) < 0.3 * (250.0 - 153.8));
    }
}
