//! An edge that is nearly upright, as ISO 12233 measures sharpness with.

use super::Scene;
use crate::size::Size;

/// The tangent of five degrees.
const SLANT: f32 = 0.087_488_66;

/// The reflectance of both sides: a contrast of four, low enough that nothing clips.
const SIDES: [f32; 2] = [0.15, 0.6];

#[derive(Debug)]
struct Edge {
    size: Size,
}

pub(super) fn make(size: Size) -> Box<dyn Scene> {
    Box::new(Edge { size })
}

impl Scene for Edge {
    fn row(&self, _: u64, y: usize, row: &mut [[f32; 3]]) {
        let from_middle = y as f32 + 0.5 - self.size.rows() as f32 / 2.0;
        let edge = self.size.columns() as f32 / 2.0 + from_middle * SLANT;
        for (x, pixel) in row.iter_mut().enumerate() {
            // The part of the pixel that lies right of the edge.
            let right = (x as f32 + 1.0 - edge).clamp(0.0, 1.0);
            *pixel = [SIDES[0] + (SIDES[1] - SIDES[0]) * right; 3];
        }
    }
}
