//! Rows of light in which neighbours of one kind lie side by side, as vector units like them.

use multiversion::multiversion;

use crate::mirror::mirrored;
use crate::stats::WHITE;

/// Columns of each half beyond either end.
const PAD: usize = 2;

/// A row of light, white-balanced: its even columns and its odd ones apart, mirrored at the ends.
#[derive(Debug, Clone, Default)]
pub(super) struct Row {
    halves: [Vec<f32>; 2],
    width: usize,
}

impl Row {
    pub(super) fn fit(&mut self, width: usize) {
        self.width = width;
        let length = width.div_ceil(2) + 2 * PAD;
        self.halves.iter_mut().for_each(|half| half.resize(length, 0.0));
    }

    /// Takes the light of a row, with a gain for even and for odd columns.
    pub(super) fn fill(&mut self, light: &[u16], gains: [f32; 2]) {
        let [even, odd] = &mut self.halves;
        let gains = gains.map(|gain| gain / f32::from(WHITE));
        halve(light, gains, &mut even[PAD..], &mut odd[PAD..]);
        if let [.., last] = light
            && light.len() % 2 == 1
        {
            even[PAD + light.len() / 2] = (f32::from(*last) * gains[0]).min(1.0);
        }
        self.mirror();
    }

    /// Fills in what is beyond the ends.
    pub(super) fn mirror(&mut self) {
        let width = self.width as isize;
        let before = -(2 * PAD as isize)..0;
        let after = width..2 * (self.halves[0].len() - PAD) as isize;
        for column in before.chain(after) {
            let value = self.at(mirrored(column, self.width) as isize);
            let (half, place) = place(column);
            self.halves[half][place] = value;
        }
    }

    fn at(&self, column: isize) -> f32 {
        let (half, at) = place(column);
        self.halves[half][at]
    }

    /// Every other column, from this one on, as many as the even columns are.
    pub(super) fn from(&self, column: isize) -> &[f32] {
        let (half, at) = place(column);
        &self.halves[half][at..][..self.width.div_ceil(2)]
    }

    /// The even columns (0) or the odd ones (1), to be written.
    pub(super) fn half_mut(&mut self, parity: usize) -> &mut [f32] {
        let count = self.width.div_ceil(2);
        &mut self.halves[parity][PAD..][..count]
    }
}

/// The half and the place in it of a column.
fn place(column: isize) -> (usize, usize) {
    ((column & 1) as usize, (PAD as isize + (column >> 1)) as usize)
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn halve(light: &[u16], gains: [f32; 2], even: &mut [f32], odd: &mut [f32]) {
    let (pairs, _) = light.as_chunks::<2>();
    for ((pair, even), odd) in pairs.iter().zip(even).zip(odd) {
        *even = (f32::from(pair[0]) * gains[0]).min(1.0);
        *odd = (f32::from(pair[1]) * gains[1]).min(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_also_beyond_the_ends() {
        for width in [2, 3, 4, 7, 8] {
            let light: Vec<u16> = (0..width).map(|x| 100 + x as u16).collect();
            let mut row = Row::default();
            row.fit(width);
            row.fill(&light, [1.0, 1.0]);
            for column in -3..4 {
                for (index, value) in row.from(column).iter().enumerate() {
                    let at = mirrored(column + 2 * index as isize, width);
                    assert_eq!((value * 65535.0).round() as u16, light[at], "{width}: {column}");
                }
            }
        }
    }
}
