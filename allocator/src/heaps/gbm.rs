//! GBM buffers: memory that a GPU's driver allocates, as tiled or plain as it likes.
//!
//! Some GPUs sample foreign memory but render only to their own. Then the GPU allocates and the
//! others import. What the buffer is for is said with use flags, or, better, with the list of
//! modifiers that all its users understand; the driver picks one, and each plane of the result has
//! a descriptor.
//!
//! Source: Mesa's `src/gbm/main/gbm.h`.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vcam_uapi::drm;
use vcam_uapi::node::open_read_write;

use crate::constraints::FormatSet;
use crate::dmabuf::{Dmabuf, MAX_PLANES};
use crate::format::{FORMATS, Fourcc, Modifier};
use crate::gbm::{Device, GbmError, Use};
use crate::heap::{AllocError, Capabilities, Heap, OpenError};
use crate::heaps::dumb;
use crate::layout::{Layout, PlaneLayout};

/// What the names of these heaps start with.
pub const PREFIX: &str = "gbm:";

/// What a buffer will be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// A display scans it out.
    pub scanout: bool,
    /// The GPU renders into it.
    pub rendering: bool,
    /// Its rows lie one after the other, so that anybody can read it.
    pub linear: bool,
}

impl Default for Usage {
    /// For the GPU to render to and for everybody to read.
    fn default() -> Self {
        Self { scanout: false, rendering: true, linear: true }
    }
}

impl From<Usage> for Use {
    fn from(usage: Usage) -> Self {
        let mut flags = Self::empty();
        flags.set(Self::SCANOUT, usage.scanout);
        flags.set(Self::RENDERING, usage.rendering);
        flags.set(Self::LINEAR, usage.linear);
        flags
    }
}

/// The heaps of all GPUs: by the driver's name, or by the node's where another one has the same
/// driver, or where the driver cannot be asked.
///
/// Devices made of software alone (vgem) have render nodes too; they are left out, since Mesa
/// renders on the CPU then and takes its memory from wherever the display is. By name they open.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for node in dumb::nodes("renderD").into_iter().filter(|node| !is_software(node)) {
        let driver = open_read_write(&node).and_then(|device| drm::driver(device.as_fd())).ok();
        let name = driver.map(|driver| format!("{PREFIX}{driver}"));
        let by_node =
            || format!("{PREFIX}{}", node.file_name().unwrap_or_default().to_string_lossy());
        names.push(name.filter(|name| !names.contains(name)).unwrap_or_else(by_node));
    }
    names
}

/// Whether a device is on the bus for those that do not exist (since Linux 6.14).
fn is_software(node: &Path) -> bool {
    let device = Path::new("/sys/class/drm").join(node.file_name().unwrap_or_default());
    fs::read_link(device.join("device/subsystem"))
        .is_ok_and(|bus| bus.file_name().is_some_and(|name| name == "faux"))
}

/// The memory of one GPU.
pub struct Gbm {
    name: Arc<str>,
    /// One thread at a time.
    device: Mutex<Device>,
    usage: Usage,
    modifiers: Vec<Modifier>,
    mappable: bool,
}

