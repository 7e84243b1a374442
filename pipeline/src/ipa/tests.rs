//! The loop closed: scene, sensor with its delays and noise, statistics, decision, sensor; and what
//! the ISP makes of it.

use std::time::Duration;

use vcam_isp_gpu::reference::{DevelopedImage, develop};
use vcam_isp_gpu::{IspParams, RawFormat, RawImage, Statistics, Tone};

use super::*;
use crate::colour::Lab;
use crate::sensor::delay::{Controls, DelayedControls, EXPOSURE_DELAY};
use crate::sensor::format::Format;
use crate::sensor::model::colour::srgb_to_linear;
use crate::sensor::model::{Mains, lens::Lens};
use crate::sensor::scene::colorchecker::{COLUMNS, PATCHES, ROWS, field};
use crate::sensor::settings::Pixels;
use crate::sensor::{Light, Sensor, Settings};

const SIZE: (u32, u32) = (192, 128);

/// Frames in which everything settles, whatever happened.
const SOON: usize = 20;

/// The six grey patches of a ColorChecker, from white to black.
const GREYS: std::ops::Range<usize> = 18..24;

/// A camera.
struct Rig {
    sensor: Sensor,
    format: RawFormat,
    ipa: Ipa,
    delayed: DelayedControls,
    frame: u32,
    raw: Vec<u8>,
}

/// The record of one frame.
#[derive(Debug, Clone, Copy)]
struct Seen {
    taken: Controls,
    /// The mean of linear light.
    mean: f32,
    decision: Decision,
}

impl Seen {
    fn stops(&self) -> f32 {
        (self.taken.exposure_us * self.taken.gain).log2()
    }

    fn mired(&self) -> f32 {
        1e6 / self.decision.colour.kelvin.unwrap()
    }
}

fn light(kelvin: f32, lux: f32) -> Light {
    Light { kelvin, lux, mains: None }
}

impl Rig {
    fn new(scene: &str, format: &str, light: Light) -> Self {
        let format: RawFormat = format.parse().unwrap();
        let settings = Settings {
            size: SIZE.into(),
            format: Format::Raw(format),
            source: scene.parse().unwrap(),
            lens: Some(Lens::IDEAL),
            light: Some(light),
            pixels: Pixels { hot: 0.0, ..Pixels::default() },
            ..Settings::default()
        };
        let sensor = Sensor::open(&settings).unwrap();
        let start = Controls::default();
        let calibration = format.cfa().map(|_| Calibration::of_sensor().unwrap());
        let ipa = Ipa::new(sensor.timing().into(), start, calibration);
        let stride = format.row_bytes(SIZE.0) as usize;
        let raw = vec![0; stride * SIZE.1 as usize];
        Self { sensor, format, ipa, delayed: DelayedControls::new(start), frame: 0, raw }
    }

    fn stride(&self) -> usize {
        self.format.row_bytes(SIZE.0) as usize
    }

    fn step(&mut self) -> Seen {
        // No whole number of flickers from one frame to the next.
        let timestamp = Duration::from_micros(34_567) * self.frame;
        let metadata = self.sensor.expose(self.frame.into(), timestamp);
        let (stride, black) = (self.stride(), self.sensor.black_level());
        self.sensor.fill(self.frame.into(), &mut self.raw, stride);
        self.frame += 1;
        let statistics = Statistics::of_raw(self.format, &self.raw, stride, SIZE, black);
        let decision = self.ipa.process(metadata.controls, &statistics);
        self.sensor.set_controls(self.delayed.push(decision.controls));
        let quads: u32 = statistics.histogram.iter().sum();
        let bins = statistics.histogram.iter().enumerate();
        let sum: f32 = bins.map(|(bin, count)| (bin as f32 + 0.5) / 256.0 * *count as f32).sum();
        Seen { taken: metadata.controls, mean: sum / quads as f32, decision }
    }

    fn run(&mut self, frames: usize) -> Vec<Seen> {
        (0..frames).map(|_| self.step()).collect()
    }

    /// A rig that has seen this for a while.
    fn settled(scene: &str, light: Light) -> (Self, Seen) {
        let mut rig = Self::new(scene, "SRGGB12", light);
        let seen = rig.run(2 * SOON);
        (rig, seen[2 * SOON - 1])
    }

