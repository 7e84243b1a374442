//! Half blocks: a cell's upper half has the colour of its letter, the lower half that of its ground.

use std::io::{self, Write};

use super::palette;

/// The upper half of a cell.
const UPPER_HALF: &str = "\u{2580}";

/// Draws a picture of three bytes a pixel, two rows of pixels to a row of cells.
pub(super) fn draw(rgb: &[u8], width: u32, all_colours: bool, out: &mut Vec<u8>) -> io::Result<()> {
    let row = (width as usize * 3).max(3);
    for (index, pair) in rgb.chunks(row * 2).enumerate() {
        if index > 0 {
            out.extend_from_slice(b"\r\n");
        }
        let (upper, lower) = pair.split_at(row.min(pair.len()));
        let mut lower = lower.chunks_exact(3);
        let mut before = None;
        for pixel in upper.chunks_exact(3) {
            // An odd last row has nothing below it.
            let cell = (pixel, lower.next());
            if before != Some(cell) {
                colour(38, pixel, all_colours, out)?;
                if let (_, Some(below)) = cell {
                    colour(48, below, all_colours, out)?;
                }
                before = Some(cell);
            }
            out.extend_from_slice(UPPER_HALF.as_bytes());
        }
        out.extend_from_slice(b"\x1b[0m");
    }
    Ok(())
}

/// Sets the colour of the letter (38) or of the ground (48): "SGR" of ECMA-48, with ISO 8613-6.
fn colour(what: u8, pixel: &[u8], all_colours: bool, out: &mut Vec<u8>) -> io::Result<()> {
    let &[red, green, blue] = pixel else { return Ok(()) };
    if all_colours {
        return write!(out, "\x1b[{what};2;{red};{green};{blue}m");
    }
    write!(out, "\x1b[{what};5;{}m", palette::nearest([red, green, blue]))
}
