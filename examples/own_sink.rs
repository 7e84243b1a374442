//! A sink of your own: tells how bright each picture is.
//!
//! It reads with the CPU, says so in its constraints (so that pictures are put where reading is
//! cheap), waits for the GPU before it reads, and gives each buffer back by dropping it.
//!
//! `cargo run --example own_sink`

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use vcam_allocator::constraints::{Constraints, CpuUse, Rule, Statement};
use vcam_allocator::{CpuAccess, Dmabuf, Fourcc, LinkEnd, heaps};
use vcam_pipeline::sensor::Settings;
use vcam_pipeline::{Config, IspChoice, Prepared};
use vcam_sinks::{Frame, Sink, SinkCounts, SinkError};

#[derive(Debug)]
struct Brightness {
    measured: Sender<(u64, f64)>,
    seen: u64,
}

impl Sink for Brightness {
    fn name(&self) -> String {
        "brightness".to_owned()
    }

    fn constraints(&self) -> Constraints {
        let reads = CpuUse { read: true, cached: true, ..CpuUse::default() };
        [Statement::new("brightness", "it is a program", Rule::Cpu(reads))].into_iter().collect()
    }

    fn prepare(&mut self, _: &[Dmabuf]) {}

    fn present(&mut self, frame: Frame) -> Result<(), SinkError> {
        let read = || -> Result<f64, Box<dyn std::error::Error>> {
            if let Some(ready) = &frame.ready {
                ready.wait(Duration::from_secs(1))?;
            }
            let pixels = frame.buffer.cpu_access(CpuAccess::Read)?;
            let greens = pixels.plane(0).iter().skip(1).step_by(4);
            let sum: u64 = greens.clone().map(|green| u64::from(*green)).sum();
            Ok(sum as f64 / greens.count() as f64)
        };
        match read() {
            // Nobody who listens is no reason to stop the camera.
            Ok(level) => drop(self.measured.send((frame.sequence, level))),
            Err(error) => eprintln!("frame {} could not be read: {error}", frame.sequence),
        }
        self.seen += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn link_end(&self) -> LinkEnd {
        LinkEnd::native("the CPU reads it in place")
    }

    fn counts(&self) -> SinkCounts {
        SinkCounts { displayed: self.seen, dropped: 0 }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A grey card, which exposure brings to where it should be.
    let sensor = Settings { source: "solid".parse()?, ..Settings::default() };
    let config = Config::new(Fourcc::XRGB8888)
        .sensor(sensor)
        .frames(20)
        .period(Duration::ZERO)
        .isp(IspChoice::Cpu);
    let (measured, levels) = channel();
    let heap = heaps::open("memfd")?;
    let sink = Brightness { measured, seen: 0 };
    let (_, result) = Prepared::new(config, vec![heap], vec![Box::new(sink)])?.start()?.wait();
    result?;
    for (frame, level) in levels {
        println!("frame {frame}: {level:.1} of 255");
    }
    Ok(())
}
