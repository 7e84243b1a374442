//! Samples to 16-bit light: defect correction, black level, lens shading.

use multiversion::multiversion;

use crate::mirror::mirrored;
use crate::params::IspParams;
use crate::raw::RawFormat;
use crate::stats::WHITE;

/// How far the filters on the mosaic reach to a side.
const REACH: usize = 2;

/// Rows of a mosaic with what is beyond their ends.
#[derive(Debug, Default)]
pub(super) struct Padded(Vec<u16>);

impl Padded {
    /// Room for rows of this width.
    pub(super) fn fit(&mut self, width: usize) {
        self.0.resize(width + 2 * REACH, 0);
    }

    /// The row itself.
    pub(super) fn row_mut(&mut self) -> &mut [u16] {
        let end = self.0.len() - REACH;
        &mut self.0[REACH..end]
    }

    /// Fills in what is beyond the ends.
    pub(super) fn mirror(&mut self) {
        let width = self.0.len() - 2 * REACH;
        for beyond in 1..=REACH as isize {
            let (before, after) = (-beyond, width as isize - 1 + beyond);
            for at in [before, after] {
                self.0[(at + REACH as isize) as usize] = self.0[mirrored(at, width) + REACH];
            }
        }
    }

    /// The row, moved to the side.
    pub(super) fn moved(&self, by: isize) -> &[u16] {
        let width = self.0.len() - 2 * REACH;
        &self.0[(REACH as isize + by) as usize..][..width]
    }
}

/// Makes the light of one row.
pub(super) struct Lighting<'a> {
    pub(super) format: RawFormat,
    pub(super) size: (usize, usize),
    pub(super) raw: &'a [u8],
    pub(super) stride: usize,
    pub(super) params: &'a IspParams,
}

impl Lighting<'_> {
    pub(super) fn row(&self, y: usize, scratch: &mut [Padded; 3], light: &mut [u16]) {
        match self.params.defects {
            None => self.unpack(y, light),
            Some(defects) => {
                let period = if self.format.cfa().is_some() { 2 } else { 1 };
                for (padded, dy) in scratch.iter_mut().zip([-period, 0, period]) {
                    padded.fit(self.size.0);
                    self.unpack(mirrored(y as isize + dy, self.size.1), padded.row_mut());
                    padded.mirror();
                }
                let [above, here, below] = &*scratch;
                let neighbours = [
                    above.moved(-period),
                    above.moved(0),
                    above.moved(period),
                    here.moved(-period),
                    here.moved(period),
                    below.moved(-period),
                    below.moved(0),
                    below.moved(period),
                ];
                correct(here.moved(0), neighbours, defects.steps(self.format), light);
            }
        }
        let white = f32::from(self.format.white());
        let black = self.params.black_level;
        let scale = f32::from(WHITE) / (white * (1.0 - black));
        let offset = f32::from(WHITE) * black / (1.0 - black);
        if self.params.shading.is_none() {
            lighten(light, scale, offset);
        } else {
            let colours = [0, 1].map(|x| {
                let colour = self.format.cfa().map_or(1, |cfa| cfa.colour_at(x, y as u32 & 1));
                self.params.shading.coefficients[colour]
            });
            let middle = |count: usize| (count as f32 - 1.0) / 2.0;
            let (across, down) = (middle(self.size.0), middle(self.size.1));
            let down_squared = (y as f32 - down).powi(2);
            let corner = across * across + down * down;
            shade(light, scale, offset, colours, (across, down_squared, 1.0 / corner));
        }
    }

    fn unpack(&self, y: usize, row: &mut [u16]) {
        self.format.unpack(self.raw.get(y * self.stride..).unwrap_or_default(), row);
    }
}

#[inline(always)]
fn cut(light: f32) -> u16 {
    (light.clamp(0.0, f32::from(WHITE)) + 0.5) as i32 as u16
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn lighten(light: &mut [u16], scale: f32, offset: f32) {
    for value in light {
        *value = cut(f32::from(*value) * scale - offset);
    }
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn shade(
    light: &mut [u16],
    scale: f32,
    offset: f32,
    colours: [[f32; 3]; 2],
    (across, down_squared, over_corner): (f32, f32, f32),
) {
    for (x, value) in light.iter_mut().enumerate() {
        let [c0, c1, c2] = colours[x & 1];
        let from_middle = x as f32 - across;
        let squared = (from_middle * from_middle + down_squared) * over_corner;
        let gain = 1.0 + squared * (c0 + squared * (c1 + squared * c2));
        *value = cut((f32::from(*value) * scale - offset) * gain);
    }
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn correct(own: &[u16], neighbours: [&[u16]; 8], threshold: u32, out: &mut [u16]) {
    let width = out.len();
    let (own, neighbours) = (&own[..width], neighbours.map(|row| &row[..width]));
    let threshold = threshold.min(u16::MAX.into()) as u16;
    for x in 0..width {
        let (mut least, mut most) = (u16::MAX, 0);
        for row in neighbours {
            (least, most) = (least.min(row[x]), most.max(row[x]));
        }
        let value = own[x];
        out[x] = if value > most.saturating_add(threshold) {
            most
        } else if value < least.saturating_sub(threshold) {
            least
        } else {
            value
        };
    }
}
