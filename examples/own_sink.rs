//! A sink of your own: it prints the brightness of each picture.
//!
//! It reads with the CPU and says so in its constraints, so that pictures are put where reading is
//! cheap. It waits for the GPU before it reads, and gives each buffer back by dropping it.
//!
//! `cargo run --example own_sink`

use std::time::Duration;

use vcam::pipeline::sensor::Settings;
use vcam::prelude::*;

#[derive(Debug)]
struct Brightness;

impl Sink for Brightness {
    fn name(&self) -> String {
        "brightness".to_owned()
    }

    fn constraints(&self) -> Constraints {
        let reads = CpuUse { read: true, cached: true, ..CpuUse::default() };
        [Statement::new("brightness", "it is a program", Rule::Cpu(reads))].into_iter().collect()
    }

    fn present(&mut self, frame: Frame) -> Result<(), SinkError> {
        if let Some(ready) = &frame.ready {
            ready.wait(Duration::from_secs(1)).map_err(SinkError::other)?;
        }
        let pixels = frame.buffer.cpu_access(CpuAccess::Read).map_err(SinkError::other)?;
        let greens = pixels.plane(0).iter().skip(1).step_by(4);
        let sum: u64 = greens.clone().map(|green| u64::from(*green)).sum();
        println!("frame {}: {:.1} of 255", frame.sequence, sum as f64 / greens.count() as f64);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A grey card, whose brightness the automatic exposure sets.
    let sensor = Settings { source: "solid".parse()?, ..Settings::default() };
    let config = Config::new(Fourcc::XRGB8888)
        .sensor(sensor)
        .frames(20)
        .period(Duration::ZERO)
        .isp(IspChoice::Cpu);
    let heap = heaps::open("memfd")?;
    Prepared::new(config, vec![heap], vec![Box::new(Brightness)])?.start()?.wait().1?;
    Ok(())
}
