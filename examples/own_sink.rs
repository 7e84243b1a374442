//! A sink of your own: it measures the brightness of each picture.
//!
//! It reads with the CPU and says so in its constraints, so that pictures are put where reading is
//! cheap. It waits for the GPU before it reads, and gives each buffer back by dropping it.
//!
//! `cargo run --example own_sink`

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use vcam_allocator::constraints::{Constraints, CpuUse, Rule, Statement};
use vcam_allocator::{CpuAccess, Dmabuf, Fourcc, Knowledge, LinkEnd, heaps};
use vcam_isp_gpu::View;
use vcam_pipeline::controls::ControlList;
use vcam_pipeline::sensor::Settings;
use vcam_pipeline::{Config, IspChoice, PauseHandle, Prepared, StopHandle};
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
            // If the receiver is gone, the camera still goes on.
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
    let config = Config {
        // A grey card, whose brightness the automatic exposure sets.
        sensor: Settings { source: "solid".parse()?, ..Settings::default() },
        format: Fourcc::XRGB8888,
        view: View::default(),
        controls: ControlList::NONE,
        period: Duration::ZERO,
        frames: Some(20),
        stop: StopHandle::default(),
        isp: IspChoice::Cpu,
        strict: false,
        by_cost: false,
        knowledge: Knowledge::default(),
        pause: PauseHandle::default(),
        heap_allocs: None,
        syscalls: None,
    };
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
