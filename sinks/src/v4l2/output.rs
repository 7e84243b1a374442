//! A V4L2 node that takes pictures: a virtual camera for other programs, a video output, a gadget.
//!
//! What happens to a frame:
//!
//! 1. *Import.* A buffer is handed to the node once before streaming (`VIDIOC_QBUF`, then
//!    `VIDIOC_STREAMOFF`), which attaches and maps it, or refuses. Each buffer has a place in the
//!    queue of its own, so that the kernel recognises it there and never imports it again.
//! 2. *Queue.* Once the frame's fence is signalled, since V4L2 waits for none, the buffer goes
//!    into the queue with the frame's timestamp.
//! 3. *Take back.* When the device is done with it the buffer goes back to its pool. A camera that
//!    is faster than the device waits here.
//!
//! A queue has memory of one kind (`VIDIOC_REQBUFS`). So when the node refuses one buffer, the
//! whole queue is made anew with the driver's own memory: the frames that the device still had,
//! *the same frame* and all that follow are copied. [`LinkEnd`] says from which frame on, and why.
//!
//! While no frames come ([`Sink::pause`]) the queue is one of the driver's own memory, and what is in
//! it is grey. The first frame after that finds a queue for its buffer again.
//!
//! A device may keep its last picture until there is a next, so the last frame is queued once more
//! in the end. Then the node gets the format back that it had.
//!
//! Sources: `Documentation/userspace-api/media/v4l/dmabuf.rst`, `mmap.rst` and `buffer.rst`.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use vcam_allocator::constraints::{Constraints, Rule, Statement};
use vcam_allocator::heaps::v4l2::{self as heap, pixel_formats};
use vcam_allocator::{
    ColourSpace, Dmabuf, FORMATS, Fourcc, ImportCache, Importer, LinkEnd, Refusal, sysfs,
};
use vcam_uapi::v4l2::{Format, MIN_BUFFERS_FOR_OUTPUT};

use super::constraints::{Memory as Stated, Offer};
use super::error::V4l2Error;
use super::node::{Node, NodeError};
use super::probe::{REQUEST, TRY};
use super::queue::{Held, Queue};
use super::settings::Settings;
use crate::sink::{Frame, Sink, SinkCounts, SinkError, read_by_the_cpu};

/// Pictures that a device has at least: the one that it reads, and the next.
const DEPTH: u32 = 2;

/// What the user wants of a node.
#[derive(Debug, Clone)]
pub struct V4l2Options {
    /// The node, by its path or by its name in `/dev`.
    pub node: PathBuf,
    /// Width and height of the frames.
    pub size: (u32, u32),
    /// Format of the frames.
    pub format: Fourcc,
    /// How their numbers stand for colours, which the node is told.
    pub colour_space: ColourSpace,
    /// Time from one frame to the next, which some nodes tell their readers; zero if there is none.
    pub period: Duration,
}

/// Queues frames on a V4L2 node.
#[derive(Debug)]
pub struct V4l2Sink {
    pub(super) node: Node,
    pub(super) name: String,
    /// The codes of its formats.
    pub(super) listed: Vec<u32>,
    pub(super) size: (u32, u32),
    pub(super) format: Fourcc,
    pub(super) colour_space: ColourSpace,
    /// Whether it was told that the driver takes the colours for others.
    pub(super) colours_told: bool,
    pub(super) period: Duration,
    /// What the driver makes of that by itself, for buffers of its own.
    pub(super) natural: Format,
    constraints: Constraints,
    /// Why it imports nothing at all, if so.
    pub(super) imports_nothing: Option<Refusal>,
    /// How many pictures the device has before the camera waits.
    pub(super) depth: u32,

    /// What is put back in the end, once something has been set.
    pub(super) before: Option<Settings>,
    pub(super) queue: Queue,
    pub(super) streaming: bool,
    /// What the device has, the oldest first.
    pub(super) held: VecDeque<Held>,

    pub(super) imported: ImportCache<()>,
    pub(super) link: LinkEnd,
    pub(super) counts: SinkCounts,
}

