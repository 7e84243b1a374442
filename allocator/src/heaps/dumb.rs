//! Dumb buffers: picture memory of a display card, exported as dma-bufs.
//!
//! A display that takes no buffers but its own can still share them: the card allocates, and all
//! other devices import. The driver chooses the stride, and memory that its display engine can
//! read. No interface reports that the CPU may read such memory slowly (it is often
//! write-combined), so `CPU_CACHED` is not promised.
//!
//! Source: `Documentation/gpu/drm-kms.rst`, "Dumb Buffer Objects".

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vcam_uapi::drm;
use vcam_uapi::node::{numbered, open_read_write};

use crate::constraints::FormatSet;
use crate::dmabuf::Dmabuf;
use crate::format::{FORMATS, Fourcc, Modifier};
use crate::heap::{AllocError, Capabilities, Heap, OpenError};
use crate::layout::{Alignment, Layout, PlaneLayout};
use crate::memory::Memory;

/// The prefix of the names of these heaps.
pub const PREFIX: &str = "dumb:";

pub(crate) const FOLDER: &str = "/dev/dri";

/// The nodes under `/dev/dri` whose names start with `prefix`, in the order of their numbers.
pub(crate) fn nodes(prefix: &str) -> Vec<PathBuf> {
    numbered(Path::new(FOLDER), prefix)
}

/// The heaps of all cards that have displays. A heap is named after its card's driver, or after its
/// node if another card has the same driver or the card cannot be asked.
pub fn names() -> Vec<String> {
    named().into_iter().map(|(name, _)| name).collect()
}

/// The name of a card's heap, if it has one.
pub fn name_of(card: &Path) -> Option<String> {
    let card = card.canonicalize().ok()?;
    named().into_iter().find_map(|(name, node)| (node == card).then_some(name))
}

/// Every heap with its card.
fn named() -> Vec<(String, PathBuf)> {
    let mut named: Vec<(String, PathBuf)> = Vec::new();
    for node in nodes("card") {
        let asked = open_read_write(&node).and_then(|card| {
            drm::drop_master(card.as_fd());
            Ok((drm::driver(card.as_fd())?, drm::has_dumb(card.as_fd())?))
        });
        let by_driver = match asked {
            Ok((_, false)) => continue,
            Ok((driver, true)) => Some(format!("{PREFIX}{driver}")),
            Err(_) => None,
        };
        let name = by_driver.filter(|name| named.iter().all(|(other, _)| other != name));
        named.push((name.unwrap_or_else(|| format!("{PREFIX}{}", file_name(&node))), node));
    }
    named
}

fn file_name(node: &Path) -> String {
    node.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The memory of one display card.
#[derive(Debug)]
pub struct Dumb {
    name: Arc<str>,
    card: File,
    mappable: bool,
}

impl Dumb {
    /// Opens a card by its driver, such as `vkms`, by its node's name, such as `card0`, or by its
    /// path.
    pub fn open(asked: &str) -> Result<Self, OpenError> {
        let name = format!("{PREFIX}{asked}");
        let mut first_error = None;
        for node in candidates(asked, &["card"]) {
            let card = match open_read_write(&node) {
                Ok(card) => card,
                Err(errno) => {
                    let error = OpenError::of(&name, &node, errno, "there is no such card");
                    first_error.get_or_insert(error);
                    continue;
                }
            };
            drm::drop_master(card.as_fd());
            let failed =
                |source| OpenError::Open { name: name.clone(), node: node.clone(), source };
            let driver = drm::driver(card.as_fd()).map_err(failed)?;
            if !is_meant(asked, &node, &driver) {
                continue;
            }
            if !drm::has_dumb(card.as_fd()).map_err(failed)? {
                let (name, what) = (name.clone(), "make dumb buffers");
                return Err(OpenError::Unsuitable { name, node, what });
            }
            let mut heap = Self { name: name.as_str().into(), card, mappable: false };
            heap.mappable = heap.try_mapping();
            return Ok(heap);
        }
        Err(first_error.unwrap_or_else(|| {
            let there = names();
            let advice = match there.is_empty() {
                true => "the kernel has no display card".to_owned(),
                false => format!("there are: {}", there.join(", ")),
            };
            OpenError::Missing { name, node: Path::new(FOLDER).to_owned(), advice }
        }))
    }

    /// Returns `true` if the CPU can map its buffers as dma-bufs. No capability reports that, so a
    /// small one is made.
    fn try_mapping(&self) -> bool {
        let made = drm::Dumb::create(self.card.as_fd(), 64, 64, 32)
            .and_then(|dumb| dumb.export())
            .and_then(Memory::new);
        made.is_ok_and(|memory| memory.map().is_ok())
    }
}

/// The nodes that a name may mean: the node of that name or path, or else all nodes, whose drivers
/// must then be asked.
pub(crate) fn candidates(asked: &str, prefixes: &[&str]) -> Vec<PathBuf> {
    let numbered = |prefix: &&str| {
        asked.strip_prefix(prefix).is_some_and(|number| number.parse::<u32>().is_ok())
    };
    if asked.starts_with('/') {
        vec![asked.into()]
    } else if prefixes.iter().any(numbered) {
        vec![Path::new(FOLDER).join(asked)]
    } else {
        prefixes.iter().flat_map(|prefix| nodes(prefix)).collect()
    }
}

/// Returns `true` if `asked` is this node's path, its name or its driver.
pub(crate) fn is_meant(asked: &str, node: &Path, driver: &str) -> bool {
    asked == driver || Path::new(asked) == node || asked == file_name(node)
}

/// A picture as the single plane of samples of a dumb buffer: its planes lie below each other and
/// share a stride.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    width: u32,
    rows: u32,
    bits: u32,
    /// Rows before each plane.
    starts: Vec<u32>,
}

