//! The settings of a run.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use vcam_allocator::{Fourcc, Knowledge};
use vcam_isp_gpu::View;

use crate::controls::ControlList;
use crate::engine::isp_select::IspChoice;
use crate::engine::pause::PauseHandle;
use crate::engine::policy::{CopyPolicy, HeapOrder};
use crate::engine::stop::StopHandle;
use crate::sensor::{FRAME_DURATION, Settings};

/// The settings of a run: a format of pictures, and defaults that each method changes.
///
/// ```
/// use std::time::Duration;
///
/// use vcam_allocator::Fourcc;
/// use vcam_pipeline::{Config, CopyPolicy};
///
/// let config = Config::new(Fourcc::NV12)
///     .frames(90)
///     .period(Duration::from_millis(20))
///     .copies(CopyPolicy::Forbid);
/// ```
#[derive(Debug)]
#[must_use]
pub struct Config {
    pub(super) sensor: Settings,
    pub(super) format: Fourcc,
    pub(super) view: View,
    pub(super) controls: ControlList,
    pub(super) period: Duration,
    pub(super) stop: StopHandle,
    pub(super) pause: PauseHandle,
    pub(super) frames: Option<u64>,
    pub(super) isp: IspChoice,
    pub(super) copies: CopyPolicy,
    pub(super) heap_order: HeapOrder,
    pub(super) knowledge: Knowledge,
    pub(super) heap_allocs: Option<fn() -> u64>,
    pub(super) syscalls: Option<SyscallCount>,
}

impl Config {
    /// Pictures in this format, of the default sensor, at 30 frames a second without end. Nothing
    /// is known about the machine, and measured costs decide nothing.
    pub fn new(format: Fourcc) -> Self {
        Self {
            sensor: Settings::default(),
            format,
            view: View::default(),
            controls: ControlList::default(),
            period: FRAME_DURATION,
            stop: StopHandle::default(),
            pause: PauseHandle::default(),
            frames: None,
            isp: IspChoice::default(),
            copies: CopyPolicy::default(),
            heap_order: HeapOrder::default(),
            knowledge: Knowledge::default(),
            heap_allocs: None,
            syscalls: None,
        }
    }

    /// Sets the sensor, and the scene before it.
    ///
    /// Before a scene, exposure and white balance follow the light; a test pattern knows none. The
    /// pictures of a sensor that sends pictures are passed on as they are.
    pub fn sensor(self, sensor: Settings) -> Self {
        Self { sensor, ..self }
    }

    /// Sets the part of the frame that pictures show, which way up, and in which colours; they have
    /// the size of the frame, turned with it.
    pub fn view(self, view: View) -> Self {
        Self { view, ..self }
    }

    /// Sets the controls of every frame.
    pub fn controls(self, controls: ControlList) -> Self {
        Self { controls, ..self }
    }

    /// Sets the time from one frame to the next; zero for as fast as can be.
    pub fn period(self, period: Duration) -> Self {
        Self { period, ..self }
    }

    /// Takes a handle that ends the run early; it may be used before the start.
    pub fn stop(self, stop: StopHandle) -> Self {
        Self { stop, ..self }
    }

    /// Takes a handle that pauses the run; it may be used before the start.
    pub fn pause(self, pause: PauseHandle) -> Self {
        Self { pause, ..self }
    }

    /// Sets the number of frames; without a number, they end with [`StopHandle::stop`].
    pub fn frames(self, frames: impl Into<Option<u64>>) -> Self {
        Self { frames: frames.into(), ..self }
    }

    /// Chooses the ISP.
    pub fn isp(self, isp: IspChoice) -> Self {
        Self { isp, ..self }
    }

    /// Sets when frames may be copied.
    pub fn copies(self, copies: CopyPolicy) -> Self {
        Self { copies, ..self }
    }

    /// Sets which heap is taken of those that serve.
    pub fn heap_order(self, heap_order: HeapOrder) -> Self {
        Self { heap_order, ..self }
    }

    /// Takes what was learned about this machine before; what is learned now is added and saved.
    pub fn knowledge(self, knowledge: Knowledge) -> Self {
        Self { knowledge, ..self }
    }

    /// Counts the heap allocations of the process with this function, for
    /// [`Steady::heap_allocs_per_frame`](crate::Steady::heap_allocs_per_frame).
    pub fn heap_allocs(self, count: fn() -> u64) -> Self {
        Self { heap_allocs: Some(count), ..self }
    }

    /// Counts the system calls of the process, for
    /// [`Steady::syscalls_per_frame`](crate::Steady::syscalls_per_frame); the count is read twice.
    pub fn syscalls(self, count: impl Into<Option<SyscallCount>>) -> Self {
        Self { syscalls: count.into(), ..self }
    }
}

/// Counts the system calls of the process; `None` if the count is lost.
#[derive(Clone)]
pub struct SyscallCount(Arc<dyn Fn() -> Option<u64> + Send + Sync>);

impl SyscallCount {
    /// Counts with this function, which any thread may call.
    pub fn new(count: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        Self(Arc::new(count))
    }

    pub(crate) fn read(&self) -> Option<u64> {
        (self.0)()
    }
}

impl fmt::Debug for SyscallCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyscallCount").finish_non_exhaustive()
    }
}
