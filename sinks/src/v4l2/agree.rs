//! Whether a node can be set to what a buffer is.
//!
//! V4L2 says less of a layout than DRM does: a stride for each memory, and nothing of where the
//! planes of one memory begin. So the format that is set stands for one layout alone, and a buffer
//! with another one would be read in the wrong places.

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use vcam_allocator::heaps::v4l2::{pixel_formats, planes};
use vcam_allocator::{Dmabuf, Fourcc, PlaneLayout, Refusal};
use vcam_uapi::v4l2::{Field, Format, PlaneFormat, QueuedPlane};

use super::node::Node;
use super::probe::SET;

/// Sets the format, the size and the strides that a buffer has, since some heaps choose them.
///
/// `listed` are the codes of the node's formats.
pub(super) fn agree(node: &Node, listed: &[u32], buffer: &Dmabuf) -> Result<Format, Refusal> {
    let layout = buffer.layout();
    let because = |words: String| Err(Refusal::because(&node.name(), SET, words));
    let (format, spread) = (layout.format(), buffer.inodes().count());
    let Some(pixel) = pixel_formats(format)
        .find(|pixel| listed.contains(&pixel.code) && pixel.memories == spread)
    else {
        return because(format!(
            "the device has no {format} whose planes are spread over {spread} memories"
        ));
    };
    let narrow = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
    let memory =
        |plane: &PlaneLayout| PlaneFormat { bytesperline: narrow(plane.stride), sizeimage: 0 };
    let wish = Format {
        pixelformat: pixel.code,
        width: layout.width(),
        height: layout.height(),
        field: Field::ANY,
        planes: layout.planes().iter().take(spread).map(memory).collect(),
    };
    let set = node
        .set_format(&wish)
        .map_err(|errno| Refusal::errno(&node.name(), SET, errno.raw_os_error()))?;
    match fits(&set, buffer) {
        Ok(()) => Ok(set),
        Err(words) => because(words),
    }
}

/// Whether a node that is set to this reads a buffer as what it is; in words how it does not.
pub(super) fn fits(set: &Format, buffer: &Dmabuf) -> Result<(), String> {
    let layout = buffer.layout();
    let size = (layout.width(), layout.height());
    if (set.width, set.height) != size {
        return Err(format!(
            "the device has pictures of {}x{}, and the heap's are {}x{}",
            set.width, set.height, size.0, size.1
        ));
    }
    for (is, asked) in set.planes.iter().zip(layout.planes()) {
        if u64::from(is.bytesperline) != asked.stride {
            return Err(format!(
                "the device wants a stride of {} bytes, and the heap's is {}",
                is.bytesperline, asked.stride
            ));
        }
    }
    let wanted = planes_of(layout.format(), set);
    for (index, (wanted, is)) in wanted.iter().zip(layout.planes()).enumerate() {
        if wanted != is {
            return Err(format!(
                "the device looks for plane {index} at byte {}, with a stride of {} bytes, and \
                 the heap has it at byte {} with {}",
                wanted.offset, wanted.stride, is.offset, is.stride
            ));
        }
    }
    Ok(())
}

/// Where a node that is set to this has the planes of a picture.
pub(super) fn planes_of(format: Fourcc, set: &Format) -> Vec<PlaneLayout> {
    let strides: Vec<_> = set.planes.iter().map(|memory| memory.bytesperline).collect();
    planes(format, set.height, &strides)
}

/// The memories of a buffer as they are queued.
pub(super) fn memories<'a>(
    buffer: &'a Dmabuf,
    set: &Format,
) -> Result<Vec<QueuedPlane<'a>>, Errno> {
    buffer
        .planes()
        .zip(&set.planes)
        .map(|((fd, _), memory)| {
            let bytes = seek(fd, SeekFrom::End(0))?;
            let length = u32::try_from(bytes).unwrap_or(u32::MAX);
            Ok(QueuedPlane { fd: Some(fd), length, bytesused: memory.sizeimage })
        })
        .collect()
}
