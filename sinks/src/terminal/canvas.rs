//! The part of the screen that the picture is drawn on.

use std::fs::File;
use std::io::Write;

use rustix::termios::tcgetwinsize;

use super::ask::{self, Protocol};
use super::{blocks, iterm, kitty, sixel};
use crate::pixels;
use crate::sink::{Frame, SinkError};

/// The widest picture that is sent to a terminal which shows pixels.
const MOST_PIXELS: u32 = 640;

/// A terminal that does not say how large it is.
const TERMINAL: (u16, u16) = (80, 24);

/// A cell of a terminal that does not say how large those are: smaller than most, so that a picture
/// does not go past its room.
const CELL: (u32, u32) = (6, 12);

pub(super) struct Canvas {
    out: File,
    protocol: Protocol,
    /// Size of the terminal, and rows that the picture takes there.
    room: Option<((u16, u16), u32)>,
    whole: Vec<u8>,
    small: Vec<u8>,
    rgba: Vec<u8>,
    text: Vec<u8>,
}

/// How large a terminal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Terminal {
    cells: (u16, u16),
    /// Pixels of a cell.
    cell: (u32, u32),
}

impl Terminal {
    fn of(out: &File) -> Self {
        let Ok(size) = tcgetwinsize(out) else { return Self { cells: TERMINAL, cell: CELL } };
        let cells = match (size.ws_col, size.ws_row) {
            (0, _) | (_, 0) => TERMINAL,
            cells => cells,
        };
        let cell = (size.ws_xpixel / cells.0, size.ws_ypixel / cells.1);
        let cell = if cell.0 == 0 || cell.1 == 0 { CELL } else { (cell.0.into(), cell.1.into()) };
        Self { cells, cell }
    }
}

impl Canvas {
    pub(super) fn new(out: File) -> Self {
        let protocol = ask::protocol(&out, |name| std::env::var(name).ok());
        tracing::debug!(?protocol, "the terminal");
        Self::with(out, protocol)
    }

    fn with(out: File, protocol: Protocol) -> Self {
        let (whole, small, rgba, text) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { out, protocol, room: None, whole, small, rgba, text }
    }

    pub(super) fn draw(&mut self, frame: &Frame) -> Result<(), SinkError> {
        let size =
            pixels::rgb(&frame.buffer, frame.colour_space, frame.ready.as_ref(), &mut self.whole)?;
        let terminal = Terminal::of(&self.out);
        let cells = cells(size, terminal.cells);
        let wanted = match self.protocol {
            Protocol::Blocks { .. } => (cells.0, cells.1 * 2),
            Protocol::Kitty | Protocol::Iterm => fit(size, cells, terminal.cell),
            Protocol::Sixel => {
                let (width, height) = fit(size, cells, terminal.cell);
                (width, (height / sixel::BAND * sixel::BAND).max(1))
            }
        };
        let size = pixels::shrink(&self.whole, size, wanted, &mut self.small);
        self.text.clear();
        self.make_room(terminal.cells, cells.1);
        let (rgb, text) = (&self.small, &mut self.text);
        let drawn = match self.protocol {
            Protocol::Kitty => {
                kitty::draw(rgb, size, cells, text);
                Ok(())
            }
            Protocol::Iterm => iterm::draw(rgb, size, cells, text),
            Protocol::Sixel => sixel::draw(rgb, size, &mut self.rgba, text),
            Protocol::Blocks { all_colours } => blocks::draw(rgb, size.0, all_colours, text),
        };
        drawn.map_err(SinkError::Terminal)?;
        self.text.extend_from_slice(RESTORE_CURSOR);
        self.out.write_all(&self.text).map_err(SinkError::Terminal)
    }

    /// Scrolls until there is room for the picture, and goes to its upper left corner.
    fn make_room(&mut self, terminal: (u16, u16), rows: u32) {
        if self.room != Some((terminal, rows)) {
            self.text.extend_from_slice(HIDE_CURSOR);
            // After a change of size nobody knows where the old picture went.
            if self.room.is_some() {
                self.text.extend_from_slice(CLEAR);
            }
            // One row more, for what is written after the picture.
            let lines = rows + 1;
            self.text.extend(std::iter::repeat_n(b'\n', lines as usize));
            self.text.extend_from_slice(format!("\x1b[{lines}A\r").as_bytes());
            self.room = Some((terminal, rows));
        }
        self.text.extend_from_slice(SAVE_CURSOR);
    }
}

impl Drop for Canvas {
    fn drop(&mut self) {
        let Some((_, rows)) = self.room else { return };
        let text = format!("\x1b[{rows}B\r{SHOW_CURSOR}");
        if let Err(error) = self.out.write_all(text.as_bytes()) {
            tracing::debug!(%error, "could not leave the terminal in order");
        }
    }
}

const SAVE_CURSOR: &[u8] = b"\x1b7";
const RESTORE_CURSOR: &[u8] = b"\x1b8";
const HIDE_CURSOR: &[u8] = b"\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const CLEAR: &[u8] = b"\x1b[2J\x1b[H";

/// The size of a picture in cells of the terminal, which are twice as high as wide; some rows are
/// left for the text around it.
fn cells((width, height): (u32, u32), (columns, rows): (u16, u16)) -> (u32, u32) {
    let (most_columns, most_rows) =
        (u32::from(columns).max(1), u32::from(rows).saturating_sub(3).max(1));
    let columns = most_columns.min(scale(most_rows * 2, width, height)).clamp(1, width.max(1));
    let rows = scale(columns, height, width).div_ceil(2).clamp(1, most_rows);
    (columns, rows)
}

/// The size of a picture in pixels that fits into so many cells and keeps its shape.
fn fit(size: (u32, u32), cells: (u32, u32), cell: (u32, u32)) -> (u32, u32) {
    let (most_width, most_height) =
        (cells.0.saturating_mul(cell.0).min(MOST_PIXELS), cells.1.saturating_mul(cell.1));
    let width = size.0.min(most_width).min(scale(most_height, size.0, size.1)).max(1);
    (width, scale(width, size.1, size.0).min(most_height).max(1))
}

/// `value * by / of`, without overflow and without division by zero.
fn scale(value: u32, by: u32, of: u32) -> u32 {
    let scaled = u64::from(value) * u64::from(by) / u64::from(of.max(1));
    u32::try_from(scaled).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests;
