//! From a scene to the light of each pixel.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

use vcam_isp_gpu::Cfa;

use super::model::colour::{self, LUMINANCE};
use super::model::lens::{Blur, Falloff, Lens};
use super::readout::Readout;
use super::scene::{SceneView, Spec};
use super::settings::{Settings, SettingsError};
use crate::size::Size;

/// The channels that the pixels of a sensor see.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Channels {
    /// Each one colour, through filters in this order.
    Mosaic(Cfa),
    /// Brightness alone.
    Brightness,
    /// All three colours; white is white under every lamp.
    Colours,
}

/// A scene, a lens, and the filters of a sensor's array.
#[derive(Debug)]
pub(crate) struct Optics {
    view: SceneView,
    /// Pixels of the array, before any are skipped or averaged.
    array: Size,
    falloff: Option<Falloff>,
    blur: Option<Blur>,
    readout: Readout,
    channels: Channels,
    /// Linear sRGB to what red, green and blue pixels see.
    filters: [[f32; 3]; 3],
}

/// Room to work in: what one thread needs to make rows.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// A row of the array.
    row: Vec<[f32; 3]>,
    /// Rows of the array that are blurred along themselves.
    blurred: Vec<Blurred>,
}

#[derive(Debug)]
struct Blurred {
    /// The frame and the row.
    of: Option<(u64, usize)>,
    row: Vec<[f32; 3]>,
}

impl Optics {
    /// Opens a scene and sees it through the lens of the settings.
    pub(crate) fn open(
        settings: &Settings,
        scene: &Spec,
        channels: Channels,
    ) -> Result<Self, SettingsError> {
        let (lens, light, readout) = (settings.lens(), settings.light(), settings.readout);
        let array = readout.array(settings.size);
        Ok(Self::new(scene.open(array)?, array, lens, readout, channels, light.kelvin))
    }

    /// `array` is what the view was opened for.
    fn new(
        view: SceneView,
        array: Size,
        lens: Lens,
        readout: Readout,
        channels: Channels,
        kelvin: f32,
    ) -> Self {
        Self {
            view,
            array,
            falloff: Falloff::new(lens.vignetting, array.columns(), array.rows()),
            blur: Blur::new(lens.blur),
            readout,
            channels,
            filters: colour::response(kelvin).map(|row| row.map(|value| value as f32)),
        }
    }

    /// Whether each frame is like the one before.
    pub(crate) fn is_still(&self) -> bool {
        self.view.is_still()
    }

    /// Gets ready for the rows of this frame.
    pub(crate) fn prepare(&mut self, frame: u64) {
        self.view.prepare(frame);
    }

    /// Changes the lamp.
    pub(crate) fn set_lamp(&mut self, kelvin: f32) {
        self.filters = colour::response(kelvin).map(|row| row.map(|value| value as f32));
    }

    /// A scratch for this camera.
    pub(crate) fn scratch(&self) -> Scratch {
        let row = || vec![[0.0; 3]; self.array.columns()];
        let blurred = self.blur.as_ref().map_or(0, |blur| 2 * blur.reach() + 1);
        Scratch {
            row: row(),
            blurred: (0..blurred).map(|_| Blurred { of: None, row: row() }).collect(),
        }
    }

    /// Writes the light of row `y` of the picture, pixel by pixel.
    pub(crate) fn light(&self, frame: u64, y: usize, scratch: &mut Scratch, light: &mut [f32]) {
        let (step, rows, weights) = match self.channels {
            Channels::Mosaic(cfa) => {
                let colour = |x: u32| self.filters[cfa.colour_at(x, y as u32)];
                (2, self.readout.sources(y, 2), [colour(0), colour(1)])
            }
            Channels::Brightness | Channels::Colours => {
                (1, self.readout.sources(y, 1), [LUMINANCE; 2])
            }
        };
        let part = 1.0 / self.readout.averaged() as f32;
        let weights = weights.map(|colour| colour.map(|weight| weight * part));
        light.fill(0.0);
        for row in rows {
            self.array_row(frame, row, scratch);
            if self.readout == Readout::Full {
                let both = light.chunks_mut(2).zip(scratch.row.chunks(2));
                for (light, colours) in both {
                    for ((light, colour), weight) in light.iter_mut().zip(colours).zip(&weights) {
                        *light = seen(colour, weight);
                    }
                }
                continue;
            }
            for (x, light) in light.iter_mut().enumerate() {
                for column in self.readout.sources(x, step) {
                    *light += seen(&scratch.row[column], &weights[x % 2]);
                }
            }
        }
    }

