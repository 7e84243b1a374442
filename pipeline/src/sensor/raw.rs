//! Raw frames of a scene.

use vcam_isp_gpu::RawFormat;

use super::Capture;
use super::encode;
use super::model::expose::{ELECTRONS_PER_LUX_SECOND, Exposure, FULL_WELL, expose};
use super::model::{HotPixels, Mains, random};
use super::optics::{Channels, Optics, Scratch, StillLight};
use super::row_cache::RowCache;
use super::settings::{Light, Settings, SettingsError};
use super::timing::Timing;
use super::workers::Workers;
use crate::size::Size;

/// A scene, seen by pixels that send what they count.
#[derive(Debug)]
pub(super) struct RawSensor {
    optics: Optics,
    format: RawFormat,
    size: Size,
    light: Light,
    /// The part of the noise's variance that is left; 0 where there is no noise.
    variance: f32,
    seed: u64,
    hot: HotPixels,
    /// The light of a scene that stands still, once it was looked at.
    still: Option<StillLight>,
    /// Its rows, and which exposure they are for, where nothing changes from frame to frame.
    cache: Option<(Option<Exposure>, RowCache)>,
    scratches: Vec<RowScratch>,
}

/// The workspace of one thread.
#[derive(Debug)]
struct RowScratch {
    optics: Scratch,
    light: Vec<f32>,
    numbers: Vec<u16>,
}

impl RawSensor {
    pub(super) fn new(
        settings: &Settings,
        spec: &super::scene::Spec,
        format: RawFormat,
        bands: usize,
    ) -> Result<Self, SettingsError> {
        let channels = format.cfa().map_or(Channels::Brightness, Channels::Mosaic);
        let optics = Optics::open(settings, spec, channels)?;
        let size = settings.size;
        let pixels = settings.pixels;
        let scratch = || RowScratch {
            optics: optics.scratch(),
            light: vec![0.0; size.columns()],
            numbers: vec![0; size.columns()],
        };
        let scratches = (0..bands).map(|_| scratch()).collect();
        let averaged = settings.readout.averaged() as f32;
        Ok(Self {
            optics,
            format,
            size,
            light: settings.light(),
            variance: if pixels.noise { 1.0 / averaged } else { 0.0 },
            seed: pixels.seed,
            hot: HotPixels::new(pixels.seed, pixels.hot, size.columns(), size.rows()),
            still: None,
            cache: None,
            scratches,
        })
    }

    pub(super) fn set_light(&mut self, light: Light) {
        if light.kelvin != self.light.kelvin {
            self.optics.set_lamp(light.kelvin);
            (self.still, self.cache) = (None, None);
        }
        self.light = light;
    }

    /// Writes a frame.
    pub(super) fn fill(
        &mut self,
        capture: &Capture,
        timing: &Timing,
        plane: &mut [u8],
        stride: usize,
        workers: &Workers,
    ) {
        self.optics.prepare(capture.frame);
        if self.optics.is_still() && self.still.is_none() {
            let hot = |y| self.hot.row(y).next().is_some();
            let scratch = &mut self.scratches[0].optics;
            self.still = Some(StillLight::new(&self.optics, scratch, self.size, hot));
        }
        let seconds = capture.controls.exposure_us * 1e-6;
        let (black, white) = (encode::black(self.format), self.format.white());
        let exposure = Exposure {
            electrons: ELECTRONS_PER_LUX_SECOND * self.light.lux * seconds,
            numbers: f32::from(white - black) / FULL_WELL * capture.controls.gain,
            black: black.into(),
            white: white.into(),
            variance: self.variance,
        };
        let row_bytes = self.format.row_bytes(self.size.width) as usize;
        let Self { optics, format, light, seed, hot, still, cache, scratches, .. } = self;
        if let (Some(still), None, 0.0) = (&*still, light.mains, exposure.variance) {
            let (exposed, cache) =
                cache.get_or_insert_with(|| (None, RowCache::new(row_bytes, still.index.clone())));
            if *exposed != Some(exposure) {
                let RowScratch { light, numbers, .. } = &mut scratches[0];
                for ((y, row), bytes) in still.rows().zip(cache.rows_mut()) {
                    light.copy_from_slice(row);
                    // Rows with hot pixels are not shared.
                    heat(light, hot, y, &exposure, seconds);
                    expose(&exposure, [0; 2], light, numbers);
                    format.pack(numbers, bytes);
                }
                *exposed = Some(exposure);
            }
            return cache.write(plane, stride, workers);
        }
        let still = still.as_ref();
        let make = |y: usize, row: &mut [u8], scratch: &mut RowScratch| {
            let Some(row) = row.get_mut(..row_bytes) else { return };
            let mut exposure = exposure;
            if let Some(mains) = light.mains {
                exposure.electrons *= flicker(mains, capture, timing, y);
            }
            let has_hot = hot.row(y).next().is_some();
            let own = match still {
                Some(still) if !has_hot => still.row(still.index[y]),
                Some(still) => {
                    scratch.light.copy_from_slice(still.row(still.index[y]));
                    heat(&mut scratch.light, hot, y, &exposure, seconds);
                    &scratch.light
                }
                None => {
                    optics.light(capture.frame, y, &mut scratch.optics, &mut scratch.light);
                    heat(&mut scratch.light, hot, y, &exposure, seconds);
                    &scratch.light
                }
            };
            expose(
                &exposure,
                random::key(*seed, capture.frame, y as u64),
                own,
                &mut scratch.numbers,
            );
            format.pack(&scratch.numbers, row);
        };
        workers.rows(plane, stride, self.size.rows(), scratches, make);
    }
}

/// Adds what hot pixels collect, as the light that would free as many electrons.
fn heat(light: &mut [f32], hot: &HotPixels, y: usize, exposure: &Exposure, seconds: f32) {
    for (x, rate) in hot.row(y) {
        light[x] += rate * seconds / exposure.electrons;
    }
}

/// The light of a lamp that flickers, to one that does not, while a row is exposed.
fn flicker(mains: Mains, capture: &Capture, timing: &Timing, y: usize) -> f32 {
    let exposure = f64::from(capture.controls.exposure_us) * 1e-6;
    let read = capture.timestamp.as_secs_f64() + timing.row_seconds(y);
    mains.light(read - exposure, exposure) as f32
}
