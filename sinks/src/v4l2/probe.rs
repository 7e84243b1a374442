//! Tries a V4L2 device's imports out.
//!
//! A buffer is imported when it is queued: the device attaches and maps it there. So the buffers of
//! a cell are all queued, then streamed once round. What a capture device wrote cannot be foretold,
//! but that it wrote can be seen: the CPU's pattern is gone, and there is a picture in its place.
//! What an output device read cannot be seen from here.
//!
//! More buffers are tried than elsewhere, because devices without an IOMMU want contiguous memory,
//! and small buffers are so often contiguous by luck.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use vcam_allocator::probe::{self, Finding, ImporterInfo, Prober, Steps, pattern};
use vcam_allocator::{
    CpuAccess, Dmabuf, Fourcc, Layout, MemoryKind, Modifier, PlaneLayout, Refusal,
};

use super::node::{Direction, Format, Node, NodeError};

const SET: &str = "VIDIOC_S_FMT";
const REQUEST: &str = "VIDIOC_REQBUFS";
const QUEUE: &str = "VIDIOC_QBUF";
const START: &str = "VIDIOC_STREAMON";
const DEQUEUE: &str = "VIDIOC_DQBUF";

/// How many buffers it takes to believe that contiguous memory is not luck.
const BUFFERS: usize = 8;

/// How long a device may take to stream all of them.
const LIMIT: Duration = Duration::from_secs(3);

/// A node as an importer: `v4l2-capture:` or `v4l2-output:` and the driver. None if it streams no
/// pictures.
pub fn probers(path: &Path) -> Result<Vec<Box<dyn Prober>>, NodeError> {
    let Some(node) = Node::open(path)? else { return Ok(Vec::new()) };
    let before = node.format().ok().map(|format| (format, node.interval()));
    let path = path.display().to_string();
    Ok(vec![Box::new(NodeProber { node, path, before, set: None })])
}

/// One format of each kind of memory: a byte a pixel, four bytes, two planes. To an import the
/// other formats are the same, and each costs several frames.
const TRIED: [Fourcc; 3] = [Fourcc::R8, Fourcc::XRGB8888, Fourcc::NV12];

/// V4L2's name for a format, where it has one for the same bytes.
fn pixelformat(format: Fourcc) -> Option<u32> {
    let code = match format {
        Fourcc::R8 => *b"GREY",
        Fourcc::XRGB8888 | Fourcc::NV12 => return Some(format.0),
        _ => return None,
    };
    Some(u32::from_le_bytes(code))
}

struct NodeProber {
    node: Node,
    path: String,
    /// What is put back in the end.
    before: Option<(Format, Option<(u32, u32)>)>,
    /// What is set now.
    set: Option<Format>,
}

impl NodeProber {
    fn name(&self) -> String {
        let kind = match self.node.direction {
            Direction::Capture => "v4l2-capture",
            Direction::Output => "v4l2-output",
        };
        format!("{kind}:{}", self.node.driver)
    }

    fn refusal(&self, step: &'static str, errno: Errno) -> Refusal {
        Refusal::errno(&self.name(), step, errno.raw_os_error())
    }

    /// Sets the stride that the buffers have.
    fn agree(&mut self, buffers: &[Dmabuf]) -> Result<(), Refusal> {
        let (Some(set), Some(buffer)) = (self.set, buffers.first()) else { return Ok(()) };
        let layout = buffer.layout();
        let Some(first) = layout.planes().first() else { return Ok(()) };
        let stride = u32::try_from(first.stride).unwrap_or(u32::MAX);
        let because = |words: String| Refusal::because(&self.name(), SET, words);
        let set = self
            .node
            .set_format(Format { bytes_per_line: stride, ..set })
            .map_err(|errno| self.refusal(SET, errno))?;
        if set.bytes_per_line != stride {
            let wants = set.bytes_per_line;
            return Err(because(format!(
                "the device wants a stride of {wants} bytes, and the heap's is {stride}"
            )));
        }
        // A node with single planes finds chroma where luma ends.
        let end = u64::from(stride) * u64::from(set.height);
        if let Some(chroma) = layout.planes().get(1)
            && (chroma.offset != end || chroma.stride != first.stride)
        {
            return Err(because(format!(
                "the device looks for chroma at byte {end}, and the heap has it at {}",
                chroma.offset
            )));
        }
        self.set = Some(set);
        Ok(())
    }

