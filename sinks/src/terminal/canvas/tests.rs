//! What goes to a terminal is taken from a pseudo-terminal, and decoded back to the picture.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{
    LocalModes, OptionalActions, OutputModes, Winsize, tcgetattr, tcsetattr, tcsetwinsize,
};
use vcam_allocator::heaps::memfd::Memfd;
use vcam_allocator::{Alignment, ColourSpace, CpuAccess, Fourcc, Layout, Pool};

use super::*;
use crate::terminal::palette;

/// A terminal that keeps what it is sent, and answers the question that it is asked.
struct Pseudo {
    /// Our end.
    terminal: File,
    read: JoinHandle<Vec<u8>>,
    answered: mpsc::Receiver<()>,
}

impl Pseudo {
    fn new(columns: u16, rows: u16, pixels: (u16, u16), answer: &'static str) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let flags = OFlags::NOCTTY.bits() as i32;
        let terminal =
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(name).unwrap();
        let (ws_xpixel, ws_ypixel) = pixels;
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel, ws_ypixel };
        tcsetwinsize(&terminal, size).unwrap();
        // So that a line's end comes out as it was written.
        let mut modes = tcgetattr(&terminal).unwrap();
        modes.output_modes.remove(OutputModes::OPOST);
        tcsetattr(&terminal, OptionalActions::Now, &modes).unwrap();
        let (tell, answered) = mpsc::channel();
        let read = thread::spawn(move || {
            let mut master = File::from(master);
            let (mut bytes, mut asked) = (Vec::new(), false);
            let mut some = [0; 4096];
            // It fails when the last one closes the other end.
            while let Ok(count @ 1..) = master.read(&mut some) {
                bytes.extend_from_slice(&some[..count]);
                if !asked && bytes.ends_with(b"\x1b[c") {
                    asked = true;
                    bytes.clear();
                    master.write_all(answer.as_bytes()).unwrap();
                    let _ = tell.send(());
                }
            }
            bytes
        });
        Self { terminal, read, answered }
    }

    /// What it was sent, without the question.
    fn sent(self) -> Vec<u8> {
        drop(self.terminal);
        self.read.join().unwrap()
    }
}

const SIZE: (u32, u32) = (64, 36);

/// Red grows to the right and green downwards; blue is a check.
fn colour(x: u32, y: u32) -> [u8; 3] {
    [(x * 4) as u8, (y * 7) as u8, if (x / 16 + y / 12).is_multiple_of(2) { 200 } else { 40 }]
}

/// The same in steps, with 48 colours.
fn posterised(x: u32, y: u32) -> [u8; 3] {
    let [_, _, blue] = colour(x, y);
    [(x / 8 * 32) as u8, (y / 12 * 80) as u8, blue]
}

fn frame(colour: fn(u32, u32) -> [u8; 3]) -> (Pool, Frame) {
    let layout = Layout::linear(Fourcc::XRGB8888, SIZE.0, SIZE.1, Alignment::default()).unwrap();
    let pool = Pool::new(&Memfd::new(), &layout, "test", 1).unwrap();
    let buffer = pool.take(Duration::ZERO).unwrap();
    let mut pixels = buffer.cpu_access(CpuAccess::Write).unwrap();
    let stride = layout.planes()[0].stride as usize;
    for (y, row) in pixels.plane_mut(0).chunks_mut(stride).take(SIZE.1 as usize).enumerate() {
        for (x, pixel) in row.chunks_mut(4).take(SIZE.0 as usize).enumerate() {
            let [red, green, blue] = colour(x as u32, y as u32);
            pixel.copy_from_slice(&[blue, green, red, 0]);
        }
    }
    pixels.end().unwrap();
    let timestamp = Duration::ZERO;
    let colour_space = ColourSpace::SRGB;
    (pool, Frame { sequence: 0, timestamp, buffer, colour_space, ready: None, taken: None })
}

/// The picture in so many pixels.
fn expected(size: (u32, u32)) -> Vec<u8> {
    expected_of(colour, size)
}

fn expected_of(colour: fn(u32, u32) -> [u8; 3], size: (u32, u32)) -> Vec<u8> {
    let all = (0..SIZE.1).flat_map(|y| (0..SIZE.0).flat_map(move |x| colour(x, y)));
    let mut small = Vec::new();
    assert_eq!(pixels::shrink(&all.collect::<Vec<_>>(), SIZE, size, &mut small), size);
    small
}

