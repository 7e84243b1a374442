//! What a buffer is rendered through: its planes, or quads of its pixels.

use std::rc::Rc;

use vcam_allocator::{Dmabuf, Fourcc, Modifier, PlaneFormat, PlaneLayout, Refusal};

use crate::egl::Context;
use crate::gl::{Target, Texture};
use crate::image::{Image, Images, Pixels};
use crate::import::{SOFTWARE_ALIGNMENT, image_refused, refused};

/// What a buffer is rendered through.
pub(crate) struct Planes {
    /// A target for each plane.
    pub(crate) planes: Vec<Target>,
    /// Where a quad of pixels goes at once: the even rows and the odd ones, two pixels in one, and
    /// the chroma that they share. Not every format has that, nor every driver, nor every size.
    pub(crate) quads: Option<Target>,
}

impl Planes {
    /// A buffer that is rendered as it is, given its texture.
    pub(crate) fn of_whole(
        context: &Rc<Context>,
        device: &str,
        buffer: &Dmabuf,
        texture: Texture,
    ) -> Result<Self, Refusal> {
        let target = Target::new(context, texture).map_err(|fault| refused(device, fault))?;
        Ok(Self { planes: vec![target], quads: quads(context, device, buffer) })
    }

    /// A buffer whose planes are rendered one by one.
    pub(crate) fn of_planes(
        context: &Rc<Context>,
        device: &str,
        buffer: &Dmabuf,
    ) -> Result<Self, Refusal> {
        let target = |index| {
            Target::new(context, plane(context, device, buffer, index)?)
                .map_err(|fault| refused(device, fault))
        };
        let planes = (0..buffer.layout().planes().len()).map(target).collect::<Result<_, _>>()?;
        Ok(Self { planes, quads: quads(context, device, buffer) })
    }
}

/// Whether a format is rendered plane by plane, or as something else: no driver renders YUV itself.
pub(crate) fn is_rendered_by_plane(format: Fourcc) -> bool {
    format.is_yuv()
}

/// Red first in memory, ten bits each; `DRM_FORMAT_ABGR2101010`.
const ABGR2101010: Fourcc = Fourcc::new(*b"AB30");

/// Whether a format is imported as something else than it is: plane by plane, or with red and blue
/// changed, since llvmpipe does not render to XR30.
pub(crate) fn is_imported_as_another(format: Fourcc) -> bool {
    is_rendered_by_plane(format) || has_colours_changed(format)
}

/// Whether a format is rendered with red and blue changed.
pub(crate) fn has_colours_changed(format: Fourcc) -> bool {
    format == Fourcc::XRGB2101010
}

/// Whether the driver lists every plane of such a format as something that it renders to.
pub(crate) fn renders_planes(images: &Images, format: Fourcc) -> bool {
    let renders = |plane: &PlaneFormat| {
        let listed = images.modifiers(plane_format(format, plane));
        listed.is_none_or(|listed| listed.contains(&(Modifier::LINEAR, false)))
    };
    format.planes().is_some_and(|planes| planes.iter().all(renders))
}

/// The format as which a plane of such a format is rendered.
fn plane_format(format: Fourcc, plane: &PlaneFormat) -> Fourcc {
    match plane.bytes {
        _ if has_colours_changed(format) => ABGR2101010,
        1 => Fourcc::R8,
        2 => Fourcc::GR88,
        _ => Fourcc::ABGR8888,
    }
}

/// Imports a plane of a buffer as a picture of its own.
fn plane(
    context: &Rc<Context>,
    device: &str,
    buffer: &Dmabuf,
    index: usize,
) -> Result<Texture, Refusal> {
    let because = |step, detail: String| Refusal::because(device, step, detail);
    let Some(images) = context.images() else {
        let (extension, words) = Images::missing(context.extensions());
        return Err(because(extension, words.into()));
    };
    let modifier = buffer.modifier();
    if modifier != Modifier::LINEAR {
        let detail = format!("a plane of {modifier} is not a picture of its own");
        return Err(because("EGL_EXT_image_dma_buf_import", detail));
    }
    let formats = buffer.format().planes().unwrap_or_default();
    let (Some(geometry), Some(at)) = (formats.get(index), buffer.planes().nth(index)) else {
        return Err(because("EGL_EXT_image_dma_buf_import", format!("there is no plane {index}")));
    };
    let (width, height) = (buffer.layout().width(), buffer.layout().height());
    let size = (width.div_ceil(geometry.hsub), height.div_ceil(geometry.vsub));
    let pixels = Pixels { format: plane_format(buffer.format(), geometry), modifier, size };
    if images.is_external_only(pixels.format, modifier) {
        let detail = format!("{} with {modifier} is for external textures only", pixels.format);
        return Err(because("eglQueryDmaBufModifiersEXT", detail));
    }
    let image = Image::import_part(context, images, &pixels, at)
        .map_err(|fault| image_refused(device, fault))?;
    Texture::of_image(context, image, size.0, size.1).map_err(|fault| refused(device, fault))
}

/// Four channels of 16 bits; `DRM_FORMAT_ABGR16161616`.
const ABGR16161616: Fourcc = Fourcc::new(*b"AB48");

/// Quads of a buffer's pixels, if the driver can: two pixels of eight bits a channel are one of
/// sixteen, and two of luma one of two channels.
fn quads(context: &Rc<Context>, device: &str, buffer: &Dmabuf) -> Option<Target> {
    let images = context.images()?;
    let (layout, modifier) = (buffer.layout(), buffer.modifier());
    let (width, height) = (layout.width(), layout.height());
    let format = match buffer.format() {
        Fourcc::NV12 | Fourcc::NV21 => Fourcc::GR88,
        format if is_bytes(format) => ABGR16161616,
        _ => return None,
    };
    let even = width.is_multiple_of(2) && height.is_multiple_of(2);
    let aligned = layout.planes().iter().all(|plane| {
        plane.stride.is_multiple_of(SOFTWARE_ALIGNMENT)
            && plane.offset.is_multiple_of(SOFTWARE_ALIGNMENT)
    });
    let listed = images.modifiers(format).is_some_and(|all| all.contains(&(modifier, false)));
    if !even || !aligned || !listed || modifier != Modifier::LINEAR {
        return None;
    }
    let size = (width / 2, height / 2);
    let pixels = Pixels { format, modifier, size };
    let rows = |first: u64| {
        let (fd, plane) = buffer.planes().next()?;
        let offset = plane.offset + first * plane.stride;
        let at = PlaneLayout { offset, stride: 2 * plane.stride };
        let image = Image::import_part(context, images, &pixels, (fd, at)).ok()?;
        Texture::of_image(context, image, size.0, size.1).ok()
    };
    let mut textures = vec![rows(0)?, rows(1)?];
    if is_rendered_by_plane(buffer.format()) {
        textures.push(plane(context, device, buffer, 1).ok()?);
    }
    Target::of(context, textures).ok()
}

/// Whether a pixel is four bytes of eight bits.
pub(crate) fn is_bytes(format: Fourcc) -> bool {
    matches!(format, Fourcc::XRGB8888 | Fourcc::ARGB8888 | Fourcc::XBGR8888 | Fourcc::ABGR8888)
}
