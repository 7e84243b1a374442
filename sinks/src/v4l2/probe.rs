//! Tries a V4L2 device's imports out.
//!
//! A buffer is imported when it is queued: the device attaches and maps it there. So the buffers of
//! a cell are all queued, then streamed once round. What a capture device wrote cannot be foretold,
//! but that it wrote can be seen: the CPU's pattern is gone, and there is a picture in its place.
//! What an output device read can be seen only where its pictures come back through another node:
//! `looped.rs`.
//!
//! More buffers are tried than elsewhere, because devices without an IOMMU want contiguous memory,
//! and small buffers are so often contiguous by luck.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use vcam_allocator::heaps::v4l2::{PixelFormat, pixel_formats};
use vcam_allocator::probe::{self, Finding, ImporterInfo, Prober, Steps, pattern};
use vcam_allocator::{Alignment, CpuAccess, Dmabuf, Fourcc, Layout, MemoryKind, Modifier, Refusal};
use vcam_uapi::v4l2::{Dequeued, Format, Fraction};

use super::agree::{agree, memories, planes_of};
use super::constraints::Offer;
use super::looped::Loop;
use super::node::{Direction, Node, NodeError};
use super::settings::Settings;

pub(super) const TRY: &str = "VIDIOC_TRY_FMT";
pub(super) const SET: &str = "VIDIOC_S_FMT";
pub(super) const REQUEST: &str = "VIDIOC_REQBUFS";
pub(super) const QUEUE: &str = "VIDIOC_QBUF";
pub(super) const START: &str = "VIDIOC_STREAMON";
pub(super) const STOP: &str = "VIDIOC_STREAMOFF";
pub(super) const DEQUEUE: &str = "VIDIOC_DQBUF";

/// How many buffers are tried, since each may be contiguous by luck. Each costs a frame. No number
/// is a proof: right after boot most buffers may be lucky (`docs/devices.md`).
const BUFFERS: usize = 6;

/// How long a device may take for a picture: after that, it hangs.
pub(super) const LIMIT: Duration = Duration::from_secs(3);

/// A node as an importer: `v4l2-capture:` or `v4l2-output:` and the driver. None if it streams no
/// pictures.
pub fn probers(path: &Path) -> Result<Vec<Box<dyn Prober>>, NodeError> {
    let Some(node) = Node::open(path)? else { return Ok(Vec::new()) };
    let (before, listed) = (Settings::of(&node), node.formats());
    let looped = Loop::close(&node);
    Ok(vec![Box::new(NodeProber { node, listed, before, looped })])
}

/// One format of each kind of memory: a byte a pixel, four bytes, two planes. To an import the
/// other formats are the same, and each costs several frames.
const TRIED: [Fourcc; 3] = [Fourcc::R8, Fourcc::XRGB8888, Fourcc::NV12];

struct NodeProber {
    node: Node,
    /// The codes of its formats.
    listed: Vec<u32>,
    /// What is put back in the end.
    before: Settings,
    /// How to see what an output reads.
    looped: Option<Loop>,
}

impl NodeProber {
    fn refusal(&self, step: &'static str, errno: Errno) -> Refusal {
        Refusal::errno(&self.node.name(), step, errno.raw_os_error())
    }

    /// How the device has a format, that with the fewest memories first.
    fn pixel_formats(&self, format: Fourcc) -> impl Iterator<Item = PixelFormat> {
        pixel_formats(format).filter(|pixel| self.listed.contains(&pixel.code))
    }

    /// Queues all buffers; how long each took, or what the device said.
    fn queue(&self, set: &Format, buffers: &[Dmabuf], steps: &mut Steps<'_>) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (index, buffer) in (0u32..).zip(buffers) {
            if let Err(error) = pattern::fill(buffer, index + 1) {
                let words = error.to_string();
                let refusal = Refusal::because(&self.node.name(), "DMA_BUF_IOCTL_SYNC", words);
                findings.push(Finding::Unknown(refusal));
                continue;
            }
            steps(QUEUE);
            let memories = memories(buffer, set);
            let begun = Instant::now();
            let queued =
                memories.and_then(|memories| self.node.queue(index, Duration::ZERO, memories));
            findings.push(match queued {
                Ok(()) => Finding::Accepted(begun.elapsed(), "accepted; pixels not provable here"),
                Err(errno) => Finding::Refused(self.refusal(QUEUE, errno)),
            });
        }
        findings
    }

    /// Sends the buffers, which are queued, through the loop.
    fn look(
        &self,
        looped: &Loop,
        set: &Format,
        buffers: &[Dmabuf],
        findings: &mut [Finding],
        steps: &mut Steps<'_>,
    ) -> Result<(), Refusal> {
        // There each goes by itself, and none may be before it.
        self.node.stop().map_err(|errno| self.refusal(STOP, errno))?;
        looped.prove(&self.node, set, buffers, findings, steps)
    }

    /// Streams once round, and looks at each buffer that comes back.
    fn stream(&self, buffers: &[Dmabuf], findings: &mut [Finding], steps: &mut Steps<'_>) {
        steps(START);
        if let Err(errno) = self.node.start() {
            findings.fill(said(self.refusal(START, errno), errno));
            return;
        }
        // There is nothing to see in what an output gives back, and it keeps its last buffer until
        // there is a next: that it streams at all will do.
        let rounds = match self.node.direction {
            Direction::Capture => buffers.len(),
            Direction::Output => buffers.len().saturating_sub(1).min(2),
        };
        for _ in 0..rounds {
            steps(DEQUEUE);
            let (index, broken) = match self.node.dequeue(Instant::now() + LIMIT) {
                Ok(Dequeued { index, error }) => (index as usize, error),
                Err(errno) => return leave_open(findings, &self.refusal(DEQUEUE, errno)),
            };
            let (Some(buffer), Some(finding)) = (buffers.get(index), findings.get_mut(index))
            else {
                continue;
            };
            if broken {
                let words = "the device says that the picture is broken";
                *finding = Finding::Unknown(Refusal::because(&self.node.name(), DEQUEUE, words));
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
                        Finding::Unknown(Refusal::because(&self.node.name(), step, words))
                    }
                };
            }
        }
    }
}

