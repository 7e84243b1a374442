//! Black and white squares.

use super::Scene;
use crate::size::Size;

/// Rows of squares.
const ROWS: usize = 8;

/// The reflectance of black and white squares.
const SQUARES: [f32; 2] = [0.04, 0.9];

#[derive(Debug)]
struct Checkerboard {
    /// The side of a square, in pixels.
    side: usize,
}

pub(super) fn make(size: Size) -> Box<dyn Scene> {
    Box::new(Checkerboard { side: (size.rows() / ROWS).max(1) })
}

impl Scene for Checkerboard {
    fn row(&self, _: u64, y: usize, row: &mut [[f32; 3]]) {
        for (x, pixel) in row.iter_mut().enumerate() {
            *pixel = [SQUARES[(x / self.side + y / self.side) % 2]; 3];
        }
    }
}
