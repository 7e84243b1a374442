//! vivid: V4L2 nodes of every kind, as the kernel's command line configures them.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use vcam_allocator::heaps::udmabuf::{MemfdRange, Udmabuf};
use vcam_allocator::{AllocError, Capabilities, Dmabuf, Heap, Layout};

/// The instance with memory from vmalloc. The order is that of the kernel's command line.
pub const VMALLOC: u32 = 0;
/// The instance with contiguous memory.
pub const CONTIGUOUS: u32 = 1;
/// The instance whose planes may be in memories of their own.
pub const MULTI_PLANAR: u32 = 2;

/// The node of an instance: `cap` or `out`.
pub fn node(instance: u32, end: &str) -> PathBuf {
    let name = format!("vivid-{instance:03}-vid-{end}");
    let entries = fs::read_dir("/sys/class/video4linux").unwrap().flatten();
    let is = |path: &Path| fs::read_to_string(path.join("name")).unwrap().trim() == name;
    let entry = entries.map(|entry| entry.path()).find(|path| is(path));
    let entry = entry.unwrap_or_else(|| panic!("no {name}"));
    Path::new("/dev").join(entry.file_name().unwrap())
}

/// The heap of a node's own memory.
pub fn heap_of(node: &Path) -> String {
    format!("v4l2:{}", node.file_name().unwrap().display())
}

const PAGE: u64 = 4096;

/// A heap whose buffers are one page of udmabuf over and over.
#[derive(Debug)]
pub struct Scattered;

impl Heap for Scattered {
    fn name(&self) -> &str {
        "udmabuf"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::DMA_BUF | Capabilities::CPU_MAP | Capabilities::CPU_CACHED
    }

    fn allocate(&self, layout: &Layout, name: &str) -> Result<Dmabuf, AllocError> {
        let memfd = memfd_create("test", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&memfd, PAGE).unwrap();
        fcntl_add_seals(&memfd, SealFlags::SHRINK).unwrap();
        let page = MemfdRange { memfd: memfd.as_fd(), offset: 0, size: PAGE };
        let ranges = vec![page; (layout.size() / PAGE) as usize];
        Udmabuf::open().unwrap().of_ranges(layout, name, &ranges)
    }
}
