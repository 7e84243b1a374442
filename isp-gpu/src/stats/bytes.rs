//! The same statistics, of samples that are bytes and light as they are: in a tenth of the time.
//!
//! Light is then 257 times the sample, so all sums can be of samples. They are kept for each column
//! until the next row of zones begins, so that no vector has to be added up across.

use multiversion::multiversion;

use super::{BINS, COLUMNS, Meter, ROWS, Sums, WHITE};

/// Light of a step of eight bits.
const STEP: u16 = WHITE / u8::MAX as u16;

/// So many rows of quads that a column's sum of two greens is below 2^16.
const MOST_ROWS: usize = 128;

/// The widest row of quads whose sum of squared differences is below 2^31.
pub(crate) const MOST_COLUMNS: usize = 8192;

/// Counts that are not yet in the zones and in the histogram.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    /// Of each column the sums of red, of both greens and of blue, and the unsaturated quads.
    columns: [Vec<u16>; 4],
    /// How many rows these are of, and which row of zones they belong to.
    rows: usize,
    zone_row: usize,
    /// Both greens of the row that was counted last.
    greens: Vec<u16>,
    bins: Vec<u8>,
    /// Quads side by side are often alike, and a counter that was written just now is slow to read:
    /// so they take turns.
    histograms: [[u32; BINS]; 4],
}

impl Tally {
    pub(super) fn new(columns: usize) -> Self {
        Self {
            columns: std::array::from_fn(|_| vec![0; columns]),
            rows: 0,
            zone_row: 0,
            greens: vec![0; columns],
            bins: vec![0; columns],
            histograms: [[0; BINS]; 4],
        }
    }
}

impl Meter {
    /// [`look`](Meter::look), at rows of bytes.
    pub(crate) fn look_at_bytes(&mut self, row: usize, upper: &[u8], lower: &[u8]) {
        let red = self.red().unwrap_or_default();
        let quads = upper.as_chunks::<2>().0.iter().zip(lower.as_chunks::<2>().0);
        for (greens, (upper, lower)) in self.tally.greens.iter_mut().zip(quads) {
            let quad = [upper[0], upper[1], lower[0], lower[1]].map(u16::from);
            *greens = quad[red ^ 1] + quad[red ^ 2];
        }
        self.above = Some(row);
    }

    /// [`add`](Meter::add), of rows of bytes, with colour filters; [`settle`](Meter::settle) comes
    /// after the last.
    pub(crate) fn add_bytes(&mut self, row: usize, upper: &[u8], lower: &[u8]) {
        let zone_row = row * ROWS / self.rows;
        if self.tally.zone_row != zone_row || self.tally.rows == MOST_ROWS {
            self.settle();
        }
        let below_another = row.checked_sub(1).is_some_and(|above| self.above == Some(above));
        let saturation = self.saturation.div_ceil(STEP);
        let rows = [upper.as_chunks().0, lower.as_chunks().0];
        let red = self.red();
        let tally = &mut self.tally;
        (tally.zone_row, tally.rows) = (zone_row, tally.rows + 1);
        let columns = tally.columns.each_mut().map(Vec::as_mut_slice);
        let others = (&mut *tally.greens, &mut *tally.bins);
        let above = match red {
            Some(0) => count::<0>(rows, saturation, columns, others),
            Some(1) => count::<1>(rows, saturation, columns, others),
            Some(2) => count::<2>(rows, saturation, columns, others),
            _ => count::<3>(rows, saturation, columns, others),
        };
        let beside = squared_differences(&tally.greens[1..], &tally.greens);
        let mut add = |squares: i32, pairs: usize| {
            self.differences += squares as u64 * u64::from(STEP).pow(2);
            self.pairs += pairs as u64;
        };
        add(beside, self.columns - 1);
        if below_another {
            add(above, self.columns);
        }
        self.above = Some(row);
        let (fours, rest) = tally.bins.as_chunks::<4>();
        for four in fours {
            for (counts, bin) in tally.histograms.iter_mut().zip(four) {
                counts[usize::from(*bin)] += 1;
            }
        }
        rest.iter().for_each(|bin| self.histogram[usize::from(*bin)] += 1);
    }

