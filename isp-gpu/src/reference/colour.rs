//! Colour correction, saturation and tone: light of three colours becomes levels.
//!
//! Matrix and saturation are one matrix, [`combined`](crate::params::ColourCorrection::combined),
//! on linear light; what it makes is cut off at 0 and 1 and becomes a level by
//! [`Tone::level`](crate::params::Tone::level). Without colour filters there is no colour to
//! correct.

use super::{DevelopedImage, Mosaic};
use crate::params::IspParams;

pub(super) fn apply(light: Vec<[f32; 3]>, mosaic: &Mosaic, params: &IspParams) -> DevelopedImage {
    let matrix = params.colour.combined();
    let levels = light.into_iter().map(|rgb| {
        let corrected = match mosaic.cfa {
            Some(_) => matrix.map(|[r, g, b]| r * rgb[0] + g * rgb[1] + b * rgb[2]),
            None => rgb,
        };
        corrected.map(|light| params.tone.level(light))
    });
    DevelopedImage { width: mosaic.width, height: mosaic.height, levels: levels.collect() }
}
