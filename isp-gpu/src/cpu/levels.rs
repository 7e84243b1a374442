//! Rows of levels: light, after colour correction and the tone curve.
//!
//! A level is a 16-bit number: [`UNIT`] for each of the 255 steps of eight bits, and [`HALF`] of
//! one added, so that the upper byte is the level in eight bits, rounded.

use multiversion::multiversion;

use super::demosaic::Pixels;
use crate::params::{IspParams, Tone};
use crate::tone;

/// A step of eight bits.
pub(super) const UNIT: f32 = 256.0;
/// Half of it.
pub(super) const HALF: f32 = 128.0;

/// A level as a 16-bit number.
#[inline(always)]
pub(super) fn coded(level: f32) -> u16 {
    (level * (255.0 * UNIT) + (HALF + 0.5)) as i32 as u16
}

/// The level of a 16-bit number, from 0 to 1.
#[inline(always)]
pub(super) fn decoded(code: u16) -> f32 {
    (f32::from(code) - HALF) * (1.0 / (255.0 * UNIT))
}

/// The next power of two above the table's entries, so that an index needs no check.
const ROOM: usize = tone::ENTRIES.next_power_of_two();

/// The tone curve as a table of 16-bit levels.
pub(super) struct Table {
    tone: Tone,
    codes: Box<[u16; ROOM]>,
}

impl Table {
    pub(super) fn new(tone: Tone) -> Self {
        let mut codes = Box::new([0; ROOM]);
        fill(&tone, &mut codes);
        Self { tone, codes }
    }

    /// Follows the parameters.
    pub(super) fn update(&mut self, tone: Tone) {
        if self.tone != tone {
            fill(&tone, &mut self.codes);
            self.tone = tone;
        }
    }
}

fn fill(curve: &Tone, codes: &mut [u16; ROOM]) {
    for (code, level) in codes.iter_mut().zip(tone::levels(curve)) {
        *code = coded(level);
    }
}

/// The indices of a row, of the even columns and of the odd ones.
#[derive(Debug, Default)]
pub(super) struct Indices([[Vec<u16>; 2]; 3]);

impl Indices {
    pub(super) fn fit(&mut self, width: usize) {
        for half in self.0.iter_mut().flatten() {
            half.resize(width.div_ceil(2), 0);
        }
    }
}

/// Makes levels of pixels: three rows of `width`.
pub(super) fn row(
    pixels: &Pixels,
    colours: bool,
    params: &IspParams,
    table: &Table,
    indices: &mut Indices,
    levels: [&mut [u16]; 3],
) {
    let matrix = (colours && !params.colour.is_none()).then(|| params.colour.combined());
    for parity in 0..2 {
        let [red, green, blue] = pixels.halves.each_ref().map(|halves| halves[parity].as_slice());
        let [to_red, to_green, to_blue] =
            indices.0.each_mut().map(|halves| halves[parity].as_mut_slice());
        match &matrix {
            Some(matrix) => correct([red, green, blue], matrix, [to_red, to_green, to_blue]),
            None => [(red, to_red), (green, to_green), (blue, to_blue)]
                .into_iter()
                .for_each(|(from, to)| index(from, to)),
        }
    }
    for (levels, [even, odd]) in levels.into_iter().zip(&indices.0) {
        look_up(&table.codes, even, odd, levels);
    }
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn index(light: &[f32], indices: &mut [u16]) {
    for (light, index) in light.iter().zip(indices) {
        *index = tone::index(*light) as u16;
    }
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn correct(light: [&[f32]; 3], matrix: &[[f32; 3]; 3], indices: [&mut [u16]; 3]) {
    let length = indices[0].len();
    let light = light.map(|row| &row[..length]);
    let [to_red, to_green, to_blue] = indices.map(|row| &mut row[..length]);
    for x in 0..length {
        let [r, g, b] = light.map(|row| row[x]);
        let corrected = |row: &[f32; 3]| tone::index(row[0] * r + row[1] * g + row[2] * b) as u16;
        to_red[x] = corrected(&matrix[0]);
        to_green[x] = corrected(&matrix[1]);
        to_blue[x] = corrected(&matrix[2]);
    }
}

fn look_up(codes: &[u16; ROOM], even: &[u16], odd: &[u16], levels: &mut [u16]) {
    let code = |index: &u16| codes[usize::from(*index) % ROOM];
    let (pairs, last) = levels.as_chunks_mut::<2>();
    for ((pair, even), odd) in pairs.iter_mut().zip(even).zip(odd) {
        *pair = [code(even), code(odd)];
    }
    if let ([last], Some(even)) = (last, even.last()) {
        *last = code(even);
    }
}