    /// Puts what was counted apart where it belongs.
    pub(crate) fn settle(&mut self) {
        let Tally { columns, rows, zone_row, histograms, .. } = &mut self.tally;
        let zones = &mut self.zones[*zone_row * COLUMNS..][..COLUMNS];
        for (zone_column, Sums { light, quads, saturated }) in zones.iter_mut().enumerate() {
            let start = |zone: usize| (zone * self.columns).div_ceil(COLUMNS);
            let range = start(zone_column)..start(zone_column + 1);
            let sum = |sums: &Vec<u16>| sums[range.clone()].iter().copied().map(u64::from).sum();
            let [red, green, blue, counted]: [u64; 4] = columns.each_ref().map(sum);
            for (light, sum) in light.iter_mut().zip([red, green, blue]) {
                *light += sum * u64::from(STEP);
            }
            *quads += counted as u32;
            *saturated += (range.len() * *rows) as u32 - counted as u32;
        }
        columns.iter_mut().for_each(|sums| sums.fill(0));
        *rows = 0;
        for counts in histograms {
            self.histogram.iter_mut().zip(&*counts).for_each(|(sum, count)| *sum += count);
            counts.fill(0);
        }
    }
}

/// Counts a row of quads by columns; the sum of the squared differences of its greens from those
/// above.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn count<const RED: usize>(
    [upper, lower]: [&[[u8; 2]]; 2],
    saturation: u16,
    columns: [&mut [u16]; 4],
    (greens, bins): (&mut [u16], &mut [u8]),
) -> i32 {
    let length = bins.len();
    let (upper, lower, greens) = (&upper[..length], &lower[..length], &mut greens[..length]);
    let [red, green, blue, counted] = columns.map(|sums| &mut sums[..length]);
    let mut squares = 0;
    for x in 0..length {
        let rows = [upper[x], lower[x]].map(u16::from_le_bytes);
        let quad = [rows[0] & 0xff, rows[0] >> 8, rows[1] & 0xff, rows[1] >> 8];
        let most = quad[0].max(quad[1]).max(quad[2].max(quad[3]));
        let own = if most < saturation { u16::MAX } else { 0 };
        let both = quad[RED ^ 1] + quad[RED ^ 2];
        red[x] += quad[RED] & own;
        green[x] += both & own;
        blue[x] += quad[RED ^ 3] & own;
        counted[x] += own & 1;
        let difference = i32::from(both as i16 - greens[x] as i16);
        squares += difference * difference;
        greens[x] = both;
        // The upper bits of the sum of four lights: 257 times this sum, over 1024.
        let sum = both + quad[RED] + quad[RED ^ 3];
        bins[x] = ((sum + (sum >> 8)) >> 2) as u8;
    }
    squares
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn squared_differences(one: &[u16], other: &[u16]) -> i32 {
    let difference = |(one, other): (&u16, &u16)| i32::from(*one as i16 - *other as i16).pow(2);
    one.iter().zip(other).map(difference).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::Cfa;
    use crate::raw::RawFormat;
    use crate::stats::Statistics;

    #[test]
    fn bytes_are_counted_as_their_light_is() {
        for cfa in Cfa::ALL {
            let format = RawFormat::SRGGB8.with_cfa(Some(cfa));
            // Zones of no row, of one and of more than fit into the sums.
            for (width, height) in [(2, 2), (7, 5), (64, 48), (131, 77), (9, 4000)] {
                let mut state = 1u32;
                let raw: Vec<u8> = (0..width * height)
                    .map(|_| {
                        state = state.wrapping_mul(0x9e37_79b1).wrapping_add(0x7f4a_7c15);
                        (state >> 24) as u8
                    })
                    .collect();
                let rows: Vec<_> = raw.chunks(width).collect();
                let count = |first: usize, end: usize| {
                    let mut meter = Meter::new(format, width as u32, height as u32, 0.0);
                    if let Some(above) = first.checked_sub(1) {
                        meter.look_at_bytes(above, rows[2 * above], rows[2 * above + 1]);
                    }
                    for row in first..end {
                        meter.add_bytes(row, rows[2 * row], rows[2 * row + 1]);
                    }
                    meter.settle();
                    meter
                };
                let mut meter = count(0, height / 4);
                meter.merge(&count(height / 4, height / 2));
                let mut is = Statistics::default();
                meter.read(&mut is);
                let size = (width as u32, height as u32);
                assert_eq!(
                    is,
                    Statistics::of_raw(format, &raw, width, size, 0.0),
                    "{cfa} {size:?}"
                );
            }
        }
    }
}
