//! A display stepped by hand: one frame after the other, without a camera.

use std::path::Path;
use std::time::{Duration, Instant};

use vcam_allocator::{
    Alignment, ColourSpace, CpuAccess, Dmabuf, Fence, Fourcc, Layout, Pool, heaps,
};
use vcam_sinks::{Cards, Frame, KmsOptions, KmsSink, Sink, SinkCounts, SinkError};

/// Width and height of the frames.
pub const SIZE: (u32, u32) = (640, 480);

/// The time limit of a wait, longer than any wait here takes.
const SOON: Duration = Duration::from_secs(60);

/// The options to open the first display of the card with this node.
pub fn options(node: &Path) -> KmsOptions {
    let card = Some(node.display().to_string());
    KmsOptions { card, ..KmsOptions::new(SIZE, Fourcc::XRGB8888) }
}

/// A display, and buffers for it.
#[derive(Debug)]
pub struct SteppedDisplay {
    /// The display.
    pub sink: KmsSink,
    /// Its buffers.
    pub pool: Pool,
    /// Frames so far.
    pub frames: u64,
}

impl SteppedDisplay {
    /// On the first display of the card with this node.
    pub fn new(node: &Path) -> Self {
        Self::on(&Cards::default(), &options(node))
    }

    /// On the display that the options name, of a card that others may have open.
    pub fn on(cards: &Cards, options: &KmsOptions) -> Self {
        let sink = KmsSink::open_beside(cards, options).unwrap();
        Self { sink, pool: pool("udmabuf", options.format, options.size), frames: 0 }
    }

    /// Shows a frame, all of the colour that its number has.
    pub fn frame(&mut self) {
        self.present(None).unwrap();
    }

    /// The same, where it may fail, with a fence to wait for.
    pub fn present(&mut self, ready: Option<Fence>) -> Result<(), SinkError> {
        let buffer = self.pool.take(SOON).unwrap();
        paint(&buffer, self.frames);
        let sequence = self.frames;
        self.frames += 1;
        let timestamp = Duration::from_millis(sequence);
        let (colour_space, taken) = (ColourSpace::SRGB, None);
        self.sink.present(Frame { sequence, timestamp, buffer, colour_space, ready, taken })
    }

    /// Shows frames, with a pause in between, until the counts are as wanted.
    pub fn until(&mut self, wanted: impl Fn(SinkCounts) -> bool) {
        let deadline = Instant::now() + SOON;
        while !wanted(self.sink.counts()) {
            assert!(Instant::now() < deadline, "{:?}", self.sink.counts());
            self.frame();
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Shows frames until one was not shown.
    pub fn until_gone(&mut self) {
        let before = self.sink.counts().dropped;
        self.until(|counts| counts.dropped > before);
    }

    /// Shows frames until one is shown again.
    pub fn until_back(&mut self) {
        let before = self.sink.counts().displayed;
        self.until(|counts| counts.displayed > before);
    }

    /// Asserts that the display shows the last frame, and nothing else.
    pub fn assert_shown(&mut self) {
        let colour = colour(self.frames - 1);
        let shown = self.sink.capture().unwrap();
        let is = |x, y| shown.pixel(x, y).unwrap();
        let wrong = (0..SIZE.1)
            .flat_map(|y| (0..SIZE.0).map(move |x| (x, y)))
            .find(|(x, y)| is(*x, *y) != colour);
        if let Some((x, y)) = wrong {
            panic!("{:?} at {x},{y} instead of {colour:?}", is(x, y));
        }
    }

    /// Ends it; asserts that every frame was counted, as shown or as dropped.
    pub fn finish(mut self) -> SinkCounts {
        self.sink.finish().unwrap();
        let counts = self.sink.counts();
        assert_eq!(counts.displayed + counts.dropped, self.frames, "{counts:?}");
        counts
    }
}

/// Three buffers.
pub fn pool(heap: &str, format: Fourcc, size: (u32, u32)) -> Pool {
    let layout = Layout::linear(format, size.0, size.1, Alignment::default()).unwrap();
    Pool::new(&*heaps::open(heap).unwrap(), &layout, "test-show", 3).unwrap()
}

/// The colour of a frame, which no frame before it had.
pub fn colour(frame: u64) -> [u8; 3] {
    let level = |shift: u32| (frame.wrapping_mul(0x9e37_79b9).wrapping_add(77) >> shift) as u8;
    [level(0), level(8), level(16)]
}

/// Fills a buffer with the colour of this frame.
pub fn paint(buffer: &Dmabuf, frame: u64) {
    let mut pixels = buffer.cpu_access(CpuAccess::Write).unwrap();
    let [red, green, blue] = colour(frame);
    for pixel in pixels.plane_mut(0).chunks_exact_mut(4) {
        pixel.copy_from_slice(&[blue, green, red, 255]);
    }
    pixels.end().unwrap();
}