    /// Queues all buffers; how long each took, or what the device said.
    fn queue(&self, buffers: &[Dmabuf], used: u32, steps: &mut Steps<'_>) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (index, buffer) in (0u32..).zip(buffers) {
            if let Err(error) = pattern::fill(buffer, index + 1) {
                let words = error.to_string();
                let refusal = Refusal::because(&self.name(), "DMA_BUF_IOCTL_SYNC", words);
                findings.push(Finding::Unknown(refusal));
                continue;
            }
            let Some((fd, _)) = buffer.planes().next() else { continue };
            let length = u32::try_from(buffer.layout().size()).unwrap_or(u32::MAX);
            steps(QUEUE);
            let begun = Instant::now();
            findings.push(match self.node.queue(index, fd, length, used) {
                Ok(()) => Finding::Accepted(begun.elapsed(), "accepted; pixels not provable here"),
                Err(errno) => Finding::Refused(self.refusal(QUEUE, errno)),
            });
        }
        findings
    }

    /// Streams once round, and looks at each buffer that comes back.
    fn stream(&self, buffers: &[Dmabuf], findings: &mut [Finding], steps: &mut Steps<'_>) {
        steps(START);
        if let Err(errno) = self.node.start() {
            findings.fill(said(self.refusal(START, errno), errno));
            return;
        }
        let deadline = Instant::now() + LIMIT;
        // There is nothing to see in what an output gives back, and it keeps its last buffer until
        // there is a next: that it streams at all will do.
        let rounds = match self.node.direction {
            Direction::Capture => buffers.len(),
            Direction::Output => buffers.len().saturating_sub(1).min(2),
        };
        for _ in 0..rounds {
            steps(DEQUEUE);
            let (index, content) = match self.node.dequeue(deadline) {
                Ok((index, content)) => (index as usize, content),
                Err(errno) => {
                    let refusal = self.refusal(DEQUEUE, errno);
                    let open = |finding: &&mut Finding| matches!(finding, Finding::Accepted(..));
                    let open = findings.iter_mut().filter(open);
                    open.for_each(|finding| *finding = Finding::Unknown(refusal.clone()));
                    return;
                }
            };
            let (Some(buffer), Some(finding)) = (buffers.get(index), findings.get_mut(index))
            else {
                continue;
            };
            if !content {
                let words = "the device says that the picture is broken";
                *finding = Finding::Unknown(Refusal::because(&self.name(), DEQUEUE, words));
            } else if let (Direction::Capture, Finding::Accepted(time, _)) =
                (self.node.direction, &finding)
            {
                let seed = u32::try_from(index).unwrap_or(0) + 1;
                *finding = match written(buffer, seed) {
                    Ok(Ok(())) => Finding::Proven(*time),
                    Ok(Err(how)) => Finding::WrongPixels(*time, how.to_owned()),
                    Err(error) => {
                        let words = error.to_string();
                        let step = "DMA_BUF_IOCTL_SYNC";
                        Finding::Unknown(Refusal::because(&self.name(), step, words))
                    }
                };
            }
        }
    }
}

/// Whether a device wrote a picture where the CPU had drawn the pattern.
fn written(
    buffer: &Dmabuf,
    seed: u32,
) -> Result<Result<(), &'static str>, vcam_allocator::AccessError> {
    let untouched = pattern::check(buffer, seed)?.is_ok();
    let guard = buffer.cpu_access(CpuAccess::Read)?;
    let rows = guard.plane(0);
    let one_colour = rows.iter().skip(4).zip(rows).all(|(next, byte)| next == byte);
    guard.end()?;
    Ok(match (untouched, one_colour) {
        (true, _) => Err("the device says that it wrote a picture, and nothing has changed"),
        (_, true) => Err("the picture is of one colour"),
        _ => Ok(()),
    })
}

/// Somebody else's being in the way says nothing about the buffer.
fn said(refusal: Refusal, errno: Errno) -> Finding {
    match errno {
        Errno::BUSY | Errno::ACCESS | Errno::PERM | Errno::NODEV => Finding::Unknown(refusal),
        _ => Finding::Refused(refusal),
    }
}

