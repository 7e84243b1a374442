//! Which heap works with which device: tried, proven, and in words.
//!
//! What a device says of itself is half of the truth. The other half is found by allocating, by
//! importing, and by looking at the pixels: a driver may refuse, accept and show something else, or
//! crash. A [`Prober`] is a device that can be asked in this way; [`probe`] asks it about one heap
//! and one format, and the answer is a [`Cell`] of a large table. What a planner
//! learns from it is kept by [`Knowledge`](crate::Knowledge).
//!
//! A buffer can be contiguous by luck, so that a device which needs contiguous memory takes the
//! first one and refuses the next. So several buffers are tried, and a heap is fit for a device only
//! if every one of them is.

mod meaning;
pub mod pattern;

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::dmabuf::Dmabuf;
use crate::errno::{self, errno_name};
use crate::format::Fourcc;
use crate::heap::{AllocError, Heap};
use crate::heaps;
use crate::import::Refusal;
use crate::layout::{Alignment, Layout, LayoutError};
use crate::sysfs;

pub use meaning::meaning;

/// How many buffers are tried unless the device wants more.
pub const BUFFERS: usize = 3;

/// Width and height of the pictures, unless the device wants others: small, for there are many.
pub const SIZE: (u32, u32) = (256, 128);

/// The formats that are asked about, as far as a device lists them.
pub const FORMATS: [Fourcc; 8] = [
    Fourcc::R8,
    Fourcc::GR88,
    Fourcc::XRGB8888,
    Fourcc::ARGB8888,
    Fourcc::XBGR8888,
    Fourcc::ABGR8888,
    Fourcc::RGB565,
    Fourcc::NV12,
];

/// A heap, and whether this machine and this user have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapInfo {
    /// The name, as [`heaps::open`] takes it.
    pub name: String,
    /// What kind of heap it is, such as `dma_heap`.
    pub kind: String,
    /// Whether it can be opened.
    pub available: bool,
    /// Why it cannot.
    pub reason: Option<String>,
}

impl From<&heaps::Discovered> for HeapInfo {
    fn from(found: &heaps::Discovered) -> Self {
        let kind = found.name.split(':').next().unwrap_or_default().to_owned();
        let error = found.heap.as_ref().err();
        Self {
            name: found.name.clone(),
            kind,
            available: error.is_none(),
            reason: error.map(|error| chain(error)),
        }
    }
}

/// A device that buffers are handed to, in one of its roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImporterInfo {
    /// `kind:driver`, such as `kms:vkms`, and what tells it from others of that name.
    pub name: String,
    /// The driver.
    pub driver: String,
    /// The device node, where there is one.
    pub node: Option<String>,
    /// What tells it from others of that name: see [`Importer::identity`](crate::Importer).
    pub identity: String,
}

impl ImporterInfo {
    /// A device behind a node.
    pub fn of_node(name: String, driver: &str, node: &Path) -> Self {
        let identity = sysfs::device(node).unwrap_or_default().display().to_string();
        let node = Some(node.display().to_string());
        Self { name, driver: driver.to_owned(), node, identity }
    }
}

/// What became of a heap, a device and a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The device takes the heap's buffers, and where it can be seen, the pixels are right.
    Ok,
    /// The device refuses at least one of them.
    Refused,
    /// The device takes them, and what it reads or writes is something else.
    WrongPixels,
    /// It could not be found out: there was no buffer to ask with, the device is busy, or its
    /// driver crashed or hung.
    Error,
}

/// One cell of the table: a heap, a device and a format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// The heap, as [`heaps::open`] takes it.
    pub heap: String,
    /// The device, as [`ImporterInfo::name`] has it.
    pub importer: String,
    /// The format.
    pub format: Fourcc,
    /// Width and height of the pictures; zero where it did not come to any.
    #[serde(default)]
    pub size: (u32, u32),
    /// What became of it.
    pub result: Outcome,
    /// The step that failed, by the name of the ioctl, call or extension.
    pub step: Option<String>,
    /// The name of the kernel's error number, such as `ENODEV`, where one was given.
    pub errno: Option<String>,
    /// What the failure means, or what a success leaves open.
    pub reason: Option<String>,
    /// Whether its driver crashed or hung over it.
    #[serde(default)]
    pub crashed: bool,
    /// The median time of an import, in microseconds.
    pub import_us: Option<u64>,
    /// The median time of an allocation, in microseconds.
    pub alloc_us: Option<u64>,
}

/// What was found out about one buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The device took it in this time, and the pixels are right.
    Proven(Duration),
    /// The device took it in this time; why more cannot be seen.
    Accepted(Duration, &'static str),
    /// The device took it in this time, and the pixels are wrong: how.
    WrongPixels(Duration, String),
    /// The device does not take it.
    Refused(Refusal),
    /// It could not be found out.
    Unknown(Refusal),
}

impl From<Refusal> for Finding {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Told before each risky step what it is: should the driver crash, that is where.
pub type Steps<'a> = dyn FnMut(&'static str) + 'a;

/// A device that can be tried out.
pub trait Prober {
    /// Who it is.
    fn info(&self) -> ImporterInfo;

    /// The formats of [`FORMATS`] that it lists.
    fn formats(&self) -> Vec<Fourcc>;

    /// How many buffers it takes to believe it.
    fn buffers(&self) -> usize {
        BUFFERS
    }

    /// The layout that it wants to see.
    fn layout(&mut self, format: Fourcc) -> Result<Layout, Refusal> {
        layout(&self.info().name, format, SIZE)
    }

    /// Whether the pictures may have another size than [`Prober::layout`] says.
    fn takes_any_size(&self) -> bool {
        false
    }

