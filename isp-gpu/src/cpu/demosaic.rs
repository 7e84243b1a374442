//! The demosaicing of the reference, on rows: its formulas, for all sites of a kind at once.

use multiversion::multiversion;

use super::rows::Row;
use crate::params::{Demosaic, IspParams};
use crate::raw::Cfa;
use crate::reference::FLAT;
use crate::stats::WHITE;

/// Rows that are kept: what the directional filter reaches, three to each side.
const KEPT: usize = 7;

/// Which sites of a row have which colour.
#[derive(Debug, Clone, Copy)]
struct Kind {
    /// The colour that shares green's row: 0 is red, 2 blue.
    colour: usize,
    /// Whether it is in the even columns (0) or in the odd ones (1).
    parity: usize,
}

impl Kind {
    fn of(cfa: Cfa, y: usize) -> Self {
        let (column, row) = cfa.red();
        let red = y & 1 == row as usize;
        Self { colour: if red { 0 } else { 2 }, parity: column as usize ^ usize::from(!red) }
    }
}

/// The pixels of a row: red, green and blue, each with its even and its odd columns apart.
#[derive(Debug, Default)]
pub(super) struct Pixels {
    pub(super) halves: [[Vec<f32>; 2]; 3],
}

/// Light of the last rows, and what was made of it.
#[derive(Debug, Default)]
pub(super) struct Demosaicing {
    /// By row number, modulo their count.
    rows: [Row; KEPT],
    /// The row numbers of what `rows` hold.
    held: [Option<usize>; KEPT],
    greens: [Row; 3],
    held_greens: [Option<usize>; 3],
    pub(super) pixels: Pixels,
}

impl Demosaicing {
    /// Begins with another frame.
    pub(super) fn fit(&mut self, width: usize) {
        self.rows.iter_mut().chain(&mut self.greens).for_each(|row| row.fit(width));
        self.held = [None; KEPT];
        self.held_greens = [None; 3];
        for half in self.pixels.halves.iter_mut().flatten() {
            half.resize(width.div_ceil(2), 0.0);
        }
    }

    /// Makes the pixels of a row.
    pub(super) fn row(
        &mut self,
        y: usize,
        light: &[u16],
        (width, height): (usize, usize),
        cfa: Option<Cfa>,
        params: &IspParams,
    ) {
        let Some(cfa) = cfa else {
            let row = &mut self.rows[0];
            row.fill(&light[y * width..][..width], [1.0; 2]);
            for channel in &mut self.pixels.halves {
                channel[0].copy_from_slice(row.from(0));
                channel[1].copy_from_slice(row.from(1));
            }
            return;
        };
        let reach = match params.demosaic {
            Demosaic::Bilinear => 1,
            Demosaic::Malvar => 2,
            Demosaic::Directional => 3,
        };
        let from = y.saturating_sub(reach);
        for row in from..(y + reach + 1).min(height) {
            if self.held[row % KEPT] != Some(row) {
                let gain = |x| params.gains[cfa.colour_at(x, row as u32 & 1)];
                self.rows[row % KEPT].fill(&light[row * width..][..width], [gain(0), gain(1)]);
                self.held[row % KEPT] = Some(row);
            }
        }
        let kind = Kind::of(cfa, y);
        match params.demosaic {
            Demosaic::Bilinear => self.bilinear(y, height, kind),
            Demosaic::Malvar => self.malvar(y, height, kind),
            Demosaic::Directional => self.directional(y, height, cfa),
        }
    }

    /// The rows at these distances from one.
    fn around<const N: usize>(&self, y: usize, height: usize, first: isize) -> [&Row; N] {
        std::array::from_fn(|index| {
            let row = crate::mirror::mirrored(y as isize + first + index as isize, height);
            &self.rows[row % KEPT]
        })
    }

    fn bilinear(&mut self, y: usize, height: usize, Kind { colour, parity }: Kind) {
        let mut pixels = std::mem::take(&mut self.pixels);
        let [up, here, down] = self.around::<3>(y, height, -1);
        let (own, beside) = (parity as isize, 1 - parity as isize);
        let (opposite, other) = (2 - colour, 1 - parity);
        let [of_row, green, of_column] =
            channels(&mut pixels.halves, [(colour, parity), (1, parity), (opposite, parity)]);
        of_row.copy_from_slice(here.from(own));
        cross(
            [here.from(own - 1), here.from(own + 1), up.from(own), down.from(own)],
            [up.from(own - 1), up.from(own + 1), down.from(own - 1), down.from(own + 1)],
            (green, of_column),
        );
        let [of_row, green, of_column] =
            channels(&mut pixels.halves, [(colour, other), (1, other), (opposite, other)]);
        green.copy_from_slice(here.from(beside));
        pairs(
            [here.from(beside - 1), here.from(beside + 1)],
            [up.from(beside), down.from(beside)],
            (of_row, of_column),
        );
        self.pixels = pixels;
    }

