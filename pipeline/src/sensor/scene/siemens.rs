//! A star of sine spokes, as in ISO 12233.

use super::Scene;
use crate::size::Size;

/// Spokes of the star.
const SPOKES: f32 = 36.0;

/// The reflectance of the card around the star.
const CARD: f32 = 0.5;

#[derive(Debug)]
struct Siemens {
    middle: [f32; 2],
    radius: f32,
}

pub(super) fn make(size: Size) -> Box<dyn Scene> {
    let middle = [size.columns(), size.rows()].map(|side| side as f32 / 2.0);
    Box::new(Siemens { middle, radius: middle[0].min(middle[1]) * 0.95 })
}

impl Scene for Siemens {
    fn row(&self, _: u64, y: usize, row: &mut [[f32; 3]]) {
        let dy = y as f32 + 0.5 - self.middle[1];
        for (x, pixel) in row.iter_mut().enumerate() {
            let dx = x as f32 + 0.5 - self.middle[0];
            let inside = dx * dx + dy * dy < self.radius * self.radius;
            let light = if inside { 0.5 + 0.45 * (SPOKES * dy.atan2(dx)).cos() } else { CARD };
            *pixel = [light; 3];
        }
    }
}
