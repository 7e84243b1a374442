//! The loop closed: scene, sensor, statistics, decision, sensor.

use std::time::Duration;

use vcam_isp_gpu::RawFormat;

use super::exposure::TARGET;
use super::white_balance::WhiteBalance;
use super::*;
use crate::sensor::format::Format;
use crate::sensor::model::colour::{LUMINANCE, RGB_TO_XYZ, srgb_to_linear, transform};
use crate::sensor::model::{Mains, lens::Lens};
use crate::sensor::scene::colorchecker::{PATCHES, field};
use crate::sensor::settings::Pixels;
use crate::sensor::{Light, Sensor, Settings};

const SIZE: (u32, u32) = (192, 128);

/// Frames in which everything settles, whatever happened.
const SOON: usize = 20;

/// A camera, and all that it saw.
struct Rig {
    sensor: Sensor,
    format: RawFormat,
    ipa: Ipa,
    frame: u64,
    decision: Option<Decision>,
    raw: Vec<u8>,
}

/// What one frame was.
#[derive(Debug, Clone, Copy)]
struct Seen {
    controls: Controls,
    /// The mean of linear light.
    mean: f32,
    /// What the frame is shown with: decided from the frame before.
    balance: WhiteBalance,
}

impl Rig {
    fn new(scene: &str, light: Light) -> Self {
        let format: RawFormat = "SRGGB12".parse().unwrap();
        let settings = Settings {
            size: SIZE,
            format: Format::Raw(format),
            source: scene.parse().unwrap(),
            lens: Lens::IDEAL,
            light,
            pixels: Pixels { hot: 0.0, ..Pixels::default() },
            ..Settings::default()
        };
        let sensor = Sensor::open(&settings).unwrap();
        let ipa = Ipa::new(Controls::default());
        Self { sensor, format, ipa, frame: 0, decision: None, raw: Vec::new() }
    }

    fn stride(&self) -> usize {
        self.format.row_bytes(SIZE.0) as usize
    }

    fn step(&mut self) -> Seen {
        let timestamp = Duration::from_micros(33_333) * self.frame as u32;
        let metadata = self.sensor.expose(self.frame, timestamp);
        let stride = self.stride();
        self.raw.resize(stride * SIZE.1 as usize, 0);
        self.sensor.fill(self.frame, &mut self.raw, stride);
        let black = self.sensor.black_level();
        let statistics = Statistics::of_raw(self.format, &self.raw, stride, SIZE, black);
        let limits = Limits::from(self.sensor.timing());
        let decision = self.ipa.process(&statistics, &metadata, &limits);
        self.sensor.set_controls(decision.write);
        self.frame += 1;
        let balance = self.decision.replace(decision).unwrap_or(decision).white_balance;
        let pixels: u32 = statistics.histogram.iter().sum();
        let bins = statistics.histogram.iter().enumerate();
        let sum: f32 = bins.map(|(bin, count)| (bin as f32 + 0.5) / 256.0 * *count as f32).sum();
        Seen { controls: metadata.controls, mean: sum / pixels as f32, balance }
    }

    fn run(&mut self, frames: usize) -> Vec<Seen> {
        (0..frames).map(|_| self.step()).collect()
    }

    /// Red, green and blue of a patch in the last frame, as the ISP would make them.
    fn patch(&self, index: usize, balance: &WhiteBalance) -> [f64; 3] {
        let (width, height) = (SIZE.0 as usize, SIZE.1 as usize);
        let (columns, rows) = (field(index % 6, 6, width), field(index / 6, 4, height));
        let mut numbers = vec![0; width];
        let (mut sum, mut count) = ([0.0; 3], [0.0; 3]);
        for y in rows {
            self.format.unpack(&self.raw[y * self.stride()..][..self.stride()], &mut numbers);
            for x in columns.clone() {
                let colour = self.format.cfa().unwrap().colour_at(x as u32, y as u32);
                sum[colour] += f64::from(numbers[x]) - 256.0;
                count[colour] += 3839.0;
            }
        }
        let balanced = [0, 1, 2].map(|at| sum[at] / count[at] * f64::from(balance.gains[at]));
        balance.matrix.map(|row| row.iter().zip(balanced).map(|(a, b)| f64::from(*a) * b).sum())
    }

