//! Pictures as luma and two planes of chroma, each half as wide and half as high: what video
//! encoders and players take.
//!
//! A chroma sample that is made here is the mean of the four pixels that it lies between.

use vcam_allocator::{ColourSpace, CpuGuard, Dmabuf, Fence, Fourcc};

use crate::pixels::{self, Order, ReadError};

/// The rows of [`ColourSpace::from_rgb`] in units of 2^-16.
#[derive(Debug, Clone, Copy)]
struct FromRgb {
    luma: [i32; 3],
    blue: [i32; 3],
    red: [i32; 3],
    /// The level of black.
    black: i32,
}

/// A factor in units of 2^-16.
fn fixed(factor: f64) -> i32 {
    (factor * 65536.0).round() as i32
}

impl FromRgb {
    fn of(space: ColourSpace) -> Self {
        let [luma, blue, red] = space.from_rgb();
        // Green takes what rounding leaves, so that white and grey come out exactly.
        let row = |[of_red, _, of_blue, _]: [f64; 4], sum: f64| {
            let [of_red, of_blue] = [of_red, of_blue].map(fixed);
            [of_red, fixed(sum) - of_red - of_blue, of_blue]
        };
        let [r, g, b, black] = luma;
        Self {
            luma: row(luma, r + g + b),
            blue: row(blue, 0.0),
            red: row(red, 0.0),
            black: (255.0 * black).round() as i32,
        }
    }
}

fn dot(factors: [i32; 3], rgb: [i32; 3]) -> i32 {
    factors[0] * rgb[0] + factors[1] * rgb[1] + factors[2] * rgb[2]
}

/// A picture in planes without padding. An odd side has half a chroma sample more.
#[derive(Debug, Default)]
pub(crate) struct Planar {
    pub(crate) luma: Vec<u8>,
    /// Blue difference.
    pub(crate) blue: Vec<u8>,
    /// Red difference.
    pub(crate) red: Vec<u8>,
}

impl Planar {
    /// Reads a picture in this colour space, once it is complete, and says in which one it is then.
    /// The planes of NV12 are taken as they are; RGB is converted to what a player expects of its
    /// size.
    ///
    /// Nothing is allocated for a picture that is not larger than the one before.
    pub(crate) fn read(
        &mut self,
        buffer: &Dmabuf,
        space: ColourSpace,
        ready: Option<&Fence>,
    ) -> Result<ColourSpace, ReadError> {
        let size = (buffer.layout().width(), buffer.layout().height());
        if buffer.format() == Fourcc::NV12 {
            pixels::read_planes(buffer, ready, |planes| {
                self.take_nv12(planes, [0, 1].map(|plane| pixels::stride_of(buffer, plane)), size);
            })?;
            return Ok(space);
        }
        let video = ColourSpace::of_video(size.1);
        pixels::read(buffer, ready, |rows, stride, order| {
            self.convert(rows, stride, order, size, video);
        })?;
        Ok(video)
    }

    /// The three planes, in the order of I420.
    pub(crate) fn planes(&self) -> [&[u8]; 3] {
        [&self.luma, &self.blue, &self.red]
    }

    fn resize(&mut self, (width, height): (usize, usize)) {
        self.luma.resize(width * height, 0);
        let chroma = width.div_ceil(2) * height.div_ceil(2);
        self.blue.resize(chroma, 0);
        self.red.resize(chroma, 0);
    }

    fn take_nv12(&mut self, planes: &CpuGuard<'_>, strides: [usize; 2], size: (u32, u32)) {
        let (width, height) = (size.0 as usize, size.1 as usize);
        self.resize((width, height));
        pixels::copy_rows(planes.plane(0), strides[0], &mut self.luma, width, width, height);
        let half = width.div_ceil(2);
        let rows = planes.plane(1).chunks(strides[1].max(1));
        let planes = self.blue.chunks_exact_mut(half).zip(self.red.chunks_exact_mut(half));
        for (row, (blue, red)) in rows.zip(planes) {
            for (pair, (blue, red)) in row.chunks_exact(2).zip(blue.iter_mut().zip(red)) {
                (*blue, *red) = (pair[0], pair[1]);
            }
        }
    }

