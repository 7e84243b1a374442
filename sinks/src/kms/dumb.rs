//! Dumb buffers: memory of the card's own, for the frames that it does not import.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use vcam_allocator::{Fourcc, Layout, MAX_PLANES, Modifier, PlaneLayout};
use vcam_uapi::drm::retry;

use super::card::Card;
use super::error::KmsError;
use super::import::{Framebuffer, Picture};
use super::modes::Placement;
use crate::mapping::Mapping;
use crate::pixels::copy_rows;

/// A dumb buffer: mapped, black, and a framebuffer.
#[derive(Debug)]
pub(crate) struct Dumb {
    layout: Layout,
    mapping: Mapping,
    framebuffer: Arc<Framebuffer>,
}

impl Dumb {
    pub(crate) fn new(
        card: &Arc<Card>,
        format: Fourcc,
        size: (u32, u32),
    ) -> Result<Self, KmsError> {
        let failed = |step| {
            move |source| KmsError::Dumb { card: card.name().to_owned(), step, size, source }
        };
        let shape = Shape::of(format, size)
            .ok_or_else(|| failed("lay out")(io::Error::from(io::ErrorKind::InvalidInput)))?;
        let made =
            drm_ffi::mode::dumbbuffer::create(card.as_fd(), shape.width, shape.rows, shape.bpp, 0)
                .map_err(failed("create"))?;
        // Mapping and framebuffer hold the memory, so the handle lives no longer than this call.
        let handle = DumbHandle { card, handle: made.handle };
        let layout = shape
            .layout(format, size, made.pitch)
            .filter(|layout| layout.size() <= made.size)
            .ok_or_else(|| failed("lay out")(io::Error::from(io::ErrorKind::InvalidData)))?;
        let mut picture = Picture { format: Some(format), size, ..Picture::default() };
        for (index, plane) in layout.planes().iter().enumerate() {
            picture.handles[index] = handle.handle;
            picture.strides[index] = made.pitch;
            picture.offsets[index] = plane.offset as u32;
        }
        let framebuffer = Framebuffer::add(card, &picture)
            .map_err(io::Error::from)
            .map_err(failed("make a framebuffer of"))?;
        let mapping = map(card, handle.handle, made.size).map_err(failed("map"))?;
        let mut dumb = Self { layout, mapping, framebuffer: Arc::new(framebuffer) };
        dumb.blacken();
        Ok(dumb)
    }

    pub(crate) fn framebuffer(&self) -> &Arc<Framebuffer> {
        &self.framebuffer
    }

    /// The pixels of a plane, from its first to the end of the buffer, and its stride.
    pub(crate) fn plane(&self, plane: usize) -> (&[u8], usize) {
        let (offset, stride) = self.place(plane);
        (self.mapping.bytes().get(offset..).unwrap_or_default(), stride)
    }

    fn plane_mut(&mut self, plane: usize) -> (&mut [u8], usize) {
        let (offset, stride) = self.place(plane);
        (self.mapping.bytes_mut().get_mut(offset..).unwrap_or_default(), stride)
    }

    fn place(&self, plane: usize) -> (usize, usize) {
        self.layout
            .planes()
            .get(plane)
            .map_or((usize::MAX, 1), |at| (at.offset as usize, at.stride as usize))
    }

    fn blacken(&mut self) {
        for plane in 0..self.layout.planes().len() {
            // Chroma has its zero in the middle.
            let black = if plane == 0 { 0 } else { 128 };
            self.plane_mut(plane).0.fill(black);
        }
    }

    /// Copies a plane of a picture to where the picture is on this buffer.
    pub(crate) fn copy_plane(&mut self, plane: usize, from: &[u8], stride: u64, at: &Placement) {
        let format = self.layout.format();
        let Some(geometry) = format.planes().and_then(|planes| planes.get(plane)) else { return };
        let bytes = |pixels: u32| (pixels.div_ceil(geometry.hsub) * geometry.bytes) as usize;
        let rows = at.height.div_ceil(geometry.vsub) as usize;
        let (left, top) = (bytes(at.x), (at.y / geometry.vsub) as usize);
        let stride = usize::try_from(stride).unwrap_or(usize::MAX);
        let (to, to_stride) = self.plane_mut(plane);
        let to = to.get_mut(top * to_stride + left..).unwrap_or_default();
        copy_rows(from, stride, to, to_stride, bytes(at.width), rows);
    }
}

/// How a picture fits the one plane of pixels that a dumb buffer is: its planes lie below each
/// other and share a stride.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    width: u32,
    rows: u32,
    bpp: u32,
    /// Rows before each plane.
    starts: [u32; MAX_PLANES],
    planes: usize,
}

impl Shape {
    fn of(format: Fourcc, (width, height): (u32, u32)) -> Option<Self> {
        let planes = format.planes()?;
        let bytes = planes.first()?.bytes;
        let mut shape =
            Self { width, rows: 0, bpp: bytes * 8, starts: [0; MAX_PLANES], planes: planes.len() };
        for (plane, start) in planes.iter().zip(&mut shape.starts) {
            *start = shape.rows;
            let row = width.div_ceil(plane.hsub).checked_mul(plane.bytes)?;
            shape.width = shape.width.max(row.div_ceil(bytes));
            shape.rows = shape.rows.checked_add(height.div_ceil(plane.vsub))?;
        }
        Some(shape)
    }

    fn layout(&self, format: Fourcc, (width, height): (u32, u32), pitch: u32) -> Option<Layout> {
        let planes = self.starts[..self.planes]
            .iter()
            .map(|start| {
                // ADDFB2 takes offsets of 32 bits.
                let offset = start.checked_mul(pitch)?;
                Some(PlaneLayout { offset: offset.into(), stride: pitch.into() })
            })
            .collect::<Option<Vec<_>>>()?;
        Layout::given(format, Modifier::LINEAR, width, height, planes).ok()
    }
}

struct DumbHandle<'a> {
    card: &'a Card,
    handle: u32,
}

impl Drop for DumbHandle<'_> {
    fn drop(&mut self) {
        if let Err(error) = drm_ffi::mode::dumbbuffer::destroy(self.card.as_fd(), self.handle) {
            tracing::error!(%error, "a dumb buffer could not be given back");
        }
    }
}

fn map(card: &Card, handle: u32, size: u64) -> io::Result<Mapping> {
    let len = usize::try_from(size).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let map = retry(|| drm_ffi::mode::dumbbuffer::map(card.as_fd(), handle, 0, 0))?;
    Mapping::new(card.as_fd(), map.offset, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_lie_below_each_other() {
        let shape = Shape::of(Fourcc::XRGB8888, (640, 480)).unwrap();
        assert_eq!((shape.width, shape.rows, shape.bpp), (640, 480, 32));
        let shape = Shape::of(Fourcc::NV12, (641, 481)).unwrap();
        // A row of chroma is one byte longer than one of luma.
        assert_eq!((shape.width, shape.rows, shape.bpp), (642, 481 + 241, 8));
        let layout = shape.layout(Fourcc::NV12, (641, 481), 768).unwrap();
        assert_eq!(layout.planes()[1], PlaneLayout { offset: 768 * 481, stride: 768 });
        assert_eq!(Shape::of(Fourcc::new(*b"????"), (1, 1)), None);
        assert_eq!(Shape::of(Fourcc::NV12, (u32::MAX, u32::MAX)), None);
        assert_eq!(shape.layout(Fourcc::NV12, (641, 481), u32::MAX), None);
    }
}