    /// Writes all three colours of row `y` of the picture.
    pub(crate) fn colours(
        &self,
        frame: u64,
        y: usize,
        scratch: &mut Scratch,
        colours: &mut [[f32; 3]],
    ) {
        let part = 1.0 / self.readout.averaged() as f32;
        colours.fill([0.0; 3]);
        for row in self.readout.sources(y, 1) {
            self.array_row(frame, row, scratch);
            for (x, colour) in colours.iter_mut().enumerate() {
                for column in self.readout.sources(x, 1) {
                    for (sum, light) in colour.iter_mut().zip(scratch.row[column]) {
                        *sum += light * part;
                    }
                }
            }
        }
    }

    /// Leaves row `y` of the array, as the lens draws it, in the scratch's row.
    fn array_row(&self, frame: u64, y: usize, scratch: &mut Scratch) {
        match &self.blur {
            None => self.view.row(frame, y, &mut scratch.row),
            Some(blur) => self.blurred_row(blur, frame, y, scratch),
        }
        if let Some(falloff) = &self.falloff {
            falloff.apply(y, &mut scratch.row);
        }
    }

    fn blurred_row(&self, blur: &Blur, frame: u64, y: usize, scratch: &mut Scratch) {
        let Scratch { row, blurred } = scratch;
        let reach = blur.reach();
        let kept = blurred.len();
        let last = self.array.rows() - 1;
        let sources = y.saturating_sub(reach)..=(y + reach).min(last);
        for source in sources {
            let held = &mut blurred[source % kept];
            if held.of != Some((frame, source)) {
                self.view.row(frame, source, row);
                blur.along(row, &mut held.row);
                held.of = Some((frame, source));
            }
        }
        row.fill([0.0; 3]);
        for offset in 0..=2 * reach {
            // Rows beyond the border are like the border's.
            let source = (y + offset).saturating_sub(reach).min(last);
            let weight = blur.weight(offset.abs_diff(reach));
            for (sum, pixel) in row.iter_mut().zip(&blurred[source % kept].row) {
                for (sum, light) in sum.iter_mut().zip(pixel) {
                    *sum += light * weight;
                }
            }
        }
    }
}

/// The light behind a filter. A filter's answer to a colour that it lacks may come out below
/// nothing, which no light is.
#[inline(always)]
fn seen(colour: &[f32; 3], filter: &[f32; 3]) -> f32 {
    (colour[0] * filter[0] + colour[1] * filter[1] + colour[2] * filter[2]).max(0.0)
}

/// The light of a scene that stands still, each different row once.
#[derive(Debug)]
pub(crate) struct StillLight {
    width: usize,
    rows: Vec<f32>,
    /// The first row of the picture that each is.
    first: Vec<usize>,
    /// Which of the rows each row of the picture is.
    pub(crate) index: Vec<u32>,
}

impl StillLight {
    /// Looks at the scene. A row that `is_own` is kept apart even if another is like it.
    pub(crate) fn new(
        optics: &Optics,
        scratch: &mut Scratch,
        size: Size,
        is_own: impl Fn(usize) -> bool,
    ) -> Self {
        let mut still =
            Self { width: size.columns(), rows: Vec::new(), first: Vec::new(), index: Vec::new() };
        let mut seen: HashMap<u64, Vec<u32>> = HashMap::new();
        let mut light = vec![0.0; size.columns()];
        for y in 0..size.rows() {
            optics.light(0, y, scratch, &mut light);
            let mut hasher = DefaultHasher::new();
            light.iter().for_each(|light| hasher.write_u32(light.to_bits()));
            let alike = seen.entry(hasher.finish()).or_default();
            let found =
                alike.iter().find(|row| still.row(**row) == light).filter(|_| !is_own(y)).copied();
            let row = found.unwrap_or_else(|| {
                let row = still.first.len() as u32;
                still.rows.extend_from_slice(&light);
                still.first.push(y);
                if !is_own(y) {
                    alike.push(row);
                }
                row
            });
            still.index.push(row);
        }
        still
    }

    /// One of the different rows.
    pub(crate) fn row(&self, row: u32) -> &[f32] {
        &self.rows[row as usize * self.width..][..self.width]
    }

