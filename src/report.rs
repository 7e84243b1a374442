//! What a run did: for people, and as the JSON document that scripts rely on.

use std::fmt;

use serde::Serialize;
use vcam_allocator::{Accounting, ColourSpace, Held, Method};
use vcam_pipeline::{Frames, Latency, Link, Steady, StreamPlan};

/// The number of this document's shape; a field that scripts rely on never changes within it.
const SCHEMA: u32 = 1;

/// The report of a run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    schema: u32,
    /// Which heap each stream's buffers came from.
    pub(crate) heaps: Heaps,
    pub(crate) frames: Frames,
    pub(crate) links: Vec<Link>,
    /// `DMA_BUF_IOCTL_SYNC` calls.
    pub(crate) sync: Sync,
    pub(crate) steady: Steady,
    pub(crate) latency_us: Latency,
    pub(crate) fps: f64,
    pub(crate) plan: Plan,
    /// What the run holds in dma-bufs, by exporter; `None` where there is no /proc.
    pub(crate) memory: Option<Accounting>,
    pub(crate) size: [u32; 2],
    /// How the pictures stand for colours, as libcamera writes it; `None` where there are none.
    pub(crate) colour_space: Option<ColourSpace>,
    pub(crate) sensor: Sensor,
    pub(crate) isp: Isp,
    /// What each sink shows or writes to, such as `kms:vkms Virtual-1 1024x768@60`.
    pub(crate) outputs: Vec<String>,
    /// What ended the run, if it did not end well.
    pub(crate) error: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Heaps {
    pub(crate) raw: Option<String>,
    pub(crate) output: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Sync {
    pub(crate) begin: u64,
    pub(crate) end: u64,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Sensor {
    /// What it sends, such as `SRGGB10P`.
    pub(crate) format: String,
    /// What it sees.
    pub(crate) scene: String,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Isp {
    pub(crate) name: String,
    /// Why it is this one, where another was tried first.
    pub(crate) reason: Option<String>,
}

/// Which heaps were taken, and why those before them were not.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Plan {
    /// For each stream, its heap.
    chosen: Heaps,
    pub(crate) rejected: Vec<Rejected>,
    /// For each stream that no heap serves: the smallest set of statements in the way.
    conflicts: Vec<Conflict>,
    /// The streams in full.
    streams: Vec<StreamPlan>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Rejected {
    /// The stream; null for a heap that cannot be used at all.
    stream: Option<&'static str>,
    heap: String,
    /// Who rejected it.
    by: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Conflict {
    stream: &'static str,
    reason: String,
}

impl Rejected {
    /// A heap that cannot be opened.
    pub(crate) fn everywhere(heap: String, reason: String) -> Self {
        Self { stream: None, heap, by: "vcam".to_owned(), reason }
    }
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { schema: SCHEMA, ..Self::default() }
    }

    /// Notes where each stream's buffers live.
    pub(crate) fn planned(&mut self, plans: &[StreamPlan]) {
        for plan in plans {
            let stream = plan.stream;
            let heap = Some(plan.heap.clone());
            match stream {
                "raw" => self.heaps.raw = heap,
                _ => self.heaps.output = heap,
            }
            self.plan.rejected.extend(plan.rejected.iter().map(|one| Rejected {
                stream: Some(stream),
                heap: one.heap.clone(),
                by: one.by.clone(),
                reason: one.reason.clone(),
            }));
            let conflict = plan.conflict.clone().map(|reason| Conflict { stream, reason });
            self.plan.conflicts.extend(conflict);
        }
        self.plan.chosen = self.heaps.clone();
        self.plan.streams = plans.to_vec();
    }

    /// The report of a run that did not take place.
    pub(crate) fn as_plan(&self) -> impl fmt::Display {
        Planned(self)
    }

    fn fmt_plan(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for plan in &self.plan.streams {
            let StreamPlan { stream, heap, format, modifier, strides, buffers, .. } = plan;
            let strides: Vec<_> = strides.iter().map(u64::to_string).collect();
            writeln!(
                f,
                "  {stream:<8} {buffers} buffers of {format} {modifier} in {heap}, stride {}",
                strides.join(" and ")
            )?;
        }
        for (exporter, held) in self.memory.iter().flat_map(|memory| &memory.exporters) {
            let Held { buffers, bytes, descriptors } = held;
            let mib = *bytes as f64 / f64::from(1 << 20);
            writeln!(
                f,
                "  memory   {mib:.1} MiB in {buffers} dma-bufs of {exporter}, {descriptors} \
                 descriptors"
            )?;
        }
        let mut told = Vec::new();
        for Rejected { heap, reason, .. } in &self.plan.rejected {
            if !told.contains(&(heap, reason)) {
                writeln!(f, "           not {heap}: {reason}")?;
                told.push((heap, reason));
            }
        }
        writeln!(f, "  sensor   {}, {}", self.sensor.format, self.sensor.scene)?;
        writeln!(f, "  isp      {}", self.isp.name)?;
        if let Some(reason) = &self.isp.reason {
            writeln!(f, "           {reason}")?;
        }
        for output in &self.outputs {
            writeln!(f, "  sink     {output}")?;
        }
        for (index, link) in self.links.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}  link     {}", Line(link))?;
            // Where nothing had to be imported, nobody asks why.
            if let Some(reason) = link.reason.as_ref().filter(|_| link.method == Method::Copy) {
                write!(f, "\n           because {reason}")?;
            }
        }
        Ok(())
    }
}

/// What a run would do.
struct Planned<'a>(&'a Report);

impl fmt::Display for Planned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [width, height] = self.0.size;
        writeln!(f, "a run would make frames of {width}x{height}:")?;
        self.0.fmt_plan(f)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frames { completed, displayed, dropped, errors } = self.frames;
        let [width, height] = self.size;
        writeln!(
            f,
            "{completed} frames of {width}x{height} at {:.1} fps: {displayed} shown, {dropped} \
             dropped, {errors} errors",
            self.fps
        )?;
        self.fmt_plan(f)?;
        let Latency { p50, p99, max } = self.latency_us;
        write!(f, "\n  latency  p50 {} ms, p99 {} ms, max {} ms", Ms(p50), Ms(p99), Ms(max))?;
        let per_frame = [
            ("heap allocations", self.steady.heap_allocs_per_frame),
            ("imports", self.steady.imports_per_frame),
            ("system calls", self.steady.syscalls_per_frame),
            ("µs of machinery", self.steady.machinery_us_per_frame),
        ];
        let mut separator = "\n  steady   ";
        for (what, count) in per_frame {
            if let Some(count) = count {
                write!(f, "{separator}{count:.2} {what}")?;
                separator = ", ";
            }
        }
        if separator == ", " {
            f.write_str(" a frame")?;
        }
        Ok(())
    }
}

/// A link on one line.
struct Line<'a>(&'a Link);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Link { from, to, format, modifier, heap, method, .. } = self.0;
        write!(f, "{from} → {to}: {format} {modifier} in {heap}, ")?;
        match method {
            Method::Import => write!(f, "imported ({} imports, 0 bytes copied)", self.0.imports),
            Method::Native => write!(f, "in place"),
            Method::Copy => {
                write!(f, "copied ({} bytes", self.0.bytes_copied)?;
                if self.0.since_frame > 0 {
                    write!(f, ", since frame {}", self.0.since_frame)?;
                }
                write!(f, ")")
            }
        }
    }
}

/// Microseconds as milliseconds.
struct Ms(u64);

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}", self.0 as f64 / 1000.0)
    }
}
