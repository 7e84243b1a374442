//! Sharpening: what a blur takes away of a pixel's luma is added to all three channels.
//!
//! The blur has weights of 4, 2 and 1 over 16, and repeats the border. Luma alone, with the weights
//! of BT.601, so that noise of colour stays as it is.

use super::DevelopedImage;
use crate::params::IspParams;

/// The weights of red, green and blue in luma.
pub(crate) const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

pub(super) fn apply(picture: DevelopedImage, params: &IspParams) -> DevelopedImage {
    if params.sharpen == 0.0 {
        return picture;
    }
    let DevelopedImage { width, height, .. } = picture;
    let luma_at = |x: isize, y: isize| {
        let x = x.clamp(0, width as isize - 1) as usize;
        let y = y.clamp(0, height as isize - 1) as usize;
        let [r, g, b] = picture.levels[y * width + x];
        LUMA[0] * r + LUMA[1] * g + LUMA[2] * b
    };
    DevelopedImage::new(width, height, |x, y| {
        let mut blurred = 0.0;
        for dy in -1..=1isize {
            for dx in -1..=1isize {
                let weight = ((2 - dx.abs()) * (2 - dy.abs())) as f32 / 16.0;
                blurred += weight * luma_at(x as isize + dx, y as isize + dy);
            }
        }
        let detail = params.sharpen * (luma_at(x as isize, y as isize) - blurred);
        picture.levels[y * width + x].map(|level| (level + detail).clamp(0.0, 1.0))
    })
}