    fn malvar(&mut self, y: usize, height: usize, Kind { colour, parity }: Kind) {
        let mut pixels = std::mem::take(&mut self.pixels);
        let rows = self.around::<5>(y, height, -2);
        let window = |at: isize| {
            let [far_up, up, here, down, far_down] = rows;
            Window {
                own: here.from(at),
                beside: [here.from(at - 1), here.from(at + 1)],
                above: [up.from(at), down.from(at)],
                corners: [up.from(at - 1), up.from(at + 1), down.from(at - 1), down.from(at + 1)],
                far_beside: [here.from(at - 2), here.from(at + 2)],
                far_above: [far_up.from(at), far_down.from(at)],
            }
        };
        let (opposite, other) = (2 - colour, 1 - parity);
        let [own, green, diagonal] =
            channels(&mut pixels.halves, [(colour, parity), (1, parity), (opposite, parity)]);
        let at = window(parity as isize);
        own.copy_from_slice(at.own);
        malvar_at_colour(at, green, diagonal);
        let [of_row, green, of_column] =
            channels(&mut pixels.halves, [(colour, other), (1, other), (opposite, other)]);
        let at = window(other as isize);
        green.copy_from_slice(at.own);
        malvar_at_green(at, of_row, of_column);
        self.pixels = pixels;
    }

    fn directional(&mut self, y: usize, height: usize, cfa: Cfa) {
        let mut greens = std::mem::take(&mut self.greens);
        for row in y.saturating_sub(1)..(y + 2).min(height) {
            if self.held_greens[row % 3] == Some(row) {
                continue;
            }
            let Kind { parity, .. } = Kind::of(cfa, row);
            let [far_up, up, here, down, far_down] = self.around::<5>(row, height, -2);
            let green = &mut greens[row % 3];
            let at = parity as isize;
            green.half_mut(1 - parity).copy_from_slice(here.from(1 - at));
            soft_green(
                here.from(at),
                [here.from(at - 1), here.from(at + 1), here.from(at - 2), here.from(at + 2)],
                [up.from(at), down.from(at), far_up.from(at), far_down.from(at)],
                green.half_mut(parity),
            );
            green.mirror();
            self.held_greens[row % 3] = Some(row);
        }
        let mut pixels = std::mem::take(&mut self.pixels);
        let light = self.around::<3>(y, height, -1);
        let greens_around: [&Row; 3] = std::array::from_fn(|index| {
            &greens[crate::mirror::mirrored(y as isize - 1 + index as isize, height) % 3]
        });
        // Light and its green at a place: their difference is what is smooth.
        let pair =
            |dy: usize, column: isize| [light[dy].from(column), greens_around[dy].from(column)];
        let Kind { colour, parity } = Kind::of(cfa, y);
        let (opposite, other) = (2 - colour, 1 - parity);
        let at = parity as isize;
        let [own, green, diagonal] =
            channels(&mut pixels.halves, [(colour, parity), (1, parity), (opposite, parity)]);
        own.copy_from_slice(light[1].from(at));
        green.copy_from_slice(greens_around[1].from(at));
        let corners = [pair(0, at - 1), pair(0, at + 1), pair(2, at - 1), pair(2, at + 1)];
        differences(greens_around[1].from(at), corners, diagonal);
        let at = other as isize;
        let [of_row, green, of_column] =
            channels(&mut pixels.halves, [(colour, other), (1, other), (opposite, other)]);
        green.copy_from_slice(light[1].from(at));
        let here = greens_around[1].from(at);
        differences(here, [pair(1, at - 1), pair(1, at + 1)], of_row);
        differences(here, [pair(0, at), pair(2, at)], of_column);
        self.pixels = pixels;
        self.greens = greens;
    }
}

/// Three of the six halves, each a channel and a parity.
fn channels(halves: &mut [[Vec<f32>; 2]; 3], which: [(usize, usize); 3]) -> [&mut [f32]; 3] {
    let [red, green, blue] = halves;
    let mut all = [Some(red), Some(green), Some(blue)];
    which.map(|(channel, parity)| match all[channel].take() {
        Some(halves) => halves[parity].as_mut_slice(),
        None => unreachable!("the three are of different channels"),
    })
}

