//! Rows of levels become rows of bytes, in every output format.

use multiversion::multiversion;
use vcam_allocator::{ColourSpace, Fourcc};

use super::levels::{HALF, UNIT, decoded};
use crate::view::yuv_rows;

/// Whether a row of the format's only plane is made of a row of pixels.
pub(super) fn is_single(format: Fourcc) -> bool {
    format.planes().is_some_and(|planes| planes.len() == 1)
}

/// Packs a row of pixels of a format with a single plane.
pub(super) fn row(format: Fourcc, space: ColourSpace, levels: [&[u16]; 3], out: &mut [u8]) {
    let [red, green, blue] = levels;
    match format {
        Fourcc::XRGB8888 | Fourcc::ARGB8888 => bytes(blue, green, red, out),
        Fourcc::XBGR8888 | Fourcc::ABGR8888 => bytes(red, green, blue, out),
        Fourcc::XRGB2101010 => ten_bits(red, green, blue, out),
        Fourcc::RGB565 => five_six_five(red, green, blue, out),
        Fourcc::YUYV => yuyv(&yuv_rows(space), red, green, blue, out),
        other => unreachable!("{other} has several planes, or is refused"),
    }
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn bytes(first: &[u16], second: &[u16], third: &[u16], out: &mut [u8]) {
    let pixels = out.as_chunks_mut::<4>().0.iter_mut();
    for (pixel, ((first, second), third)) in pixels.zip(first.iter().zip(second).zip(third)) {
        let [first, second, third] = [first, second, third].map(|level| u32::from(*level));
        let word = 0xff00_0000 | (third << 8 & 0xff_0000) | (second & 0xff00) | first >> 8;
        *pixel = word.to_le_bytes();
    }
}

#[inline(always)]
fn bits(code: u16, most: f32) -> u32 {
    ((f32::from(code) - HALF) * (most / (255.0 * UNIT)) + 0.5) as i32 as u32
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn ten_bits(red: &[u16], green: &[u16], blue: &[u16], out: &mut [u8]) {
    let pixels = out.as_chunks_mut::<4>().0.iter_mut();
    for (pixel, ((red, green), blue)) in pixels.zip(red.iter().zip(green).zip(blue)) {
        let [red, green, blue] = [red, green, blue].map(|code| bits(*code, 1023.0));
        *pixel = (3 << 30 | red << 20 | green << 10 | blue).to_le_bytes();
    }
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn five_six_five(red: &[u16], green: &[u16], blue: &[u16], out: &mut [u8]) {
    let pixels = out.as_chunks_mut::<2>().0.iter_mut();
    for (pixel, ((red, green), blue)) in pixels.zip(red.iter().zip(green).zip(blue)) {
        let word = bits(*red, 31.0) << 11 | bits(*green, 63.0) << 5 | bits(*blue, 31.0);
        *pixel = (word as u16).to_le_bytes();
    }
}

/// A channel of YUV in eight bits, of levels from 0 to 1.
#[inline(always)]
fn channel([of_r, of_g, of_b, offset]: [f32; 4], r: f32, g: f32, b: f32) -> u8 {
    let level = of_r * r + of_g * g + of_b * b + offset;
    (level.clamp(0.0, 1.0) * 255.0 + 0.5) as i32 as u8
}

/// Luma of a row.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn luma(matrix: &[f32; 4], red: &[u16], green: &[u16], blue: &[u16], out: &mut [u8]) {
    let levels = red.iter().zip(green).zip(blue);
    for (luma, ((red, green), blue)) in out.iter_mut().zip(levels) {
        *luma = channel(*matrix, decoded(*red), decoded(*green), decoded(*blue));
    }
}

/// The mean of a square of pixels, two columns from `x` on, of these rows.
#[inline(always)]
fn mean(rows: [&[u16]; 2], x: usize) -> f32 {
    let next = (x + 1).min(rows[0].len() - 1);
    let sum = |row: &[u16]| decoded(row[x]) + decoded(row[next]);
    (sum(rows[0]) + sum(rows[1])) * 0.25
}

/// Chroma of two rows: the channels of these matrices, one after the other.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn chroma<const N: usize>(
    matrices: [&[f32; 4]; N],
    red: [&[u16]; 2],
    green: [&[u16]; 2],
    blue: [&[u16]; 2],
    out: &mut [u8],
) {
    for (index, sample) in out.as_chunks_mut::<N>().0.iter_mut().enumerate() {
        let [r, g, b] = [red, green, blue].map(|rows| mean(rows, 2 * index));
        *sample = matrices.map(|matrix| channel(*matrix, r, g, b));
    }
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn yuyv(matrix: &[[f32; 4]; 3], red: &[u16], green: &[u16], blue: &[u16], out: &mut [u8]) {
    for (index, sample) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let x = 2 * index;
        let next = (x + 1).min(red.len() - 1);
        let luma =
            |x: usize| channel(matrix[0], decoded(red[x]), decoded(green[x]), decoded(blue[x]));
        let [r, g, b] = [red, green, blue].map(|row| mean([row, row], x));
        *sample = [luma(x), channel(matrix[1], r, g, b), luma(next), channel(matrix[2], r, g, b)];
    }
}
