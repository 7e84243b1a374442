//! Textures: with storage of their own, or with that of an image.
//!
//! Source: `GL_OES_EGL_image`.

use glow::HasContext;

use super::object::GlObject;
use super::{CurrentContext, GlError};
use crate::egl::EglImage;

/// The format of a texture's texels, in GL and in the memory that is exchanged with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TextureFormat {
    /// GL's own format.
    internal: u32,
    /// The CPU's format and type of a pixel, and its bytes.
    pub(super) format: u32,
    pub(super) kind: u32,
    pub(super) bytes: usize,
    /// Pictures above each other; 0 for a plain texture.
    pub(super) layers: u32,
}

impl TextureFormat {
    const fn new(internal: u32, format: u32, kind: u32, bytes: usize) -> Self {
        Self { internal, format, kind, bytes, layers: 0 }
    }

    pub(crate) const R8: Self = Self::new(glow::R8, glow::RED, glow::UNSIGNED_BYTE, 1);
    pub(crate) const R16UI: Self =
        Self::new(glow::R16UI, glow::RED_INTEGER, glow::UNSIGNED_SHORT, 2);
    pub(crate) const R32F: Self = Self::new(glow::R32F, glow::RED, glow::FLOAT, 4);
    pub(crate) const RG16UI: Self =
        Self::new(glow::RG16UI, glow::RG_INTEGER, glow::UNSIGNED_SHORT, 4);
    pub(crate) const RGBA16UI: Self =
        Self::new(glow::RGBA16UI, glow::RGBA_INTEGER, glow::UNSIGNED_SHORT, 8);
    pub(crate) const RGBA8: Self = Self::new(glow::RGBA8, glow::RGBA, glow::UNSIGNED_BYTE, 4);
    pub(crate) const RGB10_A2: Self =
        Self::new(glow::RGB10_A2, glow::RGBA, glow::UNSIGNED_INT_2_10_10_10_REV, 4);

    /// The same format, for an array of four layers.
    pub(crate) const fn in_layers(self) -> Self {
        Self { layers: LAYERS, ..self }
    }

    /// The target to which such textures are bound.
    pub(super) fn target(self) -> u32 {
        if self.layers == 0 { glow::TEXTURE_2D } else { glow::TEXTURE_2D_ARRAY }
    }
}

/// The texture unit that no program reads: textures are made and filled there.
const SPARE_UNIT: u32 = 7;

/// The layers of a texture that has any.
const LAYERS: u32 = 4;

/// A texture, whose sampler returns the nearest texel.
pub(crate) struct Texture {
    object: GlObject<glow::Texture>,
    size: (u32, u32),
    format: TextureFormat,
    // Dropped after the texture.
    _image: Option<EglImage>,
}

impl Texture {
    /// A texture with storage of its own.
    pub(crate) fn new(
        gl: &CurrentContext<'_>,
        format: TextureFormat,
        size: (u32, u32),
    ) -> Result<Self, GlError> {
        let target = format.target();
        let object = bound_texture(gl, target)?;
        let (width, height) = (size.0 as i32, size.1 as i32);
        // SAFETY: a context is current, and the texture is bound.
        unsafe {
            let gl = gl.functions();
            match format.layers {
                0 => gl.tex_storage_2d(target, 1, format.internal, width, height),
                layers => {
                    gl.tex_storage_3d(target, 1, format.internal, width, height, layers as i32);
                }
            }
        }
        gl.check("glTexStorage")?;
        Ok(Self { object, size, format, _image: None })
    }

    /// A texture whose pixels are those of an image.
    pub(crate) fn of_image(
        gl: &CurrentContext<'_>,
        image: EglImage,
        size: (u32, u32),
    ) -> Result<Self, GlError> {
        // The image brings its own format; nothing is exchanged with the CPU.
        let format = TextureFormat::RGBA8;
        let object = bound_texture(gl, format.target())?;
        gl.image_target_texture(format.target(), &image);
        gl.check("glEGLImageTargetTexture2DOES")?;
        Ok(Self { object, size, format, _image: Some(image) })
    }

    /// Width and height in texels.
    pub(crate) fn size(&self) -> (u32, u32) {
        self.size
    }

    pub(super) fn format(&self) -> TextureFormat {
        self.format
    }

