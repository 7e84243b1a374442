//! dma-heaps: named kernel allocators under `/dev/dma_heap`.
//!
//! Source: `Documentation/userspace-api/dma-buf-heaps.rst`.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use vcam_uapi::node;

use crate::dmabuf::Dmabuf;
use crate::heap::{AllocError, Capabilities, Heap, OpenError};
use crate::layout::Layout;

/// What the names of these heaps start with.
pub const PREFIX: &str = "dma_heap:";

const FOLDER: &str = "/dev/dma_heap";

/// The names that kernels have given to the heap of the default CMA area: first the one of Linux
/// 6.17 and later, then the one from a device tree, then the old one.
const CMA_NAMES: [&str; 3] = ["default_cma_region", "reserved", "linux,cma"];

/// The names of all heaps under `/dev/dma_heap`, sorted, with `system` first and CMA last.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(FOLDER)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let rank = |name: &str| match name {
        "system" => 0,
        _ if is_cma(name) => 2,
        _ => 1,
    };
    names.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.cmp(b)));
    names
}

fn is_cma(name: &str) -> bool {
    CMA_NAMES.contains(&name)
}

/// What the machine calls the heap that the user asked for.
fn resolve(asked: &str, names: &[String]) -> Option<String> {
    let has = |name: &str| names.iter().any(|candidate| candidate == name);
    if has(asked) {
        return Some(asked.to_owned());
    }
    match asked {
        "cma" => CMA_NAMES.into_iter().find(|name| has(name)).map(str::to_owned),
        _ => None,
    }
}

/// One heap of `/dev/dma_heap`.
#[derive(Debug)]
pub struct DmaHeap {
    name: Arc<str>,
    device: File,
    contiguous: bool,
}

impl DmaHeap {
    /// Opens a heap by its name in `/dev/dma_heap`, or the CMA heap as `cma`.
    pub fn open(asked: &str) -> Result<Self, OpenError> {
        let names = names();
        let Some(resolved) = resolve(asked, &names) else {
            return Err(missing(asked, &names));
        };
        let name = format!("{PREFIX}{resolved}");
        let path = Path::new(FOLDER).join(&resolved);
        let device = node::open_read_only(&path)
            .map_err(|errno| OpenError::of(&name, &path, errno, "it has just gone"))?;
        Ok(Self { name: name.into(), device, contiguous: is_cma(&resolved) })
    }
}

fn missing(asked: &str, names: &[String]) -> OpenError {
    let advice = match asked {
        "system" => "the kernel needs CONFIG_DMABUF_HEAPS_SYSTEM".to_owned(),
        "cma" => "the kernel needs CONFIG_DMABUF_HEAPS_CMA and, say, cma=96M when it boots".into(),
        _ if names.is_empty() => "the kernel has no dma-heaps (CONFIG_DMABUF_HEAPS)".into(),
        _ => format!("there are: {}", names.join(", ")),
    };
    OpenError::Missing {
        name: format!("{PREFIX}{asked}"),
        node: Path::new(FOLDER).join(asked),
        advice,
    }
}

impl Heap for DmaHeap {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        let mut all = Capabilities::DMA_BUF | Capabilities::CPU_MAP | Capabilities::CPU_CACHED;
        all.set(Capabilities::CONTIGUOUS, self.contiguous);
        all
    }

    fn allocate(&self, layout: &Layout, name: &str) -> Result<Dmabuf, AllocError> {
        let heap = || self.name.to_string();
        let size = layout.size();
        let fd = vcam_uapi::dma_heap::alloc(self.device.as_fd(), size).map_err(|source| {
            AllocError::System { heap: heap(), step: "call DMA_HEAP_IOCTL_ALLOC", size, source }
        })?;
        Dmabuf::new(self.name.clone(), name, layout.clone(), vec![fd])
            .map_err(|source| AllocError::Wrap { heap: heap(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cma_is_found_under_each_of_its_names() {
        for name in CMA_NAMES {
            let names = ["system".to_owned(), name.to_owned()];
            assert_eq!(resolve("cma", &names).as_deref(), Some(name));
        }
        assert_eq!(resolve("cma", &["system".to_owned()]), None);
        assert_eq!(resolve("system", &["system".to_owned()]).as_deref(), Some("system"));
    }

    #[test]
    fn a_heap_that_is_not_there_says_what_is() {
        let error = missing("vendor", &["system".to_owned()]).to_string();
        assert!(error.contains("there are: system"), "{error}");
    }
}
