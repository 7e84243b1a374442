//! Which ISP makes the pictures.

use std::path::{Path, PathBuf};

use vcam_allocator::constraints::Constraints;
use vcam_allocator::{Capabilities, Fourcc, Heap, sysfs};
use vcam_isp_gpu::choose::{Trial, choose};
use vcam_isp_gpu::{Choice, CpuIsp, GpuIsp, Isp, IspParams, RawFormat};

use super::StartError;
use crate::error::chain;

/// Which ISP renders the pictures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum IspChoice {
    /// The GPU's; where there is none, or where it is a program and slower than ours, the CPU's.
    #[default]
    Auto,
    /// The GPU's, on this render node, or on whatever EGL prefers.
    Gpu(Option<PathBuf>),
    /// The CPU's.
    Cpu,
}

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
    /// The GPU's ISP of this choice, if it is one.
    pub(crate) fn gpu(&self) -> Option<Result<GpuIsp, vcam_isp_gpu::EglError>> {
        match self {
            Self::Cpu => None,
            Self::Auto => Some(GpuIsp::new(None)),
            Self::Gpu(node) => Some(GpuIsp::new(node.as_deref())),
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
    pub(crate) fn make(&self, task: &Task<'_>) -> Result<(Box<dyn Isp>, IspInfo), StartError> {
        let info = |isp: &dyn Isp, reason| IspInfo {
            name: isp.name(),
            description: isp.describe(),
            reason,
        };
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
            (Self::Auto, Some(Ok(isp))) if isp.is_software() => match measure(self, task) {
                Some(choice) if !choice.is_gpu() => return Ok(cpu(Some(choice.to_string()))),
                choice => (isp, choice.map(|choice| choice.to_string())),
            },
            (_, Some(Ok(isp))) => (isp, None),
        };
        let info = info(&isp, reason);
        Ok((Box::new(isp), info))
    }
}

/// What a frame takes on either; `None` where that cannot be found out.
///
/// Only for renderers that are programs: a GPU leaves the CPU to others, and that is worth a frame
/// that takes longer.
fn measure(choice: &IspChoice, task: &Task<'_>) -> Option<Choice> {
    let Task { format, size, output, params, heaps, .. } = *task;
    let output = output?;
    let heap = heaps.iter().find(|heap| heap.capabilities().contains(Capabilities::CPU_MAP))?;
    let scratch = choice.gpu()?.ok()?;
    let measured = choose(scratch, &**heap, &Trial { format, size, output, params });
    measured.inspect_err(|error| tracing::debug!(error = chain(error), "no time of a frame")).ok()
}
