//! EGL images: a dma-buf, as EGL sees it.
//!
//! Sources: `EGL_EXT_image_dma_buf_import`, `EGL_EXT_image_dma_buf_import_modifiers`,
//! `EGL_KHR_image_base`.

use std::ffi::c_void;
use std::mem::transmute;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::rc::Rc;

use khronos_egl as egl;
use vcam_allocator::{Dmabuf, Fourcc, MAX_PLANES, Modifier, PlaneLayout};

use super::lock::lock_software_renderer;
use super::{EglDisplay, EglErrorCode, MissingExtension, function};
use crate::fault;

const EGL_LINUX_DMA_BUF_EXT: egl::Enum = 0x3270;
const EGL_LINUX_DRM_FOURCC_EXT: egl::Int = 0x3271;
/// How YUV becomes RGB. Without these hints a driver guesses, some by the size of the picture. They
/// say the only space that is read here,
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

/// The functions that import dma-bufs.
pub(crate) struct DmabufImport {
    display: Rc<EglDisplay>,
    create: CreateImage,
    destroy: DestroyImage,
    /// Present if modifiers may be named at all.
    query_modifiers: Option<QueryModifiers>,
}

impl DmabufImport {
    /// Loads the functions, if the display lists their extensions.
    pub(crate) fn load(display: &Rc<EglDisplay>) -> Result<Self, MissingExtension> {
        let extensions = display.extensions();
        for extension in ["EGL_EXT_image_dma_buf_import", "EGL_KHR_image_base"] {
            if !extensions.has(extension) {
                let reason = "the EGL display does not list this extension";
                return Err(MissingExtension { extension, reason });
            }
        }
        let library = display.library();
        let functions =
            function(library, "eglCreateImageKHR").zip(function(library, "eglDestroyImageKHR"));
        let (create, destroy) = functions.ok_or(MissingExtension {
            extension: "EGL_KHR_image_base",
            reason: "the EGL display lists this extension, but has none of its functions",
        })?;
        let query_modifiers = extensions
            .has("EGL_EXT_image_dma_buf_import_modifiers")
            .then(|| function(library, "eglQueryDmaBufModifiersEXT"))
            .flatten();
        // SAFETY: these are the signatures of the extensions, which are listed.
        unsafe {
            Ok(Self {
                display: display.clone(),
                create: transmute::<extern "system" fn(), CreateImage>(create),
                destroy: transmute::<extern "system" fn(), DestroyImage>(destroy),
                query_modifiers: query_modifiers
                    .map(|query| transmute::<extern "system" fn(), QueryModifiers>(query)),
            })
        }
    }

    /// Whether the driver lists this pair for external textures alone, which can neither be
    /// rendered to nor sampled as a plain texture. `false` where it lists nothing.
    pub(crate) fn is_external_only(&self, format: Fourcc, modifier: Modifier) -> bool {
        let listed = self.modifiers(format).unwrap_or_default();
        listed.contains(&(modifier, true))
    }