impl Prober for NodeProber {
    fn info(&self) -> ImporterInfo {
        ImporterInfo::of_node(self.name(), &self.node.driver, Path::new(&self.path))
    }

    fn formats(&self) -> Vec<Fourcc> {
        let listed = self.node.formats();
        let lists =
            |format: &Fourcc| pixelformat(*format).is_some_and(|code| listed.contains(&code));
        TRIED.into_iter().filter(lists).collect()
    }

    fn buffers(&self) -> usize {
        BUFFERS
    }

    fn layout(&mut self, format: Fourcc) -> Result<Layout, Refusal> {
        let (width, height) = probe::SIZE;
        let wish = probe::layout(&self.name(), format, probe::SIZE)?;
        let stride = wish.planes().first().map_or(0, |plane| plane.stride);
        let pixelformat = pixelformat(format).unwrap_or(format.0);
        let ask = |width, height, stride| {
            let bytes_per_line = u32::try_from(stride).unwrap_or(0);
            let wish = Format { pixelformat, width, height, bytes_per_line, size: 0 };
            self.node.set_format(wish).map_err(|errno| self.refusal(SET, errno))
        };
        let mut set = ask(width, height, stride)?;
        if (set.width, set.height) != (width, height) {
            // Its own size then, with the stride that every importer likes.
            let wish = probe::layout(&self.name(), format, (set.width, set.height))?;
            set =
                ask(set.width, set.height, wish.planes().first().map_or(0, |plane| plane.stride))?;
        }
        // As fast as it goes: nobody watches.
        self.node.set_interval((1, 1000));
        let stride = u64::from(set.bytes_per_line);
        let planes = match format {
            Fourcc::NV12 => vec![
                PlaneLayout { offset: 0, stride },
                PlaneLayout { offset: stride * u64::from(set.height), stride },
            ],
            _ => vec![PlaneLayout { offset: 0, stride }],
        };
        self.set = Some(set);
        Layout::given(format, Modifier::LINEAR, set.width, set.height, planes)
            .map(|layout| layout.with_size(u64::from(set.size).next_multiple_of(4096)))
            .map_err(|error| Refusal::because(&self.name(), SET, error.to_string()))
    }

    fn prove(&mut self, buffers: &[Dmabuf], steps: &mut Steps<'_>) -> Vec<Finding> {
        // The kernel's answer to this is a bare EINVAL.
        if buffers.iter().any(|buffer| buffer.kind() == MemoryKind::Memfd) {
            let refusal = Refusal::because(&self.name(), QUEUE, "a memfd is not a dma-buf");
            return vec![Finding::Refused(refusal); buffers.len()];
        }
        // Some heaps choose the stride themselves, and the device has to be told.
        if let Err(refusal) = self.agree(buffers) {
            return vec![Finding::Refused(refusal); buffers.len()];
        }
        steps(REQUEST);
        let count = u32::try_from(buffers.len()).unwrap_or(u32::MAX);
        let places = match self.node.request(count) {
            Ok(places) => places.min(count) as usize,
            Err(errno) => {
                return vec![said(self.refusal(REQUEST, errno), errno); buffers.len()];
            }
        };
        let buffers = &buffers[..places];
        let used = self.set.map_or(0, |format| format.size);
        let mut findings = self.queue(buffers, used, steps);
        if findings.iter().all(|finding| matches!(finding, Finding::Accepted(..))) {
            self.stream(buffers, &mut findings, steps);
        }
        for done in [self.node.stop(), self.node.request(0).map(|_| ())] {
            if let Err(errno) = done {
                tracing::warn!(%errno, device = self.name(), "did not let go of its buffers");
            }
        }
        findings
    }
}

impl Drop for NodeProber {
    fn drop(&mut self) {
        let Some((format, interval)) = self.before.filter(|_| self.set.is_some()) else { return };
        if let Err(errno) = self.node.set_format(format) {
            tracing::warn!(%errno, device = self.name(), "its format was not put back");
        }
        if let Some(interval) = interval {
            self.node.set_interval(interval);
        }
    }
}