    /// The last frame as the ISP's reference develops it, in linear sRGB.
    fn developed(&self, colour: &AwbResult) -> DevelopedImage {
        let params = IspParams {
            black_level: self.sensor.black_level(),
            gains: colour.gains,
            colour: vcam_isp_gpu::ColourCorrection { matrix: colour.ccm, saturation: 1.0 },
            tone: Tone { gamma: 1.0, contrast: 1.0 },
            ..IspParams::default()
        };
        assert_eq!(params.validate(), Ok(()));
        let (format, bytes, stride) = (self.format, &self.raw[..], self.stride());
        develop(&RawImage { format, size: SIZE, stride, bytes }, &params)
    }

    /// How far the grey patch that is the farthest from grey looks from it, when white is white.
    fn grey_error(&self, colour: &AwbResult) -> f64 {
        let published =
            |index: usize| f64::from(srgb_to_linear(f32::from(PATCHES[index][1]) / 255.0));
        let picture = self.developed(colour);
        let scale = published(GREYS.start) / patch(&picture, GREYS.start)[1];
        let errors = GREYS.map(|index| {
            let patch = patch(&picture, index).map(|light| light * scale);
            let lab = Lab::of_linear_srgb(patch);
            lab.difference(lab.grey())
        });
        errors.fold(0.0, f64::max)
    }
}

/// The mean of a patch of a picture.
fn patch(picture: &DevelopedImage, index: usize) -> [f64; 3] {
    let columns = field(index % COLUMNS, COLUMNS, picture.width);
    let (mut sum, mut count) = ([0.0; 3], 0.0);
    for y in field(index / COLUMNS, ROWS, picture.height) {
        for pixel in &picture.levels[y * picture.width..][columns.clone()] {
            sum = [0, 1, 2].map(|channel| sum[channel] + f64::from(pixel[channel]));
            count += 1.0;
        }
    }
    sum.map(|sum| sum / count)
}

/// Asserts that values go one way, up to the noise, and stay where they arrive after [`SOON`].
fn assert_settles(values: &[f32], noise: f32) {
    let (first, last) = (values[0], values[values.len() - 1]);
    let way = (last - first).signum();
    for pair in values.windows(2) {
        assert!((pair[1] - pair[0]) * way > -noise, "it swings: {values:?}");
    }
    for value in values {
        assert!((value - last) * way < noise, "it overshoots: {values:?}");
    }
    for value in &values[SOON..] {
        assert!((value - last).abs() < noise, "it does not settle: {values:?}");
    }
}

#[test]
fn three_stops_either_way_settle_within_20_frames() {
    for scene in ["colorchecker", "solid", "bars"] {
        for (before, after) in [(100.0, 800.0), (800.0, 100.0), (50.0, 400.0), (40_000.0, 5000.0)] {
            let (mut rig, settled) = Rig::settled(scene, light(6500.0, before));
            assert_eq!(settled.decision.ae_state, AeState::Converged, "{scene} {before}");
            rig.sensor.set_light(light(6500.0, after)).unwrap();
            let seen = rig.run(2 * SOON);
            assert_settles(&seen.iter().map(Seen::stops).collect::<Vec<_>>(), 0.1);
            let gone = seen[SOON].stops() - seen[0].stops();
            assert!((gone - (before / after).log2()).abs() < 0.15, "{scene} {before}: {gone}");
            assert_eq!(seen[SOON].decision.ae_state, AeState::Converged, "{scene} {before}");
            assert!(seen[SOON].mean < 1.05 * TARGET, "{scene} {before}: {}", seen[SOON].mean);
        }
    }
}

#[test]
fn a_new_lamp_settles_within_20_frames_and_greys_are_grey() {
    for (before, after) in [(2800.0, 6500.0), (6500.0, 2800.0)] {
        let (mut rig, _) = Rig::settled("colorchecker", light(before, 500.0));
        rig.sensor.set_light(light(after, 500.0)).unwrap();
        let seen = rig.run(2 * SOON);
        assert_settles(&seen.iter().map(Seen::mired).collect::<Vec<_>>(), 2.0);
        let kelvin = 1e6 / seen[SOON].mired();
        assert!((kelvin / after - 1.0).abs() < 0.03, "{after}: {kelvin}");
        let error = rig.grey_error(&seen[SOON].decision.colour);
        assert!(error < 3.0, "{after}: {error}");
    }
}

