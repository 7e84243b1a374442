//! The picture that proves pixels.
//!
//! Every pixel differs from its neighbours by a lot, and every buffer from the others, so that a
//! wrong stride, a wrong offset, swapped channels, an older frame and another buffer all show. It is
//! whole-number arithmetic, which a GPU's shader can do without a rounding error.

use crate::access::{AccessError, CpuAccess};
use crate::colour::{ColourSpace, Range, YcbcrEncoding};
use crate::dmabuf::Dmabuf;
use crate::format::Fourcc;

/// How much each channel grows from one column to the next.
pub const COLUMN: [u32; 3] = [37, 91, 151];
/// How much each channel grows from one row to the next.
pub const ROW: [u32; 3] = [101, 29, 67];
/// How much each channel grows from one buffer to the next.
pub const SEED: [u32; 3] = [53, 113, 197];

/// Three channels of a pixel, each modulo 256: red, green and blue of a format with colours; the
/// first ones where it has fewer; luma and the two of chroma of a YUV format.
pub fn value(seed: u32, x: u32, y: u32) -> [u8; 3] {
    [0, 1, 2].map(|channel| {
        let at = |factor: &[u32; 3], by: u32| factor[channel].wrapping_mul(by);
        at(&COLUMN, x).wrapping_add(at(&ROW, y)).wrapping_add(at(&SEED, seed)) as u8
    })
}

/// How many channels of [`value`] a format keeps.
pub fn channels(format: Fourcc) -> usize {
    match format {
        Fourcc::R8 => 1,
        Fourcc::GR88 => 2,
        _ => 3,
    }
}

/// How far a channel may be off where a format keeps less than eight bits of it.
pub fn tolerance(format: Fourcc) -> u8 {
    match format {
        Fourcc::RGB565 => 8,
        Fourcc::NV12 => 6,
        _ => 1,
    }
}

/// The colour space in which devices are asked to read the pattern in YUV, where they can be told.
pub const COLOUR_SPACE: ColourSpace =
    ColourSpace { encoding: YcbcrEncoding::Rec601, range: Range::Limited, ..ColourSpace::SRGB };

/// Red, green and blue of a pixel of NV12 that is read by the rows of [`ColourSpace::to_rgb`].
pub fn nv12_rgb(to_rgb: &[[f64; 4]; 3], seed: u32, x: u32, y: u32) -> [u8; 3] {
    let ([luma, ..], [_, blue, red]) = (value(seed, x, y), chroma(seed, x, y));
    to_rgb.map(|[of_luma, of_blue, of_red, added]| {
        let level = of_luma * f64::from(luma) + of_blue * f64::from(blue) + of_red * f64::from(red);
        (level + 255.0 * added).round().clamp(0.0, 255.0) as u8
    })
}

/// The chroma of a pixel: one for all of a large square, so that it does not matter whether the
/// device takes the nearest sample or mixes them, except at the square's edge.
fn chroma(seed: u32, x: u32, y: u32) -> [u8; 3] {
    // Around the middle, so that few colours fall outside of red, green and blue.
    value(seed, x / SQUARE, y / SQUARE).map(|level| 96 + level / 4)
}

/// The side of a square of equal chroma, in pixels.
const SQUARE: u32 = 16;

/// Whether a pixel is to be compared: not where a device may have mixed two chroma samples.
pub fn is_compared(format: Fourcc, x: u32, y: u32) -> bool {
    let inside = |at: u32| (2..SQUARE - 2).contains(&(at % SQUARE));
    format != Fourcc::NV12 || (inside(x) && inside(y))
}

/// Draws the pattern with the CPU.
pub fn fill(buffer: &Dmabuf, seed: u32) -> Result<(), AccessError> {
    let mut guard = buffer.cpu_access(CpuAccess::Write)?;
    let layout = buffer.layout();
    let format = layout.format();
    let formats = format.planes().unwrap_or_default();
    for (plane, (geometry, at)) in formats.iter().zip(layout.planes()).enumerate() {
        let stride = usize::try_from(at.stride).unwrap_or(usize::MAX).max(1);
        let columns = layout.width().div_ceil(geometry.hsub);
        for (y, row) in (0..layout.rows(plane)).zip(guard.plane_mut(plane).chunks_mut(stride)) {
            for (x, pixel) in (0..columns).zip(row.chunks_exact_mut(geometry.bytes as usize)) {
                let bytes = match plane {
                    0 => encode(format, value(seed, x, y)),
                    _ => {
                        let [_, cb, cr] = chroma(seed, x * geometry.hsub, y * geometry.vsub);
                        [cb, cr, 0, 0]
                    }
                };
                let count = pixel.len().min(bytes.len());
                pixel[..count].copy_from_slice(&bytes[..count]);
            }
        }
    }
    guard.end()
}

/// The bytes of a pixel in memory.
fn encode(format: Fourcc, [one, two, three]: [u8; 3]) -> [u8; 4] {
    match format {
        Fourcc::XRGB8888 | Fourcc::ARGB8888 => [three, two, one, 255],
        Fourcc::RGB565 => {
            let word = u16::from(one >> 3) << 11 | u16::from(two >> 2) << 5 | u16::from(three >> 3);
            let [low, high] = word.to_le_bytes();
            [low, high, 0, 0]
        }
        _ => [one, two, three, 255],
    }
}