    /// Imports the buffers for real, looks at their pixels where that is possible, and lets go of
    /// them. One finding for each buffer, in order.
    fn prove(&mut self, buffers: &[Dmabuf], steps: &mut Steps<'_>) -> Vec<Finding>;
}

/// The default layout of a picture.
pub fn layout(
    device: &str,
    format: Fourcc,
    (width, height): (u32, u32),
) -> Result<Layout, Refusal> {
    Layout::linear(format, width, height, Alignment::default())
        .map_err(|error: LayoutError| Refusal::because(device, "lay out", error.to_string()))
}

/// Asks a device about a heap and a format.
pub fn probe(
    prober: &mut dyn Prober,
    heap: &dyn Heap,
    format: Fourcc,
    steps: &mut Steps<'_>,
) -> Cell {
    let mut cell = Cell::new(heap.name(), &prober.info().name, format);
    steps("lay out");
    let mut layout = match prober.layout(format) {
        Ok(layout) => layout,
        Err(refusal) => return cell.with(Outcome::Error, &refusal),
    };
    steps("allocate");
    let mut buffers = Vec::new();
    let mut times = Vec::new();
    for index in 0..prober.buffers() {
        let begun = Instant::now();
        let name = format!("probe-{index}");
        let mut allocated = heap.allocate(&layout, &name);
        // A camera has the sizes that it has.
        if let Err(AllocError::Adjusted { got, .. }) = &allocated
            && prober.takes_any_size()
            && let Ok(other) = self::layout(&cell.importer, format, *got)
        {
            layout = other;
            allocated = heap.allocate(&layout, &name);
        }
        match allocated {
            Ok(buffer) => buffers.push(buffer),
            Err(error) => return cell.without_buffer(&error),
        }
        times.push(begun.elapsed());
    }
    cell.size = (layout.width(), layout.height());
    cell.alloc_us = median(times);
    let findings = prober.prove(&buffers, steps);
    cell.judged(&findings)
}

impl Cell {
    /// A cell that nothing is known of yet.
    fn new(heap: &str, importer: &str, format: Fourcc) -> Self {
        Self {
            heap: heap.to_owned(),
            importer: importer.to_owned(),
            format,
            size: (0, 0),
            result: Outcome::Ok,
            step: None,
            errno: None,
            reason: None,
            crashed: false,
            import_us: None,
            alloc_us: None,
        }
    }

    /// A cell that could not be filled: at which step, and why.
    pub fn unknown(
        heap: &str,
        importer: &str,
        format: Fourcc,
        step: Option<&str>,
        why: String,
    ) -> Self {
        Self {
            result: Outcome::Error,
            step: step.map(str::to_owned),
            reason: Some(why),
            ..Self::new(heap, importer, format)
        }
    }

    fn with(self, result: Outcome, refusal: &Refusal) -> Self {
        Self {
            result,
            step: Some(refusal.step.to_owned()),
            errno: refusal.errno.map(errno_name),
            reason: Some(words(refusal)),
            ..self
        }
    }

    fn without_buffer(self, error: &AllocError) -> Self {
        let errno = match error {
            AllocError::System { source, .. } => Some(errno_name(source.raw_os_error())),
            _ => None,
        };
        let step = Some("allocate".to_owned());
        Self { result: Outcome::Error, step, errno, reason: Some(chain(error)), ..self }
    }

    /// Judges by what was found out about every buffer: the worst of it counts, and a refusal
    /// counts for more than wrong pixels, since nobody sees those of a buffer that is refused.
    pub fn judged(mut self, findings: &[Finding]) -> Self {
        let times = findings.iter().filter_map(|finding| match finding {
            Finding::Proven(time) | Finding::Accepted(time, _) | Finding::WrongPixels(time, _) => {
                Some(*time)
            }
            _ => None,
        });
        self.import_us = median(times.collect());
        let all = findings.len();
        let some = |text: String, count: usize| match count == all {
            true => text,
            false => format!("{text} ({count} of {all} buffers: that others pass is luck)"),
        };
        let refusals = findings.iter().filter(|finding| matches!(finding, Finding::Refused(_)));
        let refused = refusals.count();
        let mut wrong = findings.iter().filter_map(|finding| match finding {
            Finding::WrongPixels(_, how) => Some(how),
            _ => None,
        });
        for finding in findings {
            match finding {
                Finding::Refused(refusal) => {
                    let mut cell = self.with(Outcome::Refused, refusal);
                    cell.reason = cell.reason.map(|reason| some(reason, refused));
                    return cell;
                }
                Finding::Accepted(_, open) => self.reason = Some((*open).to_owned()),
                _ => {}
            }
        }
        if let Some(how) = wrong.next() {
            let count = 1 + wrong.count();
            self.result = Outcome::WrongPixels;
            self.step = Some("compare".to_owned());
            self.reason = Some(some(how.clone(), count));
            return self;
        }
        let unknown = findings.iter().find_map(|finding| match finding {
            Finding::Unknown(refusal) => Some(refusal),
            _ => None,
        });
        match unknown {
            Some(refusal) => self.with(Outcome::Error, refusal),
            None if all == 0 => {
                let refusal = Refusal::because("", "prove", "no buffer was tried");
                self.with(Outcome::Error, &refusal)
            }
            None => self,
        }
    }
}

/// What a refusal means.
fn words(refusal: &Refusal) -> String {
    let Some(errno) = refusal.errno else { return refusal.detail.clone() };
    let mut text = match meaning(refusal.step, errno) {
        Some(meaning) => meaning.to_owned(),
        None => errno::text(errno),
    };
    if !refusal.detail.is_empty() {
        text = format!("{}: {text}", refusal.detail);
    }
    text
}

/// An error and what led to it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

fn median(mut times: Vec<Duration>) -> Option<u64> {
    times.sort();
    let middle = times.get(times.len() / 2)?;
    Some(u64::try_from(middle.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
