//! Frames from a GPU to a display without a copy and without waiting: each buffer carries the GPU's
//! fence, and the display waits for it, not this program.
//!
//! Three things to get right: a buffer goes back to its pool only when the display shows another
//! one; the next reader gets the fence of the last writer; and the display is left as it was found.
//!
//! `cargo run --example scan_out`

use std::time::Duration;

use vcam_allocator::{Alignment, ColourSpace, CpuAccess, Fourcc, Layout, Pool, heaps};
use vcam_isp_gpu::{Cfa, GpuIsp, Isp, IspParams, Job, Output, RawFormat};
use vcam_pipeline::sensor::Sensor;
use vcam_sinks::{Frame, KmsOptions, KmsSink, Sink};

const SIZE: (u32, u32) = (640, 480);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let heap = heaps::open("udmabuf")?;
    let pool = |format, name| -> Result<Pool, Box<dyn std::error::Error>> {
        let layout = Layout::linear(format, SIZE.0, SIZE.1, Alignment::default())?;
        Ok(Pool::new(&*heap, &layout, name, 3)?)
    };
    let (raws, pictures) = (pool(Fourcc::R8, "raw")?, pool(Fourcc::XRGB8888, "picture")?);
    let mut display = KmsSink::open(&KmsOptions::new(SIZE, Fourcc::XRGB8888))?;
    let (mut sensor, mut isp) = (Sensor::new(SIZE.0, SIZE.1, Cfa::Rggb)?, GpuIsp::new(None)?);
    let second = Duration::from_secs(1);
    for sequence in 0..30 {
        let raw = raws.take(second)?;
        // SYNC START and END are around every access of the CPU, and nowhere else.
        let mut pixels = raw.cpu_access(CpuAccess::Write)?;
        sensor.fill(sequence, pixels.plane_mut(0), raw.layout().planes()[0].stride as usize);
        pixels.end()?;

        let picture = pictures.take(second)?;
        let ready = isp.process(&Job {
            sequence,
            format: RawFormat::SRGGB8,
            size: SIZE,
            raw: &raw,
            outputs: &[Output::new(&picture)],
            params: &IspParams::default(),
            measure: false,
        })?;
        if let Some(fence) = &ready {
            // The pool hands neither of them out before the GPU is done.
            raw.release_after(fence.clone());
            picture.release_after(fence.clone());
        }
        let (timestamp, colour_space) = (Duration::ZERO, ColourSpace::SRGB);
        let (buffer, taken) = (picture, None);
        display.present(Frame { sequence, timestamp, buffer, colour_space, ready, taken })?;
    }
    display.finish()?;
    let link = display.link_end();
    println!(
        "{} frames shown by {:?}, {} imports",
        display.counts().displayed,
        link.method,
        link.imports
    );
    Ok(())
}