impl V4l2Sink {
    /// Opens a node and asks whether it takes pictures like these.
    ///
    /// Nothing is set before the first buffers are handed over, but that somebody else streams into
    /// the node is told now.
    pub fn open(options: &V4l2Options) -> Result<Self, V4l2Error> {
        let V4l2Options { node, size, format, colour_space, period } = options;
        let (size, format, colour_space, period) = (*size, *format, *colour_space, *period);
        let node = open(&Path::new("/dev").join(node))?;
        let name = node.name();
        let failed = |step| {
            let (name, path) = (&name, &node.path);
            move |errno| V4l2Error::call(name, path, step, errno)
        };
        let Asked { refused, minimum } = Asked::of(&node).map_err(failed(REQUEST))?;
        let imports_nothing =
            refused.map(|errno| Refusal::errno(&name, REQUEST, errno.raw_os_error()));
        let listed = node.formats();
        let offers = pixel_formats(format)
            .filter(|pixel| listed.contains(&pixel.code))
            .filter_map(|pixel| Offer::of(&node, format, pixel, size).transpose())
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed(TRY))?;
        let Some(first) = offers.first() else {
            let formats = formats(&listed);
            return Err(V4l2Error::Format { device: name, format, formats });
        };
        let natural = first.natural.clone();
        let offered = (natural.width, natural.height);
        if offered != size {
            let sizes = node.sizes(natural.pixelformat).map(|sizes| (sizes.min, sizes.max));
            return Err(V4l2Error::Size { device: name, size, offered, sizes });
        }
        let depth = minimum.max(DEPTH);
        let constraints = match &imports_nothing {
            Some(_) => read_by_the_cpu(&name, 0, [format]),
            None => {
                let stated = Stated::of(&node);
                let ways = offers.iter().map(|offer| offer.statements(&name, &stated));
                let kept = Statement::new(&name, "pictures on their way", Rule::Camping(depth));
                let all = Constraints::any_of(&name, ways.collect::<Vec<_>>()).and(kept);
                match sysfs::device(&node.path) {
                    Some(device) => all.merge(&sysfs::constraints(&name, &device)),
                    None => all,
                }
            }
        };
        Ok(Self {
            node,
            name,
            listed,
            size,
            format,
            colour_space,
            colours_told: false,
            period,
            natural,
            constraints,
            imports_nothing,
            depth,
            before: None,
            queue: Queue::Closed,
            streaming: false,
            // One that comes on top, and one that is queued again.
            held: VecDeque::with_capacity(depth as usize + 2),
            imported: ImportCache::default(),
            link: LinkEnd::import(),
            counts: SinkCounts::default(),
        })
    }

    /// The device node.
    pub fn path(&self) -> &Path {
        &self.node.path
    }

    /// What a failed call means.
    pub(super) fn failed(&self, step: &'static str) -> impl Fn(Errno) -> V4l2Error {
        move |errno| V4l2Error::call(&self.name, &self.node.path, step, errno)
    }
}

