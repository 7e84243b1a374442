//! External textures: pictures that the driver turns into RGB while it samples them, such as NV12.
//!
//! They can only be sampled: with `texture`, through a `samplerExternalOES`, without mipmaps, and
//! they are nothing that can be rendered to.
//!
//! Source: `GL_OES_EGL_image_external`.

use std::rc::Rc;

use glow::HasContext;

use crate::egl::Context;
use crate::gl::{Current, GlFault, Object, not_current};
use crate::image::Image;

const GL_TEXTURE_EXTERNAL_OES: u32 = 0x8D65;

/// A texture whose pixels are those of an image, in whatever format.
pub(crate) struct External {
    object: Object<glow::Texture>,
    size: (u32, u32),
    // Dropped after the texture.
    _image: Image,
}

impl External {
    /// The texture samples the nearest texel.
    pub(crate) fn of_image(
        context: &Rc<Context>,
        image: Image,
        size: (u32, u32),
    ) -> Result<Self, GlFault> {
        let current = context.make_current().map_err(not_current)?;
        let object = Object::new(
            context,
            "glGenTextures",
            glow::Context::create_texture,
            glow::Context::delete_texture,
        )?;
        let gl = context.gl();
        // SAFETY: the context is current, and the texture was made in it.
        unsafe {
            gl.bind_texture(GL_TEXTURE_EXTERNAL_OES, Some(object.name));
            for name in [glow::TEXTURE_MIN_FILTER, glow::TEXTURE_MAG_FILTER] {
                gl.tex_parameter_i32(GL_TEXTURE_EXTERNAL_OES, name, glow::NEAREST as i32);
            }
        }
        image.bind_storage_of(GL_TEXTURE_EXTERNAL_OES);
        current.check("glEGLImageTargetTexture2DOES")?;
        Ok(Self { object, size, _image: image })
    }

    /// Makes the texture that of unit 0.
    pub(crate) fn bind(&self, current: &Current<'_>) {
        current.bind_target(0, GL_TEXTURE_EXTERNAL_OES, &self.object);
    }

    pub(crate) fn size(&self) -> (u32, u32) {
        self.size
    }
}
