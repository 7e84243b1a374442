//! What sysfs tells of the device behind a node, without opening it.
//!
//! Source: `Documentation/ABI/testing/sysfs-dev` for `/sys/dev/char`, and
//! `sysfs-kernel-iommu_groups` for `iommu_group`. The `dma_heap` link is a proposal of 2023 ("dma-buf:
//! heaps: Provide accessors so that in-kernel drivers can allocate dmabufs", its cover letter); no
//! kernel up to 7.3 has it, and where one does, it is believed.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::constraints::{Constraints, Rule, Statement};

/// The device behind a node, as a folder of sysfs; `None` for what is no character device, or has
/// no device behind it.
///
/// The path tells a device from others of its kind and stays the same over a restart, unlike the
/// node's number.
pub fn device(node: &Path) -> Option<PathBuf> {
    let meta = fs::metadata(node).ok().filter(|meta| meta.file_type().is_char_device())?;
    let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
    fs::canonicalize(format!("/sys/dev/char/{major}:{minor}/device")).ok()
}

/// The heap that the kernel names for a device, as [`heaps::open`](crate::heaps::open) takes it.
pub fn heap_for_device(device: &Path) -> Option<String> {
    let heap = fs::read_link(device.join("dma_heap")).ok()?;
    Some(format!("{}{}", crate::heaps::dma_heap::PREFIX, heap.file_name()?.to_str()?))
}

/// What a device needs of its buffers, as far as sysfs tells; nothing for most.
///
/// Both are wishes with a second best, for neither is a promise: a device without an IOMMU may
/// gather scattered memory by itself, and the heap of its link is not the only one that serves it.
pub fn constraints(owner: &str, device: &Path) -> Constraints {
    let wish = if let Some(heap) = heap_for_device(device) {
        Statement::new(owner, "its dma_heap in sysfs", Rule::Heaps([heap].into()))
    } else if link_name(device, "subsystem").as_deref() == Some("platform")
        && link_name(device, "driver").is_some_and(|driver| !SOFTWARE.contains(&driver.as_str()))
        && !device.join("iommu_group").exists()
    {
        Statement::new(owner, "no iommu_group in sysfs", Rule::Contiguous)
    } else {
        return Constraints::default();
    };
    Constraints::any_of(owner, [vec![wish], Vec::new()])
}

/// Drivers of platform devices that are programs: no bus lies between them and any memory.
const SOFTWARE: [&str; 6] = ["vkms", "vgem", "vivid", "vim2m", "vimc", "visl"];

fn link_name(device: &Path, link: &str) -> Option<String> {
    Some(fs::read_link(device.join(link)).ok()?.file_name()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::plan::{HeapOffer, Planner, Stream};
    use crate::{Capabilities, Fourcc};

    /// A made-up folder of sysfs.
    fn fake_device(links: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, target) in links {
            symlink(target, folder.path().join(name)).unwrap();
        }
        folder
    }

    /// The heap that a plan takes for the device.
    fn planned(links: &[(&str, &str)], heaps: &[&str]) -> String {
        let device = fake_device(links);
        let offer = |name: &&str| {
            let contiguous = name.contains("cma").then_some(Capabilities::CONTIGUOUS);
            let common = Capabilities::DMA_BUF | Capabilities::CPU_MAP | Capabilities::CPU_CACHED;
            HeapOffer::new(name, common | contiguous.unwrap_or(Capabilities::empty()))
        };
        let needs = [constraints("kms:test", device.path())];
        let formats = [Fourcc::XRGB8888];
        let stream =
            Stream { name: "output", width: 64, height: 64, formats: &formats, parties: &needs };
        Planner::new(heaps.iter().map(offer).collect()).plan(&stream).unwrap().heap
    }

    #[test]
    fn a_platform_device_without_an_iommu_gets_contiguous_memory_if_there_is_any() {
        let pi = [("subsystem", "/sys/bus/platform"), ("driver", "/drivers/vc4-drm")];
        assert_eq!(planned(&pi, &["udmabuf", "dma_heap:cma"]), "dma_heap:cma");
        assert_eq!(planned(&pi, &["udmabuf"]), "udmabuf");
        let device = fake_device(&pi);
        fs::create_dir(device.path().join("iommu_group")).unwrap();
        assert_eq!(constraints("kms:test", device.path()), Constraints::default());
        let software = [pi[0], ("driver", "/drivers/vkms")];
        assert_eq!(planned(&software, &["udmabuf", "dma_heap:cma"]), "udmabuf");
        let pci = [("subsystem", "/sys/bus/pci"), ("driver", "/drivers/i915")];
        assert_eq!(planned(&pci, &["udmabuf", "dma_heap:cma"]), "udmabuf");
    }

    #[test]
    fn a_heap_that_the_kernel_names_for_a_device_is_taken() {
        let linked = [("dma_heap", "../../virtual/dma_heap/cma-vop")];
        let device = fake_device(&linked);
        assert_eq!(heap_for_device(device.path()).as_deref(), Some("dma_heap:cma-vop"));
        assert_eq!(planned(&linked, &["udmabuf", "dma_heap:cma-vop"]), "dma_heap:cma-vop");
        assert_eq!(planned(&linked, &["udmabuf"]), "udmabuf");
    }

    #[test]
    fn what_is_no_device_has_none() {
        assert_eq!(device(Path::new("/")), None);
        assert_eq!(device(Path::new("/nowhere")), None);
        // A character device with nothing behind it.
        assert_eq!(device(Path::new("/dev/null")), None);
    }
}
