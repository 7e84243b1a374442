//! Which ISP makes the pictures.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use vcam_allocator::constraints::Constraints;
use vcam_allocator::cost::RenderCost;
use vcam_allocator::{Capabilities, Fourcc, Heap, Knowledge, sysfs};
use vcam_isp_gpu::choose::{Trial, choose};
use vcam_isp_gpu::{Choice, CpuIsp, GpuIsp, Isp, IspParams, RawFormat};

use super::error::StartError;
use crate::error::chain;

/// The largest frame to measure with.
const LARGEST: (u32, u32) = (1920, 1080);

/// Which ISP renders the pictures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum IspChoice {
    /// The GPU's; where there is none, or where it is a program and slower than ours, the CPU's.
    #[default]
    Auto,
    /// The GPU's, on this render node, or on whatever EGL prefers.
    Gpu(Option<PathBuf>),
    /// The GPU's, on the renderer that is a program on the CPU.
    Software,
    /// The CPU's.
    Cpu,
    /// One of the application's own.
    Custom(CustomIsp),
}

/// Why an application's own ISP is not made.
pub type CustomIspError = Box<dyn Error + Send + Sync>;

/// Makes an ISP of the application's own: one for a device that vcam does not know, or one around
/// another [`Isp`].
#[derive(Clone)]
pub struct CustomIsp(Arc<dyn Fn() -> Result<Box<dyn Isp>, CustomIspError> + Send + Sync>);

impl CustomIsp {
    /// By this function, which is called on the thread that will use the ISP: it need not be one
    /// that can be sent to another.
    pub fn new(
        make: impl Fn() -> Result<Box<dyn Isp>, CustomIspError> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(make))
    }
}

impl fmt::Debug for CustomIsp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomIsp").finish_non_exhaustive()
    }
}

impl PartialEq for CustomIsp {
    /// Whether both are made by the same function.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for CustomIsp {}

/// Which ISP it became.
#[derive(Debug, Clone)]
pub(crate) struct IspInfo {
    pub(crate) name: String,
    pub(crate) description: String,
    /// Why, where there was a choice.
    pub(crate) reason: Option<String>,
}

/// What the ISP is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Task<'a> {
    pub(crate) format: RawFormat,
    /// Of a raw frame.
    pub(crate) size: (u32, u32),
    /// Of the first processed stream, if there is one.
    pub(crate) output: Option<Fourcc>,
    /// The longest side of a picture that is to be made.
    pub(crate) longest: u32,
    pub(crate) params: &'a IspParams,
    pub(crate) heaps: &'a [Box<dyn Heap>],
}

impl IspChoice {
    /// The GPU's ISP of this choice, if it is one that this crate makes.
    pub(crate) fn gpu(&self) -> Option<Result<GpuIsp, vcam_isp_gpu::EglError>> {
        match self {
            Self::Cpu | Self::Custom(_) => None,
            Self::Auto => Some(GpuIsp::new(None)),
            Self::Gpu(node) => Some(GpuIsp::new(node.as_deref())),
            Self::Software => Some(GpuIsp::software()),
        }
    }

    /// What the bus of the GPU needs, where the user says which GPU it is.
    pub(crate) fn of_bus(&self, isp: &str) -> Constraints {
        let Self::Gpu(Some(node)) = self else { return Constraints::default() };
        let node: &Path = node;
        let bus = |device: PathBuf| sysfs::constraints(isp, &device);
        sysfs::device(node).map_or_else(Constraints::default, bus)
    }

