//! The numbers of a run.

use std::mem;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::links::Link;

/// The first frame of the steady state: by then every buffer has gone round, and what is still
/// allocated or imported is done for each frame.
pub(crate) const STEADY_FROM: u64 = 16;

/// The longest latency that is told from longer ones.
const LATENCY_LIMIT_US: u64 = 60_000_000;

/// Counts of frames, by their fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Frames {
    /// Frames that the ISP finished.
    pub completed: u64,
    /// Frames that were shown, at the sink that showed the most.
    pub displayed: u64,
    /// Frames that were finished but not shown, over all sinks.
    pub dropped: u64,
    /// Frames that were lost to an error.
    pub errors: u64,
}

/// Time from a frame's exposure to its being shown or stored, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Half of the frames were faster.
    pub p50: u64,
    /// 99 of 100 frames were faster.
    pub p99: u64,
    /// The slowest frame.
    pub max: u64,
}

/// The cost of each frame of the steady state besides its pixels; `None` where a run was too short
/// to have one, or where it was not counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Steady {
    /// Heap allocations of the whole process.
    pub heap_allocs_per_frame: Option<f64>,
    /// Imports, over all devices.
    pub imports_per_frame: Option<f64>,
    /// System calls of the whole process.
    pub syscalls_per_frame: Option<f64>,
    /// CPU time of the pipeline's own threads without the filling of buffers and the ISP's work, in
    /// microseconds: queues, waits, and handing frames to sinks, with what the kernel and the sinks
    /// do for these. `None` also where the kernel knows a thread's time in ticks alone.
    pub machinery_us_per_frame: Option<f64>,
}

/// The account of a run.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RunStats {
    /// Counts of frames, by their fate.
    pub frames: Frames,
    /// Every link, sensor first.
    pub links: Vec<Link>,
    /// The cost of the steady state.
    pub steady: Steady,
    /// From exposure to sink.
    pub latency: Latency,
    /// Frames finished for each second between the first and the last.
    pub fps: f64,
}

/// Latencies of a run of any length, in constant memory.
pub(crate) struct LatencyMeter(Histogram<u64>);

impl LatencyMeter {
    pub(crate) fn new() -> Self {
        // Three digits over the whole range: the bounds are constants, and valid.
        #[expect(clippy::unwrap_used, reason = "constant bounds, checked by every test that runs")]
        Self(Histogram::new_with_bounds(1, LATENCY_LIMIT_US, 3).unwrap())
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        // Equal bounds: nothing to be out of range.
        let _ = self.0.add(&other.0);
    }

    pub(crate) fn summary(&self) -> Latency {
        let at = |quantile| self.0.value_at_quantile(quantile);
        Latency { p50: at(0.5), p99: at(0.99), max: self.0.max() }
    }
}

/// Counts something from the start of the steady state to the end of a stage.
#[derive(Debug, Default)]
pub(crate) struct SteadyMeter {
    first: Option<u64>,
    last: u64,
    frames: u64,
}

impl SteadyMeter {
    /// Notes the count after this frame.
    pub(crate) fn note(&mut self, sequence: u64, count: impl FnOnce() -> u64) {
        if sequence == STEADY_FROM {
            self.first = Some(count());
        } else if self.first.is_some() {
            self.last = count();
            self.frames += 1;
        }
    }

    /// Notes that a frame is done, for what is dear to count: that is done at the first frame of
    /// the steady state only, and by [`end`](Self::end).
    pub(crate) fn pass(&mut self, sequence: u64, count: impl FnOnce() -> Option<u64>) {
        if sequence == STEADY_FROM {
            self.first = count();
        } else if self.first.is_some() {
            self.frames += 1;
        }
    }

    /// Notes the count after the last frame.
    pub(crate) fn end(&mut self, count: u64) {
        self.last = count;
    }

    /// How much was counted for each frame.
    pub(crate) fn per_frame(&self) -> Option<f64> {
        let first = self.first.filter(|_| self.frames > 0)?;
        Some(self.last.saturating_sub(first) as f64 / self.frames as f64)
    }
}

