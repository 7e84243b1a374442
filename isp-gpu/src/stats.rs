//! Statistics of raw light, for auto exposure and white balance.
//!
//! Statistics are of linear light above black, before white balance, of every 2x2 quad of sites: a
//! quad has one red, one blue, and two green samples, of which the mean counts. An odd last column
//! or row is in no quad. Light is in 16 bits ([`WHITE`] is a saturated sample), so that all sums
//! are of whole numbers: they are the same wherever they are made and in whatever order.

mod bytes;

use multiversion::multiversion;

pub(crate) use self::bytes::MOST_COLUMNS;
use self::bytes::Tally;
use crate::raw::{Cfa, RawFormat};

/// Zones from left to right.
pub const COLUMNS: usize = 16;
/// Zones from top to bottom.
pub const ROWS: usize = 12;
/// Bins of the histogram.
pub const BINS: usize = 256;

/// Saturated light, as a 16-bit number.
pub const WHITE: u16 = u16::MAX;

/// From this fraction of full scale on, black level included, a sample counts as saturated.
pub const SATURATION: f32 = 0.98;

/// A part of the frame.
///
/// Of `n` quads side by side, quad `i` is in column `i * COLUMNS / n`, rounded down; likewise for
/// rows.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Zone {
    /// Sums of red, green and blue over the unsaturated quads, each from 0 to 1 a quad.
    pub sum: [f32; 3],
    /// Quads in the sums.
    pub quads: u32,
    /// Quads with a sample at [`SATURATION`] or more, which the sums leave out.
    pub saturated: u32,
}

/// The statistics of one raw frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// The zones, row after row.
    pub zones: [Zone; COLUMNS * ROWS],
    /// How many quads there are of each luma `(R + 2G + B) / 4`, saturated ones included, in
    /// linear bins from 0 to 1.
    pub histogram: [u32; BINS],
    /// The mean squared difference of the greens of quads that are neighbours in a row or a column:
    /// the sharper a scene's image, the larger.
    pub focus: f32,
}

impl Default for Statistics {
    fn default() -> Self {
        Self { zones: [Zone::default(); COLUMNS * ROWS], histogram: [0; BINS], focus: 0.0 }
    }
}

impl Statistics {
    /// The statistics of a raw frame, in plain words; `black_level` is a fraction of full scale
    /// below 1.
    ///
    /// # Panics
    ///
    /// When `raw` ends before the frame does, or the frame is smaller than 2x2.
    pub fn of_raw(
        format: RawFormat,
        raw: &[u8],
        stride: usize,
        (width, height): (u32, u32),
        black_level: f32,
    ) -> Self {
        let row_bytes = usize::try_from(format.row_bytes(width)).unwrap_or(usize::MAX);
        let mut light = vec![0; width as usize * height as usize];
        for (row, light) in raw.chunks(stride).zip(light.chunks_exact_mut(width as usize)) {
            format.unpack(&row[..row_bytes], light);
            light.iter_mut().for_each(|sample| *sample = light_of(format, black_level, *sample));
        }
        Self::of_light(format, &light, (width, height), black_level)
    }

    /// The same, of light that was made already.
    pub(crate) fn of_light(
        format: RawFormat,
        light: &[u16],
        (width, height): (u32, u32),
        black_level: f32,
    ) -> Self {
        let mut meter = Meter::new(format, width, height, black_level);
        let columns = width as usize;
        for (row, rows) in light.chunks_exact(2 * columns).take(height as usize / 2).enumerate() {
            let (upper, lower) = rows.split_at(columns);
            meter.add(row, upper, lower);
        }
        let mut statistics = Self::default();
        meter.read(&mut statistics);
        statistics
    }
}

/// The light above black of a sample, in 16 bits.
fn light_of(format: RawFormat, black_level: f32, sample: u16) -> u16 {
    let full = f32::from(sample) / f32::from(format.white());
    let above = ((full - black_level) / (1.0 - black_level)).clamp(0.0, 1.0);
    (above * f32::from(WHITE) + 0.5) as u16
}

/// The 16-bit light from which on a sample counts as saturated.
pub(crate) fn saturation(black_level: f32) -> u16 {
    let above = ((SATURATION - black_level) / (1.0 - black_level)).clamp(0.0, 1.0);
    // Nothing is saturated in the dark, not even where black is next to white.
    ((above * f32::from(WHITE)).floor() as u16).max(1)
}

/// Sums that are still whole numbers.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    /// Red, twice green, blue.
    light: [u64; 3],
    quads: u32,
    saturated: u32,
}