/// What a terminal that answers so is sent for one picture.
fn drawn(columns: u16, rows: u16, pixels: (u16, u16), answer: &'static str) -> Vec<u8> {
    drawn_of(colour, columns, rows, pixels, answer)
}

fn drawn_of(
    colour: fn(u32, u32) -> [u8; 3],
    columns: u16,
    rows: u16,
    pixels: (u16, u16),
    answer: &'static str,
) -> Vec<u8> {
    let pseudo = Pseudo::new(columns, rows, pixels, answer);
    let before = tcgetattr(&pseudo.terminal).unwrap();
    let variable = |name: &str| match name {
        "TERM" => Some("xterm".to_owned()),
        "COLORTERM" => Some("truecolor".to_owned()),
        _ => None,
    };
    let protocol = ask::protocol(&pseudo.terminal, variable);
    pseudo.answered.recv().unwrap();
    let after = tcgetattr(&pseudo.terminal).unwrap();
    assert_eq!(after.local_modes, before.local_modes);
    assert!(after.local_modes.contains(LocalModes::ECHO));
    let (_pool, frame) = frame(colour);
    let mut canvas = Canvas::with(pseudo.terminal.try_clone().unwrap(), protocol);
    canvas.draw(&frame).unwrap();
    drop(canvas);
    pseudo.sent()
}

/// What is between two marks, the first time.
fn between<'a>(text: &'a [u8], start: &[u8], end: &[u8]) -> &'a [u8] {
    let find = |text: &[u8], mark: &[u8]| text.windows(mark.len()).position(|w| w == mark).unwrap();
    let rest = &text[find(text, start) + start.len()..];
    &rest[..find(rest, end)]
}

#[test]
fn kitty_gets_every_pixel() {
    // Cells of 10x20: 62 by 17 of them would hold 620x340.
    let sent = drawn(80, 20, (800, 400), "\x1b_Gi=31;OK\x1b\\\x1b[?62;c");
    let pieces: Vec<_> =
        sent.split(|byte| *byte == 0x1b).filter_map(|part| part.strip_prefix(b"_G")).collect();
    let (mut letters, mut first) = (Vec::new(), None);
    for (index, piece) in pieces.iter().enumerate() {
        let piece = std::str::from_utf8(piece).unwrap();
        let (control, data) = piece.split_once(';').unwrap();
        assert!(data.len() <= 4096);
        let more = if index + 1 < pieces.len() { "m=1" } else { "m=0" };
        assert!(control.ends_with(more), "{control}");
        first.get_or_insert(control.to_owned());
        letters.extend_from_slice(data.as_bytes());
    }
    let first = first.unwrap();
    assert!(pieces.len() > 1 && first.contains("f=24") && first.contains("s=64,v=36,"), "{first}");
    assert!(first.contains("c=60,r=17,"), "{first}");
    assert_eq!(STANDARD.decode(letters).unwrap(), expected(SIZE));
}

#[test]
fn iterm_gets_every_pixel() {
    let pseudo = Pseudo::new(80, 20, (0, 0), "");
    let (_pool, frame) = frame(colour);
    let mut canvas = Canvas::with(pseudo.terminal.try_clone().unwrap(), Protocol::Iterm);
    canvas.draw(&frame).unwrap();
    drop(canvas);
    let sent = pseudo.sent();
    let png = STANDARD.decode(between(&sent, b"preserveAspectRatio=1:", b"\x07")).unwrap();
    let picture = image::load_from_memory(&png).unwrap().into_rgb8();
    assert_eq!((picture.dimensions(), picture.into_raw()), (SIZE, expected(SIZE)));
}

/// The largest difference between what sixel shows of a picture and the picture, and the mean.
fn differences(colour: fn(u32, u32) -> [u8; 3]) -> (u8, f64) {
    let sent = drawn_of(colour, 80, 20, (800, 400), "\x1b[?62;4;22c");
    let sixel = [b"\x1bP", between(&sent, b"\x1bP", b"\x1b\\"), b"\x1b\\"].concat();
    let picture = icy_sixel::SixelImage::decode(&sixel).unwrap();
    // Six whole bands.
    assert_eq!((picture.width, picture.height), (64, 36));
    let shown = picture.pixels.chunks(4).flat_map(|pixel| &pixel[..3]);
    let expected = expected_of(colour, (64, 36));
    let all: Vec<_> = shown.zip(&expected).map(|(is, should)| is.abs_diff(*should)).collect();
    assert_eq!(all.len(), expected.len());
    let mean = all.iter().map(|one| f64::from(*one)).sum::<f64>() / all.len() as f64;
    (all.into_iter().max().unwrap(), mean)
}

