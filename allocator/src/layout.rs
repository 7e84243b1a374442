//! Where each plane of a picture lies in its memory.

use serde::{Deserialize, Serialize};

use crate::format::{Fourcc, Modifier, PlaneFormat};

/// Where one plane lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PlaneLayout {
    /// Bytes from the start of the plane's memory to its first sample.
    pub offset: u64,
    /// Bytes from one row to the next.
    pub stride: u64,
}

/// A picture in memory: its format, its size in pixels, and where each plane lies.
///
/// A `Layout` that exists is sound: every plane's last byte is below [`Layout::size`], and nothing
/// in it overflows a `u64`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Layout {
    format: Fourcc,
    modifier: Modifier,
    width: u32,
    height: u32,
    planes: Vec<PlaneLayout>,
    size: u64,
}

/// What a linear layout is rounded up to.
///
/// The default pleases every device we know of: rows of 256 bytes (AMD from GFX10 on takes exactly
/// `align(width * bytes, 256)` and nothing else; other GPUs want 16 to 128), planes that start on a
/// page, and room for whole 16-row tiles, which video decoders and some display controllers read
/// past the last row. See `docs/devices.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alignment {
    /// The stride is a multiple of this many bytes.
    pub stride: u64,
    /// A plane's offset is a multiple of this many bytes.
    pub offset: u64,
    /// A plane has memory for a multiple of this many rows.
    pub rows: u64,
    /// The whole buffer is a multiple of this many bytes.
    pub size: u64,
}

impl Default for Alignment {
    fn default() -> Self {
        Self { stride: 256, offset: 4096, rows: 16, size: 4096 }
    }
}

/// Why a picture of this size and format has no layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The picture has no pixels.
    #[error("a picture of {width}x{height} has no pixels")]
    Empty {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// vcam does not know the geometry of the format.
    #[error("format {0} is not one that vcam can lay out")]
    UnknownFormat(Fourcc),
    /// The bytes of the picture cannot be counted in 64 bits.
    #[error("{width}x{height} in {format} takes more bytes than can be counted")]
    Overflow {
        /// The format.
        format: Fourcc,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The number of planes differs from the format's.
    #[error("format {format} has {expected} planes, not {given}")]
    PlaneCount {
        /// The format.
        format: Fourcc,
        /// Planes of the format.
        expected: usize,
        /// Planes given.
        given: usize,
    },
    /// A row does not fit its stride.
    #[error("a row of plane {plane} takes {row} bytes, more than its stride of {stride}")]
    StrideTooSmall {
        /// Index of the plane.
        plane: usize,
        /// Bytes of a row.
        row: u64,
        /// The stride.
        stride: u64,
    },
}

impl Layout {
    /// A linear layout with all planes in one memory, one after the other.
    pub fn linear(
        format: Fourcc,
        width: u32,
        height: u32,
        alignment: Alignment,
    ) -> Result<Self, LayoutError> {
        let formats = checked_format(format, width, height)?;
        let overflow = || LayoutError::Overflow { format, width, height };
        let mut planes = Vec::with_capacity(formats.len());
        let mut end = 0u64;
        for plane in formats {
            let row = row_bytes(plane, width).ok_or_else(overflow)?;
            let stride = row.checked_next_multiple_of(alignment.stride).ok_or_else(overflow)?;
            let offset = end.checked_next_multiple_of(alignment.offset).ok_or_else(overflow)?;
            let rows = u64::from(height.div_ceil(plane.vsub))
                .checked_next_multiple_of(alignment.rows)
                .ok_or_else(overflow)?;
            end = stride
                .checked_mul(rows)
                .and_then(|bytes| bytes.checked_add(offset))
                .ok_or_else(overflow)?;
            planes.push(PlaneLayout { offset, stride });
        }
        let size = end.checked_next_multiple_of(alignment.size).ok_or_else(overflow)?;
        Ok(Self { format, modifier: Modifier::LINEAR, width, height, planes, size })
    }

    /// A layout that somebody else chose: a driver, or a peer whose claims must be checked.
    ///
    /// `size` becomes what the planes need at least: compare it with the memory that is there.
    pub fn given(
        format: Fourcc,
        modifier: Modifier,
        width: u32,
        height: u32,
        planes: Vec<PlaneLayout>,
    ) -> Result<Self, LayoutError> {
        let formats = checked_format(format, width, height)?;
        // A tiled layout may carry planes of its own (compression metadata), of which only the
        // driver knows the size.
        if modifier == Modifier::LINEAR && planes.len() != formats.len() {
            let (expected, given) = (formats.len(), planes.len());
            return Err(LayoutError::PlaneCount { format, expected, given });
        }
        let overflow = || LayoutError::Overflow { format, width, height };
        let (mut size, mut payload) = (0, 0u64);
        for (index, (plane, at)) in formats.iter().zip(&planes).enumerate() {
            let row = row_bytes(plane, width).ok_or_else(overflow)?;
            if at.stride < row && modifier == Modifier::LINEAR {
                let (plane, stride) = (index, at.stride);
                return Err(LayoutError::StrideTooSmall { plane, row, stride });
            }
            let last_row = u64::from(height.div_ceil(plane.vsub) - 1);
            // A tiled plane may claim any stride; that its pixels can be counted is checked apart.
            payload = row
                .checked_mul(last_row + 1)
                .and_then(|bytes| bytes.checked_add(payload))
                .ok_or_else(overflow)?;
            let end = at
                .stride
                .checked_mul(last_row)
                .and_then(|start| start.checked_add(at.offset))
                .and_then(|start| start.checked_add(row))
                .ok_or_else(overflow)?;
            size = end.max(size);
        }
        Ok(Self { format, modifier, width, height, planes, size })
    }

    /// The same with at least this much memory.
    #[must_use]
    pub fn with_size(self, size: u64) -> Self {
        Self { size: self.size.max(size), ..self }
    }

    /// The pixel format.
    pub fn format(&self) -> Fourcc {
        self.format
    }

    /// How pixels are arranged within a plane.
    pub fn modifier(&self) -> Modifier {
        self.modifier
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Where each plane lies.
    pub fn planes(&self) -> &[PlaneLayout] {
        &self.planes
    }

    /// Bytes of memory that the picture needs.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of the picture itself, without padding: what a copy of it moves.
    pub fn payload(&self) -> u64 {
        (0..self.planes.len())
            .map(|plane| self.row_bytes(plane) * u64::from(self.rows(plane)))
            .sum()
    }

    /// Bytes of a row of this plane that hold pixels; 0 for a plane that the format does not have.
    pub fn row_bytes(&self, plane: usize) -> u64 {
        self.plane_format(plane).and_then(|format| row_bytes(format, self.width)).unwrap_or(0)
    }

    /// Rows of this plane; 0 for a plane that the format does not have.
    pub fn rows(&self, plane: usize) -> u32 {
        self.plane_format(plane).map_or(0, |format| self.height.div_ceil(format.vsub))
    }

    fn plane_format(&self, plane: usize) -> Option<&'static PlaneFormat> {
        self.format.planes().and_then(|planes| planes.get(plane))
    }
}

/// Where planes are that adjoin in one memory: each begins where the rows of the one before end, and
/// its stride is to the first plane's as its rows are. What cannot be counted ends up at `u64::MAX`,
/// where no layout is.
pub(crate) fn adjoining(format: Fourcc, height: u32, stride: u64) -> Vec<PlaneLayout> {
    let formats = format.planes().unwrap_or_default();
    let bytes = |plane: &PlaneFormat| (u64::from(plane.bytes), u64::from(plane.hsub));
    let (whole, pixels) = formats.first().map_or((1, 1), bytes);
    let mut offset = 0u64;
    let at = |plane: &PlaneFormat| {
        let (of_plane, hsub) = bytes(plane);
        let stride = stride.saturating_mul(of_plane * pixels) / (whole * hsub);
        let rows = u64::from(height.div_ceil(plane.vsub));
        let end = offset.saturating_add(stride.saturating_mul(rows));
        PlaneLayout { offset: std::mem::replace(&mut offset, end), stride }
    };
    formats.iter().map(at).collect()
}

fn checked_format(
    format: Fourcc,
    width: u32,
    height: u32,
) -> Result<&'static [PlaneFormat], LayoutError> {
    if width == 0 || height == 0 {
        return Err(LayoutError::Empty { width, height });
    }
    format.planes().ok_or(LayoutError::UnknownFormat(format))
}

