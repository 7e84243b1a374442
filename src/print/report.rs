//! Reports in words.

use std::fmt;

use vcam_allocator::{Held, Method};
use vcam_pipeline::{Frames, Latency, Link, StreamPlan};

use crate::report::{Rejected, Report};

/// The report of a run that does not take place.
pub(crate) struct WouldRun<'a>(pub(crate) &'a Report);

impl fmt::Display for WouldRun<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [width, height] = self.0.size;
        writeln!(f, "a run would make frames of {width}x{height}:")?;
        write_plan(self.0, f)
    }
}

/// The report of a run that took place.
pub(crate) struct Ran<'a>(pub(crate) &'a Report);

impl fmt::Display for Ran<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        let Frames { completed, displayed, dropped, errors } = report.frames;
        let [width, height] = report.size;
        writeln!(
            f,
            "{completed} frames of {width}x{height} at {:.1} fps: {displayed} shown, {dropped} \
             dropped, {errors} errors",
            report.fps
        )?;
        write_plan(report, f)?;
        let Latency { p50, p99, max } = report.latency_us;
        write!(f, "\n  latency  p50 {} ms, p99 {} ms, max {} ms", Ms(p50), Ms(p99), Ms(max))?;
        let per_frame = [
            ("heap allocations", report.steady.heap_allocs_per_frame),
            ("imports", report.steady.imports_per_frame),
            ("system calls", report.steady.syscalls_per_frame),
            ("µs of machinery", report.steady.machinery_us_per_frame),
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

/// Writes the parts of a run: streams, memory, sensor, ISP, sinks and links.
fn write_plan(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for plan in &report.plan.streams {
        let StreamPlan { stream, heap, format, modifier, strides, buffers, .. } = plan;
        let strides: Vec<_> = strides.iter().map(u64::to_string).collect();
        writeln!(
            f,
            "  {stream:<8} {buffers} buffers of {format} {modifier} in {heap}, stride {}",
            strides.join(" and ")
        )?;
    }
    for (exporter, held) in report.memory.iter().flat_map(|memory| &memory.exporters) {
        let Held { buffers, bytes, descriptors } = held;
        let mib = *bytes as f64 / f64::from(1 << 20);
        writeln!(
            f,
            "  memory   {mib:.1} MiB in {buffers} dma-bufs of {exporter}, {descriptors} \
             descriptors"
        )?;
    }
    let mut printed = Vec::new();
    for Rejected { heap, reason, .. } in &report.plan.rejected {
        if !printed.contains(&(heap, reason)) {
            writeln!(f, "           not {heap}: {reason}")?;
            printed.push((heap, reason));
        }
    }
    writeln!(f, "  sensor   {}, {}", report.sensor.format, report.sensor.scene)?;
    writeln!(f, "  isp      {}", report.isp.name)?;
    if let Some(reason) = &report.isp.reason {
        writeln!(f, "           {reason}")?;
    }
    for output in &report.outputs {
        writeln!(f, "  sink     {output}")?;
    }
    for (index, link) in report.links.iter().enumerate() {
        let end = if index == 0 { "" } else { "\n" };
        write!(f, "{end}  link     {}", Line(link))?;
        // Only a copy needs a reason.
        if let Some(reason) = link.reason.as_ref().filter(|_| link.method == Method::Copy) {
            write!(f, "\n           because {reason}")?;
        }
    }
    Ok(())
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
