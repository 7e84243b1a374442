//! The fast path: samples of eight bits, demosaiced bilinearly, and nothing else.
//!
//! Levels are then means of samples, for which integers of 16 bits suffice. Each sample is read
//! once, and each pixel written once.

use multiversion::multiversion;
use vcam_allocator::Fourcc;

use crate::formats::{is_blue_first, is_four_bytes};
use crate::frame::{Job, Output, size_of};
use crate::mirror::mirrored;
use crate::params::{Demosaic, IspParams, Tone};
use crate::raw::{Cfa, RawFormat};
use crate::stats::MOST_COLUMNS;

/// Whether a job needs no more than this path does.
pub(super) fn suits(job: &Job<'_>, output: &Output<'_>) -> bool {
    let nothing_else = IspParams {
        demosaic: Demosaic::Bilinear,
        black_level: 0.0,
        gains: [1.0; 3],
        tone: Tone { gamma: 1.0, contrast: 1.0 },
        ..IspParams::default()
    };
    job.format == RawFormat::SRGGB8.with_cfa(job.format.cfa())
        && job.format.cfa().is_some()
        && job.size.0 as usize / 2 <= MOST_COLUMNS
        && *job.params == nothing_else
        && is_four_bytes(output.buffer.format())
        && output.view.is_whole(job.size, size_of(output.buffer))
}

/// Two columns side by side.
type Pair = [u8; 2];

/// A row with one more pair at either end, which holds the mirrored samples.
#[derive(Debug, Default)]
struct Row {
    number: Option<usize>,
    pairs: Vec<Pair>,
}

impl Row {
    fn fill(&mut self, number: usize, samples: &[u8]) {
        let width = samples.len();
        self.pairs.resize(width.div_ceil(2) + 2, Pair::default());
        let all = self.pairs.as_flattened_mut();
        all[2..][..width].copy_from_slice(samples);
        for column in (-2..0).chain(width as isize..all.len() as isize - 2) {
            all[(column + 2) as usize] = samples[mirrored(column, width)];
        }
        self.number = Some(number);
    }
}

/// Demosaics a frame, row after row.
#[derive(Debug, Default)]
pub(super) struct Bilinear8 {
    /// By row number, modulo their count.
    rows: [Row; 4],
}

impl Bilinear8 {
    /// Begins another frame.
    pub(super) fn clear(&mut self) {
        self.rows.iter_mut().for_each(|row| row.number = None);
    }

    /// Makes the pixels of row `y` of `height`; `samples` returns the samples of any row.
    pub(super) fn row<'a>(
        &mut self,
        (y, height): (usize, usize),
        samples: impl Fn(usize) -> &'a [u8],
        cfa: Cfa,
        format: Fourcc,
        out: &mut [u8],
    ) {
        let around = [-1, 0, 1].map(|dy| mirrored(y as isize + dy, height));
        for number in around {
            let row = &mut self.rows[number % 4];
            if row.number != Some(number) {
                row.fill(number, samples(number));
            }
        }
        let around = around.map(|number| self.rows[number % 4].pairs.as_slice());
        let (column, row) = cfa.red();
        let of_red = y as u32 & 1 == row;
        let red_is_third = is_blue_first(format);
        // In the odd columns if red is, and this is red's row; or neither.
        let odd = (column == 1) == of_red;
        let make = match (odd, of_red == red_is_third) {
            (false, false) => pixels::<0, false>,
            (false, true) => pixels::<0, true>,
            (true, false) => pixels::<1, false>,
            (true, true) => pixels::<1, true>,
        };
        let (whole, half) = out.as_chunks_mut::<8>();
        let whole = whole.as_flattened_mut().as_chunks_mut::<2>().0.as_chunks_mut::<4>().0;
        make(around, whole);
        if !half.is_empty() {
            let mut last = [[Pair::default(); 4]];
            make(around.map(|row| &row[whole.len()..]), &mut last);
            half.copy_from_slice(&last.as_flattened().as_flattened()[..half.len()]);
        }
    }
}

/// Two pixels of each pair of columns.
///
/// OWN: whether the colour that shares green's row is in the even columns (0) or in the odd ones
/// (1). THIRD: whether it is the third byte of a pixel, and not the first.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn pixels<const OWN: usize, const THIRD: bool>(rows: [&[Pair]; 3], out: &mut [[Pair; 4]]) {
    let length = out.len();
    let [up, here, down] = rows.map(|row| &row[..length + 2]);
    for x in 0..length {
        // The column before the two, the two, and the one after them.
        let four = |row: &[Pair]| {
            let [before, pair, after] = [row[x], row[x + 1], row[x + 2]].map(u16::from_le_bytes);
            [before >> 8, pair & 0xff, pair >> 8, after & 0xff]
        };
        let (up, here, down) = (four(up), four(here), four(down));
        let at = 1 + OWN;
        let own = [
            here[at],
            (here[at - 1] + here[at + 1] + up[at] + down[at] + 2) >> 2,
            (up[at - 1] + up[at + 1] + down[at - 1] + down[at + 1] + 2) >> 2,
        ];
        let at = 2 - OWN;
        let green =
            [(here[at - 1] + here[at + 1] + 1) >> 1, here[at], (up[at] + down[at] + 1) >> 1];
        let pixel = |[own, green, other]: [u16; 3]| {
            let [first, third] = if THIRD { [other, own] } else { [own, other] };
            [(first | green << 8).to_le_bytes(), (third | 0xff00).to_le_bytes()]
        };
        let (own, green) = (pixel(own), pixel(green));
        let [left, right] = if OWN == 0 { [own, green] } else { [green, own] };
        out[x] = [left[0], left[1], right[0], right[1]];
    }
}
