//! The maths of this crate in plain words and `f32`: what every other ISP is compared with.
//!
//! Each pass is a file, and they follow each other in this order:
//!
//! | pass | on | file |
//! |---|---|---|
//! | defect correction | samples | `defects` |
//! | black level, lens shading | samples, which become 16-bit light | `light` |
//! | statistics | light | [`stats`](crate::stats) |
//! | denoising | light | `denoise` |
//! | white balance, demosaic | light, which becomes red, green and blue | `demosaic` |
//! | colour correction, saturation, tone | each pixel, which becomes levels | `colour` |
//! | sharpening | levels | `sharpen` |
//! | crop, scale, mirror, rotate | levels | `view` |
//! | the output's format | levels, which become bytes | `encode` |
//!
//! Outside of the frame the mosaic is mirrored at the border sample, which is not repeated (-1 is
//! 1, the width is the width less 2), since this alone keeps the colour of a site.

mod colour;
mod compare;
mod defects;
mod demosaic;
mod denoise;
mod encode;
mod light;
mod sharpen;
mod view;

pub use compare::{alike, off_by};
pub(crate) use demosaic::FLAT;
pub(crate) use sharpen::LUMA;
use vcam_allocator::{ColourSpace, Fourcc};

use crate::mirror::mirrored;
use crate::params::IspParams;
use crate::raw::{Cfa, RawFormat};
use crate::stats::Statistics;
use crate::view::View;

/// A raw frame in memory.
#[derive(Debug, Clone, Copy)]
pub struct RawImage<'a> {
    /// The format of its samples.
    pub format: RawFormat,
    /// Width and height in samples; each at least 2.
    pub size: (u32, u32),
    /// Bytes from one row to the next.
    pub stride: usize,
    /// Its rows.
    pub bytes: &'a [u8],
}

/// Samples of a frame, or their light: one number a site.
struct Mosaic {
    cfa: Option<Cfa>,
    width: usize,
    height: usize,
    values: Vec<u16>,
}

impl Mosaic {
    /// The value at a site, which may be outside of the frame.
    fn at(&self, x: isize, y: isize) -> u16 {
        self.values[mirrored(y, self.height) * self.width + mirrored(x, self.width)]
    }

    /// The same mosaic with other values.
    fn map(&self, value: impl Fn(usize, usize) -> u16) -> Self {
        let Self { cfa, width, height, .. } = *self;
        let values = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        Self { cfa, width, height, values: values.map(|(x, y)| value(x, y)).collect() }
    }

    /// How far it is to the next site of the same colour.
    fn period(&self) -> isize {
        if self.cfa.is_some() { 2 } else { 1 }
    }
}

/// A picture: red, green and blue of each pixel, as levels from 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct DevelopedImage {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// The pixels, row after row.
    pub levels: Vec<[f32; 3]>,
}

impl DevelopedImage {
    fn new(width: usize, height: usize, pixel: impl Fn(usize, usize) -> [f32; 3]) -> Self {
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        Self { width, height, levels: places.map(|(x, y)| pixel(x, y)).collect() }
    }
}

fn mosaic(raw: &RawImage<'_>, params: &IspParams) -> Mosaic {
    let (width, height) = (raw.size.0 as usize, raw.size.1 as usize);
    assert!(width >= 2 && height >= 2, "{width}x{height} has not all colours");
    let row_bytes = usize::try_from(raw.format.row_bytes(raw.size.0)).unwrap_or(usize::MAX);
    let mut values = vec![0; width * height];
    for (y, row) in values.chunks_exact_mut(width).enumerate() {
        raw.format.unpack(&raw.bytes[y * raw.stride..][..row_bytes], row);
    }
    let samples = Mosaic { cfa: raw.format.cfa(), width, height, values };
    let samples = defects::correct(samples, raw.format, params);
    light::of(&samples, raw.format, params)
}

/// The statistics of a raw frame.
///
/// # Panics
///
/// When the bytes end before the frame does, or the frame is smaller than 2x2.
pub fn statistics(raw: &RawImage<'_>, params: &IspParams) -> Statistics {
    let light = mosaic(raw, params);
    Statistics::of_light(raw.format, &light.values, raw.size, params.black_level)
}

/// The picture of a raw frame, all of it and upright.
///
/// # Panics
///
/// As [`statistics`].
pub fn develop(raw: &RawImage<'_>, params: &IspParams) -> DevelopedImage {
    let light = denoise::apply(mosaic(raw, params), params);
    let picture = colour::apply(demosaic::apply(&light, params), &light, params);
    sharpen::apply(picture, params)
}

/// The bytes of an output: one plane after the other, each without padding between its rows.
///
/// # Panics
///
/// As [`statistics`]; also when the crop is not within the frame, or the format is none that
/// [`Isp::process`](crate::Isp::process) makes.
pub fn reference(
    raw: &RawImage<'_>,
    params: &IspParams,
    view: &View,
    format: Fourcc,
    size: (u32, u32),
) -> Vec<Vec<u8>> {
    let shown = view::show(&develop(raw, params), view, size);
    let space = view.colour_space.unwrap_or_else(|| ColourSpace::of(format, size));
    encode::bytes(&shown, format, space)
}

#[cfg(test)]
mod tests;
