//! An ISP and a sink around real ones, which fail at the frames that a test chooses: they lose a
//! context, refuse a buffer, panic, or are slow.

use std::time::Duration;

use vcam_allocator::constraints::Constraints;
use vcam_allocator::{Dmabuf, Fence, Fourcc, Importer, LinkEnd, heaps};
use vcam_isp_gpu::{GpuIsp, Isp, IspError, Job, Statistics};
use vcam_pipeline::sensor::{Settings, frame_counter};
use vcam_pipeline::{
    Config, CustomIsp, IspChoice, Prepared, RunStats, StageError, StartError, StopHandle,
};
use vcam_sinks::{Frame, KmsSink, Sink, SinkCounts, SinkError, Stream};

use crate::stepped_display;

/// An ISP around another.
struct FaultyIsp<F> {
    isp: GpuIsp,
    before: F,
}

/// The GPU's ISP, with this before each frame.
pub fn isp(before: impl FnMut(&mut GpuIsp, &Job<'_>) + Clone + Send + Sync + 'static) -> IspChoice {
    IspChoice::Custom(CustomIsp::new(move || {
        Ok(Box::new(FaultyIsp { isp: GpuIsp::new(None)?, before: before.clone() }))
    }))
}

impl<F: FnMut(&mut GpuIsp, &Job<'_>)> Isp for FaultyIsp<F> {
    fn name(&self) -> String {
        self.isp.name()
    }

    fn describe(&self) -> String {
        self.isp.describe()
    }

    fn raw_constraints(&self, carriers: &[Fourcc]) -> Constraints {
        self.isp.raw_constraints(carriers)
    }

    fn output_constraints(&self, formats: &[Fourcc]) -> Constraints {
        self.isp.output_constraints(formats)
    }

    fn raw_importer(&mut self) -> Option<&mut dyn Importer> {
        self.isp.raw_importer()
    }

    fn output_importer(&mut self) -> Option<&mut dyn Importer> {
        self.isp.output_importer()
    }

    fn prepare(&mut self, raw: &[Dmabuf], output: &[Dmabuf]) {
        self.isp.prepare(raw, output);
    }

    fn process(&mut self, job: &Job<'_>) -> Result<Option<Fence>, IspError> {
        (self.before)(&mut self.isp, job);
        self.isp.process(job)
    }

    fn statistics(&self) -> Option<(u64, &Statistics)> {
        self.isp.statistics()
    }

    fn raw_end(&self) -> LinkEnd {
        self.isp.raw_end()
    }

    fn output_end(&self) -> LinkEnd {
        self.isp.output_end()
    }
}

/// The function that replaces a sink's own `present`.
type Present<S> = Box<dyn FnMut(&mut S, Frame) -> Result<(), SinkError> + Send>;

/// A sink around another.
pub struct FaultySink<S> {
    sink: S,
    present: Present<S>,
}

impl<S: Sink> FaultySink<S> {
    /// A sink that presents frames in this way, and does all else as the one inside.
    pub fn new(
        sink: S,
        present: impl FnMut(&mut S, Frame) -> Result<(), SinkError> + Send + 'static,
    ) -> Self {
        Self { sink, present: Box::new(present) }
    }
}

impl<S: Sink> std::fmt::Debug for FaultySink<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("FaultySink").field(&self.sink).finish()
    }
}

impl<S: Sink> Sink for FaultySink<S> {
    fn name(&self) -> String {
        self.sink.name()
    }

    fn stream(&self) -> Stream {
        self.sink.stream()
    }

    fn constraints(&self) -> Constraints {
        self.sink.constraints()
    }

    fn importer(&mut self) -> Option<&mut dyn Importer> {
        self.sink.importer()
    }

    fn prepare(&mut self, buffers: &[Dmabuf]) {
        self.sink.prepare(buffers);
    }

    fn wait(&mut self) -> Result<(), SinkError> {
        self.sink.wait()
    }

    fn present(&mut self, frame: Frame) -> Result<(), SinkError> {
        (self.present)(&mut self.sink, frame)
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.sink.finish()
    }

    fn link_end(&self) -> LinkEnd {
        self.sink.link_end()
    }

    fn counts(&self) -> SinkCounts {
        self.sink.counts()
    }
}

/// The number of frames of which one is looked at.
const LOOKED_AT: u64 = 5;

/// Presents a frame, and asserts of some that the display shows that very frame.
pub fn present_and_look(sink: &mut KmsSink, frame: Frame) -> Result<(), SinkError> {
    let sequence = frame.sequence;
    sink.present(frame)?;
    if !sequence.is_multiple_of(LOOKED_AT) {
        return Ok(());
    }
    // vkms may lose a writeback while it still cleans up after the previous one:
    // docs/devices.md.
    sink.wait_flip()?;
    std::thread::sleep(Duration::from_millis(20));
    let shown = sink.capture()?;
    let number = frame_counter::read(stepped_display::SIZE.0 as usize, |x| {
        shown.pixel(x as u32, 1).unwrap()[1]
    });
    assert_eq!(number.map(u64::from), Some(sequence), "another frame is on the screen");
    Ok(())
}

/// A run of frames from udmabuf, as fast as can be, of the size of [`stepped_display::options`].
pub fn config(isp: IspChoice, frames: u64, stop: StopHandle) -> Config {
    Config::new(Fourcc::XRGB8888)
        .sensor(Settings { size: stepped_display::SIZE.into(), ..Settings::default() })
        .period(Duration::ZERO)
        .frames(frames)
        .stop(stop)
        .isp(isp)
}

/// Prepares it.
pub fn prepare(config: Config, sinks: Vec<Box<dyn Sink>>) -> Result<Prepared, StartError> {
    Prepared::new(config, vec![heaps::open("udmabuf").expect("the lab has udmabuf")], sinks)
}

/// Runs it to its end.
pub fn run(
    isp: IspChoice,
    frames: u64,
    sinks: Vec<Box<dyn Sink>>,
) -> (RunStats, Result<(), StageError>) {
    let prepared = prepare(config(isp, frames, StopHandle::default()), sinks);
    prepared.expect("it can be prepared").start().expect("it starts").wait()
}
