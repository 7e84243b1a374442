//! The frame's number and time, burnt into any picture.

use std::time::Duration;

use super::encode::{self, Encoding};
use super::format::{Format, PictureFormat};
use super::frame_counter;
use crate::size::Size;

/// Two strips along the top: the frame's number, then its time in microseconds, each as its lowest
/// 32 bits.
#[derive(Debug)]
pub(super) struct Stamp {
    format: Format,
    height: usize,
    levels: Vec<[f32; 3]>,
    numbers: Vec<u16>,
    encoding: Encoding,
    /// The bytes of a row of each strip.
    rows: [Vec<u8>; 2],
}

impl Stamp {
    pub(super) fn new(format: Format, size: Size) -> Self {
        let row_bytes = match format {
            Format::Raw(raw) => raw.row_bytes(size.width) as usize,
            Format::Picture(picture) => picture.row_bytes(size.columns()),
        };
        Self {
            format,
            height: frame_counter::rows(size.rows()),
            levels: vec![[0.0; 3]; size.columns()],
            numbers: vec![0; size.columns()],
            encoding: Encoding::new(format, size),
            rows: [vec![0; row_bytes], vec![0; row_bytes]],
        }
    }

    /// Writes over the top rows of a plane.
    pub(super) fn write(
        &mut self,
        frame: u64,
        time: Duration,
        plane: usize,
        bytes: &mut [u8],
        stride: usize,
    ) {
        let Self { format, height, levels, numbers, encoding, rows } = self;
        for (number, row) in [frame as u32, time.as_micros() as u32].into_iter().zip(&mut *rows) {
            frame_counter::write(number, levels, [0.0; 3], [1.0; 3]);
            match &*encoding {
                Encoding::Raw(raw) => {
                    // Black and white are the same through all filters.
                    encode::numbers(*raw, 0, levels, numbers);
                    raw.pack(numbers, row);
                }
                Encoding::Picture(encoder) if plane == 1 => {
                    encoder.nv12_chroma([levels, levels], row);
                }
                Encoding::Picture(encoder) => encoder.row(levels, row),
            }
        }
        let halved = matches!(format, Format::Picture(PictureFormat::Nv12)) && plane == 1;
        let height = if halved { *height / 2 } else { *height };
        let strips = rows.iter().flat_map(|row| std::iter::repeat_n(row, height));
        for (target, row) in bytes.chunks_mut(stride.max(1)).zip(strips) {
            if let Some(target) = target.get_mut(..row.len()) {
                target.copy_from_slice(row);
            }
        }
    }
}
