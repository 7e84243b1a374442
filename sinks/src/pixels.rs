//! Reading a picture by CPU: its bytes as RGB, and rows from one buffer to another.

use std::time::Duration;

use vcam_allocator::{
    AccessError, ColourSpace, CpuAccess, CpuGuard, Dmabuf, Fence, FenceError, Fourcc,
};

use crate::planar;

/// How long a device may take to finish a picture.
pub(crate) const READY_LIMIT: Duration = Duration::from_secs(5);

/// The formats that streams are made of: four bytes of colour a pixel, and the one in YUV.
pub(crate) const RGB_OR_NV12: [Fourcc; 5] =
    [Fourcc::XRGB8888, Fourcc::ARGB8888, Fourcc::XBGR8888, Fourcc::ABGR8888, Fourcc::NV12];

/// Why the CPU could not read a picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The picture is in a format that only devices understand.
    #[error("pictures in {0} cannot be read by CPU here")]
    Format(Fourcc),
    /// The device that draws the picture does not finish.
    #[error("the picture was not finished in time")]
    Ready(#[source] FenceError),
    /// The buffer cannot be accessed.
    #[error("could not read the picture")]
    Access(#[source] AccessError),
}

/// Where a pixel of four bytes has its red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) red: usize,
    pub(crate) green: usize,
    pub(crate) blue: usize,
}

impl Order {
    /// The order of a format, or `None` if its pixels are not four bytes of colour.
    pub(crate) fn of(format: Fourcc) -> Option<Self> {
        match format {
            Fourcc::XRGB8888 | Fourcc::ARGB8888 => Some(Self { red: 2, green: 1, blue: 0 }),
            Fourcc::XBGR8888 | Fourcc::ABGR8888 => Some(Self { red: 0, green: 1, blue: 2 }),
            _ => None,
        }
    }
}

/// Runs `look` on the pixels of a buffer, once they are complete: the rows, and the bytes from one
/// row to the next.
pub(crate) fn read<T>(
    buffer: &Dmabuf,
    ready: Option<&Fence>,
    look: impl FnOnce(&[u8], usize, Order) -> T,
) -> Result<T, ReadError> {
    let order = Order::of(buffer.format()).ok_or(ReadError::Format(buffer.format()))?;
    read_planes(buffer, ready, |planes| look(planes.plane(0), stride_of(buffer, 0), order))
}

/// Runs `look` on the planes of a buffer, once they are complete.
pub(crate) fn read_planes<T>(
    buffer: &Dmabuf,
    ready: Option<&Fence>,
    look: impl FnOnce(&CpuGuard<'_>) -> T,
) -> Result<T, ReadError> {
    if let Some(fence) = ready {
        fence.wait(READY_LIMIT).map_err(ReadError::Ready)?;
    }
    let guard = buffer.cpu_access(CpuAccess::Read).map_err(ReadError::Access)?;
    let result = look(&guard);
    guard.end().map_err(ReadError::Access)?;
    Ok(result)
}

/// Bytes from one row of a plane to the next.
pub(crate) fn stride_of(buffer: &Dmabuf, plane: usize) -> usize {
    let stride = buffer.layout().planes().get(plane).map_or(0, |plane| plane.stride);
    usize::try_from(stride).unwrap_or(usize::MAX)
}

/// Reads a whole picture in this colour space as RGB, three bytes a pixel; returns its size.
///
/// YUV becomes RGB by its encoding and range. Primaries and transfer function stay as they are: the
/// camera makes those of sRGB. Nothing is allocated for a picture that is not larger than the one
/// before.
pub(crate) fn rgb(
    buffer: &Dmabuf,
    space: ColourSpace,
    ready: Option<&Fence>,
    rgb: &mut Vec<u8>,
) -> Result<(u32, u32), ReadError> {
    let size = (buffer.layout().width(), buffer.layout().height());
    let words = |planes: &CpuGuard<'_>, bytes, to: &mut Vec<u8>, colours: fn(u32) -> [u8; 3]| {
        words_to_rgb(planes.plane(0), stride_of(buffer, 0), bytes, size, colours, to);
    };
    match buffer.format() {
        Fourcc::RGB565 => read_planes(buffer, ready, |planes| {
            words(planes, 2, rgb, |word| {
                [widen(word >> 11, 5), widen(word >> 5, 6), widen(word, 5)]
            });
        })?,
        Fourcc::XRGB2101010 => read_planes(buffer, ready, |planes| {
            words(planes, 4, rgb, |word| [22, 12, 2].map(|shift| (word >> shift) as u8));
        })?,
        format if Order::of(format).is_some() => {
            read(buffer, ready, |rows, stride, order| to_rgb(rows, stride, order, size, rgb))?;
        }
        _ => planar::yuv_as_rgb(buffer, space, ready, rgb)?,
    }
    Ok(size)
}

/// The lowest so many bits, at least four, as a byte: 0 stays 0, and all ones become 255.
fn widen(value: u32, bits: u32) -> u8 {
    let value = value & ((1 << bits) - 1);
    (value << (8 - bits) | value >> (2 * bits - 8)) as u8
}

/// Writes `width` x `height` pixels of little-endian words as RGB.
fn words_to_rgb(
    rows: &[u8],
    stride: usize,
    bytes: usize,
    (width, height): (u32, u32),
    colours: fn(u32) -> [u8; 3],
    rgb: &mut Vec<u8>,
) {
    rgb.clear();
    for row in rows.chunks(stride.max(1)).take(height as usize) {
        for pixel in row.chunks_exact(bytes).take(width as usize) {
            let word = pixel.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
            rgb.extend_from_slice(&colours(word));
        }
    }
}

