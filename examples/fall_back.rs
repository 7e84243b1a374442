//! Memory that no device can import: every frame still arrives, by copy, and the report says why.
//!
//! Memory of a plain memfd is no dma-buf. A camera that takes the first heap that opens would show
//! nothing here; a camera that asks the devices first copies from the first frame on.
//!
//! `cargo run --example fall_back`

use std::time::Duration;

use vcam_allocator::{Fourcc, heaps};
use vcam_pipeline::{Config, IspChoice, Prepared};
use vcam_sinks::NullSink;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config =
        Config::new(Fourcc::XRGB8888).frames(30).period(Duration::ZERO).isp(IspChoice::Gpu(None));
    let heap = heaps::open("memfd")?;
    let prepared = Prepared::new(config, vec![heap], vec![Box::new(NullSink::new())])?;
    for plan in prepared.plans() {
        println!("{}: {}", plan.stream, plan.conflict.as_deref().unwrap_or("everybody takes it"));
    }
    let (outcome, result) = prepared.start()?.wait();
    result?;
    for link in &outcome.links {
        println!(
            "{} to {}: {:?}, {} bytes, because {}",
            link.from,
            link.to,
            link.method,
            link.bytes_copied,
            link.reason.as_deref().unwrap_or("that was no problem")
        );
    }
    println!("{} of {} frames arrived", outcome.frames.displayed, outcome.frames.completed);
    Ok(())
}
