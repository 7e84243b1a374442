//! Copies of pictures whose buffers cannot be rendered into.
//!
//! GLES reads back pixels of four bytes alone. So those are rendered, and the format's part of them
//! is copied.

use vcam_allocator::{CpuAccess, Fourcc};

use crate::formats::is_blue_first;
use crate::frame::{IspError, Output, cpu_stride};
use crate::gles::TextureFormat;

/// The rendering of a format's planes, to be read back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ReadbackFormat {
    pub(super) storage: TextureFormat,
    /// Factors of red, green and blue.
    pub(super) scale: [f32; 3],
    /// Whether red and blue are swapped.
    pub(super) swapped: bool,
}

impl ReadbackFormat {
    /// Red, green, blue and alpha, a byte each.
    pub(super) const PLAIN: Self =
        Self { storage: TextureFormat::RGBA8, scale: [1.0; 3], swapped: false };

    pub(super) fn of(format: Fourcc) -> Self {
        let plain = Self::PLAIN;
        match format {
            _ if is_blue_first(format) => Self { swapped: true, ..plain },
            // A byte of each is the level in as many bits as there are.
            Fourcc::RGB565 => Self { scale: [31.0 / 255.0, 63.0 / 255.0, 31.0 / 255.0], ..plain },
            Fourcc::XRGB2101010 => {
                Self { storage: TextureFormat::RGB10_A2, swapped: true, ..plain }
            }
            _ => plain,
        }
    }
}

/// Copies what was read, four bytes a sample, into a plane.
pub(super) fn copy(output: &Output<'_>, plane: usize, pixels: &[u8]) -> Result<(), IspError> {
    let stride = cpu_stride(output.buffer, plane)?;
    let (layout, format) = (output.buffer.layout(), output.buffer.format());
    let bytes = format.planes().and_then(|planes| planes.get(plane)).map_or(4, |one| one.bytes);
    let row_bytes = layout.row_bytes(plane) as usize;
    let samples = row_bytes / bytes as usize;
    let mut to = output.buffer.cpu_access(CpuAccess::Write)?;
    let rows = to.plane_mut(plane).chunks_mut(stride);
    for (to, from) in rows.zip(pixels.chunks_exact(4 * samples)) {
        let to = &mut to[..row_bytes];
        let from = from.as_chunks::<4>().0;
        match (format, bytes) {
            (Fourcc::RGB565, _) => {
                for (to, [r, g, b, _]) in to.as_chunks_mut().0.iter_mut().zip(from) {
                    let word = u16::from(*r) << 11 | u16::from(*g) << 5 | u16::from(*b);
                    *to = word.to_le_bytes();
                }
            }
            (_, 1) => to.iter_mut().zip(from).for_each(|(to, from)| *to = from[0]),
            (_, 2) => {
                let pairs = to.as_chunks_mut().0.iter_mut().zip(from);
                pairs.for_each(|(to, from)| *to = [from[0], from[1]]);
            }
            _ => to.copy_from_slice(from.as_flattened()),
        }
    }
    Ok(to.end()?)
}
