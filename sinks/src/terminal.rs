//! The latest picture in a terminal.
//!
//! viuer draws it: with the graphics protocols of kitty and iTerm where the terminal says that it
//! has them, and with coloured half blocks everywhere else.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use image::{DynamicImage, RgbImage};
use vcam_allocator::constraints::Constraints;
use vcam_allocator::{Dmabuf, LinkEnd};

use crate::pixels::{self, RGB, ReadError};
use crate::sink::{Frame, Sink, SinkCounts, SinkError, read_by_the_cpu};

/// Not more often than this: a terminal is slow, and it may be at the other end of a network.
const INTERVAL: Duration = Duration::from_millis(100);

/// The widest picture that is sent to a terminal which shows pixels.
const MOST_PIXELS: u32 = 640;

/// Draws the latest picture where the cursor is, again and again in the same place.
///
/// The camera does not wait for the terminal. A thread draws; when it is done it takes whatever
/// frame is the latest then, and those in between are passed over: they count neither as displayed
/// nor as dropped. Meant for a standard output that is a terminal, which is the caller's to check.
///
/// The sink holds on to two buffers: the one being drawn and the latest one.
#[derive(Debug)]
pub struct TerminalSink {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    latest: Option<Frame>,
    drawn: u64,
    stop: bool,
    failed: Option<SinkError>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TerminalSink {
    /// A sink that draws on the standard output.
    pub fn new() -> Result<Self, SinkError> {
        let shared = Arc::new(Shared::default());
        let thread = thread::Builder::new()
            .name("terminal".to_owned())
            .spawn({
                let shared = shared.clone();
                move || draw_all(&shared)
            })
            .map_err(SinkError::Terminal)?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl Sink for TerminalSink {
    fn name(&self) -> String {
        "terminal".to_owned()
    }

    fn constraints(&self) -> Constraints {
        read_by_the_cpu(&self.name(), 2, &RGB)
    }

    fn prepare(&mut self, _: &[Dmabuf]) {}

    fn present(&mut self, frame: Frame) -> Result<(), SinkError> {
        let passed_over = {
            let mut state = self.shared.lock();
            if let Some(error) = state.failed.take() {
                return Err(error);
            }
            state.latest.replace(frame)
        };
        self.shared.changed.notify_one();
        if let Some(frame) = passed_over {
            frame.discard();
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.shared.lock().stop = true;
        self.shared.changed.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            return Err(SinkError::Terminal(io::Error::other("the drawing thread panicked")));
        }
        self.shared.lock().failed.take().map_or(Ok(()), Err)
    }

    fn link_end(&self) -> LinkEnd {
        LinkEnd::native("the CPU reads it in place")
    }

    fn counts(&self) -> SinkCounts {
        SinkCounts { displayed: self.shared.lock().drawn, dropped: 0 }
    }
}

impl Drop for TerminalSink {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!(%error, "the terminal");
        }
    }
}

/// What the thread does: draws the latest frame, waits a little, and again. The last one is drawn
/// in any case.
fn draw_all(shared: &Shared) {
    let mut canvas = Canvas::new();
    loop {
        let frame = {
            let mut state = shared.lock();
            while state.latest.is_none() && !state.stop {
                state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.latest.take()
        };
        let Some(frame) = frame else { return };
        let started = Instant::now();
        let result = canvas.draw(&frame);
        drop(frame);
        let mut state = shared.lock();
        match result {
            Ok(()) => state.drawn += 1,
            Err(error) => {
                state.failed = Some(error);
                return;
            }
        }
        while !state.stop {
            let Some(left) = INTERVAL.checked_sub(started.elapsed()) else { break };
            state = match shared.changed.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(error) => error.into_inner().0,
            };
        }
    }
}

/// The part of the screen that the picture is drawn on.
struct Canvas {
    config: viuer::Config,
    /// Whether the terminal shows pixels, or blocks that are two to a cell.
    shows_pixels: bool,
    /// Size of the terminal, and rows that the picture takes there.
    room: Option<((u16, u16), u32)>,
    rgb: Vec<u8>,
}

impl Canvas {
    fn new() -> Self {
        // To ask a terminal that does not answer would take forever. So viuer may ask only those
        // that say in their environment that they know the answer.
        let use_kitty = knows_kitty(|name| std::env::var(name).ok());
        let use_iterm = viuer::is_iterm_supported();
        let config = viuer::Config {
            absolute_offset: false,
            restore_cursor: false,
            use_kitty,
            use_iterm,
            ..viuer::Config::default()
        };
        Self { config, shows_pixels: use_kitty || use_iterm, room: None, rgb: Vec::new() }
    }

