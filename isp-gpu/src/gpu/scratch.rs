//! Textures of the ISP's own, between its passes.

use crate::gles::{CurrentContext, Framebuffer, GlError, Texture, TextureFormat};
use crate::params::IspParams;

/// Textures of the ISP's own, each made when it is first needed and again when frames change their
/// size.
#[derive(Default)]
pub(super) struct ScratchTargets {
    /// A raw frame whose buffer is not imported.
    pub(super) upload: Option<Texture>,
    pub(super) quads: Option<Framebuffer>,
    pub(super) denoised: Option<Framebuffer>,
    pub(super) greens: Option<Framebuffer>,
    pub(super) picture: Option<Framebuffer>,
    pub(super) sharpened: Option<Framebuffer>,
    /// For each output the picture as it shows it.
    pub(super) shown: Vec<Option<Framebuffer>>,
    /// For each plane what is read back of it, and its bytes.
    pub(super) read: Vec<Option<Framebuffer>>,
    pub(super) pixels: Vec<u8>,
}

impl ScratchTargets {
    /// The light that is demosaiced.
    pub(super) fn light(&self, params: &IspParams) -> &Texture {
        rendered(if params.denoise.is_some() { &self.denoised } else { &self.quads })
    }
}

/// The texture of a target that an earlier pass of the frame has rendered to.
pub(super) fn rendered(target: &Option<Framebuffer>) -> &Texture {
    let Some(target) = target else { unreachable!("it was rendered to before") };
    target.texture()
}

/// Returns a target with this format and size, which is made unless it is there already.
pub(super) fn fit<'a>(
    target: &'a mut Option<Framebuffer>,
    gl: &CurrentContext<'_>,
    format: TextureFormat,
    size: (u32, u32),
) -> Result<&'a Framebuffer, GlError> {
    // The old one goes first, so that memory holds only one of them.
    let kept = target.take().filter(|target| target.texture().is(format, size));
    let fitting = match kept {
        Some(target) => target,
        None => Framebuffer::new(gl, Texture::new(gl, format, size)?)?,
    };
    Ok(target.insert(fitting))
}

/// Returns the target at an index of a list, which grows as far as that.
pub(super) fn entry(list: &mut Vec<Option<Framebuffer>>, index: usize) -> &mut Option<Framebuffer> {
    if list.len() <= index {
        list.resize_with(index + 1, || None);
    }
    &mut list[index]
}