fn row_bytes(plane: &PlaneFormat, width: u32) -> Option<u64> {
    u64::from(width.div_ceil(plane.hsub)).checked_mul(u64::from(plane.bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nv12_has_its_chroma_on_a_page_after_its_luma() {
        let layout = Layout::linear(Fourcc::NV12, 641, 479, Alignment::default()).unwrap();
        assert_eq!(
            layout.planes(),
            [PlaneLayout { offset: 0, stride: 768 }, PlaneLayout { offset: 368_640, stride: 768 }]
        );
        assert_eq!(layout.row_bytes(1), 642);
        assert_eq!(layout.rows(1), 240);
        assert_eq!(layout.size() % 4096, 0);
    }

    #[test]
    fn a_picture_that_cannot_be_counted_is_an_error() {
        let wide = Alignment { stride: u64::MAX, ..Alignment::default() };
        assert!(matches!(
            Layout::linear(Fourcc::XRGB8888, u32::MAX, u32::MAX, wide),
            Err(LayoutError::Overflow { .. })
        ));
        assert!(matches!(
            Layout::linear(Fourcc::R8, 0, 4, Alignment::default()),
            Err(LayoutError::Empty { .. })
        ));
    }

    #[test]
    fn a_stride_shorter_than_a_row_is_refused() {
        let plane = PlaneLayout { offset: 0, stride: 63 };
        assert!(matches!(
            Layout::given(Fourcc::XRGB8888, Modifier::LINEAR, 16, 16, vec![plane]),
            Err(LayoutError::StrideTooSmall { plane: 0, row: 64, stride: 63 })
        ));
    }

    proptest! {
        #[test]
        fn every_byte_of_every_plane_is_inside_and_planes_do_not_overlap(
            width in 1u32..5000, height in 1u32..5000, nv12: bool,
        ) {
            let format = if nv12 { Fourcc::NV12 } else { Fourcc::XRGB8888 };
            let layout = Layout::linear(format, width, height, Alignment::default()).unwrap();
            let mut end = 0;
            for (index, plane) in layout.planes().iter().enumerate() {
                prop_assert!(plane.offset >= end);
                prop_assert_eq!(plane.stride % 256, 0);
                end = plane.offset + plane.stride * u64::from(layout.rows(index));
            }
            prop_assert!(end <= layout.size());
        }

        #[test]
        fn given_layouts_never_panic(
            width: u32, height: u32, offset: u64, stride: u64,
        ) {
            let planes = vec![PlaneLayout { offset, stride }];
            let _ = Layout::given(Fourcc::XRGB8888, Modifier::LINEAR, width, height, planes);
        }
    }
}