/// Makes statistics of quads, row after row.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    cfa: Option<Cfa>,
    saturation: u16,
    columns: usize,
    rows: usize,
    zones: [Sums; COLUMNS * ROWS],
    histogram: [u32; BINS],
    /// Sum of squared differences of twice the green, and of how many.
    differences: u64,
    pairs: u64,
    /// The row of quads that was looked at last, and the one that is being looked at.
    last: Quads,
    current: Quads,
    /// Which row the last one is.
    above: Option<usize>,
    tally: Tally,
}

/// A row of quads, each kind of number by itself.
#[derive(Debug, Clone)]
struct Quads {
    /// Red, twice the green, blue; 0 where a sample is saturated.
    light: [Vec<u32>; 3],
    /// 1 where no sample is saturated.
    counted: Vec<u32>,
    /// Twice the green, in any case.
    greens: Vec<u32>,
    bins: Vec<u8>,
}

impl Quads {
    fn new(columns: usize) -> Self {
        let numbers = || vec![0; columns];
        Self {
            light: [numbers(), numbers(), numbers()],
            counted: numbers(),
            greens: numbers(),
            bins: vec![0; columns],
        }
    }

    /// Takes the two rows of sites that make it; `red` is the site of red in a quad, row by row.
    fn fill(&mut self, upper: &[u16], lower: &[u16], red: Option<usize>, saturation: u16) {
        match red {
            Some(0) => self.fill_as::<0>(upper, lower, saturation),
            Some(1) => self.fill_as::<1>(upper, lower, saturation),
            Some(2) => self.fill_as::<2>(upper, lower, saturation),
            Some(_) => self.fill_as::<3>(upper, lower, saturation),
            None => self.fill_as::<MONO>(upper, lower, saturation),
        }
    }

    fn fill_as<const RED: usize>(&mut self, upper: &[u16], lower: &[u16], saturation: u16) {
        let [red, green, blue] = self.light.each_mut().map(Vec::as_mut_slice);
        let rows = [upper.as_chunks().0, lower.as_chunks().0];
        let others = (&mut *self.counted, &mut *self.greens, &mut *self.bins);
        separate::<RED>(rows, saturation, [red, green, blue], others);
    }
}

/// In place of a site of red: there are no filters.
const MONO: usize = 4;

#[multiversion(targets("x86_64+avx2+fma"))]
fn separate<const RED: usize>(
    [upper, lower]: [&[[u16; 2]]; 2],
    saturation: u16,
    [red, green, blue]: [&mut [u32]; 3],
    (counted, greens, bins): (&mut [u32], &mut [u32], &mut [u8]),
) {
    let length = bins.len();
    let (upper, lower) = (&upper[..length], &lower[..length]);
    let (red, green, blue) = (&mut red[..length], &mut green[..length], &mut blue[..length]);
    let (counted, greens) = (&mut counted[..length], &mut greens[..length]);
    for x in 0..length {
        let quad = [upper[x][0], upper[x][1], lower[x][0], lower[x][1]];
        let most = quad[0].max(quad[1]).max(quad[2].max(quad[3]));
        let own = u32::from(most < saturation);
        let quad = quad.map(u32::from);
        let sum = quad[0] + quad[1] + quad[2] + quad[3];
        // Without filters all are the sum of four sites, of which a channel is the mean.
        let [r, g, b] = match RED {
            MONO => [sum, 2 * sum, sum],
            _ => [quad[RED], quad[RED ^ 1] + quad[RED ^ 2], quad[RED ^ 3]],
        };
        red[x] = r * own;
        green[x] = g * own;
        blue[x] = b * own;
        counted[x] = own;
        greens[x] = if RED == MONO { sum / 2 } else { g };
        // Four times the luma, of 18 bits.
        bins[x] = (sum >> 10) as u8;
    }
}

/// The sum of squared differences of numbers that stand opposite each other.
#[multiversion(targets("x86_64+avx2+fma"))]
fn squared_differences(one: &[u32], other: &[u32]) -> u64 {
    let difference = |(one, other): (&u32, &u32)| u64::from(one.abs_diff(*other)).pow(2);
    one.iter().zip(other).map(difference).sum()
}

impl Meter {
    /// For frames of this size, in samples.
    pub(crate) fn new(format: RawFormat, width: u32, height: u32, black_level: f32) -> Self {
        let (columns, rows) = (width as usize / 2, height as usize / 2);
        assert!(columns > 0 && rows > 0, "{width}x{height} has no quad");
        Self {
            cfa: format.cfa(),
            saturation: saturation(black_level),
            columns,
            rows,
            zones: [Sums::default(); COLUMNS * ROWS],
            histogram: [0; BINS],
            differences: 0,
            pairs: 0,
            last: Quads::new(columns),
            current: Quads::new(columns),
            above: None,
            tally: Tally::new(columns),
        }
    }