    fn draw(&mut self, frame: &Frame) -> Result<(), SinkError> {
        let layout = frame.buffer.layout();
        let size = (layout.width(), layout.height());
        let terminal = viuer::terminal_size();
        let (columns, rows) = cells(size, terminal);
        let wanted = if self.shows_pixels {
            let width = size.0.min(MOST_PIXELS);
            (width, scale(size.1, width, size.0))
        } else {
            (columns, rows * 2)
        };
        let rgb = &mut self.rgb;
        let (width, height) =
            pixels::read(&frame.buffer, frame.ready.as_ref(), |from, stride, order| {
                pixels::shrink(from, stride, order, size, wanted, rgb)
            })
            .map_err(|error: ReadError| SinkError::Read(error))?;
        let picture = RgbImage::from_raw(width, height, std::mem::take(rgb))
            .ok_or_else(|| SinkError::Terminal(io::Error::from(io::ErrorKind::InvalidData)))?;
        let picture = DynamicImage::ImageRgb8(picture);
        self.config.width = Some(columns);
        self.config.height = Some(rows);
        self.make_room(terminal, rows)?;
        let drawn = viuer::print(&picture, &self.config);
        write(RESTORE_CURSOR)?;
        self.rgb = picture.into_rgb8().into_raw();
        drawn.map_err(|error| SinkError::Terminal(io::Error::other(error)))?;
        Ok(())
    }

    /// Scrolls until there is room for the picture, and goes to its upper left corner.
    fn make_room(&mut self, terminal: (u16, u16), rows: u32) -> Result<(), SinkError> {
        let text = match self.room {
            Some(room) if room == (terminal, rows) => SAVE_CURSOR.to_owned(),
            before => {
                // After a change of size nobody knows where the old picture went.
                let clear = if before.is_some() { "\x1b[2J\x1b[H" } else { "" };
                // One row more, for what is written after the picture.
                let lines = rows + 1;
                let scroll = "\n".repeat(lines as usize);
                self.room = Some((terminal, rows));
                format!("{HIDE_CURSOR}{clear}{scroll}\x1b[{lines}A\r{SAVE_CURSOR}")
            }
        };
        write(&text)
    }
}

impl Drop for Canvas {
    fn drop(&mut self) {
        if let Some((_, rows)) = self.room
            && let Err(error) = write(&format!("\x1b[{rows}B\r{SHOW_CURSOR}"))
        {
            tracing::debug!(%error, "could not leave the terminal in order");
        }
    }
}

const SAVE_CURSOR: &str = "\x1b7";
const RESTORE_CURSOR: &str = "\x1b8";
const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";

fn write(text: &str) -> Result<(), SinkError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(SinkError::Terminal)
}

/// Whether the environment is that of a terminal with kitty's graphics protocol.
fn knows_kitty(variable: impl Fn(&str) -> Option<String>) -> bool {
    let is = |name: &str, known: &[&str]| {
        variable(name).is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            known.iter().any(|known| value.contains(known))
        })
    };
    variable("KITTY_WINDOW_ID").is_some()
        || is("TERM", &["kitty", "ghostty"])
        || is("TERM_PROGRAM", &["ghostty", "wezterm"])
}

/// The size of a picture in cells of the terminal, which are twice as high as wide; some rows are
/// left for the text around it.
fn cells((width, height): (u32, u32), (columns, rows): (u16, u16)) -> (u32, u32) {
    let (most_columns, most_rows) =
        (u32::from(columns).max(1), u32::from(rows).saturating_sub(3).max(1));
    let columns = most_columns.min(scale(most_rows * 2, width, height)).clamp(1, width.max(1));
    let rows = scale(columns, height, width).div_ceil(2).clamp(1, most_rows);
    (columns, rows)
}

/// `value * by / of`, without overflow and without division by zero.
fn scale(value: u32, by: u32, of: u32) -> u32 {
    let scaled = u64::from(value) * u64::from(by) / u64::from(of.max(1));
    u32::try_from(scaled).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_keeps_its_shape_and_fits() {
        assert_eq!(cells((1920, 1080), (80, 24)), (74, 21));
        assert_eq!(cells((1080, 1920), (80, 24)), (23, 20));
        assert_eq!(cells((640, 480), (200, 100)), (200, 75));
        assert_eq!(cells((16, 16), (80, 24)), (16, 8));
        for size in [(0, 0), (1, 1), (u32::MAX, 1), (1, u32::MAX)] {
            for terminal in [(0, 0), (1, 1), (80, 24), (u16::MAX, u16::MAX)] {
                let (columns, rows) = cells(size, terminal);
                assert!(columns >= 1 && columns <= u32::from(terminal.0).max(1));
                assert!(rows >= 1 && rows <= u32::from(terminal.1).max(1));
            }
        }
    }

    #[test]
    fn only_terminals_that_say_so_are_asked_for_graphics() {
        let environment = |name: &'static str, value: &'static str| {
            knows_kitty(move |asked| (asked == name).then(|| value.to_owned()))
        };
        assert!(environment("TERM", "xterm-kitty"));
        assert!(environment("TERM_PROGRAM", "WezTerm"));
        assert!(environment("KITTY_WINDOW_ID", "1"));
        assert!(!environment("TERM", "xterm-256color"));
        assert!(!knows_kitty(|_| None));
    }
}
