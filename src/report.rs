//! The report of a run: the JSON document that scripts rely on. [`print`](crate::print) puts it into
//! words.

use serde::Serialize;
use vcam_allocator::{Accounting, ColourSpace, sync_counts};
use vcam_pipeline::{Frames, Latency, Link, Prepared, RunStats, Size, Steady, StreamPlan};

use crate::settings::RunSettings;

/// The number of this document's shape; a field that scripts rely on never changes within it.
const SCHEMA: u32 = 1;

/// The name of the ISP behind a sensor that sends pictures.
const NO_ISP: &str = "none: the sensor sends pictures";

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
    /// Memory that the run holds in dma-bufs, by exporter; `None` where there is no /proc.
    pub(crate) memory: Option<Accounting>,
    pub(crate) size: [u32; 2],
    /// How the pictures stand for colours, as libcamera writes it; `None` where there are none.
    pub(crate) colour_space: Option<ColourSpace>,
    pub(crate) sensor: Sensor,
    pub(crate) isp: Isp,
    /// The place that each sink shows on or writes to, such as `kms:vkms Virtual-1 1024x768@60`.
    pub(crate) outputs: Vec<String>,
    /// The error that ended the run, if there was one.
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
    /// The format of its frames, such as `SRGGB10P`.
    pub(crate) format: String,
    /// The scene before it.
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
    pub(crate) streams: Vec<StreamPlan>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Rejected {
    /// The stream; null for a heap that cannot be used at all.
    stream: Option<&'static str>,
    pub(crate) heap: String,
    /// The owner of the statement that rejects it.
    by: String,
    pub(crate) reason: String,
}

#[derive(Debug, Serialize)]
struct Conflict {
    stream: &'static str,
    reason: String,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { schema: SCHEMA, ..Self::default() }
    }

    /// Notes what the run is to be.
    pub(crate) fn note_settings(&mut self, settings: &RunSettings) {
        let Size { width, height } = settings.sensor.size;
        self.size = [width, height];
        self.sensor.format = settings.sensor.format.to_string();
        self.sensor.scene = settings.sensor.source.to_string();
    }

    /// Notes heaps that cannot be used, and why.
    pub(crate) fn note_unusable<'a>(&mut self, heaps: impl Iterator<Item = (&'a str, String)>) {
        self.plan.rejected.extend(heaps.map(|(heap, reason)| Rejected {
            stream: None,
            heap: heap.to_owned(),
            by: "vcam".to_owned(),
            reason,
        }));
    }

    /// Notes what is known before the first frame.
    pub(crate) fn note_prepared(&mut self, run: &Prepared) {
        self.isp.name = run.isp_description().unwrap_or(NO_ISP).to_owned();
        self.isp.reason = run.isp_reason().map(str::to_owned);
        self.links = run.links().to_vec();
        self.colour_space = run.colour_space();
        self.note_plans(run.plans());
        self.memory = Accounting::read().ok();
    }

    /// Notes what the run did.
    pub(crate) fn note_outcome(&mut self, outcome: RunStats) {
        let RunStats { frames, links, steady, latency, fps, .. } = outcome;
        self.frames = frames;
        self.links = links;
        self.steady = steady;
        self.latency_us = latency;
        self.fps = fps;
        let (begin, end) = sync_counts();
        self.sync = Sync { begin, end };
    }

    /// Notes where each stream's buffers are.
    fn note_plans(&mut self, plans: &[StreamPlan]) {
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
}
