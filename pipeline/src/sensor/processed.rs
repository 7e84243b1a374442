//! Pictures of a scene, as of a camera with a perfect ISP inside: white is white under every lamp,
//! and there is no noise. A scene comes as it is, as a screen would show it; only where a lamp is
//! asked for do exposure and gain count, and only where a lens is, does it draw.

use std::sync::OnceLock;

use super::Capture;
use super::encode::Encoder;
use super::format::PictureFormat;
use super::model::colour::linear_to_srgb;
use super::model::expose::{ELECTRONS_PER_LUX_SECOND, FULL_WELL};
use super::optics::{Channels, Optics, Scratch};
use super::row_cache::RowCache;
use super::scene::Spec;
use super::settings::{Settings, SettingsError};
use super::workers::Workers;
use crate::size::Size;

/// Steps of light between black and white in the table of levels: fine enough that no level of 256
/// is missed.
const STEPS: usize = 1 << 14;

/// A scene, seen by a camera that sends pictures.
#[derive(Debug)]
pub(super) struct ProcessedSensor {
    optics: Optics,
    format: PictureFormat,
    encoder: Encoder,
    size: Size,
    /// The lamp's brightness; none where the scene's levels come as they are.
    lux: Option<f32>,
    /// The rows of each plane, and which brightness they are for, where the scene stands still.
    caches: [Option<(Option<f32>, RowCache)>; 2],
    scratches: Vec<RowScratch>,
}

/// The workspace of one thread: two rows, for the chroma that they share.
#[derive(Debug)]
struct RowScratch {
    optics: Scratch,
    rows: [Vec<[f32; 3]>; 2],
}

impl ProcessedSensor {
    pub(super) fn new(
        settings: &Settings,
        spec: &Spec,
        format: PictureFormat,
        bands: usize,
    ) -> Result<Self, SettingsError> {
        let optics = Optics::open(settings, spec, Channels::Colours)?;
        let size = settings.size;
        let row = || vec![[0.0; 3]; size.columns()];
        let scratch = || RowScratch { optics: optics.scratch(), rows: [row(), row()] };
        let scratches = (0..bands).map(|_| scratch()).collect();
        let lux = settings.light.map(|light| light.lux);
        let encoder = Encoder::new(format, size);
        Ok(Self { optics, format, encoder, size, lux, caches: [None, None], scratches })
    }

    pub(super) fn set_lux(&mut self, lux: f32) {
        self.lux = Some(lux);
    }

    /// Writes a plane of a frame.
    pub(super) fn fill(
        &mut self,
        capture: &Capture,
        plane: usize,
        bytes: &mut [u8],
        stride: usize,
        workers: &Workers,
    ) {
        if plane > usize::from(self.format == PictureFormat::Nv12) {
            return;
        }
        let seconds = capture.controls.exposure_us * 1e-6;
        let bright = self.lux.map_or(1.0, |lux| {
            let electrons = ELECTRONS_PER_LUX_SECOND * lux * seconds;
            electrons * capture.controls.gain / FULL_WELL
        });
        self.optics.prepare(capture.frame);
        let Self { optics, format, encoder, caches, scratches, .. } = self;
        let table = table();
        let row_bytes = format.row_bytes(self.size.columns());
        let height = self.size.rows() >> plane;
        let make = |y: usize, row: &mut [u8], scratch: &mut RowScratch| {
            let Some(row) = row.get_mut(..row_bytes) else { return };
            let RowScratch { optics: scratch, rows: [above, below] } = scratch;
            let mut levels = |y: usize, row: &mut [[f32; 3]]| {
                optics.colours(capture.frame, y, scratch, row);
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
            return workers.rows(bytes, stride, height, scratches, make);
        }
        let (shown, cache) = caches[plane]
            .get_or_insert_with(|| (None, RowCache::new(row_bytes, (0..height as u32).collect())));
        if *shown != Some(bright) {
            for (y, row) in cache.rows_mut().enumerate() {
                make(y, row, &mut scratches[0]);
            }
            *shown = Some(bright);
        }
        cache.write(bytes, stride, workers);
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
