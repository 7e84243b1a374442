//! Which ISP makes the pictures.

use std::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use vcam_allocator::constraints::Constraints;
use vcam_allocator::cost::RenderCost;
use vcam_allocator::{Capabilities, Knowledge, sysfs};
use vcam_isp_gpu::select::{RendererTiming, TimingConfig, time_renderers};
use vcam_isp_gpu::{CpuIsp, GpuIsp, Isp, IspParams};

use super::EngineConfig;
use super::error::StartError;
use super::hint::Hint;
use crate::error::chain;
use crate::size::Size;

/// The largest frame to measure with.
const LARGEST: Size = Size { width: 1920, height: 1080 };

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
    pub(crate) hint: Option<Hint>,
}

impl IspChoice {
    /// The GPU's ISP of this choice, if it is one that this crate makes.
    pub(crate) fn gpu(&self) -> Option<Result<GpuIsp, vcam_isp_gpu::GpuError>> {
        match self {
            Self::Cpu | Self::Custom(_) => None,
            Self::Auto => Some(GpuIsp::new(None)),
            Self::Gpu(node) => Some(GpuIsp::new(node.as_deref())),
            Self::Software => Some(GpuIsp::software()),
        }
    }

    /// Returns the needs of the GPU's bus, where the user says which GPU it is.
    pub(crate) fn of_bus(&self, isp: &str) -> Constraints {
        let Self::Gpu(Some(node)) = self else { return Constraints::default() };
        let node: &Path = node;
        let bus = |device: PathBuf| sysfs::constraints(isp, &device);
        sysfs::device(node).map_or_else(Constraints::default, bus)
    }
}

/// Makes the ISP, on the thread that will use it.
pub(crate) fn make(
    config: &EngineConfig,
    params: &IspParams,
    knowledge: &mut Knowledge,
) -> Result<(Box<dyn Isp>, IspInfo), StartError> {
    let gpu = match &config.isp {
        IspChoice::Custom(CustomIsp(make)) => {
            return Ok(info(make().map_err(StartError::CustomIsp)?, None));
        }
        choice => choice.gpu(),
    };
    let cpu = |reason| info(Box::new(CpuIsp::new()), reason);
    let gpu = gpu.map(|gpu| gpu.map_err(StartError::from).and_then(|gpu| big_enough(gpu, config)));
    let auto = config.isp == IspChoice::Auto;
    let isp = match gpu {
        None => return Ok(cpu(None)),
        Some(Err(error)) if auto => {
            return Ok(cpu(Some(format!("not the GPU: {}", chain(&error)))));
        }
        Some(gpu) => gpu?,
    };
    if !isp.is_software() {
        return Ok(info(Box::new(isp), None));
    }
    let mut times = known(config, &isp, knowledge);
    if auto {
        times = times.or_else(|| measure(config, params, &isp, knowledge));
    }
    match times {
        Some(times) if auto && !times.prefers_gpu() => Ok(cpu(Some(times.to_string()))),
        Some(times) => {
            let reason = times.to_string();
            let hint = (!times.prefers_gpu()).then(|| slow(times));
            let (isp, made) = info(Box::new(isp), Some(reason));
            Ok((isp, IspInfo { hint, ..made }))
        }
        None => Ok(info(Box::new(isp), None)),
    }
}

/// The ISP with its description.
fn info(isp: Box<dyn Isp>, reason: Option<String>) -> (Box<dyn Isp>, IspInfo) {
    let info = IspInfo { name: isp.name(), description: isp.describe(), reason, hint: None };
    (isp, info)
}

/// The choice of the user counts; that it is slow is a hint.
fn slow(RendererTiming { gpu_name: isp, gpu, cpu }: RendererTiming) -> Hint {
    Hint::SlowIsp { isp, isp_us: micros(gpu), cpu_us: micros(cpu) }
}

/// Refuses a GPU that has no textures as large as a frame or a picture.
fn big_enough(isp: GpuIsp, config: &EngineConfig) -> Result<GpuIsp, StartError> {
    let limit = isp.max_size();
    let Size { width, height } = config.sensor.size;
    let outputs = config.outputs.iter().map(|output| output.size.width.max(output.size.height));
    match outputs.fold(width.max(height), u32::max) > limit {
        true => Err(StartError::IspSize { isp: isp.name(), limit, width, height }),
        false => Ok(isp),
    }
}

/// The renderer with its versions; by which platform of EGL it was reached makes no difference.
fn renderer(isp: &GpuIsp) -> String {
    let described = isp.describe();
    described.split_once(", EGL").map_or(&*described, |(renderer, _)| renderer).to_owned()
}

/// The work on a frame, as the key of what is known about it.
fn key_of(config: &EngineConfig) -> Option<String> {
    let (size, format) = (config.sensor.size, config.raw_format()?);
    Some(format!("{size} of {format} to {}", config.outputs.first()?.format))
}

/// Returns the time of a frame on either, if that was measured before.
fn known(config: &EngineConfig, isp: &GpuIsp, knowledge: &Knowledge) -> Option<RendererTiming> {
    Some(times(isp, knowledge.render(&renderer(isp), &key_of(config)?)?))
}

fn times(isp: &GpuIsp, RenderCost { renderer_us, cpu_us }: RenderCost) -> RendererTiming {
    let (gpu, cpu) = (Duration::from_micros(renderer_us), Duration::from_micros(cpu_us));
    RendererTiming { gpu_name: isp.name(), gpu, cpu }
}

/// Measures the time of a frame on either; `None` where that cannot be found out.
///
/// Only for renderers that are programs: a GPU leaves the CPU to others, and that is worth a frame
/// that takes longer.
fn measure(
    config: &EngineConfig,
    params: &IspParams,
    isp: &GpuIsp,
    knowledge: &mut Knowledge,
) -> Option<RendererTiming> {
    let EngineConfig { heaps, outputs, .. } = config;
    let (format, output, size) =
        (config.raw_format()?, outputs.first()?.format, config.sensor.size);
    // Both take a time for each pixel, and none of this may take long, or much memory.
    let size = (size.width.min(LARGEST.width), size.height.min(LARGEST.height));
    let heap = heaps.iter().find(|heap| heap.capabilities().contains(Capabilities::CPU_MAP))?;
    let scratch = config.isp.gpu()?.ok()?;
    let measured = time_renderers(scratch, &**heap, &TimingConfig { format, size, output, params })
        .inspect_err(|error| tracing::debug!(error = chain(error), "no time of a frame"))
        .ok()?;
    let cost = RenderCost { renderer_us: micros(measured.gpu), cpu_us: micros(measured.cpu) };
    knowledge.note_render(&renderer(isp), &key_of(config)?, cost);
    // As it is reported from now on.
    Some(times(isp, cost))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
