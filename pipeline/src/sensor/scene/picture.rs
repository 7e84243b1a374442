//! Pictures from files.

use std::fmt;
use std::sync::OnceLock;

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageBuffer, Rgb};

use super::{Scene, Show};
use crate::sensor::model::colour::srgb_to_linear;
use crate::size::Size;

/// A picture that fills the scene: scaled to cover it, and cut off where it is longer, or stretched.
pub(super) struct Picture {
    width: usize,
    /// Linear light in 65 535ths.
    light: Vec<[u16; 3]>,
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Picture").field("width", &self.width).finish_non_exhaustive()
    }
}

/// Linear light, in 65 535ths, of a level of sRGB in 65 535ths.
fn linear(level: u16) -> u16 {
    static TABLE: OnceLock<Vec<u16>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let light = |level: u16| srgb_to_linear(f32::from(level) / 65_535.0) * 65_535.0;
        (0..=u16::MAX).map(|level| light(level).round() as u16).collect()
    });
    table[usize::from(level)]
}

/// The largest part of something of this size, in its middle, that has the shape of `scene`: first
/// column and row, then width and height. Of what is stretched that is all.
pub(super) fn part(width: u32, height: u32, scene: Size, show: Show) -> [u32; 4] {
    match show.stretched {
        true => [0, 0, width, height],
        false => crop(width, height, scene),
    }
}

fn crop(width: u32, height: u32, scene: Size) -> [u32; 4] {
    let sides = [width, height].map(u64::from);
    let shape = [scene.width as u64, scene.height as u64];
    // Either side as long as it is, or as the other one allows; at least a pixel.
    let cut = [0, 1].map(|side| {
        let other = 1 - side;
        (sides[other] * shape[side] / shape[other].max(1)).clamp(1, sides[side])
    });
    let start = [0, 1].map(|side| (sides[side] - cut[side]) / 2);
    // None is longer than a side, which fits.
    [start[0], start[1], cut[0], cut[1]].map(|value| value as u32)
}

impl Picture {
    /// Scales the picture, in linear light.
    pub(super) fn new(image: &DynamicImage, size: Size, show: Show) -> Self {
        let [x, y, width, height] = part(image.width(), image.height(), size, show);
        let cut = image.crop_imm(x, y, width, height).into_rgb16();
        let mut light: ImageBuffer<Rgb<u16>, Vec<u16>> = cut;
        light.iter_mut().for_each(|level| *level = linear(*level));
        let (target_width, target_height) = (size.width, size.height);
        if light.dimensions() != (target_width, target_height) {
            light = imageops::resize(&light, target_width, target_height, FilterType::Triangle);
        }
        Self { width: size.columns(), light: light.pixels().map(|pixel| pixel.0).collect() }
    }

    /// Its memory, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        size_of_val(&*self.light) as u64
    }
}

impl Scene for Picture {
    fn row(&self, _: u64, y: usize, row: &mut [[f32; 3]]) {
        let light = &self.light[y * self.width..][..self.width];
        for (pixel, light) in row.iter_mut().zip(light) {
            *pixel = light.map(|light| f32::from(light) * (1.0 / 65_535.0));
        }
    }
}

/// Pictures, one after the other, again and again.
#[derive(Debug)]
pub(super) struct Slides {
    pictures: Vec<Picture>,
    /// Frames that each stays.
    frames: u64,
}

impl Slides {
    /// `None` where there is no picture.
    pub(super) fn new(pictures: Vec<Picture>, frames: u64) -> Option<Self> {
        (!pictures.is_empty()).then_some(Self { pictures, frames })
    }
}

impl Scene for Slides {
    fn row(&self, frame: u64, y: usize, row: &mut [[f32; 3]]) {
        let at = frame / self.frames.max(1) % self.pictures.len() as u64;
        self.pictures[at as usize].row(0, y, row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_kept_when_shapes_differ() {
        let scene = Size { width: 64, height: 32 };
        assert_eq!(crop(128, 64, scene), [0, 0, 128, 64]);
        assert_eq!(crop(100, 20, scene), [30, 0, 40, 20]);
        assert_eq!(crop(100, 100, scene), [0, 25, 100, 50]);
        assert_eq!(crop(1, 1, scene), [0, 0, 1, 1]);
        assert_eq!(crop(1, 1000, scene), [0, 499, 1, 1]);
        let stretched = Show { stretched: true, ..Show::default() };
        assert_eq!(part(100, 20, scene, stretched), [0, 0, 100, 20]);
    }

    #[test]
    fn light_is_scaled_and_not_levels() {
        // Black and white in turn: the grey between is nearly half the light, where half the level
        // would be a fifth of it.
        let image = image::RgbImage::from_fn(4, 2, |x, _| Rgb([(x % 2) as u8 * 255; 3]));
        let picture = Picture::new(&image.into(), Size { width: 2, height: 1 }, Show::default());
        let light = f32::from(picture.light[0][0]) / 65_535.0;
        assert!((0.4..0.6).contains(&light), "{light}");
    }
}