    /// How far each grey patch is from grey, as CIE 1976 has it, once it is as bright as published.
    fn greys(&self, balance: &WhiteBalance) -> Vec<f64> {
        let luminance =
            |rgb: [f64; 3]| rgb.iter().zip(LUMINANCE).map(|(l, w)| l * f64::from(w)).sum::<f64>();
        (18..24)
            .map(|index| {
                let published =
                    PATCHES[index].map(|level| f64::from(srgb_to_linear(f32::from(level) / 255.0)));
                let rgb = self.patch(index, balance);
                let scale = luminance(published) / luminance(rgb);
                let [_, a, b] = lab(rgb.map(|light| light * scale));
                a.hypot(b)
            })
            .collect()
    }
}

/// CIE L*a*b* of linear sRGB, for the white of D65.
fn lab(rgb: [f64; 3]) -> [f64; 3] {
    let white = transform(&RGB_TO_XYZ, [1.0; 3]);
    let xyz = transform(&RGB_TO_XYZ, rgb);
    let [x, y, z] = [0, 1, 2].map(|at| {
        let part = xyz[at] / white[at];
        if part > 216.0 / 24_389.0 { part.cbrt() } else { (24_389.0 / 27.0 * part + 16.0) / 116.0 }
    });
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

/// Stops that a frame got.
fn stops(seen: &Seen) -> f32 {
    (seen.controls.exposure_us * seen.controls.gain).log2()
}

/// Asserts that values go one way, up to the noise, and stay where they arrive.
fn assert_settles(values: &[f32], noise: f32) {
    let (first, last) = (values[0], values[values.len() - 1]);
    let way = (last - first).signum();
    for pair in values.windows(2) {
        assert!((pair[1] - pair[0]) * way > -noise, "it swings: {values:?}");
    }
    for value in &values[SOON..] {
        assert!((value - last).abs() < noise, "it does not settle: {values:?}");
    }
}

#[test]
fn three_stops_either_way_settle_without_swinging() {
    for (before, after) in [(100.0, 800.0), (800.0, 100.0), (20.0, 160.0), (5000.0, 625.0)] {
        let light = |lux| Light { lux, ..Light::default() };
        let mut rig = Rig::new("colorchecker", light(before));
        rig.run(2 * SOON);
        assert!(rig.ipa.exposure.is_settled());
        rig.sensor.set_light(light(after)).unwrap();
        let seen = rig.run(2 * SOON);
        assert_settles(&seen.iter().map(stops).collect::<Vec<_>>(), 0.06);
        let gone = stops(&seen[SOON]) - stops(&seen[0]);
        assert!((gone - (before / after).log2()).abs() < 0.1, "{before} {after}: {gone}");
        // The patches are as bright as the target, or as the highlights allow.
        let settled = seen[SOON].mean / TARGET;
        assert!((0.9..1.04).contains(&settled), "{before} {after}: {settled}");
    }
}

#[test]
fn a_new_lamp_settles_without_swinging() {
    for (before, after) in [(2800.0, 6500.0), (6500.0, 2800.0)] {
        let light = |kelvin| Light { kelvin, ..Light::default() };
        let mut rig = Rig::new("colorchecker", light(before));
        rig.run(2 * SOON);
        rig.sensor.set_light(light(after)).unwrap();
        let seen = rig.run(2 * SOON);
        let mireds: Vec<f32> = seen.iter().map(|seen| 1e6 / seen.balance.kelvin).collect();
        assert_settles(&mireds, 3.0);
        let settled = &seen[SOON];
        assert!((settled.balance.kelvin / after - 1.0).abs() < 0.03, "{settled:?}");
        let greys = rig.greys(&settled.balance);
        assert!(greys.iter().all(|grey| *grey < 3.0), "{before} {after}: {greys:?}");
    }
}

#[test]
fn greys_are_grey_under_every_lamp() {
    for kelvin in [2300.0, 2856.0, 3700.0, 5003.0, 6504.0, 9000.0] {
        let mut rig = Rig::new("colorchecker", Light { kelvin, ..Light::default() });
        let seen = rig.run(2 * SOON);
        let greys = rig.greys(&seen[2 * SOON - 1].balance);
        assert!(greys.iter().all(|grey| *grey < 3.0), "{kelvin}: {greys:?}");
    }
}

#[test]
fn exposure_and_gain_come_together() {
    let mut rig = Rig::new("colorchecker", Light { lux: 30.0, ..Light::default() });
    let mut wanted = Vec::new();
    let mut taken = Vec::new();
    for frame in 0..3 * SOON {
        if frame == SOON {
            rig.sensor.set_light(Light { lux: 1000.0, ..Light::default() }).unwrap();
        }
        taken.push(rig.step().controls);
        wanted.push(rig.ipa.exposure.process(
            &Statistics::default(),
            Controls::default(),
            &Limits::from(rig.sensor.timing()),
        ));
    }
    // What was decided after frame n counts for frame n + 2, whole.
    for (wanted, taken) in wanted.iter().zip(&taken[2..]) {
        assert!((wanted.exposure_us - taken.exposure_us).abs() < 1.0, "{wanted:?} {taken:?}");
        assert!((wanted.gain - taken.gain).abs() < 1e-3, "{wanted:?} {taken:?}");
    }
    // It needed gain first, and none later.
    assert!(taken[SOON].gain > 2.0 && taken[3 * SOON - 1].gain == 1.0);
}

#[test]
fn compensation_is_in_stops() {
    let settled = |compensation| {
        let mut rig = Rig::new("solid", Light::default());
        rig.ipa.exposure.compensation = compensation;
        rig.run(2 * SOON)[2 * SOON - 1].mean
    };
    let even = settled(0.0);
    assert!((even / TARGET - 1.0).abs() < 0.03, "{even}");
    assert!((settled(1.0) / even - 2.0).abs() < 0.06);
    assert!((settled(-1.0) / even - 0.5).abs() < 0.015);
}

#[test]
fn flicker_is_avoided() {
    let swing = |mains| {
        let light = Light { lux: 400.0, mains: Some(Mains::Hz50), ..Light::default() };
        let mut rig = Rig::new("solid", light);
        rig.ipa.exposure.mains = mains;
        rig.run(2 * SOON);
        // Frames that are no whole number of flickers apart see each another phase.
        let means: Vec<f32> = (0..10)
            .map(|frame| {
                rig.ipa.exposure.mode = exposure::Mode::Locked;
                rig.frame += frame % 3;
                let timestamp = Duration::from_micros(31_700) * rig.frame as u32;
                rig.sensor.expose(rig.frame, timestamp);
                let stride = rig.stride();
                rig.sensor.fill(rig.frame, &mut rig.raw, stride);
                let black = rig.sensor.black_level();
                let statistics = Statistics::of_raw(rig.format, &rig.raw, stride, SIZE, black);
                let green: f32 = statistics.zones.iter().map(|zone| zone.sum[1]).sum();
                green / statistics.zones.iter().map(|zone| zone.quads as f32).sum::<f32>()
            })
            .collect();
        let high = means.iter().copied().fold(0.0, f32::max);
        high / means.iter().copied().fold(f32::MAX, f32::min) - 1.0
    };
    assert!(swing(None) > 0.02, "{}", swing(None));
    assert!(swing(Some(Mains::Hz50)) < 0.005, "{}", swing(Some(Mains::Hz50)));
}
