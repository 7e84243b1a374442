//! The 24 patches of the ColorChecker Classic, as their makers publish them.

use super::Scene;
use crate::sensor::model::colour::srgb_to_linear;
use crate::size::Size;

/// Columns of patches.
pub const COLUMNS: usize = 6;
/// Rows of patches.
pub const ROWS: usize = 4;

/// Each patch in sRGB, row after row, as X-Rite publishes them for charts made before November 2014
/// ("ColorChecker Classic, colorimetric values"; also in BabelColor's "RGB coordinates of the
/// Macbeth ColorChecker", 2012). The cyan of the chart lies outside of sRGB, and is as near as it
/// gets.
pub const PATCHES: [[u8; 3]; COLUMNS * ROWS] = [
    [115, 82, 68],
    [194, 150, 130],
    [98, 122, 157],
    [87, 108, 67],
    [133, 128, 177],
    [103, 189, 170],
    [214, 126, 44],
    [80, 91, 166],
    [193, 90, 99],
    [94, 60, 108],
    [157, 188, 64],
    [224, 163, 46],
    [56, 61, 150],
    [70, 148, 73],
    [175, 54, 60],
    [231, 199, 31],
    [187, 86, 149],
    [8, 133, 161],
    [243, 243, 242],
    [200, 200, 200],
    [160, 160, 160],
    [122, 122, 121],
    [85, 85, 85],
    [52, 52, 52],
];

/// The reflectance of the frame between the patches.
const FRAME: f32 = 0.03;

/// The frame's width on each side of a patch, as a part of the patch's field.
const MARGIN: usize = 12;

#[derive(Debug)]
struct Colorchecker {
    height: usize,
    patches: [[f32; 3]; COLUMNS * ROWS],
}

pub(super) fn make(size: Size) -> Box<dyn Scene> {
    let linear = |level: u8| srgb_to_linear(f32::from(level) / 255.0);
    Box::new(Colorchecker { height: size.rows(), patches: PATCHES.map(|rgb| rgb.map(linear)) })
}

/// The columns, or rows, of a patch: the field that it has of the picture, less the frame.
pub fn field(index: usize, count: usize, length: usize) -> std::ops::Range<usize> {
    let (start, end) = (index * length / count, (index + 1) * length / count);
    let margin = (end - start) / MARGIN;
    start + margin..end - margin
}

impl Scene for Colorchecker {
    fn row(&self, _: u64, y: usize, row: &mut [[f32; 3]]) {
        row.fill([FRAME; 3]);
        let Some(line) = (0..ROWS).find(|line| field(*line, ROWS, self.height).contains(&y)) else {
            return;
        };
        let width = row.len();
        for column in 0..COLUMNS {
            row[field(column, COLUMNS, width)].fill(self.patches[line * COLUMNS + column]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_patch_is_where_it_belongs() {
        let size = Size { width: 600, height: 400 };
        let scene = make(size);
        let mut row = vec![[0.0; 3]; size.columns()];
        scene.row(0, 350, &mut row);
        // The white patch begins the last row.
        assert!(row[50][0] > 0.89 && row[50][0] < 0.9, "{:?}", row[50]);
        assert_eq!(row[99], [FRAME; 3]);
        assert!((row[550][1] - 0.0343).abs() < 1e-3, "{:?}", row[550]);
        scene.row(0, 0, &mut row);
        assert!(row.iter().all(|pixel| *pixel == [FRAME; 3]));
    }
}
