//! External textures: pictures that the driver turns into RGB while it samples them, such as NV12.
//!
//! They can only be sampled: with `texture`, through a `samplerExternalOES`, without mipmaps; they
//! cannot be rendered to.
//!
//! Source: `GL_OES_EGL_image_external`.

use super::object::GlObject;
use super::texture::{bind, bound_texture};
use super::{CurrentContext, GlError};
use crate::egl::EglImage;

const GL_TEXTURE_EXTERNAL_OES: u32 = 0x8D65;

/// A texture whose pixels are those of an image, in any format; it samples the nearest texel.
pub(crate) struct ExternalTexture {
    object: GlObject<glow::Texture>,
    size: (u32, u32),
    // Dropped after the texture.
    _image: EglImage,
}

impl ExternalTexture {
    /// A texture whose pixels are those of an image.
    pub(crate) fn of_image(
        gl: &CurrentContext<'_>,
        image: EglImage,
        size: (u32, u32),
    ) -> Result<Self, GlError> {
        let object = bound_texture(gl, GL_TEXTURE_EXTERNAL_OES)?;
        gl.image_target_texture(GL_TEXTURE_EXTERNAL_OES, &image);
        gl.check("glEGLImageTargetTexture2DOES")?;
        Ok(Self { object, size, _image: image })
    }

    /// Binds the texture to unit 0.
    pub(crate) fn bind(&self, gl: &CurrentContext<'_>) {
        bind(gl, 0, GL_TEXTURE_EXTERNAL_OES, self.object.name());
    }

    /// Width and height in pixels.
    pub(crate) fn size(&self) -> (u32, u32) {
        self.size
    }
}
