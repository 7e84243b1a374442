//! EGL images: a dma-buf, as EGL sees it.
//!
//! Sources: `EGL_EXT_image_dma_buf_import`, `EGL_EXT_image_dma_buf_import_modifiers`,
//! `EGL_KHR_image_base`, `GL_OES_EGL_image`, `GL_OES_EGL_image_external_essl3`.

use std::ffi::c_void;
use std::mem::transmute;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::rc::Rc;

use glow::HasContext;
use khronos_egl as egl;
use vcam_allocator::{Dmabuf, Fourcc, MAX_PLANES, Modifier, PlaneLayout};

use crate::egl::{Context, EglFault, Extensions, Library, fault, function};
use crate::fault;

const EGL_LINUX_DMA_BUF_EXT: egl::Enum = 0x3270;
const EGL_LINUX_DRM_FOURCC_EXT: egl::Int = 0x3271;
/// How YUV becomes RGB. Unless told, a driver guesses, some by the size of the picture; so it is
/// told the only space that is read here,
/// [`COLOUR_SPACE`](vcam_allocator::probe::pattern::COLOUR_SPACE): BT.601 and limited.
const YUV_HINTS: [[egl::Int; 2]; 2] = [
    // EGL_YUV_COLOR_SPACE_HINT_EXT: EGL_ITU_REC601_EXT
    [0x327B, 0x327F],
    // EGL_SAMPLE_RANGE_HINT_EXT: EGL_YUV_NARROW_RANGE_EXT
    [0x327C, 0x3283],
];
/// Descriptor, offset and pitch; then the low and the high half of the modifier.
const PLANES: [[egl::Int; 5]; MAX_PLANES] = [
    [0x3272, 0x3273, 0x3274, 0x3443, 0x3444],
    [0x3275, 0x3276, 0x3277, 0x3445, 0x3446],
    [0x3278, 0x3279, 0x327A, 0x3447, 0x3448],
    [0x3440, 0x3441, 0x3442, 0x3449, 0x344A],
];

type CreateImage = unsafe extern "system" fn(
    egl::EGLDisplay,
    egl::EGLContext,
    egl::Enum,
    *mut c_void,
    *const egl::Int,
) -> *mut c_void;
type DestroyImage = unsafe extern "system" fn(egl::EGLDisplay, *mut c_void) -> egl::Boolean;
type QueryModifiers = unsafe extern "system" fn(
    egl::EGLDisplay,
    egl::Int,
    egl::Int,
    *mut u64,
    *mut egl::Boolean,
    *mut egl::Int,
) -> egl::Boolean;
type TargetTexture = unsafe extern "system" fn(egl::Enum, *mut c_void);

/// The functions that import dma-bufs.
pub(crate) struct Images {
    library: &'static Library,
    display: egl::Display,
    create: CreateImage,
    destroy: DestroyImage,
    target_texture: TargetTexture,
    /// Present if modifiers may be named at all.
    query_modifiers: Option<QueryModifiers>,
    /// Whether shaders can sample external textures.
    external: bool,
}

impl Images {
    /// What [`Images::load`] looks for, in the order in which it is asked for.
    pub(crate) fn missing(extensions: Extensions) -> (&'static str, &'static str) {
        if !extensions.has("EGL_EXT_image_dma_buf_import") {
            ("EGL_EXT_image_dma_buf_import", "the EGL display does not list this extension")
        } else if !extensions.has("EGL_KHR_image_base") {
            ("EGL_KHR_image_base", "the EGL display does not list this extension")
        } else {
            ("GL_OES_EGL_image", "the GL context does not list this extension")
        }
    }

    /// The functions, if display and context list all of them; the context is current.
    pub(crate) fn load(
        library: &'static Library,
        display: egl::Display,
        extensions: Extensions,
        gl: &glow::Context,
    ) -> Option<Self> {
        if !extensions.has("EGL_EXT_image_dma_buf_import")
            || !extensions.has("EGL_KHR_image_base")
            || !gl.supported_extensions().contains("GL_OES_EGL_image")
        {
            return None;
        }
        let external = gl.supported_extensions().contains("GL_OES_EGL_image_external_essl3");
        let create = function(library, "eglCreateImageKHR")?;
        let destroy = function(library, "eglDestroyImageKHR")?;
        let target_texture = function(library, "glEGLImageTargetTexture2DOES")?;
        let query_modifiers = extensions
            .has("EGL_EXT_image_dma_buf_import_modifiers")
            .then(|| function(library, "eglQueryDmaBufModifiersEXT"))
            .flatten();
        // SAFETY: these are the signatures of the extensions, which are listed.
        unsafe {
            Some(Self {
                library,
                display,
                create: transmute::<extern "system" fn(), CreateImage>(create),
                destroy: transmute::<extern "system" fn(), DestroyImage>(destroy),
                target_texture: transmute::<extern "system" fn(), TargetTexture>(target_texture),
                query_modifiers: query_modifiers
                    .map(|query| transmute::<extern "system" fn(), QueryModifiers>(query)),
                external,
            })
        }
    }