#[test]
fn sixel_gets_every_pixel_in_256_colours() {
    // A colour is three hundredths, so it is off by a level or two.
    let (worst, _) = differences(posterised);
    assert!(worst <= 2, "{worst}");
    // 2,304 colours in a palette of 256: measured, 41 and 3.8.
    let (worst, mean) = differences(colour);
    assert!(worst <= 48 && mean <= 4.5, "{worst} {mean}");
}

/// The colours of the cells, upper half and lower half, row by row.
fn blocks(sent: &[u8]) -> Vec<Vec<[Vec<u8>; 2]>> {
    let text = std::str::from_utf8(between(sent, b"\x1b7", b"\x1b8")).unwrap();
    let row = |line: &str| {
        let mut cell = [Vec::new(), Vec::new()];
        let mut cells = Vec::new();
        for part in line.split('\x1b').filter(|part| !part.is_empty()) {
            let (control, cells_after) = part.split_once('m').unwrap();
            let numbers: Vec<u8> =
                control[1..].split(';').map(|number| number.parse().unwrap()).collect();
            match numbers[..] {
                [38, _, ref colour @ ..] => cell[0] = colour.to_vec(),
                [48, _, ref colour @ ..] => cell[1] = colour.to_vec(),
                _ => cell = [Vec::new(), Vec::new()],
            }
            assert!(cells_after.chars().all(|letter| letter == '▀'), "{cells_after:?}");
            cells.extend(cells_after.chars().map(|_| cell.clone()));
        }
        cells
    };
    text.split("\r\n").map(row).collect()
}

#[test]
fn half_blocks_are_pixels_two_to_a_cell() {
    // It answers, and has no pixels.
    let sent = drawn(40, 12, (0, 0), "\x1b[?1;2c");
    let rows = blocks(&sent);
    // 9 of its 12 rows at most.
    assert_eq!((rows.len(), rows[0].len()), (9, 32));
    let expected = expected((32, 18));
    for (y, row) in rows.iter().enumerate() {
        for (x, [upper, lower]) in row.iter().enumerate() {
            let pixel = |y: usize| &expected[(y * 32 + x) * 3..][..3];
            assert_eq!((&upper[..], &lower[..]), (pixel(2 * y), pixel(2 * y + 1)), "{x},{y}");
        }
    }
}

#[test]
fn half_blocks_come_in_a_palette_where_there_is_no_more() {
    let pseudo = Pseudo::new(40, 12, (0, 0), "");
    let (_pool, frame) = frame(colour);
    let blocks_only = Protocol::Blocks { all_colours: false };
    let mut canvas = Canvas::with(pseudo.terminal.try_clone().unwrap(), blocks_only);
    canvas.draw(&frame).unwrap();
    drop(canvas);
    let rows = blocks(&pseudo.sent());
    assert_eq!((rows.len(), rows[0].len()), (9, 32));
    let expected = expected((32, 18));
    let [red, green, blue] = expected[..3] else { panic!("three colours") };
    assert_eq!(rows[0][0][0], [palette::tests::search([red, green, blue])]);
}

#[test]
fn a_terminal_that_does_not_answer_gets_half_blocks() {
    let pseudo = Pseudo::new(80, 24, (0, 0), "");
    let protocol = ask::protocol(&pseudo.terminal, |name| (name == "TERM").then(|| "vt52".into()));
    assert_eq!(protocol, Protocol::Blocks { all_colours: false });
}

#[test]
fn nothing_goes_past_the_room() {
    for (size, cells) in [((1920, 1080), (74, 21)), ((1080, 1920), (23, 20)), ((3, 4000), (1, 21))]
    {
        for cell in [CELL, (10, 20), (1, 1)] {
            let (width, height) = fit(size, cells, cell);
            assert!((1..=cells.0 * cell.0).contains(&width), "{size:?} {cell:?}");
            assert!((1..=cells.1 * cell.1).contains(&height), "{size:?} {cell:?}");
        }
    }
}

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
