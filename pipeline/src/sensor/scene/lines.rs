//! Diagonal lines, the other pattern of libcamera's virtual camera.

use super::Scene;
use crate::size::Size;

/// How many lines cross a row.
const LINES: usize = 12;

/// The reflectance of lines and ground.
const LIGHT: [f32; 2] = [0.9, 0.04];

#[derive(Debug)]
struct Lines {
    /// Columns of a line, and of the gap after it.
    thickness: usize,
}

pub(super) fn make(size: Size) -> Box<dyn Scene> {
    Box::new(Lines { thickness: (size.columns() / (2 * LINES)).max(1) })
}

impl Scene for Lines {
    fn row(&self, _: u64, y: usize, row: &mut [[f32; 3]]) {
        for (x, pixel) in row.iter_mut().enumerate() {
            *pixel = [LIGHT[(x + y) / self.thickness % 2]; 3];
        }
    }
}
