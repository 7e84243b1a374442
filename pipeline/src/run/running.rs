//! A run that is under way, and its account at the end.

use std::thread::JoinHandle;

use vcam_allocator::knowledge::Asked;
use vcam_allocator::{Dmabuf, Knowledge, LinkEnd, Method, Refusal};

use super::progress::Progress;
use super::sink::SinkRun;
use crate::engine::error::StageError;
use crate::engine::isp_select::IspInfo;
use crate::engine::isp_thread::joined;
use crate::engine::stop::StopHandle;
use crate::engine::stream_alloc::{AskedDevices, sensor_end};
use crate::engine::{Engine, EngineStats, Running, SENSOR, save};
use crate::links::Link;
use crate::stats::{Frames, LatencyMeter, RunStats, Steady};
use crate::stream::Port;

/// A run that is under way.
///
/// Dropping it stops it and waits for its threads, so that the display is as it was found.
#[derive(Debug)]
pub struct Run {
    pub(super) engine: Engine,
    pub(super) running: Option<(Running, Vec<SinkThread>)>,
    pub(super) stop: StopHandle,
    /// Each sink's stream and name.
    pub(super) sinks: Vec<(Port, String)>,
    /// A buffer of each stream.
    pub(super) raw: Option<Dmabuf>,
    pub(super) outputs: Vec<Dmabuf>,
    pub(super) knowledge: Knowledge,
    pub(super) asked: AskedDevices,
    pub(super) progress: Progress,
}

pub(super) type SinkThread = JoinHandle<(SinkRun, Result<(), StageError>)>;

impl Run {
    /// Its numbers so far: they are kept up to date.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Waits for the end of the run; returns what it did, and what stopped it if it did not end
    /// well.
    pub fn wait(mut self) -> (RunStats, Result<(), StageError>) {
        self.join()
    }

    fn join(&mut self) -> (RunStats, Result<(), StageError>) {
        let Some((running, threads)) = self.running.take() else {
            return (RunStats::default(), Ok(()));
        };
        let EngineStats { isp, mut machinery, mut errors, mut result, .. } =
            self.engine.join(running);
        let mut links = Vec::new();
        // Where pictures come from.
        let (from, output_end) = match (self.engine.isp(), &self.raw) {
            (Some(IspInfo { name, .. }), Some(raw)) => {
                let to = (&**name, &isp.raw_end);
                links.push(Link::join((SENSOR, &sensor_end()), to, raw));
                learn(&mut self.knowledge, &self.asked.raw, &isp.raw_end, raw);
                (&**name, isp.output_end)
            }
            _ => (SENSOR, sensor_end()),
        };
        if let Some(output) = self.outputs.first() {
            learn(&mut self.knowledge, &self.asked.output, &output_end, output);
        }
        let mut latency = LatencyMeter::new();
        let mut frames = Frames { completed: isp.completed, ..Frames::default() };
        let mut imports = isp.imports.per_frame();
        let (mut heap_allocs, mut syscalls) = (None, None);
        let ends = self.sinks.iter().zip(&self.asked.consumers).zip(threads);
        for (((port, name), asked), thread) in ends {
            let run = match joined(name, thread) {
                Ok((run, sink_result)) => {
                    let lost = sink_result.as_ref().is_err_and(StageError::lost_a_frame);
                    errors += u64::from(lost);
                    result = result.and(sink_result);
                    run
                }
                Err(panic) => {
                    result = result.and(Err(panic));
                    continue;
                }
            };
            let sensor_end = sensor_end();
            let (from, buffer) = match port {
                Port::Raw => ((SENSOR, &sensor_end), self.raw.as_ref()),
                Port::Output(index) => ((from, &output_end), self.outputs.get(*index)),
            };
            if let Some(buffer) = buffer {
                links.push(Link::join(from, (name, &run.end), buffer));
                // A refusal by another device, in the place of this one, is not its fault.
                if run.device == *asked {
                    learn(&mut self.knowledge, asked, &run.end, buffer);
                }
            }
            frames.displayed = frames.displayed.max(run.counts.displayed);
            frames.dropped += run.counts.dropped;
            latency.add(&run.latency);
            imports = imports.zip(run.imports.per_frame()).map(|(a, b)| a + b);
            machinery = machinery.zip(run.machinery).map(|(a, b)| a + b);
            heap_allocs = run.heap_allocs.per_frame().or(heap_allocs);
            syscalls = run.syscalls.per_frame().or(syscalls);
        }
        save(&mut self.knowledge);
        frames.errors = errors;
        let seconds = isp.elapsed.as_secs_f64();
        let fps = if seconds > 0.0 { (isp.completed - 1) as f64 / seconds } else { 0.0 };
        let steady = Steady {
            heap_allocs_per_frame: heap_allocs,
            imports_per_frame: imports,
            syscalls_per_frame: syscalls,
            machinery_us_per_frame: machinery,
        };
        (RunStats { frames, links, steady, latency: latency.summary(), fps }, result)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.stop.stop();
        if let (_, Err(error)) = self.join() {
            tracing::error!("{error}");
        }
    }
}

/// Remembers that a device took a buffer and failed with it later on.
fn learn(knowledge: &mut Knowledge, asked: &Option<Asked>, end: &LinkEnd, buffer: &Dmabuf) {
    if let (Some(asked), Method::Copy, 1..) = (asked, end.method, end.since_frame) {
        let reason = end.reason.as_deref().unwrap_or_default();
        let refusal = Refusal::because(&asked.name, "while streaming", reason);
        let size = (buffer.layout().width(), buffer.layout().height());
        knowledge.note_import(asked, buffer.heap(), buffer.format(), size, Err(&refusal));
    }
}
