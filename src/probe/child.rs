//! The child: tries a device, and may not survive it.
//!
//! It lists the importers of its source, then fills one cell for each line on its standard input,
//! until that ends.

use std::collections::HashMap;
use std::io::{BufRead, Write, stdin, stdout};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use vcam_allocator::probe::{Cell, Prober, probe};
use vcam_allocator::{Heap, heaps};
use vcam_pipeline::chain;

use super::protocol::{CellRequest, HeapEntry, ListedImporter, Reply};
use super::source::Source;
use crate::exit::Error;

/// Tries the importers of a source, as the standard input asks for it.
pub(crate) fn serve(source: &str) -> Result<(), Error> {
    let source: &Source = &source.parse().map_err(Error::Usage)?;
    // A crash is a result here and needs no core file, and without a parent there is nothing left
    // to do. Both are a courtesy, and no reason to fail.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let _ = setrlimit(Resource::Core, none);
    let _ = set_parent_process_death_signal(Some(Signal::KILL));

    fault(&format!("{source}"));
    if *source == Source::Heaps {
        let found = heaps::discover();
        return say(&Reply::Heaps(found.iter().map(HeapEntry::from).collect()));
    }
    let mut probers = match open(source) {
        Ok(probers) => probers,
        Err(reason) => return say(&Reply::Failed(reason)),
    };
    let importers = probers
        .iter()
        .map(|prober| ListedImporter { info: prober.info(), formats: prober.formats() })
        .collect();
    say(&Reply::Importers(importers))?;

    let mut heaps = HashMap::new();
    for line in stdin().lock().lines() {
        let line = line.map_err(Error::Probe)?;
        let request: CellRequest =
            serde_json::from_str(&line).map_err(|error| Error::Probe(error.into()))?;
        let Some(prober) = probers.get_mut(request.importer) else {
            return Err(Error::Usage(format!("there is no importer {}", request.importer)));
        };
        say(&Reply::Cell(cell(&mut **prober, &mut heaps, &request)))?;
    }
    Ok(())
}

fn cell(
    prober: &mut dyn Prober,
    heaps: &mut HashMap<String, Box<dyn Heap>>,
    request: &CellRequest,
) -> Cell {
    let name = prober.info().name;
    let CellRequest { heap, format, .. } = request;
    if !heaps.contains_key(heap) {
        match heaps::open(heap) {
            Ok(opened) => {
                heaps.insert(heap.clone(), opened);
            }
            Err(error) => {
                let why = chain(&error);
                return Cell::unknown(heap, &name, *format, Some("open the heap"), why);
            }
        }
    }
    let mut steps = |step: &'static str| {
        let _ = say(&Reply::Step(step.to_owned()));
    };
    steps("open");
    fault(&format!("{name} {heap} {format}"));
    probe(prober, &*heaps[heap], *format, &mut steps)
}

fn open(source: &Source) -> Result<Vec<Box<dyn Prober>>, String> {
    match source {
        Source::Heaps => Ok(Vec::new()),
        Source::Egl => vcam_isp_gpu::probe::probers().map_err(|error| chain(&error)),
        Source::Kms(node) => vcam_sinks::kms::probe::probers(node).map_err(|error| chain(&error)),
        Source::V4l2(node) => vcam_sinks::v4l2::probe::probers(node).map_err(|error| chain(&error)),
    }
}

/// Prints one line of JSON. Other lines on the standard output come from drivers; the parent
/// ignores lines that are not JSON.
fn say(reply: &Reply) -> Result<(), Error> {
    let mut line = serde_json::to_vec(reply).map_err(|error| Error::Probe(error.into()))?;
    line.push(b'\n');
    let mut out = stdout().lock();
    out.write_all(&line).and_then(|()| out.flush()).map_err(Error::Probe)
}

/// For tests: crashes or hangs as drivers do, if the name of what is tried starts as the
/// environment says.
fn fault(what: &str) {
    let is_meant = |name| std::env::var(name).is_ok_and(|start| what.starts_with(&start));
    if is_meant("VCAM_FAULT_PROBE_ABORT") {
        std::process::abort();
    }
    while is_meant("VCAM_FAULT_PROBE_HANG") {
        std::thread::sleep(Duration::from_secs(1));
    }
}
