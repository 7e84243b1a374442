//! The bilateral filter of the reference, on rows.

use multiversion::multiversion;

use super::light::Padded;
use crate::mirror::mirrored;
use crate::stats::WHITE;

/// Denoises row `y` of a mosaic whose sites of one colour are `period` apart.
pub(super) fn row(
    light: &[u16],
    (width, height): (usize, usize),
    y: usize,
    period: isize,
    range: f32,
    scratch: &mut [Padded; 3],
    out: &mut [u16],
) {
    for (padded, dy) in scratch.iter_mut().zip([-period, 0, period]) {
        let source = mirrored(y as isize + dy, height) * width;
        padded.fit(width);
        padded.row_mut().copy_from_slice(&light[source..][..width]);
        padded.mirror();
    }
    let rows = scratch.each_ref().map(|row| [-period, 0, period].map(|by| row.moved(by)));
    filter(rows, 1.0 / (range * f32::from(WHITE)), out);
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn filter(rows: [[&[u16]; 3]; 3], over_range: f32, out: &mut [u16]) {
    let width = out.len();
    let rows = rows.map(|row| row.map(|row| &row[..width]));
    for x in 0..width {
        let value = f32::from(rows[1][1][x]);
        let (mut sum, mut weights) = (0.0, 0.0);
        for (row, down) in rows.iter().zip([1.0, 2.0, 1.0]) {
            for (row, across) in row.iter().zip([1.0, 2.0, 1.0]) {
                let other = f32::from(row[x]);
                let weight = down * across * (1.0 - (other - value).abs() * over_range).max(0.0);
                sum += weight * other;
                weights += weight;
            }
        }
        out[x] = (sum / weights + 0.5) as i32 as u16;
    }
}