/// Writes `width` x `height` pixels as RGB, three bytes each. Alpha is left out: a camera's picture
/// is opaque.
pub(crate) fn to_rgb(
    rows: &[u8],
    stride: usize,
    order: Order,
    (width, height): (u32, u32),
    rgb: &mut Vec<u8>,
) {
    let (width, height) = (width as usize, height as usize);
    rgb.clear();
    rgb.reserve(width.saturating_mul(height).saturating_mul(3));
    for row in rows.chunks(stride.max(1)).take(height) {
        for pixel in row.chunks_exact(4).take(width) {
            rgb.extend_from_slice(&[pixel[order.red], pixel[order.green], pixel[order.blue]]);
        }
    }
}

/// Shrinks a picture in RGB to `to` pixels; each is the mean of the pixels it stands for.
///
/// It never enlarges: `to` is limited to the picture's own size, and returned.
pub(crate) fn shrink(
    picture: &[u8],
    from: (u32, u32),
    to: (u32, u32),
    rgb: &mut Vec<u8>,
) -> (u32, u32) {
    let stride = from.0 as usize * 3;
    let (width, height) = (to.0.clamp(1, from.0.max(1)), to.1.clamp(1, from.1.max(1)));
    // The first pixel of the picture that belongs to pixel `at` of the small one.
    let edge = |at: u32, whole: u32, parts: u32| {
        (u64::from(at) * u64::from(whole) / u64::from(parts)) as usize
    };
    rgb.clear();
    rgb.reserve(width as usize * height as usize * 3);
    for y in 0..height {
        let (top, bottom) = (edge(y, from.1, height), edge(y + 1, from.1, height));
        for x in 0..width {
            let (left, right) = (edge(x, from.0, width), edge(x + 1, from.0, width));
            let mut sum = [0u64; 3];
            let mut count = 0;
            for row in picture.chunks(stride.max(1)).skip(top).take(bottom - top) {
                for pixel in row.chunks_exact(3).skip(left).take(right - left) {
                    for (sum, part) in sum.iter_mut().zip(pixel) {
                        *sum += u64::from(*part);
                    }
                    count += 1;
                }
            }
            rgb.extend(sum.map(|sum| (sum / count.max(1)) as u8));
        }
    }
    (width, height)
}

/// Copies rows of `bytes` each from one picture into another.
///
/// What does not fit on either side is left out: this never goes past an end.
pub(crate) fn copy_rows(
    from: &[u8],
    from_stride: usize,
    to: &mut [u8],
    to_stride: usize,
    bytes: usize,
    rows: usize,
) {
    let from = from.chunks(from_stride.max(1)).take(rows);
    for (from, to) in from.zip(to.chunks_mut(to_stride.max(1))) {
        let bytes = bytes.min(from.len()).min(to.len());
        to[..bytes].copy_from_slice(&from[..bytes]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_differ_in_the_order_of_their_bytes() {
        let mut rgb = Vec::new();
        // Two pixels a row, with padding after them.
        let rows = [[1, 2, 3, 0, 4, 5, 6, 0, 99, 99], [7, 8, 9, 0, 10, 11, 12, 0, 99, 99]].concat();
        let bgr = Order::of(Fourcc::XRGB8888).unwrap();
        to_rgb(&rows, 10, bgr, (2, 2), &mut rgb);
        assert_eq!(rgb, [3, 2, 1, 6, 5, 4, 9, 8, 7, 12, 11, 10]);
        to_rgb(&rows, 10, Order::of(Fourcc::ABGR8888).unwrap(), (1, 2), &mut rgb);
        assert_eq!(rgb, [1, 2, 3, 7, 8, 9]);
        assert_eq!(Order::of(Fourcc::NV12), None);
    }

    #[test]
    fn a_small_picture_is_the_mean_of_the_large_one() {
        let mut rgb = Vec::new();
        let picture = [10, 0, 0, 30, 0, 0, 50, 0, 0, 70, 0, 0];
        assert_eq!(shrink(&picture, (2, 2), (1, 1), &mut rgb), (1, 1));
        assert_eq!(rgb, [40, 0, 0]);
        assert_eq!(shrink(&picture, (2, 2), (100, 0), &mut rgb), (2, 1));
        assert_eq!(rgb, [30, 0, 0, 50, 0, 0]);
        assert_eq!(shrink(&[], (0, 0), (0, 0), &mut rgb), (1, 1));
    }

    #[test]
    fn fewer_and_more_bits_become_bytes() {
        let mut rgb = Vec::new();
        // White, black, and one of each colour, with padding after them.
        let words = [0xffff_u16, 0, 0x8000, 0x0400, 0x0010].map(u16::to_le_bytes).concat();
        let rows = [words, vec![9, 9]].concat();
        let five = |word| [widen(word >> 11, 5), widen(word >> 5, 6), widen(word, 5)];
        words_to_rgb(&rows, 12, 2, (5, 1), five, &mut rgb);
        assert_eq!(rgb, [255, 255, 255, 0, 0, 0, 132, 0, 0, 0, 130, 0, 0, 0, 132]);
    }

    #[test]
    fn rows_land_where_they_belong_and_nowhere_else() {
        let from = [1, 2, 9, 3, 4, 9];
        let mut to = [0; 12];
        // Into the middle of a picture of three rows of four bytes.
        copy_rows(&from, 3, &mut to[1..], 4, 2, 2);
        assert_eq!(to, [0, 1, 2, 0, 0, 3, 4, 0, 0, 0, 0, 0]);
        // More rows and bytes than there are.
        copy_rows(&from, 3, &mut to[10..], 4, 100, 100);
        assert_eq!(to[10..], [1, 2]);
        copy_rows(&from, 0, &mut to, 0, 1, 1);
    }
}