    /// The different rows, each with the first row of the picture that it is.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (usize, &[f32])> {
        self.first.iter().copied().zip(self.rows.chunks_exact(self.width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn optics(scene: &str, size: Size, lens: Lens, readout: Readout, channels: Channels) -> Optics {
        let array = readout.array(size);
        let view = scene.parse::<crate::sensor::scene::Spec>().unwrap().open(array).unwrap();
        Optics::new(view, array, lens, readout, channels, 6504.0)
    }

    fn light(optics: &Optics, width: usize, y: usize) -> Vec<f32> {
        let mut light = vec![f32::NAN; width];
        optics.light(0, y, &mut optics.scratch(), &mut light);
        light
    }

    const SIZE: Size = Size { width: 128, height: 64 };
    const MOSAIC: Channels = Channels::Mosaic(Cfa::Rggb);

    #[test]
    fn white_is_green_without_white_balance() {
        let bars = optics("bars", SIZE, Lens::IDEAL, Readout::Full, MOSAIC);
        let (even, odd) = (light(&bars, 128, 10), light(&bars, 128, 11));
        let lit = colour::srgb_to_linear(0.75);
        // The first bar is white: red, green; green, blue.
        let expected = [0.389, 1.0, 1.0, 0.721].map(|part| part * lit);
        for (seen, expected) in [even[0], even[1], odd[0], odd[1]].into_iter().zip(expected) {
            assert!((seen - expected).abs() < 2e-3, "{seen} {expected}");
        }
        assert_eq!(even[127], 0.0);
    }

    #[test]
    fn every_readout_keeps_the_mosaic_and_the_light() {
        for readout in Readout::ALL {
            let bars = optics("bars", SIZE, Lens::IDEAL, readout, MOSAIC);
            let full = optics("bars", SIZE, Lens::IDEAL, Readout::Full, MOSAIC);
            for y in [0, 1, 62, 63] {
                let (here, there) = (light(&bars, 128, y), light(&full, 128, y));
                for (x, (here, there)) in here.iter().zip(&there).enumerate() {
                    assert!((here - there).abs() < 1e-6, "{readout} {x} {y}: {here} {there}");
                }
            }
        }
    }

    #[test]
    fn averaging_resolves_less_and_does_not_alias() {
        let contrast = |readout| {
            let plate = optics("zoneplate", SIZE, Lens::IDEAL, readout, Channels::Brightness);
            let row = light(&plate, 128, 32);
            let ends = &row[116..124];
            ends.iter().fold(0.0, |a: f32, b| a.max(*b))
                - ends.iter().fold(1.0, |a: f32, b| a.min(*b))
        };
        assert!(contrast(Readout::Bin2) < 0.5 * contrast(Readout::Skip2));
    }

    #[test]
    fn a_lens_blurs_in_both_directions_alike() {
        let lens = Lens { blur: 1.5, ..Lens::IDEAL };
        let board = optics("checkerboard", SIZE, lens, Readout::Full, Channels::Brightness);
        let sharp = optics("checkerboard", SIZE, Lens::IDEAL, Readout::Full, Channels::Brightness);
        let mut scratch = board.scratch();
        let rows: Vec<Vec<f32>> = (0..64)
            .map(|y| {
                let mut row = vec![0.0; 128];
                board.light(0, y, &mut scratch, &mut row);
                row
            })
            .collect();
        for (at, row) in rows.iter().enumerate().take(48).skip(16) {
            // The board is its own mirror image at the diagonal.
            assert!((row[20] - rows[20][at]).abs() < 1e-5, "{at}");
            // Rows made out of order are the same.
            assert_eq!(light(&board, 128, at), *row);
        }
        assert_ne!(rows[20], light(&sharp, 128, 20));
        let sum = |row: &[f32]| row.iter().sum::<f32>();
        assert!((sum(&rows[20]) / sum(&light(&sharp, 128, 20)) - 1.0).abs() < 0.01);
    }

    #[test]
    fn a_still_scene_keeps_each_row_once() {
        let bars = optics("bars", SIZE, Lens::IDEAL, Readout::Full, MOSAIC);
        let mut scratch = bars.scratch();
        let still = StillLight::new(&bars, &mut scratch, SIZE, |_| false);
        assert_eq!(still.rows().count(), 2);
        for y in 0..64 {
            assert_eq!(still.row(still.index[y]), light(&bars, 128, y));
        }
        let still = StillLight::new(&bars, &mut scratch, SIZE, |y| y == 9);
        assert_eq!((still.rows().count(), still.index[9], still.index[11]), (3, 2, 1));
        assert_eq!(still.rows().map(|(y, _)| y).collect::<Vec<_>>(), [0, 1, 9]);
    }
}
