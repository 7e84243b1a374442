//! Pictures of a scene, as of a camera with a perfect ISP inside: white is white under every lamp,
//! and there is no noise. A scene comes as it is, as a screen would show it; only where a lamp is
//! asked for do exposure and gain count, and only where a lens is, does it draw.

use std::sync::OnceLock;

use super::Moment;
use super::encode::Encoder;
use super::format::PictureFormat;
use super::model::colour::linear_to_srgb;
use super::model::expose::{ELECTRONS_PER_LUX_SECOND, FULL_WELL};
use super::model::{Bench, Optics, Sees};
use super::optics;
use super::scene::{Size, Spec};
use super::settings::{Settings, SettingsError};
use super::sheet::Sheet;
use super::workers::Workers;

/// Steps of light between black and white in the table of levels: fine enough that no level of 256
/// is missed.
const STEPS: usize = 1 << 14;

/// A scene, seen by a camera that sends pictures.
#[derive(Debug)]
pub(super) struct DirectCamera {
    optics: Optics,
    format: PictureFormat,
    encoder: Encoder,
    size: Size,
    /// The lamp's brightness; none where the scene's levels come as they are.
    lux: Option<f32>,
    /// The rows of each plane, and which brightness they are for, where the scene stands still.
    sheets: [Option<(Option<f32>, Sheet)>; 2],
    benches: Vec<RowBench>,
}

/// What one thread needs: two rows, for the chroma that they share.
#[derive(Debug)]
struct RowBench {
    optics: Bench,
    rows: [Vec<[f32; 3]>; 2],
}

impl DirectCamera {
    pub(super) fn new(
        settings: &Settings,
        spec: &Spec,
        format: PictureFormat,
        bands: usize,
    ) -> Result<Self, SettingsError> {
        let optics = optics(settings, spec, Sees::Colours)?;
        let size = settings.frame();
        let row = || vec![[0.0; 3]; size.width];
        let bench = || RowBench { optics: optics.bench(), rows: [row(), row()] };
        let benches = (0..bands).map(|_| bench()).collect();
        let lux = settings.light.map(|light| light.lux);
        let encoder = Encoder::new(format, settings.size);
        Ok(Self { optics, format, encoder, size, lux, sheets: [None, None], benches })
    }

    pub(super) fn set_lux(&mut self, lux: f32) {
        self.lux = Some(lux);
    }

    /// Writes a plane of a frame.
    pub(super) fn fill(
        &mut self,
        moment: &Moment,
        plane: usize,
        bytes: &mut [u8],
        stride: usize,
        workers: &Workers,
    ) {
        if plane > usize::from(self.format == PictureFormat::Nv12) {
            return;
        }
        let seconds = moment.controls.exposure_us * 1e-6;
        let bright = self.lux.map_or(1.0, |lux| {
            let electrons = ELECTRONS_PER_LUX_SECOND * lux * seconds;
            electrons * moment.controls.gain / FULL_WELL
        });
        self.optics.prepare(moment.frame);
        let Self { optics, format, encoder, sheets, benches, .. } = self;
        let table = table();
        let row_bytes = format.row_bytes(self.size.width);
        let height = self.size.height >> plane;
        let make = |y: usize, row: &mut [u8], bench: &mut RowBench| {
            let Some(row) = row.get_mut(..row_bytes) else { return };
            let RowBench { optics: bench, rows: [above, below] } = bench;
            let mut levels = |y: usize, row: &mut [[f32; 3]]| {
                optics.colours(moment.frame, y, bench, row);
                row.iter_mut().flatten().for_each(|light| *light = level(table, *light * bright));
            };
            if plane == 1 {
                levels(2 * y, above);
                levels(2 * y + 1, below);
                encoder.nv12_chroma([above, below], row);
            } else {
                levels(y, above);
                encoder.row(above, row);
            }
        };
        if !optics.is_still() {
            return workers.rows(bytes, stride, height, benches, make);
        }
        let (shown, sheet) = sheets[plane]
            .get_or_insert_with(|| (None, Sheet::new(row_bytes, (0..height as u32).collect())));
        if *shown != Some(bright) {
            for (y, row) in sheet.rows_mut().enumerate() {
                make(y, row, &mut benches[0]);
            }
            *shown = Some(bright);
        }
        sheet.write(bytes, stride, workers);
    }
}

/// The levels of sRGB, 0 to 1, of light in steps.
fn table() -> &'static [f32] {
    static TABLE: OnceLock<Vec<f32>> = OnceLock::new();
    let level = |step: usize| linear_to_srgb(step as f32 / STEPS as f32);
    TABLE.get_or_init(|| (0..=STEPS).map(level).collect())
}

/// The level of sRGB, 0 to 1, of linear light.
fn level(table: &[f32], light: f32) -> f32 {
    // A float beyond the range becomes its end.
    table[((light * STEPS as f32 + 0.5) as usize).min(STEPS)]
}