    /// Makes the ISP, on the thread that will use it.
    pub(crate) fn make(
        &self,
        task: &Task<'_>,
        knowledge: &mut Knowledge,
    ) -> Result<(Box<dyn Isp>, IspInfo), StartError> {
        let info = |isp: &dyn Isp, reason| IspInfo {
            name: isp.name(),
            description: isp.describe(),
            reason,
        };
        if let Self::Custom(CustomIsp(make)) = self {
            let isp = make().map_err(StartError::CustomIsp)?;
            let info = info(&*isp, None);
            return Ok((isp, info));
        }
        let cpu = |reason: Option<String>| {
            let isp = CpuIsp::new();
            let info = info(&isp, reason);
            (Box::new(isp) as Box<dyn Isp>, info)
        };
        let gpu = || -> Option<Result<GpuIsp, StartError>> {
            Some(self.gpu()?.map_err(StartError::from).and_then(|isp| {
                let limit = isp.max_size();
                let (width, height) = task.size;
                match width.max(height).max(task.longest) > limit {
                    true => Err(StartError::IspSize { isp: isp.name(), limit, width, height }),
                    false => Ok(isp),
                }
            }))
        };
        let (isp, reason) = match (self, gpu()) {
            (_, None) => return Ok(cpu(None)),
            (Self::Auto, Some(Err(error))) => {
                return Ok(cpu(Some(format!("not the GPU: {}", chain(&error)))));
            }
            (_, Some(Err(error))) => return Err(error),
            (Self::Auto, Some(Ok(isp))) if isp.is_software() => {
                let known = known(task, &isp, knowledge);
                match known.or_else(|| measure(self, task, &isp, knowledge)) {
                    Some(times) if !times.is_gpu() => return Ok(cpu(Some(times.to_string()))),
                    times => (isp, times.map(|times| times.to_string())),
                }
            }
            // The user's word counts; that it is a slow one may be told.
            (_, Some(Ok(isp))) if isp.is_software() => {
                let times = known(task, &isp, knowledge);
                if let Some(times) = times.as_ref().filter(|times| !times.is_gpu()) {
                    tracing::warn!("{times}: --isp auto or cpu would be faster");
                }
                (isp, times.map(|times| times.to_string()))
            }
            (_, Some(Ok(isp))) => (isp, None),
        };
        let info = info(&isp, reason);
        Ok((Box::new(isp), info))
    }
}

/// The renderer with its versions; by which platform of EGL it was reached makes no difference.
fn renderer(isp: &GpuIsp) -> String {
    let described = isp.describe();
    described.split_once(", EGL").map_or(&*described, |(renderer, _)| renderer).to_owned()
}

/// What is done to a frame, as knowledge of it is kept by.
fn name_of(task: &Task<'_>) -> Option<String> {
    let Task { format, size, output, .. } = *task;
    Some(format!("{}x{} of {format} to {}", size.0, size.1, output?))
}

/// What a frame takes on either, if that was measured before.
fn known(task: &Task<'_>, isp: &GpuIsp, knowledge: &Knowledge) -> Option<Choice> {
    Some(times(isp, knowledge.render(&renderer(isp), &name_of(task)?)?))
}

fn times(isp: &GpuIsp, RenderCost { renderer_us, cpu_us }: RenderCost) -> Choice {
    let gpu = (isp.name(), Duration::from_micros(renderer_us));
    Choice { gpu, cpu: Duration::from_micros(cpu_us) }
}

/// What a frame takes on either, measured now; `None` where that cannot be found out.
///
/// Only for renderers that are programs: a GPU leaves the CPU to others, and that is worth a frame
/// that takes longer.
fn measure(
    choice: &IspChoice,
    task: &Task<'_>,
    isp: &GpuIsp,
    knowledge: &mut Knowledge,
) -> Option<Choice> {
    let Task { format, size, output, params, heaps, .. } = *task;
    let output = output?;
    // Both take a time for each pixel, and none of this may take long, or much memory.
    let size = (size.0.min(LARGEST.0), size.1.min(LARGEST.1));
    let heap = heaps.iter().find(|heap| heap.capabilities().contains(Capabilities::CPU_MAP))?;
    let scratch = choice.gpu()?.ok()?;
    let measured = choose(scratch, &**heap, &Trial { format, size, output, params })
        .inspect_err(|error| tracing::debug!(error = chain(error), "no time of a frame"))
        .ok()?;
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let cost = RenderCost { renderer_us: micros(measured.gpu.1), cpu_us: micros(measured.cpu) };
    knowledge.note_render(&renderer(isp), &name_of(task)?, cost);
    // As it will be told from now on.
    Some(times(isp, cost))
}
