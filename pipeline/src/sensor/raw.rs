//! Raw frames of a scene.

use vcam_isp_gpu::RawFormat;

use super::encode;
use super::model::expose::{ELECTRONS_PER_LUX_SECOND, Exposure, FULL_WELL, expose};
use super::model::{Bench, HotPixels, Mains, Optics, Sees, StillLight, random};
use super::scene::Size;
use super::settings::{Light, Settings, SettingsError};
use super::sheet::Sheet;
use super::timing::Timing;
use super::workers::Workers;
use super::{Moment, optics};

/// A scene, seen by pixels that send what they count.
#[derive(Debug)]
pub(super) struct RawCamera {
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
    sheet: Option<(Option<Exposure>, Sheet)>,
    benches: Vec<RowBench>,
}

/// What one thread needs.
#[derive(Debug)]
struct RowBench {
    optics: Bench,
    light: Vec<f32>,
    numbers: Vec<u16>,
}

impl RawCamera {
    pub(super) fn new(
        settings: &Settings,
        spec: &super::scene::Spec,
        format: RawFormat,
        bands: usize,
    ) -> Result<Self, SettingsError> {
        let sees = format.cfa().map_or(Sees::Brightness, Sees::Mosaic);
        let optics = optics(settings, spec, sees)?;
        let size = settings.frame();
        let pixels = settings.pixels;
        let bench = || RowBench {
            optics: optics.bench(),
            light: vec![0.0; size.width],
            numbers: vec![0; size.width],
        };
        let benches = (0..bands).map(|_| bench()).collect();
        let averaged = settings.readout.averaged() as f32;
        Ok(Self {
            optics,
            format,
            size,
            light: settings.light(),
            variance: if pixels.noise { 1.0 / averaged } else { 0.0 },
            seed: pixels.seed,
            hot: HotPixels::new(pixels.seed, pixels.hot, size.width, size.height),
            still: None,
            sheet: None,
            benches,
        })
    }

    pub(super) fn set_light(&mut self, light: Light) {
        if light.kelvin != self.light.kelvin {
            self.optics.set_lamp(light.kelvin);
            (self.still, self.sheet) = (None, None);
        }
        self.light = light;
    }

    /// Writes a frame.
    pub(super) fn fill(
        &mut self,
        moment: &Moment,
        timing: &Timing,
        plane: &mut [u8],
        stride: usize,
        workers: &Workers,
    ) {
        self.optics.prepare(moment.frame);
        if self.optics.is_still() && self.still.is_none() {
            let hot = |y| self.hot.row(y).next().is_some();
            let bench = &mut self.benches[0].optics;
            self.still = Some(StillLight::new(&self.optics, bench, self.size, hot));
        }
        let seconds = moment.controls.exposure_us * 1e-6;
        let (black, white) = (encode::black(self.format), self.format.white());
        let exposure = Exposure {
            electrons: ELECTRONS_PER_LUX_SECOND * self.light.lux * seconds,
            numbers: f32::from(white - black) / FULL_WELL * moment.controls.gain,
            black: black.into(),
            white: white.into(),
            variance: self.variance,
        };
        let row_bytes = self.format.row_bytes(self.size.width as u32) as usize;
        let Self { optics, format, light, seed, hot, still, sheet, benches, .. } = self;
        if let (Some(still), None, 0.0) = (&*still, light.mains, exposure.variance) {
            let (exposed, sheet) =
                sheet.get_or_insert_with(|| (None, Sheet::new(row_bytes, still.index.clone())));
            if *exposed != Some(exposure) {
                let RowBench { light, numbers, .. } = &mut benches[0];
                for ((y, row), bytes) in still.rows().zip(sheet.rows_mut()) {
                    light.copy_from_slice(row);
                    // Rows with hot pixels are nobody else's.
                    heat(light, hot, y, &exposure, seconds);
                    expose(&exposure, [0; 2], light, numbers);
                    format.pack(numbers, bytes);
                }
                *exposed = Some(exposure);
            }
            return sheet.write(plane, stride, workers);
        }
        let still = still.as_ref();
        let make = |y: usize, row: &mut [u8], bench: &mut RowBench| {
            let Some(row) = row.get_mut(..row_bytes) else { return };
            let mut exposure = exposure;
            if let Some(mains) = light.mains {
                exposure.electrons *= flicker(mains, moment, timing, y);
            }
            let has_hot = hot.row(y).next().is_some();
            let own = match still {
                Some(still) if !has_hot => still.row(still.index[y]),
                Some(still) => {
                    bench.light.copy_from_slice(still.row(still.index[y]));
                    heat(&mut bench.light, hot, y, &exposure, seconds);
                    &bench.light
                }
                None => {
                    optics.light(moment.frame, y, &mut bench.optics, &mut bench.light);
                    heat(&mut bench.light, hot, y, &exposure, seconds);
                    &bench.light
                }
            };
            expose(&exposure, random::key(*seed, moment.frame, y as u64), own, &mut bench.numbers);
            format.pack(&bench.numbers, row);
        };
        workers.rows(plane, stride, self.size.height, benches, make);
    }
}

/// Adds what hot pixels collect, as the light that would free as many electrons.
fn heat(light: &mut [f32], hot: &HotPixels, y: usize, exposure: &Exposure, seconds: f32) {
    for (x, rate) in hot.row(y) {
        light[x] += rate * seconds / exposure.electrons;
    }
}

/// The light of a lamp that flickers, to one that does not, while a row is exposed.
fn flicker(mains: Mains, moment: &Moment, timing: &Timing, y: usize) -> f32 {
    let exposure = f64::from(moment.controls.exposure_us) * 1e-6;
    let read = moment.timestamp.as_secs_f64() + timing.row_seconds(y);
    mains.light(read - exposure, exposure) as f32
}