    pub(super) fn name(&self) -> glow::Texture {
        self.object.name()
    }

    /// Whether it has this format and size.
    pub(crate) fn is(&self, format: TextureFormat, size: (u32, u32)) -> bool {
        self.format == format && self.size == size
    }

    /// Binds the texture to a texture unit.
    pub(crate) fn bind(&self, gl: &CurrentContext<'_>, unit: u32) {
        bind(gl, unit, self.format.target(), self.name());
    }

    /// Copies rows of pixels, in the texture's own format, into the texture.
    ///
    /// `stride` is in bytes.
    ///
    /// # Panics
    ///
    /// If the rows overlap, or do not lie within the slice.
    pub(crate) fn upload(&self, gl: &CurrentContext<'_>, pixels: &[u8], stride: usize) {
        let (width, height) = self.size;
        let TextureFormat { format, kind, bytes, .. } = self.format;
        assert_rows(pixels.len(), width as usize * bytes, height, stride);
        let functions = gl.functions();
        let rows = |row: u32, count: u32, pixels: &[u8]| {
            // SAFETY: a context is current; GL reads `count` rows of `width` pixels, `stride`
            // bytes apart, which lie within the slice, as just asserted.
            unsafe {
                functions.tex_sub_image_2d(
                    glow::TEXTURE_2D,
                    0,
                    0,
                    row as i32,
                    width as i32,
                    count as i32,
                    format,
                    kind,
                    glow::PixelUnpackData::Slice(Some(pixels)),
                );
            }
        };
        self.bind(gl, SPARE_UNIT);
        // SAFETY: a context is current.
        unsafe { functions.pixel_store_i32(glow::UNPACK_ALIGNMENT, 1) };
        // GL counts a row in pixels.
        match i32::try_from(stride / bytes) {
            Ok(row_length) if stride.is_multiple_of(bytes) => {
                // SAFETY: a context is current.
                unsafe { functions.pixel_store_i32(glow::UNPACK_ROW_LENGTH, row_length) };
                rows(0, height, pixels);
            }
            _ => {
                // SAFETY: a context is current.
                unsafe { functions.pixel_store_i32(glow::UNPACK_ROW_LENGTH, 0) };
                (0..height).for_each(|row| rows(row, 1, &pixels[row as usize * stride..]));
            }
        }
    }
}

/// Creates a texture, bound to this target; it samples the nearest texel and has no other levels.
pub(super) fn bound_texture(
    gl: &CurrentContext<'_>,
    target: u32,
) -> Result<GlObject<glow::Texture>, GlError> {
    let object = GlObject::new(
        gl,
        "glGenTextures",
        glow::Context::create_texture,
        glow::Context::delete_texture,
    )?;
    bind(gl, SPARE_UNIT, target, object.name());
    for (name, value) in [
        (glow::TEXTURE_MIN_FILTER, glow::NEAREST),
        (glow::TEXTURE_MAG_FILTER, glow::NEAREST),
        (glow::TEXTURE_WRAP_S, glow::CLAMP_TO_EDGE),
        (glow::TEXTURE_WRAP_T, glow::CLAMP_TO_EDGE),
    ] {
        // SAFETY: a context is current, and the texture is bound.
        unsafe { gl.functions().tex_parameter_i32(target, name, value as i32) };
    }
    Ok(object)
}

/// Binds a texture to a target of a texture unit.
pub(super) fn bind(gl: &CurrentContext<'_>, unit: u32, target: u32, texture: glow::Texture) {
    // SAFETY: a context is current, and the texture is one of its objects.
    unsafe {
        gl.functions().active_texture(glow::TEXTURE0 + unit);
        gl.functions().bind_texture(target, Some(texture));
    }
}

/// Panics if the rows of a picture overlap, or do not lie within memory of this length.
pub(super) fn assert_rows(len: usize, row: usize, height: u32, stride: usize) {
    let rows = (height as usize).saturating_sub(1);
    let needed = stride.checked_mul(rows).and_then(|start| start.checked_add(row));
    assert!(row <= stride || rows == 0, "rows overlap");
    assert!(needed.is_some_and(|needed| needed <= len), "a picture lies outside of its memory");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "outside of its memory")]
    fn a_slice_that_is_too_short_does_not_reach_gl() {
        assert_rows(256 + 31, 32, 2, 256);
    }
}