/// The channels of a pixel in memory; those that the format has not are 0.
fn decode(format: Fourcc, pixel: &[u8]) -> [u8; 3] {
    let byte = |at: usize| pixel.get(at).copied().unwrap_or(0);
    match format {
        Fourcc::XRGB8888 | Fourcc::ARGB8888 => [byte(2), byte(1), byte(0)],
        Fourcc::RGB565 => {
            let word = u16::from_le_bytes([byte(0), byte(1)]);
            let wide = |level: u16, most: u16| (u32::from(level) * 255 / u32::from(most)) as u8;
            [wide(word >> 11, 31), wide(word >> 5 & 63, 63), wide(word & 31, 31)]
        }
        _ => [byte(0), byte(1), byte(2)],
    }
}

/// Compares the first plane of a buffer with the pattern, by CPU; says how they differ.
pub fn check(buffer: &Dmabuf, seed: u32) -> Result<Result<(), String>, AccessError> {
    let guard = buffer.cpu_access(CpuAccess::Read)?;
    let layout = buffer.layout();
    let stride = layout.planes().first().map_or(0, |plane| plane.stride);
    let stride = usize::try_from(stride).unwrap_or(usize::MAX);
    // Of several planes the first is a picture of its own.
    let (format, bytes) = match layout.format().planes() {
        Some([first, _, ..]) => (first.alone().unwrap_or(layout.format()), first.bytes as usize),
        Some([only]) => (layout.format(), only.bytes as usize),
        _ => (layout.format(), 1),
    };
    let pixels = guard.plane(0);
    let compared = compare(format, (layout.width(), layout.height()), seed, value, |x, y| {
        let at = (y as usize).saturating_mul(stride).saturating_add(x as usize * bytes);
        decode(format, pixels.get(at..).unwrap_or_default())
    });
    guard.end()?;
    Ok(compared)
}

/// Compares what a device shows with what it should show; says how they differ.
pub fn compare(
    format: Fourcc,
    (width, height): (u32, u32),
    seed: u32,
    should: impl Fn(u32, u32, u32) -> [u8; 3],
    is: impl Fn(u32, u32) -> [u8; 3],
) -> Result<(), String> {
    let (channels, tolerance) = (channels(format), tolerance(format));
    let (mut compared, mut wrong, mut first) = (0u64, 0u64, None);
    for y in 0..height {
        for x in (0..width).filter(|x| is_compared(format, *x, y)) {
            let (should, is) = (should(seed, x, y), is(x, y));
            let off = |channel: usize| should[channel].abs_diff(is[channel]) > tolerance;
            compared += 1;
            if (0..channels).any(off) {
                wrong += 1;
                first.get_or_insert((x, y, is, should));
            }
        }
    }
    match first {
        None => Ok(()),
        Some((x, y, is, should)) => Err(format!(
            "{wrong} of {compared} pixels are wrong; the one at {x},{y} is {:?} instead of {:?}",
            &is[..channels],
            &should[..channels],
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heaps::memfd::Memfd;
    use crate::probe::FORMATS;
    use crate::{Alignment, Heap, Layout};

    fn buffer(format: Fourcc) -> Dmabuf {
        let layout = Layout::linear(format, 64, 48, Alignment::default()).unwrap();
        Memfd::new().allocate(&layout, "test").unwrap()
    }

    #[test]
    fn what_is_drawn_is_found_again_in_every_format() {
        for format in FORMATS {
            let buffer = buffer(format);
            fill(&buffer, 7).unwrap();
            assert_eq!(check(&buffer, 7).unwrap(), Ok(()), "{format}");
            assert!(check(&buffer, 8).unwrap().is_err(), "{format}");
        }
    }

    #[test]
    fn a_pixel_or_a_byte_aside_is_seen() {
        for format in FORMATS.into_iter().filter(|format| *format != Fourcc::NV12) {
            for (dx, dy) in [(1, 0), (0, 1), (2, 0), (0, 2)] {
                let shifted = |x, y| value(3, x + dx, y + dy);
                let compared = compare(format, (32, 32), 3, value, shifted);
                let all = format!("{} of {}", 32 * 32, 32 * 32);
                assert!(compared.unwrap_err().starts_with(&all), "{format} {dx},{dy}");
            }
        }
    }

    #[test]
    fn nv12_becomes_what_the_standards_say() {
        // Luma 73, and chroma 124 and 145.
        let rgb = |space: ColourSpace| nv12_rgb(&space.to_rgb(), 1, 2, 2);
        assert_eq!(rgb(COLOUR_SPACE), [94, 54, 58]);
        assert_eq!(rgb(ColourSpace::SYCC), [97, 62, 66]);
        assert_eq!(rgb(ColourSpace::REC709), [97, 58, 58]);
        assert_eq!(rgb(ColourSpace { range: Range::Full, ..ColourSpace::REC709 }), [100, 66, 66]);
    }
}