impl Gbm {
    /// Opens a GPU by its driver, such as `amdgpu`, by its node's name, such as `renderD128`, or
    /// by its path; `card0` is possible too, for what has no render node.
    ///
    /// Makes a small buffer, because a device that opens may still not allocate: without a driver
    /// of its own Mesa needs a display card, and a render node is none.
    pub fn open(asked: &str) -> Result<Self, OpenError> {
        let name = format!("{PREFIX}{asked}");
        let mut first_error = None;
        for node in dumb::candidates(asked, &["renderD", "card"]) {
            match Self::open_node(&name, asked, &node) {
                Ok(Some(heap)) => return Ok(heap),
                Ok(None) => {}
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.unwrap_or_else(|| {
            let there = names();
            let advice = match there.is_empty() {
                true => "there is no GPU".to_owned(),
                false => format!("there are: {}", there.join(", ")),
            };
            OpenError::Missing { name, node: Path::new(dumb::FOLDER).to_owned(), advice }
        }))
    }

    /// `None` if another node is meant.
    fn open_node(name: &str, asked: &str, node: &Path) -> Result<Option<Self>, OpenError> {
        let failed =
            |source| OpenError::Open { name: name.to_owned(), node: node.to_owned(), source };
        let file = open_read_write(node)
            .map_err(|errno| OpenError::of(name, node, errno, "there is no such GPU"))?;
        // On a render node, where nobody can be, this does nothing.
        drm::drop_master(file.as_fd());
        let driver = drm::driver(file.as_fd()).map_err(failed)?;
        if !dumb::is_meant(asked, node, &driver) {
            return Ok(None);
        }
        let device = Device::new(file).map_err(|error| match error {
            GbmError::Device(source) => failed(source),
            source => OpenError::Gbm { name: name.to_owned(), source },
        })?;
        let mut heap = Self {
            name: name.into(),
            device: Mutex::new(device),
            usage: Usage::default(),
            modifiers: Vec::new(),
            mappable: false,
        };
        let Some(buffer) = heap.try_allocating() else {
            let (name, node) = (name.to_owned(), node.to_owned());
            return Err(OpenError::Unsuitable { name, node, what: "allocate" });
        };
        // No capability tells.
        heap.mappable = buffer.memories().iter().all(|memory| memory.map().is_ok());
        Ok(Some(heap))
    }

    /// The same heap for buffers that will be used so.
    #[must_use]
    pub fn with_usage(self, usage: Usage) -> Self {
        Self { usage, ..self }
    }

    /// The same heap for buffers with one of these modifiers: the driver picks the best.
    #[must_use]
    pub fn with_modifiers(self, modifiers: Vec<Modifier>) -> Self {
        Self { modifiers, ..self }
    }

    fn try_allocating(&self) -> Option<Dmabuf> {
        let plane = PlaneLayout { offset: 0, stride: 256 };
        let layout = Layout::given(Fourcc::XRGB8888, Modifier::LINEAR, 64, 64, vec![plane]).ok()?;
        let made = self.allocate(&layout, "vcam-try");
        if let Err(error) = &made {
            tracing::debug!(%error, "a GBM device that does not allocate");
        }
        made.ok()
    }

    fn device(&self) -> MutexGuard<'_, Device> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What buffers are made for. With modifiers, LINEAR is one of them and not a use.
    fn flags(&self) -> Use {
        let flags = Use::from(self.usage);
        if self.modifiers.is_empty() { flags } else { flags - Use::LINEAR }
    }
}

impl std::fmt::Debug for Gbm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gbm")
            .field("name", &self.name)
            .field("backend", &self.device().backend_name())
            .field("usage", &self.usage)
            .field("modifiers", &self.modifiers)
            .finish()
    }
}

impl Heap for Gbm {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        let mut all = Capabilities::DMA_BUF;
        all.set(Capabilities::CPU_MAP, self.mappable);
        all
    }

    fn formats(&self) -> Option<FormatSet> {
        let (device, usage) = (self.device(), self.usage.into());
        let modifiers: std::collections::BTreeSet<_> = match self.modifiers.is_empty() {
            true => [Modifier::LINEAR].into(),
            false => self.modifiers.iter().copied().collect(),
        };
        let all = FORMATS.iter().map(|info| info.format);
        let takes = all.filter(|format| device.has_format(*format, usage));
        Some(takes.map(|format| (format, modifiers.clone())).collect())
    }

    fn chooses_layout(&self) -> bool {
        true
    }

    fn allocate(&self, layout: &Layout, name: &str) -> Result<Dmabuf, AllocError> {
        let heap = || self.name.to_string();
        let failed = |step| {
            move |source| AllocError::System { heap: heap(), step, size: layout.size(), source }
        };
        let (format, size) = (layout.format(), (layout.width(), layout.height()));
        let device = self.device();
        let object = device
            .create_bo(size, format, &self.modifiers, self.flags())
            .map_err(failed("create a GBM buffer"))?;
        let reported = object.modifier();
        // Drivers without modifiers report INVALID, also for what they were told to make linear.
        let linear = self.usage.linear && self.modifiers.is_empty();
        let modifier = match reported {
            Modifier::INVALID if linear => Modifier::LINEAR,
            other => other,
        };
        let count = object.plane_count().min(MAX_PLANES);
        let (mut planes, mut fds) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for plane in 0..count {
            planes.push(PlaneLayout {
                offset: object.offset(plane).into(),
                stride: object.stride(plane).into(),
            });
            fds.push(object.export(plane).map_err(failed("export a GBM buffer"))?);
        }
        let given = Layout::given(format, modifier, size.0, size.1, planes)
            .map_err(|source| AllocError::Layout { heap: heap(), source })?;
        Dmabuf::spread(self.name.clone(), name, given, fds, (0..count).collect())
            .map_err(|source| AllocError::Wrap { heap: heap(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_gpu_is_named() {
        let error = Gbm::open("renderD4294967295").unwrap_err();
        assert!(matches!(error, OpenError::Missing { .. }), "{error}");
    }
}