    /// Begins the next frame.
    pub(crate) fn clear(&mut self, black_level: f32) {
        self.saturation = saturation(black_level);
        self.zones.fill(Sums::default());
        self.histogram.fill(0);
        (self.differences, self.pairs, self.above) = (0, 0, None);
    }

    /// Looks at the row of quads above the first that is to be added: it belongs to another thread,
    /// and only the differences from it count here.
    pub(crate) fn look(&mut self, row: usize, upper: &[u16], lower: &[u16]) {
        self.last.fill(upper, lower, self.red(), self.saturation);
        self.above = Some(row);
    }

    /// Adds a row of quads, given the 16-bit light of the two rows of sites that make it.
    pub(crate) fn add(&mut self, row: usize, upper: &[u16], lower: &[u16]) {
        let below_another = row.checked_sub(1).is_some_and(|above| self.above == Some(above));
        self.current.fill(upper, lower, self.red(), self.saturation);
        let Quads { light, counted, greens, bins } = &self.current;
        let zone_row = row * ROWS / self.rows;
        for zone_column in 0..COLUMNS {
            let start = |zone: usize| (zone * self.columns).div_ceil(COLUMNS);
            let zone = &mut self.zones[zone_row * COLUMNS + zone_column];
            let columns = start(zone_column)..start(zone_column + 1);
            for (sum, light) in zone.light.iter_mut().zip(light) {
                *sum += light[columns.clone()].iter().map(|light| u64::from(*light)).sum::<u64>();
            }
            let quads: u32 = counted[columns.clone()].iter().sum();
            zone.quads += quads;
            zone.saturated += columns.len() as u32 - quads;
        }
        bins.iter().for_each(|bin| self.histogram[usize::from(*bin)] += 1);
        self.differences += squared_differences(&greens[1..], greens);
        self.pairs += self.columns as u64 - 1;
        if below_another {
            self.differences += squared_differences(greens, &self.last.greens);
            self.pairs += self.columns as u64;
        }
        std::mem::swap(&mut self.last, &mut self.current);
        self.above = Some(row);
    }