#[test]
fn greys_are_grey_under_every_lamp() {
    for kelvin in [2000.0, 2300.0, 2856.0, 3700.0, 5003.0, 6504.0, 9000.0, 12_000.0] {
        let (rig, settled) = Rig::settled("colorchecker", light(kelvin, 500.0));
        let error = rig.grey_error(&settled.decision.colour);
        assert!(error < 3.0, "{kelvin} K, found {}: {error}", 1e6 / settled.mired());
    }
}

#[test]
fn what_is_decided_counts_two_frames_later() {
    let mut rig = Rig::new("colorchecker", "SRGGB12", light(6500.0, 30.0));
    let mut seen = rig.run(2 * SOON);
    rig.sensor.set_light(light(6500.0, 1000.0)).unwrap();
    seen.extend(rig.run(2 * SOON));
    let line = rig.sensor.timing().line_duration().as_secs_f32() * 1e6;
    for pair in seen.windows(EXPOSURE_DELAY + 1) {
        let (decided, taken) = (pair[0].decision.controls, pair[EXPOSURE_DELAY].taken);
        assert!((decided.exposure_us - taken.exposure_us).abs() <= line, "{decided:?} {taken:?}");
        assert_eq!(decided.gain, taken.gain);
    }
    // It needed gain first, and none later.
    assert!(seen[2 * SOON].taken.gain > 2.0 && seen[4 * SOON - 1].taken.gain == 1.0);
}

#[test]
fn a_sensor_without_filters_has_exposure_alone() {
    let mut rig = Rig::new("solid", "Y10", light(3000.0, 500.0));
    let settled = rig.run(2 * SOON)[2 * SOON - 1];
    assert!((settled.mean / TARGET - 1.0).abs() < 0.05, "{settled:?}");
    assert_eq!(settled.decision.colour.kelvin, None);
}

#[test]
fn flicker_is_avoided() {
    let swing = |mains, flicker| {
        let light = Light { mains: Some(mains), ..light(6500.0, 700.0) };
        let mut rig = Rig::new("solid", "SRGGB12", light);
        let ae = AeControls { flicker, ..AeControls::default() };
        rig.ipa.set_controls(IpaControls { ae, ..IpaControls::default() }).unwrap();
        rig.run(2 * SOON);
        // Locked, so that exposure does not run after the flicker.
        let (exposure_time, analogue_gain) = (Setting::Locked, Setting::Locked);
        let ae = AeControls { exposure_time, analogue_gain, ..ae };
        rig.ipa.set_controls(IpaControls { ae, ..IpaControls::default() }).unwrap();
        let means: Vec<_> = rig.run(SOON)[4..].iter().map(|seen| seen.mean).collect();
        let highest = means.iter().copied().fold(0.0, f32::max);
        highest / means.iter().copied().fold(f32::MAX, f32::min) - 1.0
    };
    for (mains, flicker) in [(Mains::Hz50, Flicker::HZ_50), (Mains::Hz60, Flicker::HZ_60)] {
        let (without, with) = (swing(mains, Flicker::Off), swing(mains, flicker));
        assert!(without > 0.02 && with < 0.01, "{mains:?}: {without} {with}");
    }
}

#[test]
fn a_lock_holds_what_was_found() {
    let (mut rig, settled) = Rig::settled("colorchecker", light(4000.0, 200.0));
    let ae = AeControls {
        exposure_time: Setting::Locked,
        analogue_gain: Setting::Locked,
        ..AeControls::default()
    };
    rig.ipa.set_controls(IpaControls { ae, awb: AwbMode::Locked }).unwrap();
    rig.sensor.set_light(light(9000.0, 600.0)).unwrap();
    for seen in rig.run(SOON) {
        assert_eq!(seen.decision.controls, settled.decision.controls);
        assert_eq!(seen.decision.colour, settled.decision.colour);
    }
}

#[test]
fn every_scene_with_something_grey_shows_the_lamp() {
    for scene in ["bars", "ramp", "siemens", "ball", "lines", "noise"] {
        for kelvin in [2500.0, 6500.0, 10_000.0] {
            let mut rig = Rig::new(scene, "SRGGB12", light(kelvin, 500.0));
            let settled = rig.run(SOON)[SOON - 1];
            let apart = (settled.mired() - 1e6 / kelvin).abs();
            assert!(apart < 10.0, "{scene}: {kelvin} K, found {}", 1e6 / settled.mired());
        }
    }
}
