//! A camera in thirty lines: thirty frames from whatever heap serves, through whatever ISP there
//! is, into a file.
//!
//! `cargo run --example camera`

use std::path::Path;
use std::time::Duration;

use vcam_allocator::{Fourcc, Knowledge, heaps};
use vcam_pipeline::sensor::Settings;
use vcam_pipeline::{Config, IspChoice, Prepared, StopHandle};
use vcam_sinks::FileSink;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config {
        sensor: Settings::default(),
        format: Fourcc::XRGB8888,
        period: Duration::from_secs(1) / 30,
        frames: Some(30),
        stop: StopHandle::default(),
        isp: IspChoice::Auto,
        strict: false,
        by_cost: false,
        knowledge: Knowledge::default(),
        heap_allocs: None,
    };
    // In order of preference; the plan takes the first that every device accepts.
    let names = ["udmabuf", "system", "memfd"];
    let heaps = names.into_iter().filter_map(|name| heaps::open(name).ok()).collect();
    let picture = std::env::temp_dir().join("vcam-example.png");
    let sink = FileSink::create(Path::new(&picture))?;

    let prepared = Prepared::new(config, heaps, vec![Box::new(sink)])?;
    for plan in prepared.plans() {
        println!("{}: {} buffers in {}", plan.stream, plan.buffers, plan.heap);
    }
    let (outcome, result) = prepared.start()?.wait();
    result?;
    for link in outcome.links {
        println!("{} to {}: {:?}", link.from, link.to, link.method);
    }
    println!("{} frames; the last is {}", outcome.frames.completed, picture.display());
    Ok(())
}
