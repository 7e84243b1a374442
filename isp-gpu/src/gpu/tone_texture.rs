//! The table of tones ([`tone`](crate::tone)) as a texture.

use crate::gles::{CurrentContext, GlError, Texture, TextureFormat};
use crate::params::Tone;
use crate::tone;

/// The tone curve as a texture.
pub(super) struct ToneTexture {
    curve: Option<Tone>,
    texture: Texture,
}

impl ToneTexture {
    pub(super) fn new(gl: &CurrentContext<'_>) -> Result<Self, GlError> {
        let size = (tone::STEPS as u32, tone::OCTAVES as u32);
        Ok(Self { curve: None, texture: Texture::new(gl, TextureFormat::R32F, size)? })
    }

    /// Returns the texture of a curve, which is filled if the curve is another one than before.
    pub(super) fn of_curve(&mut self, gl: &CurrentContext<'_>, curve: Tone) -> &Texture {
        if self.curve != Some(curve) {
            let levels: Vec<u8> = tone::levels(&curve).flat_map(f32::to_ne_bytes).collect();
            self.texture.upload(gl, &levels, 4 * tone::STEPS);
            self.curve = Some(curve);
        }
        &self.texture
    }
}