/// One frame in so many is looked at closely by [`CpuMeter`], which costs four system calls.
const CPU_SAMPLE: u64 = 32;

/// Of fewer such frames it says nothing: one that was interrupted would count for all.
const CPU_SAMPLES: u32 = 8;

/// Measures the cost of a stage besides its work, in CPU time of the thread that calls it.
#[derive(Debug, Default)]
pub(crate) struct CpuMeter {
    frames: u64,
    /// When the frame began that is looked at, if one is.
    begin: Option<Duration>,
    /// Its work.
    work: Duration,
    /// Of all that were looked at, what was not work.
    own: Duration,
    samples: u32,
    /// Whether the kernel knows a thread's time better than in ticks.
    exact: bool,
}

impl CpuMeter {
    /// Does the work of this frame, which is not to count.
    pub(crate) fn work<T>(&mut self, work: impl FnOnce() -> T) -> T {
        if self.begin.is_none() {
            return work();
        }
        let before = thread_time();
        let done = work();
        self.work += thread_time().saturating_sub(before);
        done
    }

    /// Notes that a frame is done.
    pub(crate) fn note(&mut self) {
        self.frames += 1;
        let begun = self.begin.take();
        let is_next = self.frames >= STEADY_FROM && self.frames.is_multiple_of(CPU_SAMPLE);
        if begun.is_none() && !is_next {
            return;
        }
        let now = thread_time();
        if let Some(begun) = begun {
            self.own += now.saturating_sub(begun).saturating_sub(mem::take(&mut self.work));
            self.samples += 1;
        }
        // Ticks are some milliseconds long, and time to the nanosecond is hardly ever whole ones.
        self.exact |= !now.subsec_nanos().is_multiple_of(1_000_000);
        self.begin = is_next.then_some(now);
    }

    /// Microseconds for each frame, without the work; `None` if too few frames were looked at, or
    /// where the kernel counts a thread's time in ticks, as a User Mode Linux does.
    pub(crate) fn per_frame(&self) -> Option<f64> {
        let enough = self.samples >= CPU_SAMPLES && self.exact;
        enough.then(|| self.own.as_secs_f64() / f64::from(self.samples) * 1e6)
    }
}

/// Returns the CPU time of the calling thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steady_state_leaves_out_the_start() {
        let mut meter = SteadyMeter::default();
        for sequence in 0..=STEADY_FROM {
            meter.note(sequence, || 1000);
        }
        assert_eq!(meter.per_frame(), None);
        meter.note(STEADY_FROM + 1, || 1002);
        meter.note(STEADY_FROM + 2, || 1004);
        assert_eq!(meter.per_frame(), Some(2.0));
    }

    #[test]
    fn what_is_dear_to_count_is_counted_twice() {
        let mut meter = SteadyMeter::default();
        let mut asked = 0;
        for sequence in 0..=STEADY_FROM + 10 {
            meter.pass(sequence, || {
                asked += 1;
                Some(100)
            });
        }
        meter.end(225);
        assert_eq!((asked, meter.per_frame()), (1, Some(12.5)));
    }

    #[test]
    fn what_is_work_does_not_count() {
        // As much of the processor as is asked for, however slow it is.
        let burn = |time: Duration| {
            let until = thread_time() + time;
            while thread_time() < until {}
        };
        let mut meter = CpuMeter::default();
        for _ in 0..=CPU_SAMPLE * u64::from(CPU_SAMPLES + 1) {
            meter.work(|| burn(Duration::from_millis(1)));
            burn(Duration::from_micros(500));
            meter.note();
        }
        let own = meter.per_frame().unwrap();
        assert!((450.0..1000.0).contains(&own), "{own} µs");
        assert_eq!(CpuMeter::default().per_frame(), None);
    }

    #[test]
    fn latencies_beyond_all_bounds_are_still_counted() {
        let mut meter = LatencyMeter::new();
        meter.record(Duration::from_micros(100));
        meter.record(Duration::MAX);
        assert!(meter.summary().max >= LATENCY_LIMIT_US / 2);
        assert_eq!(meter.summary().p50, 100);
    }
}
