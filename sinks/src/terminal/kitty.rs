//! kitty's graphics protocol: pixels in base64, in pieces.
//!
//! Source: "Terminal graphics protocol" in the documentation of kitty.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Letters in a piece at most.
const PIECE: usize = 4096;

/// Our picture's number: the next one of this number takes its place, so a terminal keeps one.
const NUMBER: u32 = 0x76_63_61;

/// Draws a picture of three bytes a pixel over so many cells, and leaves the cursor where it is.
pub(super) fn draw(
    rgb: &[u8],
    (width, height): (u32, u32),
    (columns, rows): (u32, u32),
    out: &mut Vec<u8>,
) {
    let letters = STANDARD.encode(rgb);
    let mut pieces = letters.as_bytes().chunks(PIECE).peekable();
    let mut control =
        format!("a=T,f=24,t=d,i={NUMBER},p=1,q=2,C=1,s={width},v={height},c={columns},r={rows},");
    while let Some(piece) = pieces.next() {
        // Writing to a string cannot fail.
        let _ = write!(control, "m={}", u8::from(pieces.peek().is_some()));
        out.extend_from_slice(b"\x1b_G");
        out.extend_from_slice(control.as_bytes());
        out.push(b';');
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\x1b\\");
        control.clear();
    }
}
