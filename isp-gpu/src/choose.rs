//! Whether the GPU or the CPU makes pictures faster, measured and not guessed.
//!
//! A renderer that is a program on the CPU is seldom faster than a program that was written for the
//! CPU; a GPU may be slow at what looks easy. So both make a few frames of the real size, turn about.

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

/// What to measure with.
#[derive(Debug, Clone, Copy)]
pub struct Trial<'a> {
    /// The format of raw frames.
    pub format: RawFormat,
    /// Their width and height in samples; the pictures have the same.
    pub size: (u32, u32),
    /// The format of the pictures.
    pub output: Fourcc,
    /// What is done to a frame.
    pub params: &'a IspParams,
}

/// What a frame takes, on either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The GPU, as reports name it, and its time for a frame.
    pub gpu: (String, Duration),
    /// The CPU's.
    pub cpu: Duration,
}

impl Choice {
    /// Whether it is the GPU; also where both are as fast, since it leaves the CPU to others.
    pub fn is_gpu(&self) -> bool {
        self.gpu.1 <= self.cpu
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let (name, gpu) = &self.gpu;
        let (gpu, cpu) = (milliseconds(*gpu), milliseconds(self.cpu));
        write!(f, "a frame takes {gpu:.1} ms on {name} and {cpu:.1} ms on the CPU, as measured")
    }
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
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
/// `gpu` is used for this alone: what is found out must not be counted as the frames of the one
/// that is to work.
pub fn choose(mut gpu: GpuIsp, heap: &dyn Heap, trial: &Trial<'_>) -> Result<Choice, ChooseError> {
    let mut cpu = CpuIsp::new();
    let Trial { format, size, output, params } = *trial;
    let allocate = |format, width, name| -> Result<Dmabuf, ChooseError> {
        let layout = Layout::linear(format, width, size.1, Alignment::default())?;
        Ok(heap.allocate(&layout, name)?)
    };
    let (carrier, columns) = format.carrier(size.0);
    let raw = allocate(carrier, columns, "trial-raw")?;
    let output = allocate(output, size.0, "trial-output")?;
    let outputs = [Output::new(&output)];
    // As a camera does that has to see to exposure and white balance.
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
    Ok(Choice { gpu: (gpu.name(), median(of_gpu)), cpu: median(of_cpu) })
}

fn frame_time(isp: &mut dyn Isp, job: &Job<'_>) -> Result<Duration, ChooseError> {
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
    fn the_faster_one_is_chosen_and_both_times_are_told() {
        let time = Duration::from_micros;
        let choice = |gpu, cpu| Choice { gpu: ("gpu:test".into(), time(gpu)), cpu: time(cpu) };
        assert!(choice(900, 1000).is_gpu() && choice(1000, 1000).is_gpu());
        assert!(!choice(1001, 1000).is_gpu());
        assert_eq!(
            choice(12_340, 5600).to_string(),
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
        let trial = Trial { format, size: (64, 48), output, params: &params };
        let choice = choose(gpu, &Memfd::new(), &trial).unwrap();
        assert!(choice.gpu.1 > Duration::ZERO && choice.cpu > Duration::ZERO);
        assert!(choice.gpu.0.starts_with("gpu:"));
    }
}