    /// Whether the driver lists this pair for external textures alone, which can neither be
    /// rendered to nor sampled as a plain texture. `false` where it lists nothing.
    pub(crate) fn is_external_only(&self, format: Fourcc, modifier: Modifier) -> bool {
        let listed = self.modifiers(format).unwrap_or_default();
        listed.contains(&(modifier, true))
    }

    /// Whether shaders can sample external textures (`samplerExternalOES`).
    pub(crate) fn sample_external(&self) -> bool {
        self.external
    }

    /// The modifiers that the driver lists for a format, each with whether it is for external
    /// textures alone. `None` where the driver answers no such question.
    pub(crate) fn modifiers(&self, format: Fourcc) -> Option<Vec<(Modifier, bool)>> {
        let query = self.query_modifiers?;
        // More than any driver lists.
        let (mut modifiers, mut external) = ([0; 128], [egl::FALSE; 128]);
        let mut count = 0;
        // SAFETY: both arrays have the length that is given.
        let done = unsafe {
            query(
                self.display.as_ptr(),
                format.0 as egl::Int,
                modifiers.len() as egl::Int,
                modifiers.as_mut_ptr(),
                external.as_mut_ptr(),
                &mut count,
            )
        };
        let count = if done == egl::TRUE { usize::try_from(count).unwrap_or(0) } else { 0 };
        let pairs = modifiers.into_iter().zip(external).take(count);
        Some(
            pairs.map(|(modifier, external)| (Modifier(modifier), external == egl::TRUE)).collect(),
        )
    }
}

/// Why a buffer does not become an image.
#[derive(Debug)]
pub(crate) enum ImageFault {
    /// A number of the layout is more than EGL can express.
    TooLarge(&'static str, u64),
    /// The driver refused.
    Egl(EglFault),
}

/// A dma-buf in EGL. The driver holds the memory itself, not our descriptor.
pub(crate) struct Image {
    context: Rc<Context>,
    raw: *mut c_void,
}

impl Image {
    /// Imports a buffer, whose memory a [`Dmabuf`] has proven to be large enough: drivers do not
    /// check.
    pub(crate) fn import(
        context: &Rc<Context>,
        images: &Images,
        buffer: &Dmabuf,
    ) -> Result<Self, ImageFault> {
        Self::of(context, images, &Pixels::of(buffer), buffer.planes())
    }

