//! Import of dma-bufs into GLES: which buffers the GPU takes, and why not.
//!
//! EGL is trusting: Mesa's software renderers import a buffer that is too small, or memory that is
//! no dma-buf, without an error, and crash when they render. So all that can be checked without the
//! driver is checked in [`check`], before EGL is asked; what a driver says by itself becomes
//! [`constraints`](Imports::constraints). Each buffer is imported once, and the answer kept for the
//! buffer's life, refusals too.

mod check;
mod constraints;
mod planes;

use std::rc::Rc;

use vcam_allocator::constraints::Constraints;
use vcam_allocator::{Dmabuf, Fourcc, ImportCache, Importer, Refusal};

pub(crate) use self::check::{make_current, refused};
pub(crate) use self::planes::PlaneTargets;
use crate::egl::EglImage;
use crate::gles::{CurrentContext, GlError, GlesContext, Texture};
use crate::renderer::short_name;

/// The extension whose list says whether a format is for external textures alone.
const QUERY: &str = "eglQueryDmaBufModifiersEXT";

/// The extension that imports.
const IMPORT: &str = "EGL_EXT_image_dma_buf_import";

/// The use that GLES makes of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Usage {
    /// Sampled, as it is.
    Texture,
    /// Sampled, and turned into RGB by the driver.
    ExternalTexture,
    /// Rendered to, as it is.
    Framebuffer,
    /// Rendered to, as it is or plane by plane.
    PlaneTargets,
}

impl Usage {
    /// The device of this usage, as reports name it: `egl-texture:llvmpipe`.
    pub(crate) fn device(self, context: &GlesContext) -> String {
        let kind = match self {
            Self::Texture | Self::ExternalTexture => "egl-texture",
            Self::Framebuffer | Self::PlaneTargets => "egl-target",
        };
        format!("{kind}:{}", short_name(context.renderer()))
    }
}

/// What GLES makes of a buffer.
pub(crate) trait FromDmabuf: Sized {
    /// The use that it is for.
    const USAGE: Usage;

    /// Imports the buffer; a refusal names `device`.
    fn from_dmabuf(gl: &CurrentContext<'_>, device: &str, buffer: &Dmabuf)
    -> Result<Self, Refusal>;
}

impl FromDmabuf for Texture {
    const USAGE: Usage = Usage::Texture;

    fn from_dmabuf(
        gl: &CurrentContext<'_>,
        device: &str,
        buffer: &Dmabuf,
    ) -> Result<Self, Refusal> {
        texture(gl, Self::USAGE, device, buffer)
    }
}

/// Imports a buffer as a texture, for one of the usages that need no external texture.
pub(crate) fn texture(
    gl: &CurrentContext<'_>,
    usage: Usage,
    device: &str,
    buffer: &Dmabuf,
) -> Result<Texture, Refusal> {
    let image = image(gl, usage, device, buffer)?;
    let size = (buffer.layout().width(), buffer.layout().height());
    Texture::of_image(gl, image, size).map_err(|error| refused(device, error))
}

/// Imports a buffer as an image, after all checks.
pub(crate) fn image(
    gl: &CurrentContext<'_>,
    usage: Usage,
    device: &str,
    buffer: &Dmabuf,
) -> Result<EglImage, Refusal> {
    let import = check::can_import(gl.context(), device)?;
    check::buffer(gl.context(), usage, device, buffer)?;
    let (format, modifier) = (buffer.format(), buffer.modifier());
    if usage != Usage::ExternalTexture && import.is_external_only(format, modifier) {
        let detail = format!("{format} with {modifier} is external_only: for external textures");
        return Err(Refusal::because(device, QUERY, detail));
    }
    EglImage::import(import, buffer).map_err(|error| check::image_refused(device, error))
}

/// The buffers that were imported for one usage.
pub(crate) struct Imports<T> {
    context: Rc<GlesContext>,
    device: String,
    cache: ImportCache<T>,
}

impl<T: FromDmabuf> Imports<T> {
    pub(crate) fn new(context: &Rc<GlesContext>) -> Self {
        let device = T::USAGE.device(context);
        Self { context: context.clone(), device, cache: ImportCache::default() }
    }

    /// Returns what the buffer became, which is imported the first time.
    pub(crate) fn get_or_import(
        &mut self,
        gl: &CurrentContext<'_>,
        buffer: &Dmabuf,
    ) -> Result<&T, Refusal> {
        let device = &self.device;
        self.cache.get_or_import(buffer, |buffer| T::from_dmabuf(gl, device, buffer))
    }

    /// Returns what the buffer became, without asking the driver; `None` if it was not asked yet.
    pub(crate) fn get(&self, buffer: &Dmabuf) -> Option<Result<&T, &Refusal>> {
        self.cache.get(buffer)
    }

    /// The number of imports that succeeded.
    pub(crate) fn count(&self) -> u64 {
        self.cache.imports()
    }

    /// Turns a success into a refusal, since rendering failed. Returns `false` if there was no
    /// success.
    pub(crate) fn distrust(&mut self, buffer: &Dmabuf, error: GlError) -> bool {
        let imported = matches!(self.get(buffer), Some(Ok(_)));
        if imported {
            self.cache.poison(buffer, refused(&self.device, error));
        }
        imported
    }

    /// The GPU's needs of a buffer in one of these formats, as far as EGL lists them; an import
    /// shows the rest.
    pub(crate) fn constraints(&self, formats: &[Fourcc]) -> Constraints {
        constraints::of_usage(&self.context, T::USAGE, &self.device, formats)
    }
}

impl<T: FromDmabuf> Importer for Imports<T> {
    fn name(&self) -> String {
        self.device.clone()
    }

    fn identity(&self) -> String {
        self.context.identity()
    }

    fn decline(&mut self, buffer: &Dmabuf, refusal: Refusal) {
        self.cache.poison(buffer, refusal);
    }

    fn try_import(&mut self, buffer: &Dmabuf) -> Result<(), Refusal> {
        let context = self.context.clone();
        let gl = check::make_current(&context, &self.device)?;
        self.get_or_import(&gl, buffer).map(|_| ())
    }
}
