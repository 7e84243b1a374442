//! The heaps there are, by the names that [`open`] takes.

use std::fmt;
use std::path::Path;

use crate::heap::{Heap, OpenError};

pub mod dma_heap;
pub mod dumb;
pub mod gbm;
pub mod memfd;
pub mod u_dma_buf;
pub mod udmabuf;
pub mod v4l2;

/// A heap that was looked for, and whether it can be used.
#[derive(Debug)]
#[non_exhaustive]
pub struct Discovered {
    /// The name, as [`open`] takes it.
    pub name: String,
    /// The heap, or why it cannot be used.
    pub heap: Result<Box<dyn Heap>, OpenError>,
}

/// Every heap of this machine, usable or not, in the order in which `auto` prefers them.
///
/// udmabuf comes first because its memory is ordinary: it is accounted to the process, and CMA, of
/// which there is little, is left to those who need contiguous memory. Then come the heaps that a
/// device's driver is behind, for those who take nothing else. memfd comes last, since no device
/// imports it, and after it what looks like a heap and is none.
pub fn discover() -> Vec<Discovered> {
    names().into_iter().map(|name| Discovered { heap: open(&name), name }).collect()
}

/// The names of every heap that there may be, in the same order, without opening any of them.
pub fn names() -> Vec<String> {
    let mut names = ordinary();
    names.extend(dumb::names());
    names.extend(gbm::names());
    names.extend(v4l2::names());
    names.push(memfd::NAME.to_owned());
    names.extend(u_dma_buf::names());
    names
}

/// The names of those that give memory which is no device's own and which devices can import, in the
/// same order.
pub fn ordinary() -> Vec<String> {
    let mut names = vec![udmabuf::NAME.to_owned()];
    names.extend(dma_heap::names().iter().map(|name| format!("{}{name}", dma_heap::PREFIX)));
    names
}

/// Opens a heap by name.
///
/// `system` and `cma` stand for the dma-heap of that role, whatever this kernel calls it.
pub fn open(name: &str) -> Result<Box<dyn Heap>, OpenError> {
    match name {
        udmabuf::NAME => return Ok(Box::new(udmabuf::Udmabuf::open()?)),
        udmabuf::HUGE => return Ok(Box::new(udmabuf::Udmabuf::open_huge()?)),
        memfd::NAME => return Ok(Box::new(memfd::Memfd::new())),
        "system" | "cma" => return Ok(Box::new(dma_heap::DmaHeap::open(name)?)),
        _ if u_dma_buf::is_meant(name) => return Err(u_dma_buf::explain(name)),
        _ => {}
    }
    if let Some(heap) = name.strip_prefix(dma_heap::PREFIX) {
        return Ok(Box::new(dma_heap::DmaHeap::open(heap)?));
    }
    if let Some(card) = name.strip_prefix(dumb::PREFIX) {
        return Ok(Box::new(dumb::Dumb::open(card)?));
    }
    if let Some(node) = name.strip_prefix(gbm::PREFIX) {
        return Ok(Box::new(gbm::Gbm::open(node)?));
    }
    if let Some(node) = name.strip_prefix(v4l2::PREFIX) {
        return Ok(Box::new(v4l2::V4l2::open(node)?));
    }
    Err(unknown(name))
}

/// No such heap; lists those that there are.
///
/// It does not open them to see: some would start a driver for that.
fn unknown(name: &str) -> OpenError {
    let mut available = names();
    available.retain(|name| name != udmabuf::NAME || Path::new(udmabuf::NODE).exists());
    OpenError::Unknown { name: name.to_owned(), available }
}

impl fmt::Display for Discovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.heap {
            Ok(_) => write!(f, "{}", self.name),
            Err(error) => write!(f, "{} ({error})", self.name),
        }
    }
}
