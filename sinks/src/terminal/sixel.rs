//! Sixel: pixels in bands of six rows, in a palette of 256 colours that is made for each picture.

use std::io;

use icy_sixel::{EncodeOptions, sixel_encode};

/// Rows of a band.
pub(super) const BAND: u32 = 6;

/// Draws a picture of three bytes a pixel; `rgba` is room for what the encoder wants instead.
pub(super) fn draw(
    rgb: &[u8],
    (width, height): (u32, u32),
    rgba: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    rgba.clear();
    rgba.extend(rgb.chunks_exact(3).flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 0xff]));
    // Dithered, what stands still would flicker, since every picture has another palette.
    let options = EncodeOptions { diffusion: 0.0, ..EncodeOptions::default() };
    let text = sixel_encode(rgba, width as usize, height as usize, &options);
    out.extend_from_slice(text.map_err(io::Error::other)?.as_bytes());
    Ok(())
}