/// What was accepted and not seen stays unknown.
fn leave_open(findings: &mut [Finding], refusal: &Refusal) {
    let open = |finding: &&mut Finding| matches!(finding, Finding::Accepted(..));
    let open = findings.iter_mut().filter(open);
    open.for_each(|finding| *finding = Finding::Unknown(refusal.clone()));
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
        let Node { driver, path, .. } = &self.node;
        ImporterInfo::of_node(self.node.name(), driver, path)
    }

    fn formats(&self) -> Vec<Fourcc> {
        TRIED.into_iter().filter(|format| self.pixel_formats(*format).next().is_some()).collect()
    }

    fn buffers(&self) -> usize {
        BUFFERS
    }

    fn layout(&mut self, format: Fourcc) -> Result<Layout, Refusal> {
        let because =
            |step, words: &str| Refusal::because(&self.node.name(), step, words.to_owned());
        let pixel = self
            .pixel_formats(format)
            .next()
            .ok_or_else(|| because(TRY, "the device does not list the format"))?;
        let offer = Offer::of(&self.node, format, pixel, probe::SIZE)
            .map_err(|errno| self.refusal(TRY, errno))?
            .ok_or_else(|| because(TRY, "the device makes another format of it"))?;
        let liked = u32::try_from(Alignment::default().stride).unwrap_or(1);
        let mut wish = offer.natural;
        for (memory, strides) in wish.planes.iter_mut().zip(&offer.strides) {
            memory.bytesperline = strides.wish(liked);
        }
        let set = self.node.set_format(&wish).map_err(|errno| self.refusal(SET, errno))?;
        // As fast as it goes: nobody watches.
        self.node.set_interval(Fraction { numerator: 1, denominator: 1000 });
        // Heaps that do not keep the planes apart have them one after the other.
        let size = set.planes.iter().map(|memory| u64::from(memory.sizeimage)).sum::<u64>();
        let planes = set.planes.into_iter().take(1).collect();
        let set = Format { planes, ..set };
        let planes = planes_of(format, &set);
        Layout::given(format, Modifier::LINEAR, set.width, set.height, planes)
            .map(|layout| layout.with_size(size.next_multiple_of(4096)))
            .map_err(|error| Refusal::because(&self.node.name(), SET, error.to_string()))
    }

    fn prove(&mut self, buffers: &[Dmabuf], steps: &mut Steps<'_>) -> Vec<Finding> {
        // The kernel's answer to this is a bare EINVAL.
        if buffers.iter().any(|buffer| buffer.kind() == MemoryKind::Memfd) {
            let refusal = Refusal::because(&self.node.name(), QUEUE, "a memfd is not a dma-buf");
            return vec![Finding::Refused(refusal); buffers.len()];
        }
        let Some(first) = buffers.first() else { return Vec::new() };
        let set = match agree(&self.node, &self.listed, first) {
            Ok(set) => set,
            Err(refusal) => return vec![Finding::Refused(refusal); buffers.len()],
        };
        let node = &self.node;
        let agrees = |looped: &mut Loop| looped.agree(node, &set, buffers);
        let sees = self.looped.as_mut().is_some_and(agrees);
        let looped = self.looped.as_ref().filter(|_| sees);
        steps(REQUEST);
        let count = u32::try_from(buffers.len()).unwrap_or(u32::MAX);
        let places = match self.node.request(count) {
            Ok(places) => places.min(count) as usize,
            Err(errno) => {
                return vec![said(self.refusal(REQUEST, errno), errno); buffers.len()];
            }
        };
        let buffers = &buffers[..places];
        let mut findings = self.queue(&set, buffers, steps);
        if findings.iter().all(|finding| matches!(finding, Finding::Accepted(..))) {
            match looped {
                Some(looped) => {
                    if let Err(refusal) = self.look(looped, &set, buffers, &mut findings, steps) {
                        leave_open(&mut findings, &refusal);
                    }
                }
                None => self.stream(buffers, &mut findings, steps),
            }
        }
        for done in [self.node.stop(), self.node.request(0).map(drop)] {
            if let Err(errno) = done {
                tracing::warn!(%errno, device = self.node.name(), "did not let go of its buffers");
            }
        }
        findings
    }
}

impl Drop for NodeProber {
    fn drop(&mut self) {
        // The other end first: it would be told of every change of this one.
        drop(self.looped.take());
        if Settings::of(&self.node) != self.before {
            self.before.restore(&self.node);
        }
    }
}
