//! Selection of the faster ISP, GPU or CPU, by measurement.
//!
//! A software renderer is seldom faster than code that was written for the CPU, and a GPU may be
//! slow at work that looks easy. So both make a few frames of the real size, alternating.

use std::fmt;
use std::time::{Duration, Instant};

use vcam_allocator::{
    Alignment, AllocError, Dmabuf, FenceError, Fourcc, Heap, Layout, LayoutError,
};

use crate::cpu::CpuIsp;
use crate::frame::{IspError, Job, Output};
use crate::gpu::GpuIsp;
use crate::isp::Isp;
use crate::params::IspParams;
use crate::raw::RawFormat;

/// Each time is the median of this many frames; one more before them warms up.
const ROUNDS: usize = 3;

/// The longest wait for one frame.
const PATIENCE: Duration = Duration::from_secs(5);

/// The frames to measure with.
#[derive(Debug, Clone, Copy)]
pub struct TimingConfig<'a> {
    /// The format of raw frames.
    pub format: RawFormat,
    /// Width and height of raw frames in samples, and of pictures in pixels.
    pub size: (u32, u32),
    /// The format of pictures.
    pub output: Fourcc,
    /// The parameters of each frame.
    pub params: &'a IspParams,
}

/// The time of a frame on the GPU's renderer, and on the CPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RendererTiming {
    /// The GPU's ISP, as [`Isp::name`] names it.
    pub gpu_name: String,
    /// The GPU's time for a frame.
    pub gpu: Duration,
    /// The CPU's time for a frame.
    pub cpu: Duration,
}

impl RendererTiming {
    /// Whether the GPU is the faster one. It is also preferred at equal times, since it leaves the
    /// CPU to others.
    pub fn prefers_gpu(&self) -> bool {
        self.gpu <= self.cpu
    }
}

impl fmt::Display for RendererTiming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let (name, gpu, cpu) = (&self.gpu_name, milliseconds(self.gpu), milliseconds(self.cpu));
        write!(f, "a frame takes {gpu:.1} ms on {name} and {cpu:.1} ms on the CPU, as measured")
    }
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TimingError {
    /// The frame has no layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The heap gives no buffers.
    #[error("no buffers to measure with")]
    Alloc(#[from] AllocError),
    /// A frame could not be made.
    #[error("no frame to measure")]
    Isp(#[from] IspError),
    /// A frame did not get done.
    #[error("a frame did not get done")]
    Fence(#[from] FenceError),
}

/// Measures both with buffers of this heap.
///
/// `gpu` is consumed: its counts of frames and imports must not become those of the ISP that works.
///
/// # Errors
///
/// If there are no buffers, or either ISP makes no frame of them within five seconds.
pub fn time_renderers(
    mut gpu: GpuIsp,
    heap: &dyn Heap,
    config: &TimingConfig<'_>,
) -> Result<RendererTiming, TimingError> {
    let mut cpu = CpuIsp::new();
    let TimingConfig { format, size, output, params } = *config;
    let allocate = |format, width, name| -> Result<Dmabuf, TimingError> {
        let layout = Layout::linear(format, width, size.1, Alignment::default())?;
        Ok(heap.allocate(&layout, name)?)
    };
    let (carrier, columns) = format.carrier(size.0);
    let raw = allocate(carrier, columns, "timing-raw")?;
    let output = allocate(output, size.0, "timing-output")?;
    let outputs = [Output::new(&output)];
    // As a camera does that controls exposure and white balance.
    let measure = true;
    let job = Job { sequence: 0, format, size, raw: &raw, outputs: &outputs, params, measure };
    let (mut of_gpu, mut of_cpu) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let times = (frame_time(&mut gpu, &job)?, frame_time(&mut cpu, &job)?);
        if round > 0 {
            of_gpu.push(times.0);
            of_cpu.push(times.1);
        }
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times[times.len() / 2]
    };
    Ok(RendererTiming { gpu_name: gpu.name(), gpu: median(of_gpu), cpu: median(of_cpu) })
}

fn frame_time(isp: &mut dyn Isp, job: &Job<'_>) -> Result<Duration, TimingError> {
    let begun = Instant::now();
    if let Some(fence) = isp.process(job)? {
        fence.wait(PATIENCE)?;
    }
    Ok(begun.elapsed())
}

#[cfg(test)]
mod tests {
    use vcam_allocator::heaps::memfd::Memfd;

    use super::*;

    #[test]
    fn the_faster_one_is_preferred_and_both_times_are_shown() {
        let time = Duration::from_micros;
        let timing = |gpu, cpu| RendererTiming {
            gpu_name: "gpu:test".into(),
            gpu: time(gpu),
            cpu: time(cpu),
        };
        assert!(timing(900, 1000).prefers_gpu() && timing(1000, 1000).prefers_gpu());
        assert!(!timing(1001, 1000).prefers_gpu());
        assert_eq!(
            timing(12_340, 5600).to_string(),
            "a frame takes 12.3 ms on gpu:test and 5.6 ms on the CPU, as measured"
        );
    }

    #[test]
    fn both_are_measured() {
        let gpu = match GpuIsp::new(None) {
            Ok(gpu) => gpu,
            Err(error) => return eprintln!("RAN WITHOUT A GPU ISP: {error}"),
        };
        let params = IspParams::default();
        let (format, output) = (RawFormat::SRGGB8, Fourcc::XRGB8888);
        let config = TimingConfig { format, size: (64, 48), output, params: &params };
        let timing = time_renderers(gpu, &Memfd::new(), &config).unwrap();
        assert!(timing.gpu > Duration::ZERO && timing.cpu > Duration::ZERO);
        assert!(timing.gpu_name.starts_with("gpu:"));
    }
}
