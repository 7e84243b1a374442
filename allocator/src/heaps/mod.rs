//! The heaps there are, by the names that `--heap` takes.

use std::fmt;

use crate::heap::{Heap, OpenError};

pub mod dma_heap;
pub mod memfd;
pub mod udmabuf;

/// A heap that was looked for, and whether it can be used.
#[derive(Debug)]
pub struct Discovered {
    /// The name, as `--heap` takes it.
    pub name: String,
    /// The heap, or why it cannot be used.
    pub heap: Result<Box<dyn Heap>, OpenError>,
}

/// Every heap of this machine, usable or not, in the order in which `auto` prefers them.
///
/// udmabuf comes first because its memory is ordinary: it is accounted to the process, and CMA, of
/// which there is little, is left to those who need contiguous memory. memfd comes last, since no
/// device imports it.
pub fn discover() -> Vec<Discovered> {
    let mut names = vec![udmabuf::NAME.to_owned()];
    names.extend(dma_heap::names().iter().map(|name| format!("{}{name}", dma_heap::PREFIX)));
    names.push(memfd::NAME.to_owned());
    names.into_iter().map(|name| Discovered { heap: open(&name), name }).collect()
}

/// Opens a heap by name.
///
/// `system` and `cma` stand for the dma-heap of that role, whatever this kernel calls it.
pub fn open(name: &str) -> Result<Box<dyn Heap>, OpenError> {
    match name {
        udmabuf::NAME => Ok(Box::new(udmabuf::Udmabuf::open()?)),
        memfd::NAME => Ok(Box::new(memfd::Memfd::new())),
        "system" | "cma" => Ok(Box::new(dma_heap::DmaHeap::open(name)?)),
        _ => match name.strip_prefix(dma_heap::PREFIX) {
            Some(heap) => Ok(Box::new(dma_heap::DmaHeap::open(heap)?)),
            None => Err(unknown(name)),
        },
    }
}

/// No such heap; lists those that can be opened.
fn unknown(name: &str) -> OpenError {
    let available =
        discover().into_iter().filter(|found| found.heap.is_ok()).map(|found| found.name).collect();
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