    /// Adds the counts of another part of the same frame.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (zone, theirs) in self.zones.iter_mut().zip(&other.zones) {
            zone.light.iter_mut().zip(theirs.light).for_each(|(sum, light)| *sum += light);
            zone.quads += theirs.quads;
            zone.saturated += theirs.saturated;
        }
        self.histogram.iter_mut().zip(other.histogram).for_each(|(bin, count)| *bin += count);
        self.differences += other.differences;
        self.pairs += other.pairs;
    }

    /// The statistics of what was added.
    pub(crate) fn read(&self, statistics: &mut Statistics) {
        // The four sites of a quad without filters are all added up; a channel is their mean.
        let sites = if self.cfa.is_some() { 1.0 } else { 4.0 };
        let white = f64::from(WHITE) * sites;
        for (zone, sums) in statistics.zones.iter_mut().zip(&self.zones) {
            let [red, twice_green, blue] = sums.light.map(|light| light as f64 / white);
            zone.sum = [red as f32, (twice_green / 2.0) as f32, blue as f32];
            (zone.quads, zone.saturated) = (sums.quads, sums.saturated);
        }
        statistics.histogram = self.histogram;
        let white = 2.0 * f64::from(WHITE);
        let mean = self.differences as f64 / self.pairs.max(1) as f64;
        statistics.focus = (mean / (white * white)) as f32;
    }

    /// The site of red in a quad, row by row.
    fn red(&self) -> Option<usize> {
        self.cfa.map(|cfa| {
            let (column, row) = cfa.red();
            (row * 2 + column) as usize
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(format: RawFormat, samples: &[u16], width: u32, black_level: f32) -> Statistics {
        let stride = format.row_bytes(width) as usize + 1;
        let height = samples.len() as u32 / width;
        let mut raw = vec![0xee; stride * height as usize];
        for (row, samples) in raw.chunks_mut(stride).zip(samples.chunks(width as usize)) {
            format.pack(samples, &mut row[..stride - 1]);
        }
        Statistics::of_raw(format, &raw, stride, (width, height), black_level)
    }

    fn near(is: f32, should: f32) -> bool {
        (is - should).abs() <= 1e-4 * should.abs().max(0.01)
    }

    #[test]
    fn a_flat_frame_has_its_colours_in_every_zone_and_no_detail() {
        for format in RawFormat::all().filter(|format| format.cfa().is_some()) {
            let cfa = format.cfa().unwrap();
            let (width, height) = (64, 48);
            let white = f32::from(format.white());
            let levels = [0.3, 0.5, 0.7].map(|level| (level * white) as u16);
            let samples: Vec<u16> = (0..width * height)
                .map(|at| levels[cfa.colour_at(at % width, at / width)])
                .collect();
            let statistics = measure(format, &samples, width, 0.1);
            let light = levels.map(|level| (f32::from(level) / white - 0.1) / 0.9);
            for zone in statistics.zones {
                assert_eq!((zone.quads, zone.saturated), (4, 0), "{format}");
                for (sum, light) in zone.sum.into_iter().zip(light) {
                    assert!(near(sum, 4.0 * light), "{format}: {sum} is not 4 of {light}");
                }
            }
            let luma = (light[0] + 2.0 * light[1] + light[2]) / 4.0;
            let bin = (luma * 256.0) as usize;
            assert_eq!(statistics.histogram[bin], 32 * 24, "{format}");
            assert_eq!(statistics.focus, 0.0);
        }
    }

    #[test]
    fn saturated_quads_are_counted_apart_but_stay_in_the_histogram() {
        let mut samples = vec![100; 32 * 24];
        samples[0] = 250;
        samples[32 * 24 - 1] = 249;
        let statistics = measure(RawFormat::SRGGB8, &samples, 32, 0.0);
        let (first, last) = (statistics.zones[0], statistics.zones[COLUMNS * ROWS - 1]);
        assert_eq!((first.quads, first.saturated, first.sum), (0, 1, [0.0; 3]));
        // 249 of 255 is 97.6 %.
        assert_eq!((last.quads, last.saturated), (1, 0));
        assert_eq!(statistics.histogram.iter().sum::<u32>(), 16 * 12);
        assert_eq!(statistics.histogram[(250 + 300) * 256 / (4 * 255)], 1);
    }

    #[test]
    fn focus_is_the_mean_of_squares_beside_and_above() {
        // Greens of four quads: 0, 1; 1, 1. Differences: 1 beside, 1 above, and two of 0.
        let quad = |green| [[0, green], [green, 0]];
        let (dark, bright) = (quad(0), quad(255));
        let row = |left: [[u16; 2]; 2], right: [[u16; 2]; 2]| {
            [[left[0], right[0]].concat(), [left[1], right[1]].concat()].concat()
        };
        let samples = [row(dark, bright), row(bright, bright)].concat();
        let statistics = measure(RawFormat::SRGGB8, &samples, 4, 0.0);
        assert!(near(statistics.focus, 0.5), "{}", statistics.focus);
    }

    #[test]
    fn without_filters_all_channels_are_the_mean_of_the_quad() {
        let format: RawFormat = "Y12".parse().unwrap();
        let statistics = measure(format, &[0, 1000, 2000, 3000], 2, 0.0);
        let counted: Vec<_> = statistics.zones.iter().filter(|zone| zone.quads > 0).collect();
        assert_eq!(counted.len(), 1);
        assert!(counted[0].sum.iter().all(|sum| near(*sum, 1500.0 / 4095.0)), "{counted:?}");
    }

    #[test]
    fn odd_edges_and_frames_smaller_than_the_grid_are_counted_once() {
        for (width, height) in [(2, 2), (3, 3), (7, 5), (33, 25), (65, 49)] {
            let statistics =
                measure(RawFormat::SRGGB8, &vec![50; width * height], width as u32, 0.0);
            let quads = (width / 2 * (height / 2)) as u32;
            assert_eq!(statistics.zones.iter().map(|zone| zone.quads).sum::<u32>(), quads);
            assert_eq!(statistics.histogram.iter().sum::<u32>(), quads);
        }
    }

    #[test]
    fn parts_that_are_merged_are_the_whole() {
        let (width, height) = (30u32, 22u32);
        let rows: Vec<Vec<u16>> = (0..height)
            .map(|y| (0..width).map(|x| (x * 977 + y * 3571) as u16).collect())
            .collect();
        let meter = || Meter::new(RawFormat::SRGGB8, width, height, 0.0);
        let (mut whole, mut upper, mut lower) = (meter(), meter(), meter());
        for row in 0..11 {
            whole.add(row, &rows[2 * row], &rows[2 * row + 1]);
        }
        (0..4).for_each(|row| upper.add(row, &rows[2 * row], &rows[2 * row + 1]));
        lower.look(3, &rows[6], &rows[7]);
        (4..11).for_each(|row| lower.add(row, &rows[2 * row], &rows[2 * row + 1]));
        upper.merge(&lower);
        let [mut is, mut should] = [Statistics::default(), Statistics::default()];
        upper.read(&mut is);
        whole.read(&mut should);
        assert_eq!(is, should);
        whole.clear(0.0);
        whole.read(&mut is);
        assert_eq!(is, Statistics::default());
    }
}