impl Shape {
    fn of(format: Fourcc, width: u32, height: u32) -> Option<Self> {
        let planes = format.planes()?;
        let bytes = planes.first()?.bytes;
        let mut shape = Self { width, rows: 0, bits: bytes * 8, starts: Vec::new() };
        // Whole tiles of rows, as in every other heap.
        let multiple = u32::try_from(Alignment::default().rows).ok()?;
        for plane in planes {
            shape.starts.push(shape.rows);
            let row = width.div_ceil(plane.hsub).checked_mul(plane.bytes)?;
            shape.width = shape.width.max(row.div_ceil(bytes));
            let rows = height.div_ceil(plane.vsub).checked_next_multiple_of(multiple)?;
            shape.rows = shape.rows.checked_add(rows)?;
        }
        Some(shape)
    }

    fn planes(&self, pitch: u32) -> Vec<PlaneLayout> {
        let stride = u64::from(pitch);
        self.starts
            .iter()
            .map(|start| PlaneLayout { offset: u64::from(*start) * stride, stride })
            .collect()
    }
}

impl Heap for Dumb {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        let mut all = Capabilities::DMA_BUF;
        all.set(Capabilities::CPU_MAP, self.mappable);
        all
    }

    fn formats(&self) -> Option<FormatSet> {
        // Their planes lie below each other with one stride, which is all that can be asked of a
        // driver that is told no format.
        let all = FORMATS.iter().map(|info| (info.format, [Modifier::LINEAR].into()));
        Some(all.collect())
    }

    fn chooses_layout(&self) -> bool {
        true
    }

    fn allocate(&self, layout: &Layout, name: &str) -> Result<Dmabuf, AllocError> {
        let heap = || self.name.to_string();
        let (format, width, height) = (layout.format(), layout.width(), layout.height());
        let failed = |step| {
            move |source| AllocError::System { heap: heap(), step, size: layout.size(), source }
        };
        let shape = Shape::of(format, width, height)
            .filter(|_| format.info().is_some() && layout.modifier() == Modifier::LINEAR)
            .ok_or_else(|| AllocError::Format { heap: heap(), format })?;
        let card = self.card.as_fd();
        let dumb = drm::Dumb::create(card, shape.width, shape.rows, shape.bits)
            .map_err(failed("call DRM_IOCTL_MODE_CREATE_DUMB"))?;
        let fd = dumb.export().map_err(failed("call DRM_IOCTL_PRIME_HANDLE_TO_FD"))?;
        let planes = shape.planes(dumb.pitch);
        let given = Layout::given(format, Modifier::LINEAR, width, height, planes)
            .map_err(|source| AllocError::Layout { heap: heap(), source })?
            .with_size(dumb.size);
        Dmabuf::new(self.name.clone(), name, given, vec![fd])
            .map_err(|source| AllocError::Wrap { heap: heap(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chroma_lies_below_luma() {
        let shape = Shape::of(Fourcc::NV12, 641, 479).unwrap();
        assert_eq!((shape.width, shape.rows, shape.bits), (642, 480 + 240, 8));
        let planes = shape.planes(704);
        assert_eq!(planes[1], PlaneLayout { offset: 480 * 704, stride: 704 });
        let shape = Shape::of(Fourcc::XRGB8888, 640, 480).unwrap();
        assert_eq!((shape.width, shape.rows, shape.bits), (640, 480, 32));
    }

    #[test]
    fn a_picture_that_no_card_has_is_an_error() {
        assert_eq!(Shape::of(Fourcc::NV12, u32::MAX, u32::MAX), None);
        assert_eq!(Shape::of(Fourcc::new(*b"????"), 16, 16), None);
    }

    #[test]
    fn a_card_is_meant_by_its_driver_its_name_or_its_path() {
        let node = Path::new("/dev/dri/card1");
        for asked in ["vkms", "card1", "/dev/dri/card1"] {
            assert!(is_meant(asked, node, "vkms"), "{asked}");
        }
        assert!(!is_meant("card", node, "vkms"));
        assert_eq!(candidates("card7", &["card"]), [PathBuf::from("/dev/dri/card7")]);
    }

    #[test]
    fn a_missing_card_is_named_with_its_node() {
        let error = Dumb::open("card4294967295").unwrap_err();
        assert!(matches!(error, OpenError::Missing { .. }), "{error}");
        let error = Dumb::open("nonsense").unwrap_err();
        assert!(matches!(error, OpenError::Missing { .. } | OpenError::Permission { .. }));
    }
}