/// Opens a node that takes pictures.
fn open(path: &Path) -> Result<Node, V4l2Error> {
    let missing = |error: &NodeError| match error {
        NodeError::Open { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    };
    match Node::open_output(path) {
        Ok(Some(node)) => Ok(node),
        Ok(None) => {
            let is = match Node::open(path) {
                Ok(Some(_)) => "gives pictures and takes none",
                _ => "does not stream pictures in one direction",
            };
            Err(V4l2Error::NotOutput { path: path.to_owned(), is, nodes: outputs() })
        }
        Err(error) if missing(&error) => {
            Err(V4l2Error::Missing { path: path.to_owned(), nodes: outputs() })
        }
        Err(error) => Err(error.into()),
    }
}

/// The nodes that take pictures.
fn outputs() -> Vec<String> {
    let paths = heap::nodes().map(|name| Path::new("/dev").join(name));
    let takes = |path: &PathBuf| matches!(Node::open_output(path), Ok(Some(_)));
    paths.filter(takes).map(|path| path.display().to_string()).collect()
}

/// The formats of a node by the names of DRM, which `--format` takes; where it has none of those,
/// by its own.
fn formats(listed: &[u32]) -> Vec<String> {
    let has = |format: &Fourcc| pixel_formats(*format).any(|pixel| listed.contains(&pixel.code));
    let known = FORMATS.iter().map(|info| info.format).filter(has);
    let known: Vec<_> = known.map(|one| one.to_string()).collect();
    match known.is_empty() {
        true => listed.iter().map(|code| Fourcc(*code).to_string()).collect(),
        false => known,
    }
}

/// What a node answers when it is asked for one buffer.
struct Asked {
    /// What it says to a dma-buf, if it takes none.
    refused: Option<Errno>,
    /// The fewest buffers that it streams with.
    minimum: u32,
}

impl Asked {
    /// Asks, and gives everything back. `EBUSY` while somebody else has buffers there.
    fn of(node: &Node) -> Result<Self, Errno> {
        let (refused, granted) = match node.request(1) {
            Ok(granted) => (None, granted),
            Err(errno @ (Errno::BUSY | Errno::NODEV)) => return Err(errno),
            Err(errno) => (Some(errno), node.request_own(1)?),
        };
        match refused {
            None => node.request(0)?,
            Some(_) => node.request_own(0)?,
        };
        let stated = node.control(MIN_BUFFERS_FOR_OUTPUT);
        let stated = stated.and_then(|count| u32::try_from(count).ok()).unwrap_or(0);
        Ok(Self { refused, minimum: granted.max(stated) })
    }
}

impl Sink for V4l2Sink {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn constraints(&self) -> Constraints {
        self.constraints.clone()
    }

    fn importer(&mut self) -> Option<&mut dyn Importer> {
        // Whoever takes nothing at all need not be asked about each heap.
        match self.imports_nothing {
            Some(_) => None,
            None => Some(self),
        }
    }

    fn prepare(&mut self, buffers: &[Dmabuf]) {
        if let Err(error) = self.open_queue(buffers, 0) {
            // The first frame meets with it again, and can say so.
            tracing::debug!(%error, device = self.name, "is not ready");
        }
    }

    fn present(&mut self, frame: Frame) -> Result<(), SinkError> {
        Ok(self.show(frame)?)
    }

    fn pause(&mut self) -> Result<(), SinkError> {
        Ok(self.rest()?)
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        Ok(self.close()?)
    }

    fn link_end(&self) -> LinkEnd {
        LinkEnd { imports: self.imported.imports(), ..self.link.clone() }
    }

    fn counts(&self) -> SinkCounts {
        self.counts
    }
}

impl Importer for V4l2Sink {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn identity(&self) -> String {
        sysfs::device(&self.node.path).unwrap_or_default().display().to_string()
    }

    fn try_import(&mut self, buffer: &Dmabuf) -> Result<(), Refusal> {
        if self.imported.get(buffer).is_none() {
            match self.ask(buffer) {
                Ok(answer) => {
                    let _ = self.imported.get_or_import(buffer, |_| answer);
                }
                // That says nothing about the buffer.
                Err(error) => tracing::debug!(%error, device = self.name, "was not asked"),
            }
        }
        match self.imported.get(buffer) {
            Some(Err(refusal)) => Err(refusal.clone()),
            _ => Ok(()),
        }
    }

    fn decline(&mut self, buffer: &Dmabuf, refusal: Refusal) {
        self.imported.poison(buffer, refusal);
    }
}

impl Drop for V4l2Sink {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, device = self.name, "the node was not put back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_as_the_command_takes_them() {
        let code = |text: &[u8; 4]| Fourcc::new(*text).0;
        let listed = [code(b"RGBP"), code(b"YUYV"), code(b"NM12"), code(b"NV12")];
        assert_eq!(formats(&listed), ["RG16", "NV12", "YUYV"]);
        assert_eq!(formats(&[code(b"MJPG")]), ["MJPG"]);
    }

    #[test]
    fn a_missing_node_is_told_from_others() {
        let open = |node: &str| {
            let (node, size, format) = (node.into(), (64, 64), Fourcc::XRGB8888);
            let (colour_space, period) = (ColourSpace::SRGB, Duration::ZERO);
            V4l2Sink::open(&V4l2Options { node, size, format, colour_space, period })
        };
        let missing = open("video4294967295").unwrap_err();
        assert!(matches!(missing, V4l2Error::Missing { .. }), "{missing}");
        assert!(missing.to_string().starts_with("there is no /dev/video4294967295; "), "{missing}");
        let other = open("/dev/null").unwrap_err();
        assert!(matches!(other, V4l2Error::Node(NodeError::Capabilities { .. })), "{other}");
    }
}
