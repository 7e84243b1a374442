//! The driver's own buffers, mapped: where pictures are copied that the device does not import.

use std::os::fd::AsFd;

use vcam_allocator::{AccessError, CpuAccess, Dmabuf, Fourcc, PlaneLayout};
use vcam_uapi::v4l2::{Format, MappedPlane, QueuedPlane};

use super::agree::planes_of;
use super::error::V4l2Error;
use super::node::Node;
use super::probe::REQUEST;
use crate::mapping::Mapping;
use crate::pixels::{copy_rows, stride_of};

const QUERY: &str = "VIDIOC_QUERYBUF";

/// The buffers of a node that is set to a format.
#[derive(Debug)]
pub(super) struct Mapped {
    set: Format,
    planes: Vec<PlaneLayout>,
    /// The memories of each buffer.
    buffers: Vec<Vec<Mapping>>,
    /// The buffer that was written last.
    last: usize,
}

impl Mapped {
    /// Has the driver make at least `count` buffers of the format that is set, and maps them.
    ///
    /// They are the driver's until it is asked for none.
    pub(super) fn new(
        node: &Node,
        format: Fourcc,
        set: Format,
        count: u32,
    ) -> Result<Self, V4l2Error> {
        let failed = |step| move |errno| V4l2Error::call(&node.name(), &node.path, step, errno);
        let made = node.request_own(count).map_err(failed(REQUEST))?;
        let map = |MappedPlane { mem_offset, length }| {
            Mapping::new(node.as_fd(), mem_offset.into(), length as usize)
                .map_err(|source| V4l2Error::Map { device: node.name(), source })
        };
        let buffers: Vec<_> = (0..made)
            .map(|index| {
                let memories = node.own_memories(index).map_err(failed(QUERY))?;
                memories.into_iter().map(map).collect()
            })
            .collect::<Result<_, _>>()?;
        let last = buffers.len().saturating_sub(1);
        Ok(Self { planes: planes_of(format, &set), set, buffers, last })
    }

    /// The buffer that was written the longest time ago, of those that are free.
    ///
    /// A driver may still show what it gave back: readers of v4l2loopback look into these very
    /// buffers, and the one with the latest picture is the last that may be written.
    pub(super) fn oldest(&self, is_free: impl Fn(u32) -> bool) -> Option<u32> {
        let after = self.last + 1;
        // There were as many as a `u32` says when they were asked for.
        let index = |turn| ((after + turn) % self.buffers.len()) as u32;
        (0..self.buffers.len()).map(index).find(|index| is_free(*index))
    }

    /// Copies a picture into a buffer, row by row.
    pub(super) fn copy(&mut self, index: u32, picture: &Dmabuf) -> Result<(), AccessError> {
        let Some(memories) = self.buffers.get_mut(index as usize) else { return Ok(()) };
        self.last = index as usize;
        let guard = picture.cpu_access(CpuAccess::Read)?;
        for (plane, at) in self.planes.iter().enumerate() {
            let memory = if memories.len() > 1 { plane } else { 0 };
            let to = memories.get_mut(memory).map(Mapping::bytes_mut).unwrap_or_default();
            let to = to.get_mut(at.offset as usize..).unwrap_or_default();
            let layout = picture.layout();
            let (bytes, rows) = (layout.row_bytes(plane) as usize, layout.rows(plane) as usize);
            let (from, stride) = (guard.plane(plane), stride_of(picture, plane));
            copy_rows(from, stride, to, at.stride as usize, bytes, rows);
        }
        guard.end()
    }

    /// Makes every byte of a buffer this one.
    pub(super) fn fill(&mut self, index: u32, byte: u8) {
        self.last = index as usize;
        for memory in self.buffers.get_mut(index as usize).into_iter().flatten() {
            memory.bytes_mut().fill(byte);
        }
    }

    /// Copies what is in one buffer into another.
    pub(super) fn repeat(&mut self, from: u32, to: u32) {
        self.last = to as usize;
        let Ok([from, to]) = self.buffers.get_disjoint_mut([from as usize, to as usize]) else {
            return;
        };
        for (from, to) in from.iter().zip(to) {
            let (from, to) = (from.bytes(), to.bytes_mut());
            let bytes = from.len().min(to.len());
            to[..bytes].copy_from_slice(&from[..bytes]);
        }
    }

    /// The memories of any of the buffers as they are queued.
    pub(super) fn memories(&self) -> impl Iterator<Item = QueuedPlane<'static>> {
        self.set.planes.iter().map(|memory| QueuedPlane {
            fd: None,
            length: memory.sizeimage,
            bytesused: memory.sizeimage,
        })
    }
}
