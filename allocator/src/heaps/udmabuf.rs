//! udmabuf: dma-bufs made of ordinary memory.
//!
//! This is mainline's `CONFIG_UDMABUF`. The out-of-tree module of the same name (ikwzm's
//! `u-dma-buf`, whose nodes are `/dev/udmabuf0` and so on) is another thing and not used here.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use crate::dmabuf::Dmabuf;
use crate::heap::{AllocError, Capabilities, Heap, OpenError};
use crate::heaps::memfd;
use crate::layout::Layout;
use crate::permission::{Permission, open_readonly};
use crate::uapi;

/// The heap's name.
pub const NAME: &str = "udmabuf";

const NODE: &str = "/dev/udmabuf";

/// What the module allows unless told otherwise (`size_limit_mb` in `drivers/dma-buf/udmabuf.c`).
const DEFAULT_LIMIT: u64 = 64 << 20;

/// Buffers of sealed memfd pages, shared as dma-bufs.
#[derive(Debug)]
pub struct Udmabuf {
    name: Arc<str>,
    device: File,
    limit: u64,
}

impl Udmabuf {
    /// Opens `/dev/udmabuf`.
    pub fn open() -> Result<Self, OpenError> {
        let (name, node) = (NAME.to_owned(), Path::new(NODE).to_owned());
        let device = open_readonly(&node).map_err(|errno| match errno {
            Errno::NOENT | Errno::NODEV | Errno::NXIO => {
                OpenError::Missing { name, node, advice: missing_advice() }
            }
            Errno::ACCESS | Errno::PERM => {
                OpenError::Permission { name, permission: Permission::of(&node) }
            }
            source => OpenError::Open { name, node, source },
        })?;
        Ok(Self { name: NAME.into(), device, limit: size_limit() })
    }
}

fn missing_advice() -> String {
    let foreign = Path::new("/dev/udmabuf0").exists();
    let mut advice = "try: sudo modprobe udmabuf (CONFIG_UDMABUF)".to_owned();
    if foreign {
        advice.push_str("; /dev/udmabuf0 is the out-of-tree u-dma-buf, which is another thing");
    }
    advice
}

fn size_limit() -> u64 {
    fs::read_to_string("/sys/module/udmabuf/parameters/size_limit_mb")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok())
        .and_then(|mib| mib.checked_mul(1 << 20))
        .unwrap_or(DEFAULT_LIMIT)
}

impl Heap for Udmabuf {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::DMA_BUF | Capabilities::CPU_MAP | Capabilities::CPU_CACHED
    }

    fn allocate(&self, layout: &Layout, name: &str) -> Result<Dmabuf, AllocError> {
        let heap = || NAME.to_owned();
        let page = rustix::param::page_size() as u64;
        let size = layout.size();
        // The kernel's own answer to both is a bare EINVAL.
        let too_large = AllocError::TooLarge {
            heap: heap(),
            size,
            limit: self.limit,
            advice: "raise it in /sys/module/udmabuf/parameters/size_limit_mb",
        };
        let size = match size.checked_next_multiple_of(page) {
            Some(size) if size <= self.limit => size,
            _ => return Err(too_large),
        };
        let memfd = memfd::sealed(NAME, name, size)?;
        let fd =
            uapi::udmabuf::create(self.device.as_fd(), memfd.as_fd(), size).map_err(|source| {
                AllocError::System { heap: heap(), step: "call UDMABUF_CREATE", size, source }
            })?;
        // The dma-buf keeps the pages; with the memfd gone, the dma-buf is the only way to them,
        // so that no access can go round DMA_BUF_IOCTL_SYNC.
        drop(memfd);
        Dmabuf::new(self.name.clone(), name, layout.clone(), vec![fd])
            .map_err(|source| AllocError::Wrap { heap: heap(), source })
    }
}
