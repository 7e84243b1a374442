//! Crop, scale, mirror, flip and rotate: which pixels of the frame make a pixel of the output.
//!
//! The filter is a triangle whose half is one pixel wide, or as many as become one: linear
//! interpolation where the picture becomes larger, and a mean of all pixels where it becomes
//! smaller. Taps outside of the crop have no say.

use super::DevelopedImage;
use crate::view::View;

pub(super) fn show(picture: &DevelopedImage, view: &View, size: (u32, u32)) -> DevelopedImage {
    let frame = (picture.width as u32, picture.height as u32);
    assert!(view.crop_of(frame).is_within(frame), "the crop leaves the frame");
    let [across, down] = view.mapping(frame, size);
    DevelopedImage::new(size.0 as usize, size.1 as usize, |x, y| {
        let (x, y) = (x as u32, y as u32);
        let (column, row) = if view.orientation.transpose { (y, x) } else { (x, y) };
        let (mut sum, mut weights) = ([0.0; 3], 0.0);
        for (source_y, down_weight) in down.taps(row) {
            for (source_x, across_weight) in across.taps(column) {
                let weight = down_weight * across_weight;
                let levels = picture.levels[source_y * picture.width + source_x];
                sum.iter_mut().zip(levels).for_each(|(sum, level)| *sum += weight * level);
                weights += weight;
            }
        }
        sum.map(|sum| sum / weights)
    })
}
