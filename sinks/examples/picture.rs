//! A moving picture for the sinks that need no display.
//!
//! ```text
//! picture terminal|null|FILE.png WIDTHxHEIGHT FRAMES
//! picture terminal 640x480 100
//! picture frame-%03d.png 64x48 10
//! ```

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use vcam_allocator::heaps::memfd::Memfd;
use vcam_allocator::{Alignment, ColourSpace, CpuAccess, Fourcc, Layout, Pool};
use vcam_sinks::{FileSink, Frame, NullSink, Sink, TerminalSink};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [sink, size, frames] = args.as_slice() else {
        return Err("usage: picture terminal|null|FILE.png WIDTHxHEIGHT FRAMES".into());
    };
    let (width, height) = size.split_once('x').ok_or("a size is WIDTHxHEIGHT")?;
    let layout =
        Layout::linear(Fourcc::XRGB8888, width.parse()?, height.parse()?, Alignment::default())?;
    // Two for the sink to hold, one to draw.
    let pool = Pool::new(&Memfd::new(), &layout, "picture", 3)?;
    let mut sink: Box<dyn Sink> = match sink.as_str() {
        "terminal" => Box::new(TerminalSink::new()?),
        "null" => Box::new(NullSink::new()),
        path => Box::new(FileSink::create(Path::new(path))?),
    };
    for sequence in 0..frames.parse()? {
        let buffer = pool.take(Duration::from_secs(1))?;
        draw(&buffer, sequence)?;
        sink.present(Frame {
            sequence,
            timestamp: Duration::ZERO,
            buffer,
            colour_space: ColourSpace::SRGB,
            ready: None,
            taken: None,
        })?;
        std::thread::sleep(Duration::from_millis(16));
    }
    sink.finish()?;
    eprintln!("{}: {:?}", sink.name(), sink.counts());
    Ok(())
}

fn draw(buffer: &vcam_allocator::Dmabuf, sequence: u64) -> Result<(), Box<dyn Error>> {
    let stride = buffer.layout().planes()[0].stride as usize;
    let mut pixels = buffer.cpu_access(CpuAccess::Write)?;
    for (y, row) in (0..).zip(pixels.plane_mut(0).chunks_mut(stride)) {
        for (x, pixel) in (0u64..).zip(row.chunks_exact_mut(4)) {
            pixel.copy_from_slice(&[(x / 4) as u8, (y / 4 + sequence) as u8, (x / 3) as u8, 0]);
        }
    }
    Ok(pixels.end()?)
}