    fn convert(
        &mut self,
        rows: &[u8],
        stride: usize,
        order: Order,
        (width, height): (u32, u32),
        space: ColourSpace,
    ) {
        let factors = FromRgb::of(space);
        let black = (factors.black << 16) + (1 << 15);
        let (width, height) = (width as usize, height as usize);
        self.resize((width, height));
        let row = |y: usize| rows.get(y * stride..).unwrap_or_default();
        let rgb =
            |pixel: &[u8]| [order.red, order.green, order.blue].map(|at| i32::from(pixel[at]));
        for (y, luma) in self.luma.chunks_exact_mut(width.max(1)).enumerate() {
            for (pixel, luma) in row(y).chunks_exact(4).zip(luma) {
                *luma = ((dot(factors.luma, rgb(pixel)) + black) >> 16) as u8;
            }
        }
        let half = width.div_ceil(2).max(1);
        let planes = self.blue.chunks_exact_mut(half).zip(self.red.chunks_exact_mut(half));
        for (y, (blue, red)) in planes.enumerate() {
            // At an odd edge the last pixels stand for those that are missing.
            let upper = row(2 * y).get(..width * 4).unwrap_or_default().chunks(8);
            let lower =
                row((2 * y + 1).min(height - 1)).get(..width * 4).unwrap_or_default().chunks(8);
            let samples = blue.iter_mut().zip(red);
            for ((upper, lower), (blue, red)) in upper.zip(lower).zip(samples) {
                let mut sum = [0; 3];
                for pixels in [upper, lower] {
                    for pixel in [&pixels[..4], &pixels[pixels.len() - 4..]] {
                        for (sum, part) in sum.iter_mut().zip(rgb(pixel)) {
                            *sum += part;
                        }
                    }
                }
                // The sum is of four.
                let chroma = |factors| {
                    let level = (dot(factors, sum) + (128 << 18) + (1 << 17)) >> 18;
                    // The full range has no level for the last half.
                    level.min(255) as u8
                };
                (*blue, *red) = (chroma(factors.blue), chroma(factors.red));
            }
        }
    }
}

/// Where a format in YUV has the samples of one component.
#[derive(Debug, Clone, Copy)]
struct Samples {
    plane: usize,
    /// Bytes before the first.
    first: usize,
    /// Bytes from one to the next.
    step: usize,
}

impl Samples {
    const fn new(plane: usize, first: usize, step: usize) -> Self {
        Self { plane, first, step }
    }

    /// The samples of a row.
    fn row<'a>(&self, planes: &'a CpuGuard<'_>, strides: [usize; 3], y: usize) -> Row<'a> {
        let at = strides[self.plane].saturating_mul(y).saturating_add(self.first);
        Row(planes.plane(self.plane).get(at..).unwrap_or_default(), self.step)
    }
}

/// Samples that are so many bytes apart.
struct Row<'a>(&'a [u8], usize);

impl Row<'_> {
    fn get(&self, x: usize) -> i32 {
        self.0.get(x * self.1).copied().unwrap_or_default().into()
    }
}

/// The samples of luma, blue and red difference, and the rows of luma to a row of chroma. Chroma is
/// half as wide in all of these formats.
fn samples(format: Fourcc) -> Option<([Samples; 3], usize)> {
    let luma = Samples::new(0, 0, 1);
    let at = Samples::new;
    Some(match format {
        Fourcc::NV12 => ([luma, at(1, 0, 2), at(1, 1, 2)], 2),
        Fourcc::NV21 => ([luma, at(1, 1, 2), at(1, 0, 2)], 2),
        Fourcc::YUV420 => ([luma, at(1, 0, 1), at(2, 0, 1)], 2),
        Fourcc::YUYV => ([at(0, 0, 2), at(0, 1, 4), at(0, 3, 4)], 1),
        _ => return None,
    })
}

