//! iTerm2's inline images: a PNG in base64.
//!
//! Source: "Inline Images Protocol" in the documentation of iTerm2.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

/// Draws a picture of three bytes a pixel over so many cells.
pub(super) fn draw(
    rgb: &[u8],
    (width, height): (u32, u32),
    (columns, rows): (u32, u32),
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(rgb, width, height, ExtendedColorType::Rgb8)
        .map_err(io::Error::other)?;
    let (size, letters) = (png.len(), STANDARD.encode(png));
    let control = format!(
        "\x1b]1337;File=inline=1;size={size};width={columns};height={rows};preserveAspectRatio=1:"
    );
    out.extend_from_slice(control.as_bytes());
    out.extend_from_slice(letters.as_bytes());
    out.push(b'\x07');
    Ok(())
}
