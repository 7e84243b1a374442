//! White balance and demosaic: red, green and blue of every pixel, of one number a site.
//!
//! Light is multiplied with the gain of its colour and cut off at 1, so that what is saturated is
//! white and not pink. The two colours that a site did not see are then found in one of three ways:
//!
//! - **Bilinear**: the mean of the two or four nearest sites that did.
//! - **Malvar**: that, plus a part of the second derivative of the colour the site did see (H. S.
//!   Malvar, L. He, R. Cutler, "High-quality linear interpolation for demosaicing of
//!   Bayer-patterned color images", ICASSP 2004, figure 2: gains of 1/2, 5/8 and 3/4).
//! - **Directional**: green at a red or blue site by Hamilton and Adams (US patent 5 629 734, 1997,
//!   expired), across and down, each corrected by half the curvature of the site's own colour. The
//!   two are weighed by the inverse of their squared gradients and not chosen between: there is no
//!   threshold on whose sides two renderers could land. Red and blue follow from the mean of their
//!   differences from green, which is smoother than they are.
//!
//! Without colour filters the one number is all three.

use super::Mosaic;
use crate::mirror::mirrored;
use crate::params::{Demosaic, IspParams};
use crate::stats::WHITE;

/// Below this gradient, in light, a direction is as good as the other.
pub(crate) const FLAT: f32 = 1e-4;

pub(super) fn apply(light: &Mosaic, params: &IspParams) -> Vec<[f32; 3]> {
    let places =
        (0..light.height as isize).flat_map(|y| (0..light.width as isize).map(move |x| (x, y)));
    let Some(cfa) = light.cfa else {
        return light
            .values
            .iter()
            .map(|value| [f32::from(*value) / f32::from(WHITE); 3])
            .collect();
    };
    let colour_at = |x: isize, y: isize| cfa.colour_at((x & 1) as u32, (y & 1) as u32);
    let sites = Sites { light, gains: params.gains, colour_at: &colour_at };
    match params.demosaic {
        Demosaic::Bilinear => places.map(|(x, y)| sites.bilinear(x, y)).collect(),
        Demosaic::Malvar => places.map(|(x, y)| sites.malvar(x, y)).collect(),
        Demosaic::Directional => {
            let green: Vec<f32> =
                places.clone().map(|(x, y)| sites.directional_green(x, y)).collect();
            places.map(|(x, y)| sites.by_difference(&green, x, y)).collect()
        }
    }
}

/// White-balanced light, and which colour each site saw.
struct Sites<'a> {
    light: &'a Mosaic,
    gains: [f32; 3],
    colour_at: &'a dyn Fn(isize, isize) -> usize,
}

impl Sites<'_> {
    fn at(&self, x: isize, y: isize) -> f32 {
        let gain = self.gains[(self.colour_at)(x, y)];
        (f32::from(self.light.at(x, y)) / f32::from(WHITE) * gain).min(1.0)
    }

    /// The colour of a site, and those of its row and its column if it is green.
    fn kind(&self, x: isize, y: isize) -> (usize, usize) {
        ((self.colour_at)(x, y), (self.colour_at)(x + 1, y))
    }

    /// The sums over neighbours at a distance: left and right, above and below, in the corners.
    fn sums(&self, x: isize, y: isize, distance: isize) -> [f32; 3] {
        let d = distance;
        let beside = self.at(x - d, y) + self.at(x + d, y);
        let above = self.at(x, y - d) + self.at(x, y + d);
        let corners = self.at(x - d, y - d)
            + self.at(x + d, y - d)
            + self.at(x - d, y + d)
            + self.at(x + d, y + d);
        [beside, above, corners]
    }

    fn bilinear(&self, x: isize, y: isize) -> [f32; 3] {
        let [beside, above, corners] = self.sums(x, y, 1);
        let own = self.at(x, y);
        let (cross, corners) = ((beside + above) / 4.0, corners / 4.0);
        match self.kind(x, y) {
            (0, _) => [own, cross, corners],
            (2, _) => [corners, cross, own],
            (_, 0) => [beside / 2.0, own, above / 2.0],
            _ => [above / 2.0, own, beside / 2.0],
        }
    }

    fn malvar(&self, x: isize, y: isize) -> [f32; 3] {
        let [beside, above, corners] = self.sums(x, y, 1);
        let [far_beside, far_above, _] = self.sums(x, y, 2);
        let own = self.at(x, y);
        let far = far_beside + far_above;
        let green = (4.0 * own + 2.0 * (beside + above) - far) / 8.0;
        let opposite = (6.0 * own + 2.0 * corners - 1.5 * far) / 8.0;
        let of_row = (5.0 * own + 4.0 * beside - far_beside - corners + 0.5 * far_above) / 8.0;
        let of_column = (5.0 * own + 4.0 * above - far_above - corners + 0.5 * far_beside) / 8.0;
        match self.kind(x, y) {
            (0, _) => [own, green, opposite],
            (2, _) => [opposite, green, own],
            (_, 0) => [of_row, own, of_column],
            _ => [of_column, own, of_row],
        }
    }

    fn directional_green(&self, x: isize, y: isize) -> f32 {
        let own = self.at(x, y);
        if (self.colour_at)(x, y) == 1 {
            return own;
        }
        let along = |dx: isize, dy: isize| {
            let (before, after) = (self.at(x - dx, y - dy), self.at(x + dx, y + dy));
            let far = self.at(x - 2 * dx, y - 2 * dy) + self.at(x + 2 * dx, y + 2 * dy);
            let curvature = 2.0 * own - far;
            let gradient = (before - after).abs() + curvature.abs();
            ((before + after) / 2.0 + curvature / 4.0, gradient * gradient + FLAT)
        };
        let ((across, rough_across), (down, rough_down)) = (along(1, 0), along(0, 1));
        let mixed = (across * rough_down + down * rough_across) / (rough_across + rough_down);
        // Between two passes it is kept in 16 bits, as light is.
        (mixed.clamp(0.0, 1.0) * f32::from(WHITE) + 0.5).floor() / f32::from(WHITE)
    }

    fn by_difference(&self, green: &[f32], x: isize, y: isize) -> [f32; 3] {
        let Mosaic { width, height, .. } = *self.light;
        let green_at = |x, y| green[mirrored(y, height) * width + mirrored(x, width)];
        let difference = |dx: isize, dy: isize| self.at(x + dx, y + dy) - green_at(x + dx, y + dy);
        let own = self.at(x, y);
        let here = green_at(x, y);
        let beside = here + (difference(-1, 0) + difference(1, 0)) / 2.0;
        let above = here + (difference(0, -1) + difference(0, 1)) / 2.0;
        let corners = here
            + (difference(-1, -1) + difference(1, -1) + difference(-1, 1) + difference(1, 1)) / 4.0;
        match self.kind(x, y) {
            (0, _) => [own, here, corners],
            (2, _) => [corners, here, own],
            (_, 0) => [beside, own, above],
            _ => [above, own, beside],
        }
    }
}