/// The neighbours of all sites of a kind.
#[derive(Clone, Copy)]
struct Window<'a> {
    own: &'a [f32],
    beside: [&'a [f32]; 2],
    above: [&'a [f32]; 2],
    corners: [&'a [f32]; 4],
    far_beside: [&'a [f32]; 2],
    far_above: [&'a [f32]; 2],
}

impl<'a> Window<'a> {
    /// All of one length, so that no index needs to be checked.
    #[inline(always)]
    fn cut(self, length: usize) -> Self {
        Self {
            own: &self.own[..length],
            beside: self.beside.map(|row| &row[..length]),
            above: self.above.map(|row| &row[..length]),
            corners: self.corners.map(|row| &row[..length]),
            far_beside: self.far_beside.map(|row| &row[..length]),
            far_above: self.far_above.map(|row| &row[..length]),
        }
    }
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn cross(sides: [&[f32]; 4], corners: [&[f32]; 4], (green, opposite): (&mut [f32], &mut [f32])) {
    let length = green.len().min(opposite.len());
    let (sides, corners) = (sides.map(|row| &row[..length]), corners.map(|row| &row[..length]));
    for x in 0..length {
        green[x] = (sides[0][x] + sides[1][x] + (sides[2][x] + sides[3][x])) * 0.25;
        opposite[x] = (corners[0][x] + corners[1][x] + corners[2][x] + corners[3][x]) * 0.25;
    }
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn pairs(beside: [&[f32]; 2], above: [&[f32]; 2], (of_row, of_column): (&mut [f32], &mut [f32])) {
    let length = of_row.len().min(of_column.len());
    let (beside, above) = (beside.map(|row| &row[..length]), above.map(|row| &row[..length]));
    for x in 0..length {
        of_row[x] = (beside[0][x] + beside[1][x]) * 0.5;
        of_column[x] = (above[0][x] + above[1][x]) * 0.5;
    }
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn malvar_at_colour<'a>(window: Window<'a>, green: &mut [f32], opposite: &mut [f32]) {
    let length = green.len().min(opposite.len());
    let Window { own, beside, above, corners, far_beside, far_above } = window.cut(length);
    for x in 0..length {
        let near = beside[0][x] + beside[1][x] + (above[0][x] + above[1][x]);
        let far = far_beside[0][x] + far_beside[1][x] + (far_above[0][x] + far_above[1][x]);
        let diagonal = corners[0][x] + corners[1][x] + corners[2][x] + corners[3][x];
        green[x] = 0.5 * own[x] + 0.25 * near - 0.125 * far;
        opposite[x] = 0.75 * own[x] + 0.25 * diagonal - 0.1875 * far;
    }
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn malvar_at_green<'a>(window: Window<'a>, of_row: &mut [f32], of_column: &mut [f32]) {
    let length = of_row.len().min(of_column.len());
    let Window { own, beside, above, corners, far_beside, far_above } = window.cut(length);
    for x in 0..length {
        let (across, down) = (beside[0][x] + beside[1][x], above[0][x] + above[1][x]);
        let far_across = far_beside[0][x] + far_beside[1][x];
        let far_down = far_above[0][x] + far_above[1][x];
        let diagonal = corners[0][x] + corners[1][x] + corners[2][x] + corners[3][x];
        let base = 0.625 * own[x] - 0.125 * diagonal;
        of_row[x] = base + 0.5 * across - 0.125 * far_across + 0.0625 * far_down;
        of_column[x] = base + 0.5 * down - 0.125 * far_down + 0.0625 * far_across;
    }
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn soft_green(own: &[f32], across: [&[f32]; 4], down: [&[f32]; 4], green: &mut [f32]) {
    let length = green.len();
    let own = &own[..length];
    let (across, down) = (across.map(|row| &row[..length]), down.map(|row| &row[..length]));
    let white = f32::from(WHITE);
    for x in 0..length {
        let along = |rows: &[&[f32]; 4]| {
            let [before, after, far_before, far_after] = rows.map(|row| row[x]);
            let curvature = 2.0 * own[x] - (far_before + far_after);
            let gradient = (before - after).abs() + curvature.abs();
            ((before + after) * 0.5 + curvature * 0.25, gradient * gradient + FLAT)
        };
        let ((of_row, rough_row), (of_column, rough_column)) = (along(&across), along(&down));
        let mixed = (of_row * rough_column + of_column * rough_row) / (rough_row + rough_column);
        // In 16 bits, as the reference has it.
        green[x] = (mixed.clamp(0.0, 1.0) * white + 0.5) as i32 as f32 * (1.0 / white);
    }
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn differences<const N: usize>(green: &[f32], pairs: [[&[f32]; 2]; N], out: &mut [f32]) {
    let length = out.len();
    let green = &green[..length];
    let pairs = pairs.map(|pair| pair.map(|row| &row[..length]));
    for x in 0..length {
        let mut sum = 0.0;
        for [light, green] in pairs {
            sum += light[x] - green[x];
        }
        out[x] = green[x] + sum * (1.0 / N as f32);
    }
}
