//! Framebuffers: textures to render to.

use glow::HasContext;

use super::object::GlObject;
use super::texture::assert_rows;
use super::{CurrentContext, GlError, Texture, TextureFormat};

/// A framebuffer, to whose textures a program renders all at once.
pub(crate) struct Framebuffer {
    // Deleted before what is attached to it.
    object: GlObject<glow::Framebuffer>,
    texture: Texture,
    _others: Vec<Texture>,
}

impl Framebuffer {
    /// Renders to one texture, or to all layers of it.
    pub(crate) fn new(gl: &CurrentContext<'_>, texture: Texture) -> Result<Self, GlError> {
        Self::with_others(gl, texture, Vec::new())
    }

    /// Renders to several textures, of which the first has the size of what is drawn. Fails with
    /// the status of the framebuffer if the driver does not render to them.
    pub(crate) fn with_others(
        gl: &CurrentContext<'_>,
        texture: Texture,
        others: Vec<Texture>,
    ) -> Result<Self, GlError> {
        let object = GlObject::new(
            gl,
            "glGenFramebuffers",
            glow::Context::create_framebuffer,
            glow::Context::delete_framebuffer,
        )?;
        let functions = gl.functions();
        let mut attachments = Vec::new();
        // SAFETY: a context is current, and all objects were made in it.
        let status = unsafe {
            functions.bind_framebuffer(glow::FRAMEBUFFER, Some(object.name()));
            for texture in std::iter::once(&texture).chain(&others) {
                let name = Some(texture.name());
                for layer in 0..texture.format().layers.max(1) {
                    let at = glow::COLOR_ATTACHMENT0 + attachments.len() as u32;
                    match texture.format().target() {
                        glow::TEXTURE_2D => functions.framebuffer_texture_2d(
                            glow::FRAMEBUFFER,
                            at,
                            glow::TEXTURE_2D,
                            name,
                            0,
                        ),
                        _ => functions.framebuffer_texture_layer(
                            glow::FRAMEBUFFER,
                            at,
                            name,
                            0,
                            layer as i32,
                        ),
                    }
                    attachments.push(at);
                }
            }
            functions.draw_buffers(&attachments);
            functions.check_framebuffer_status(glow::FRAMEBUFFER)
        };
        gl.check("glFramebufferTexture")?;
        if status != glow::FRAMEBUFFER_COMPLETE {
            return Err(GlError { step: "glCheckFramebufferStatus", code: status });
        }
        Ok(Self { object, texture, _others: others })
    }

    /// The first texture, to be sampled.
    pub(crate) fn texture(&self) -> &Texture {
        &self.texture
    }

    /// Binds the framebuffer, to draw to all of it.
    pub(super) fn bind(&self, gl: &CurrentContext<'_>) {
        let (width, height) = self.texture.size();
        // SAFETY: a context is current, and the framebuffer is one of its objects.
        unsafe {
            gl.functions().bind_framebuffer(glow::FRAMEBUFFER, Some(self.object.name()));
            gl.functions().viewport(0, 0, width as i32, height as i32);
        }
    }

    /// Copies the first texture, of four bytes a pixel, into rows without padding between them.
    ///
    /// # Panics
    ///
    /// If the slice is too short for them.
    pub(crate) fn read_pixels(&self, gl: &CurrentContext<'_>, pixels: &mut [u8]) {
        let (width, height) = self.texture.size();
        let TextureFormat { format, kind, bytes, .. } = self.texture.format();
        assert_rows(pixels.len(), width as usize * bytes, height, width as usize * bytes);
        let functions = gl.functions();
        // SAFETY: a context is current, and the framebuffer is one of its objects. GL writes
        // `height` rows of `width` pixels, which are within the slice, as just asserted.
        unsafe {
            functions.bind_framebuffer(glow::FRAMEBUFFER, Some(self.object.name()));
            functions.pixel_store_i32(glow::PACK_ALIGNMENT, 1);
            functions.pixel_store_i32(glow::PACK_ROW_LENGTH, 0);
            functions.read_pixels(
                0,
                0,
                width as i32,
                height as i32,
                format,
                kind,
                glow::PixelPackData::Slice(Some(pixels)),
            );
        }
    }
}