/// Reads a picture in YUV as RGB, three bytes a pixel, once it is complete.
///
/// Each chroma sample stands for all its pixels.
pub(crate) fn yuv_as_rgb(
    buffer: &Dmabuf,
    space: ColourSpace,
    ready: Option<&Fence>,
    rgb: &mut Vec<u8>,
) -> Result<(), ReadError> {
    let format = buffer.format();
    let ([luma, blue, red], vsub) = samples(format).ok_or(ReadError::Format(format))?;
    let (width, height) = (buffer.layout().width(), buffer.layout().height());
    let strides = [0, 1, 2].map(|plane| pixels::stride_of(buffer, plane));
    let [[level, _, red_of_red, _], [_, blue_of_green, red_of_green, _], [_, blue_of_blue, ..]] =
        space.to_rgb().map(|row| row.map(fixed));
    // White and grey come out exactly if black is taken off before the factor.
    let black = FromRgb::of(space).black;
    pixels::read_planes(buffer, ready, |planes| {
        rgb.clear();
        rgb.reserve(width as usize * height as usize * 3);
        for y in 0..height as usize {
            let luma = luma.row(planes, strides, y);
            let [blue, red] = [blue, red].map(|one| one.row(planes, strides, y / vsub));
            for x in 0..width as usize {
                let (blue, red) = (blue.get(x / 2) - 128, red.get(x / 2) - 128);
                let grey = level * (luma.get(x) - black) + (1 << 15);
                rgb.extend(
                    [
                        grey + red_of_red * red,
                        grey + red_of_green * red + blue_of_green * blue,
                        grey + blue_of_blue * blue,
                    ]
                    .map(|part| (part >> 16).clamp(0, 255) as u8),
                );
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vcam_allocator::heaps::memfd::Memfd;
    use vcam_allocator::{Alignment, CpuAccess, Layout, Pool, PooledBuffer};

    use super::*;

    const BGRX: Order = Order { red: 2, green: 1, blue: 0 };

    fn converted(pixels: &[[u8; 4]], width: u32, height: u32, space: ColourSpace) -> Planar {
        let mut planar = Planar::default();
        planar.convert(&pixels.concat(), width as usize * 4, BGRX, (width, height), space);
        planar
    }

    /// The levels of a picture of one colour.
    fn levels([red, green, blue]: [u8; 3], space: ColourSpace) -> [u8; 3] {
        let planar = converted(&[[blue, green, red, 0]; 4], 2, 2, space);
        let first = planar.planes().map(|plane| plane[0]);
        assert_eq!(planar.luma, [first[0]; 4]);
        first
    }

    #[test]
    fn the_colour_bars_have_the_levels_of_the_recommendations() {
        // BT.601 and BT.709, table of 8-bit levels for 100 % bars.
        for (rgb, sd, hd) in [
            ([255, 255, 255], [235, 128, 128], [235, 128, 128]),
            ([255, 255, 0], [210, 16, 146], [219, 16, 138]),
            ([0, 255, 255], [170, 166, 16], [188, 154, 16]),
            ([0, 255, 0], [145, 54, 34], [173, 42, 26]),
            ([255, 0, 255], [106, 202, 222], [78, 214, 230]),
            ([255, 0, 0], [81, 90, 240], [63, 102, 240]),
            ([0, 0, 255], [41, 240, 110], [32, 240, 118]),
            ([0, 0, 0], [16, 128, 128], [16, 128, 128]),
        ] {
            assert_eq!(levels(rgb, ColourSpace::of_video(576)), sd, "{rgb:?}");
            assert_eq!(levels(rgb, ColourSpace::REC709), hd, "{rgb:?}");
        }
    }

    #[test]
    fn every_colour_is_within_rounding_of_the_formula() {
        // What the recommendations say the weights are.
        for (space, [kr, kb]) in
            [(ColourSpace::SMPTE170M, [0.299, 0.114]), (ColourSpace::REC709, [0.2126, 0.0722])]
        {
            for step in 0..4096_u32 {
                let rgb = [step >> 8, step >> 4 & 15, step & 15].map(|part| (part * 17) as u8);
                let [r, g, b] = rgb.map(|part| f64::from(part) / 255.0);
                let y = kr * r + (1.0 - kr - kb) * g + kb * b;
                let exact = [
                    16.0 + 219.0 * y,
                    128.0 + 112.0 * (b - y) / (1.0 - kb),
                    128.0 + 112.0 * (r - y) / (1.0 - kr),
                ];
                for (level, exact) in levels(rgb, space).into_iter().zip(exact) {
                    // Half a level, and a little for factors of 16 bits.
                    assert!((f64::from(level) - exact).abs() < 0.51, "{rgb:?}: {level}, {exact}");
                }
            }
        }
    }

    #[test]
    fn chroma_is_the_mean_of_four_and_edges_stand_for_what_is_missing() {
        let (red, black) = ([0, 0, 255, 0], [0; 4]);
        // 3x3: one red pixel in each of the four chroma samples' blocks, of 4, 2, 2 and 1.
        let planar = converted(
            &[red, black, red, black, black, black, red, black, red],
            3,
            3,
            ColourSpace::SMPTE170M,
        );
        assert_eq!(planar.luma.len(), 9);
        // A quarter, a half (twice itself), a half, and the whole of 112 above 128.
        assert_eq!(planar.red, [156, 184, 184, 240]);
        assert_eq!(planar.blue.len(), 4);
    }

    /// A picture of NV12 in one colour.
    fn nv12(width: u32, height: u32, [luma, chroma @ ..]: [u8; 3]) -> PooledBuffer {
        let layout = Layout::linear(Fourcc::NV12, width, height, Alignment::default()).unwrap();
        let pool = Pool::new(&Memfd::new(), &layout, "test", 1).unwrap();
        let buffer = pool.take(Duration::ZERO).unwrap();
        let mut planes = buffer.cpu_access(CpuAccess::Write).unwrap();
        planes.plane_mut(0).fill(luma);
        planes.plane_mut(1).chunks_mut(2).for_each(|pair| pair.copy_from_slice(&chroma));
        planes.end().unwrap();
        buffer
    }

    #[test]
    fn yuv_becomes_rgb_by_what_the_frame_says_at_every_size() {
        // As ffmpeg's swscale reads these bytes (`-vf scale=in_color_matrix=…:in_range=…`).
        for (space, levels, expected) in [
            (ColourSpace::SMPTE170M, [73, 124, 145], [94, 54, 58]),
            (ColourSpace::SYCC, [73, 124, 145], [97, 62, 66]),
            (ColourSpace::REC709, [73, 124, 145], [97, 58, 58]),
            // The red patch of a ColorChecker: 175, 54, 60.
            (ColourSpace::of_video(576), [94, 113, 181], [175, 54, 60]),
            (ColourSpace::of_video(577), [85, 118, 181], [175, 54, 60]),
        ] {
            for height in [2, 576, 578, 720] {
                let buffer = nv12(4, height, levels);
                let mut rgb = Vec::new();
                yuv_as_rgb(&buffer, space, None, &mut rgb).unwrap();
                assert_eq!(rgb.len(), 12 * height as usize);
                for pixel in rgb.chunks(3) {
                    // A level of luma or chroma is up to 2.1 levels of a colour.
                    let off = pixel.iter().zip(expected).map(|(is, should)| is.abs_diff(should));
                    assert!(off.max() <= Some(2), "{space} {height}: {pixel:?}");
                }
            }
        }
    }

    #[test]
    fn all_formats_in_yuv_are_the_same_picture() {
        let mut pictures = Vec::new();
        for format in [Fourcc::NV12, Fourcc::NV21, Fourcc::YUV420, Fourcc::YUYV] {
            let layout = Layout::linear(format, 6, 4, Alignment::default()).unwrap();
            let pool = Pool::new(&Memfd::new(), &layout, "test", 1).unwrap();
            let buffer = pool.take(Duration::ZERO).unwrap();
            let mut planes = buffer.cpu_access(CpuAccess::Write).unwrap();
            // By the layout in `drm_fourcc.h`: what is at byte `x` of row `y` of a plane. Chroma is
            // the same in two rows, so that it can be with half as many of them.
            let blue = |x: usize, y: usize| (100 + 9 * x + 30 * y) as u8;
            let red = |x: usize, y: usize| (180 - 7 * x - 20 * y) as u8;
            let luma = |x: usize, y: usize| (60 + 11 * x + 13 * y) as u8;
            for plane in 0..layout.planes().len() {
                let stride = layout.planes()[plane].stride as usize;
                for (y, row) in planes.plane_mut(plane).chunks_mut(stride).enumerate() {
                    for (x, byte) in row.iter_mut().take(12).enumerate() {
                        *byte = match (format, plane, x % 4) {
                            (Fourcc::YUYV, _, 0 | 2) => luma(x / 2, y),
                            (Fourcc::YUYV, _, 1) => blue(x / 4, y / 2),
                            (Fourcc::YUYV, ..) => red(x / 4, y / 2),
                            (_, 0, _) => luma(x, y),
                            (Fourcc::NV12, _, 0 | 2) | (Fourcc::NV21, _, 1 | 3) => blue(x / 2, y),
                            (Fourcc::NV12 | Fourcc::NV21, ..) => red(x / 2, y),
                            (_, 1, _) => blue(x, y),
                            _ => red(x, y),
                        };
                    }
                }
            }
            planes.end().unwrap();
            let mut rgb = Vec::new();
            yuv_as_rgb(&buffer, ColourSpace::SMPTE170M, None, &mut rgb).unwrap();
            assert_eq!(rgb.len(), 6 * 4 * 3);
            pictures.push(rgb);
        }
        assert!(pictures.iter().all(|picture| *picture == pictures[0]), "{pictures:?}");
    }

    #[test]
    fn nv12_is_taken_as_it_is() {
        let layout = Layout::linear(Fourcc::NV12, 5, 3, Alignment::default()).unwrap();
        let pool = Pool::new(&Memfd::new(), &layout, "test", 1).unwrap();
        let buffer = pool.take(Duration::ZERO).unwrap();
        let mut planes = buffer.cpu_access(CpuAccess::Write).unwrap();
        for plane in 0..2 {
            let stride = layout.planes()[plane].stride as usize;
            for (y, row) in planes.plane_mut(plane).chunks_mut(stride).enumerate() {
                for (x, byte) in row.iter_mut().take(6).enumerate() {
                    *byte = (100 * plane + 10 * y + x) as u8;
                }
            }
        }
        planes.end().unwrap();
        let mut planar = Planar::default();
        let space = planar.read(&buffer, ColourSpace::SYCC, None).unwrap();
        assert_eq!(space, ColourSpace::SYCC);
        assert_eq!(planar.luma, [0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 20, 21, 22, 23, 24]);
        assert_eq!(planar.blue, [100, 102, 104, 110, 112, 114]);
        assert_eq!(planar.red, [101, 103, 105, 111, 113, 115]);
    }
}
