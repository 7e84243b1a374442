//! Frames in which every byte follows a rule, and the bytes of a file of such frames.

use std::time::Duration;

use vcam_allocator::{Alignment, ColourSpace, CpuAccess, Fourcc, Heap, Layout, Pool};
use vcam_sinks::Frame;

/// The time limit for a buffer to come back.
pub const SOON: Duration = Duration::from_secs(5);

/// Buffers as V4L2 has them: nothing between the planes.
pub fn pool(heap: &dyn Heap, format: Fourcc, size: (u32, u32)) -> Pool {
    let alignment = Alignment { stride: 1, offset: 1, rows: 1, size: 4096 };
    let layout = Layout::linear(format, size.0, size.1, alignment).unwrap();
    Pool::new(heap, &layout, "test", 5).unwrap()
}

/// The rule of most tests: the byte of a frame at a place of a plane. It repeats after 251 frames.
pub fn byte(sequence: u64, plane: usize, at: usize) -> u8 {
    (sequence as usize % 251 + 100 * plane + 7 * at + at / 256) as u8
}

/// A frame, filled by a rule.
pub fn frame(pool: &Pool, sequence: u64, byte: impl Fn(u64, usize, usize) -> u8) -> Frame {
    let buffer = pool.take(SOON).unwrap();
    let mut pixels = buffer.cpu_access(CpuAccess::Write).unwrap();
    for plane in 0..buffer.layout().planes().len() {
        for (at, to) in pixels.plane_mut(plane).iter_mut().enumerate() {
            *to = byte(sequence, plane, at);
        }
    }
    pixels.end().unwrap();
    let (layout, timestamp) = (buffer.layout(), Duration::from_millis(sequence));
    let colour_space = ColourSpace::of(layout.format(), (layout.width(), layout.height()));
    Frame { sequence, timestamp, buffer, colour_space, ready: None, taken: None }
}

/// The bytes of a whole frame in a file, as the rule fills it.
pub fn expected(
    format: Fourcc,
    size: (u32, u32),
    sequence: u64,
    byte: impl Fn(u64, usize, usize) -> u8,
) -> Vec<u8> {
    let alignment = Alignment { stride: 1, offset: 1, rows: 1, size: 1 };
    let layout = Layout::linear(format, size.0, size.1, alignment).unwrap();
    let plane = |plane: usize| {
        let bytes = layout.row_bytes(plane) as usize * layout.rows(plane) as usize;
        let byte = &byte;
        (0..bytes).map(move |at| byte(sequence, plane, at))
    };
    (0..layout.planes().len()).flat_map(plane).collect()
}