    /// Imports a part of a buffer as a picture of its own: one of its planes, or every other row.
    /// The part lies within the plane, whose memory a [`Dmabuf`] has proven to be large enough.
    pub(crate) fn import_part(
        context: &Rc<Context>,
        images: &Images,
        pixels: &Pixels,
        plane: (BorrowedFd<'_>, PlaneLayout),
    ) -> Result<Self, ImageFault> {
        Self::of(context, images, pixels, std::iter::once(plane))
    }

    fn of<'a>(
        context: &Rc<Context>,
        images: &Images,
        pixels: &Pixels,
        planes: impl Iterator<Item = (BorrowedFd<'a>, PlaneLayout)>,
    ) -> Result<Self, ImageFault> {
        if fault::image_is_refused() {
            return Err(ImageFault::Egl(egl::Error::BadAlloc.into()));
        }
        let attributes = attributes(pixels, planes, images.query_modifiers.is_some())?;
        // SAFETY: the display is initialised while its context lives; dma-bufs are imported
        // without a context or a client buffer; the list ends with EGL_NONE, and its descriptors
        // are open for the call's duration.
        let raw = unsafe {
            (images.create)(
                images.display.as_ptr(),
                egl::NO_CONTEXT,
                EGL_LINUX_DMA_BUF_EXT,
                ptr::null_mut(),
                attributes.as_ptr(),
            )
        };
        if raw.is_null() {
            return Err(ImageFault::Egl(fault(images.library)));
        }
        Ok(Self { context: context.clone(), raw })
    }

    /// Makes the image the storage of the texture that is bound to `GL_TEXTURE_2D`.
    pub(crate) fn bind_storage(&self) {
        self.bind_storage_of(glow::TEXTURE_2D);
    }

    /// Makes the image the storage of the texture that is bound to this target.
    pub(crate) fn bind_storage_of(&self, target: u32) {
        let Some(images) = self.context.images() else { return };
        // SAFETY: the image is alive; whoever has bound a texture has a context that is current.
        unsafe { (images.target_texture)(target, self.raw) }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let Some(images) = self.context.images() else { return };
        let _turn = self.context.turn();
        // SAFETY: the image is one that `import` created, and its display is still initialised,
        // since the context that keeps it is still there.
        if unsafe { (images.destroy)(images.display.as_ptr(), self.raw) } != egl::TRUE {
            tracing::warn!(fault = %fault(images.library), "eglDestroyImageKHR failed");
        }
    }
}

/// Three pairs for the picture, the hints, five for each plane, and the end.
const MOST_ATTRIBUTES: usize = 2 * (3 + YUV_HINTS.len() + 5 * MAX_PLANES) + 1;

/// What a picture's pixels are, and how many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pixels {
    pub(crate) format: Fourcc,
    pub(crate) modifier: Modifier,
    pub(crate) size: (u32, u32),
}

impl Pixels {
    fn of(buffer: &Dmabuf) -> Self {
        let size = (buffer.layout().width(), buffer.layout().height());
        Self { format: buffer.format(), modifier: buffer.modifier(), size }
    }
}

fn attributes<'a>(
    pixels: &Pixels,
    planes: impl Iterator<Item = (BorrowedFd<'a>, PlaneLayout)>,
    modifiers: bool,
) -> Result<[egl::Int; MOST_ATTRIBUTES], ImageFault> {
    let int =
        |name, value: u64| egl::Int::try_from(value).map_err(|_| ImageFault::TooLarge(name, value));
    let Pixels { format, modifier, size } = *pixels;
    let mut list = [egl::NONE; MOST_ATTRIBUTES];
    let mut slots = list.chunks_exact_mut(2);
    let mut push = |name, value| {
        // There are as many slots as there can be attributes.
        if let Some(slot) = slots.next() {
            slot.copy_from_slice(&[name, value]);
        }
    };
    push(egl::WIDTH, int("width", size.0.into())?);
    push(egl::HEIGHT, int("height", size.1.into())?);
    push(EGL_LINUX_DRM_FOURCC_EXT, format.0 as egl::Int);
    if format.is_yuv() {
        YUV_HINTS.into_iter().for_each(|[name, value]| push(name, value));
    }
    for ((fd, plane), [fd_name, offset, pitch, low, high]) in planes.zip(PLANES) {
        push(fd_name, fd.as_raw_fd());
        push(offset, int("offset", plane.offset)?);
        push(pitch, int("stride", plane.stride)?);
        // INVALID means that the driver knows by itself, so it is not named.
        if modifiers && modifier != Modifier::INVALID {
            push(low, modifier.0 as egl::Int);
            push(high, (modifier.0 >> 32) as egl::Int);
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use vcam_allocator::heaps::memfd::Memfd;
    use vcam_allocator::{Alignment, Heap, Layout};

    use super::*;

    #[test]
    fn a_picture_is_described_plane_by_plane() {
        let layout = Layout::linear(Fourcc::NV12, 640, 480, Alignment::default()).unwrap();
        let buffer = Memfd::new().allocate(&layout, "test").unwrap();
        let fd = buffer.planes().next().unwrap().0.as_raw_fd();
        let expected = [
            [egl::WIDTH, 640],
            [egl::HEIGHT, 480],
            [EGL_LINUX_DRM_FOURCC_EXT, i32::from_le_bytes(*b"NV12")],
            [0x327B, 0x327F],
            [0x327C, 0x3283],
            [0x3272, fd],
            [0x3273, 0],
            [0x3274, 768],
            [0x3275, fd],
            [0x3276, 768 * 480],
            [0x3277, 768],
        ];
        let list = attributes(&Pixels::of(&buffer), buffer.planes(), false).unwrap();
        assert_eq!(list[..22], *expected.as_flattened());
        assert_eq!(list[22], egl::NONE);
        let list = attributes(&Pixels::of(&buffer), buffer.planes(), true).unwrap();
        assert_eq!(list[16..20], [0x3443, 0, 0x3444, 0]);
        assert_eq!(list[30], egl::NONE);
    }
}
