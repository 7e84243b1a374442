//! Black level and lens shading: samples become light above black, from 0 to 1 in 16 bits.
//!
//! `light = clamp((sample / white - black) / (1 - black) * shading(r^2), 0, 1)`. Sixteen bits are
//! as many as any sensor has, and whole numbers make sums that do not depend on their order.

use super::Mosaic;
use crate::params::IspParams;
use crate::raw::RawFormat;
use crate::stats::WHITE;

pub(super) fn of(samples: &Mosaic, format: RawFormat, params: &IspParams) -> Mosaic {
    let black = params.black_level;
    samples.map(|x, y| {
        let full = f32::from(samples.values[y * samples.width + x]) / f32::from(format.white());
        let colour = samples.cfa.map_or(1, |cfa| cfa.colour_at(x as u32, y as u32));
        let squared = from_centre(x, samples.width, y, samples.height);
        let above = (full - black) / (1.0 - black) * params.shading.gain(colour, squared);
        (above.clamp(0.0, 1.0) * f32::from(WHITE) + 0.5) as u16
    })
}

/// The squared distance from the frame's centre, 1 in its corners.
fn from_centre(x: usize, width: usize, y: usize, height: usize) -> f32 {
    // In halves of a pixel: the middle of the frame is (width - 1) / 2.
    let offset = |at: usize, count: usize| 2.0 * at as f32 - (count as f32 - 1.0);
    let (dx, dy) = (offset(x, width), offset(y, height));
    let corner = offset(0, width).powi(2) + offset(0, height).powi(2);
    (dx * dx + dy * dy) / corner
}
