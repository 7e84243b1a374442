//! Framebuffers on the planes of a buffer, or on quads of its pixels.

use vcam_allocator::{Dmabuf, Fourcc, Modifier, PlaneFormat, PlaneLayout, Refusal};

use super::check::{self, SOFTWARE_ALIGNMENT, image_refused, refused};
use super::{FromDmabuf, IMPORT, QUERY, Usage, texture};
use crate::egl::{DmabufImport, EglImage, ImageDescription};
use crate::formats::{is_four_bytes, is_rendered_swapped};
use crate::gles::{CurrentContext, Framebuffer, Texture};

/// The framebuffers through which a buffer is rendered to.
pub(crate) struct PlaneTargets {
    /// One for each plane.
    pub(crate) planes: Vec<Framebuffer>,
    /// One to which a quad of pixels goes at once: the even rows and the odd ones, two pixels in
    /// one, and the chroma that they share. Not every format, driver and size has that.
    pub(crate) quads: Option<Framebuffer>,
}

impl FromDmabuf for PlaneTargets {
    const USAGE: Usage = Usage::PlaneTargets;

    fn from_dmabuf(
        gl: &CurrentContext<'_>,
        device: &str,
        buffer: &Dmabuf,
    ) -> Result<Self, Refusal> {
        let framebuffer =
            |texture| Framebuffer::new(gl, texture).map_err(|error| refused(device, error));
        let planes = if is_imported_by_plane(buffer.format()) {
            check::buffer(gl.context(), Self::USAGE, device, buffer)?;
            let plane = |index| framebuffer(plane(gl, device, buffer, index)?);
            (0..buffer.layout().planes().len()).map(plane).collect::<Result<_, _>>()?
        } else {
            vec![framebuffer(texture(gl, Self::USAGE, device, buffer)?)?]
        };
        Ok(Self { planes, quads: quads(gl, device, buffer) })
    }
}

/// Red first in memory, ten bits each; `DRM_FORMAT_ABGR2101010`.
const ABGR2101010: Fourcc = Fourcc::new(*b"AB30");

/// Whether each plane of a format is imported by itself, in another format: no driver renders to YUV
/// as a whole.
pub(super) fn is_imported_by_plane(format: Fourcc) -> bool {
    format.is_yuv() || is_rendered_swapped(format)
}

/// Whether the driver lists every plane of such a format as one that it renders to.
pub(super) fn renders_planes(import: &DmabufImport, format: Fourcc) -> bool {
    let renders = |plane: &PlaneFormat| {
        let listed = import.modifiers(plane_format(format, plane));
        listed.is_none_or(|listed| listed.contains(&(Modifier::LINEAR, false)))
    };
    format.planes().is_some_and(|planes| planes.iter().all(renders))
}

/// The format as which a plane of such a format is rendered.
fn plane_format(format: Fourcc, plane: &PlaneFormat) -> Fourcc {
    match plane.bytes {
        _ if is_rendered_swapped(format) => ABGR2101010,
        1 => Fourcc::R8,
        2 => Fourcc::GR88,
        _ => Fourcc::ABGR8888,
    }
}

/// Imports a plane of a buffer as a picture of its own.
fn plane(
    gl: &CurrentContext<'_>,
    device: &str,
    buffer: &Dmabuf,
    index: usize,
) -> Result<Texture, Refusal> {
    let because = |step, detail: String| Refusal::because(device, step, detail);
    let import = check::can_import(gl.context(), device)?;
    let modifier = buffer.modifier();
    if modifier != Modifier::LINEAR {
        let detail = format!("a plane of {modifier} is not a picture of its own");
        return Err(because(IMPORT, detail));
    }
    let formats = buffer.format().planes().unwrap_or_default();
    let (Some(geometry), Some(at)) = (formats.get(index), buffer.planes().nth(index)) else {
        return Err(because(IMPORT, format!("there is no plane {index}")));
    };
    let (width, height) = (buffer.layout().width(), buffer.layout().height());
    let size = (width.div_ceil(geometry.hsub), height.div_ceil(geometry.vsub));
    let format = plane_format(buffer.format(), geometry);
    if import.is_external_only(format, modifier) {
        let detail = format!("{format} with {modifier} is for external textures only");
        return Err(because(QUERY, detail));
    }
    let description = ImageDescription { format, modifier, size };
    let image = EglImage::import_part(import, &description, at)
        .map_err(|error| image_refused(device, error))?;
    Texture::of_image(gl, image, size).map_err(|error| refused(device, error))
}

/// Four channels of 16 bits; `DRM_FORMAT_ABGR16161616`.
const ABGR16161616: Fourcc = Fourcc::new(*b"AB48");

/// Imports quads of a buffer's pixels, if the driver can: two pixels of eight bits a channel are
/// one of sixteen, and two of luma one of two channels.
fn quads(gl: &CurrentContext<'_>, device: &str, buffer: &Dmabuf) -> Option<Framebuffer> {
    let import = gl.context().dmabuf_import().ok()?;
    let (layout, modifier) = (buffer.layout(), buffer.modifier());
    let (width, height) = (layout.width(), layout.height());
    let format = match buffer.format() {
        Fourcc::NV12 | Fourcc::NV21 => Fourcc::GR88,
        format if is_four_bytes(format) => ABGR16161616,
        _ => return None,
    };
    let even = width.is_multiple_of(2) && height.is_multiple_of(2);
    let aligned = layout.planes().iter().all(|plane| {
        plane.stride.is_multiple_of(SOFTWARE_ALIGNMENT)
            && plane.offset.is_multiple_of(SOFTWARE_ALIGNMENT)
    });
    let listed = import.modifiers(format).is_some_and(|all| all.contains(&(modifier, false)));
    if !even || !aligned || !listed || modifier != Modifier::LINEAR {
        return None;
    }
    let size = (width / 2, height / 2);
    let description = ImageDescription { format, modifier, size };
    let rows = |first: u64| {
        let (fd, plane) = buffer.planes().next()?;
        let offset = plane.offset + first * plane.stride;
        let at = PlaneLayout { offset, stride: 2 * plane.stride };
        let image = EglImage::import_part(import, &description, (fd, at)).ok()?;
        Texture::of_image(gl, image, size).ok()
    };
    let (even_rows, mut others) = (rows(0)?, vec![rows(1)?]);
    if buffer.format().is_yuv() {
        others.push(plane(gl, device, buffer, 1).ok()?);
    }
    Framebuffer::with_others(gl, even_rows, others).ok()
}