    /// The modifiers that the driver lists for a format, each with whether it is for external
    /// textures alone. `None` if the driver has no such list.
    pub(crate) fn modifiers(&self, format: Fourcc) -> Option<Vec<(Modifier, bool)>> {
        let query = self.query_modifiers?;
        // More than any driver lists.
        let (mut modifiers, mut external) = ([0; 128], [egl::FALSE; 128]);
        let mut count = 0;
        // SAFETY: both arrays have the length that is given.
        let done = unsafe {
            query(
                self.display.raw().as_ptr(),
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
pub(crate) enum ImageError {
    /// A number of the layout is more than EGL can express.
    TooLarge(&'static str, u64),
    /// The driver refused.
    Egl(EglErrorCode),
}

/// A dma-buf in EGL; destroyed when dropped. The driver holds the memory itself, not our
/// descriptor.
pub(crate) struct EglImage {
    functions: Rc<DmabufImport>,
    raw: *mut c_void,
}

impl EglImage {
    /// Imports a buffer, whose memory a [`Dmabuf`] has proven to be large enough: drivers do not
    /// check.
    pub(crate) fn import(
        functions: &Rc<DmabufImport>,
        buffer: &Dmabuf,
    ) -> Result<Self, ImageError> {
        Self::create(functions, &ImageDescription::of(buffer), buffer.planes())
    }

    /// Imports a part of a buffer as a picture of its own: one of its planes, or every other row.
    /// The part lies within the plane, whose memory a [`Dmabuf`] has proven to be large enough.
    pub(crate) fn import_part(
        functions: &Rc<DmabufImport>,
        description: &ImageDescription,
        plane: (BorrowedFd<'_>, PlaneLayout),
    ) -> Result<Self, ImageError> {
        Self::create(functions, description, std::iter::once(plane))
    }

    fn create<'a>(
        functions: &Rc<DmabufImport>,
        description: &ImageDescription,
        planes: impl Iterator<Item = (BorrowedFd<'a>, PlaneLayout)>,
    ) -> Result<Self, ImageError> {
        if fault::image_is_refused() {
            return Err(ImageError::Egl(egl::Error::BadAlloc.into()));
        }
        let attributes = attributes(description, planes, functions.query_modifiers.is_some())?;
        // SAFETY: the display is initialised as long as `functions` lives; dma-bufs are imported
        // without a context or a client buffer; the list ends with EGL_NONE, and its descriptors
        // are open for the call's duration.
        let raw = unsafe {
            (functions.create)(
                functions.display.raw().as_ptr(),
                egl::NO_CONTEXT,
                EGL_LINUX_DMA_BUF_EXT,
                ptr::null_mut(),
                attributes.as_ptr(),
            )
        };
        if raw.is_null() {
            return Err(ImageError::Egl(EglErrorCode::last(functions.display.library())));
        }
        Ok(Self { functions: functions.clone(), raw })
    }

    /// The handle, valid as long as the image lives.
    pub(crate) fn as_ptr(&self) -> *mut c_void {
        self.raw
    }
}

impl Drop for EglImage {
    fn drop(&mut self) {
        let _lock = lock_software_renderer();
        let display = &self.functions.display;
        // SAFETY: the image is one that `create` made, and destroyed only here; its display is
        // initialised as long as `functions` lives.
        if unsafe { (self.functions.destroy)(display.raw().as_ptr(), self.raw) } != egl::TRUE {
            let code = EglErrorCode::last(display.library());
            tracing::warn!(%code, "eglDestroyImageKHR failed");
        }
    }
}

/// Three pairs for the picture, the hints, five for each plane, and the end.
const MOST_ATTRIBUTES: usize = 2 * (3 + YUV_HINTS.len() + 5 * MAX_PLANES) + 1;

/// The format and size of an image's pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ImageDescription {
    pub(crate) format: Fourcc,
    pub(crate) modifier: Modifier,
    pub(crate) size: (u32, u32),
}

impl ImageDescription {
    fn of(buffer: &Dmabuf) -> Self {
        let size = (buffer.layout().width(), buffer.layout().height());
        Self { format: buffer.format(), modifier: buffer.modifier(), size }
    }
}

fn attributes<'a>(
    description: &ImageDescription,
    planes: impl Iterator<Item = (BorrowedFd<'a>, PlaneLayout)>,
    modifiers: bool,
) -> Result<[egl::Int; MOST_ATTRIBUTES], ImageError> {
    let int =
        |name, value: u64| egl::Int::try_from(value).map_err(|_| ImageError::TooLarge(name, value));
    let ImageDescription { format, modifier, size } = *description;
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
        let list = attributes(&ImageDescription::of(&buffer), buffer.planes(), false).unwrap();
        assert_eq!(list[..22], *expected.as_flattened());
        assert_eq!(list[22], egl::NONE);
        let list = attributes(&ImageDescription::of(&buffer), buffer.planes(), true).unwrap();
        assert_eq!(list[16..20], [0x3443, 0, 0x3444, 0]);
        assert_eq!(list[30], egl::NONE);
    }
}
