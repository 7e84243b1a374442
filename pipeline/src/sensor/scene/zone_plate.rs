//! Rings whose spacing falls with the distance from the middle.

use std::f32::consts::PI;

use super::Scene;
use crate::size::Size;

#[derive(Debug)]
struct ZonePlate {
    size: Size,
    /// Phase of a ring, per square of its radius.
    rate: f32,
}

pub(super) fn make(size: Size) -> Box<dyn Scene> {
    // At half the width, half a cycle to a pixel: the finest that pixels resolve.
    Box::new(ZonePlate { size, rate: PI / size.columns() as f32 })
}

impl Scene for ZonePlate {
    fn row(&self, _: u64, y: usize, row: &mut [[f32; 3]]) {
        let from_middle = |at: usize, length: usize| at as f32 + 0.5 - length as f32 / 2.0;
        let dy = from_middle(y, self.size.rows());
        for (x, pixel) in row.iter_mut().enumerate() {
            let dx = from_middle(x, self.size.columns());
            *pixel = [0.5 + 0.5 * (self.rate * (dx * dx + dy * dy)).cos(); 3];
        }
    }
}
