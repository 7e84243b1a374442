//! The parent: asks one process for each source, and starts it again where a driver ends it.

use std::collections::BTreeMap;
use std::time::Duration;

use vcam_allocator::Fourcc;
use vcam_allocator::probe::{Cell, HeapInfo, ImporterInfo};

use super::process::{ChildExit, ProbeProcess, StartFailure};
use super::protocol::{CellRequest, HeapEntry, ListedImporter, Reply};
use super::source::Source;
use super::{ProgressLine, Report, Skipped, unique};
use crate::exit::Error;

/// How often an importer may crash before it is given up. One that hangs gets no second chance:
/// each costs the whole time limit.
const CRASHES: u32 = 3;

/// The heaps of this machine, usable or not.
///
/// If the driver behind one of them ends the process that opens them all, every heap that there may
/// be is returned as usable: each is tried where it is needed.
pub(super) fn heaps(limit: Duration) -> Result<Vec<HeapEntry>, Error> {
    let mut process = ProbeProcess::spawn(&Source::Heaps)?;
    Ok(match process.reply(limit) {
        Ok(Reply::Heaps(heaps)) => heaps,
        _ => {
            let heap = |name: String| {
                let kind = name.split(':').next().unwrap_or_default().to_owned();
                let info = HeapInfo { name, kind, available: true, reason: None };
                HeapEntry { info, fix: None }
            };
            vcam_allocator::heaps::names().into_iter().map(heap).collect()
        }
    })
}

/// Tries every importer of a source with every heap and format.
pub(super) fn try_source(
    source: &Source,
    limit: Duration,
    report: &mut Report,
    names: &mut BTreeMap<String, u32>,
    progress: &mut ProgressLine,
) -> Result<(), Error> {
    progress.say(&format!("probing {source}"));
    let (process, importers) = match ProbeProcess::start(source, limit)? {
        Ok(started) => started,
        Err(StartFailure::Failed(reason)) => {
            report.skipped.push(Skipped { source: source.to_string(), reason });
            return Ok(());
        }
        Err(StartFailure::Exited(exit)) => {
            for mut info in source.importers_at_risk() {
                info.name = unique(names, &info.name);
                note_no_start(report, info, &exit);
            }
            return Ok(());
        }
    };
    let mut process = Some(process);
    for (index, importer) in importers.into_iter().enumerate() {
        let ListedImporter { mut info, formats } = importer;
        info.name = unique(names, &info.name);
        let mut crashes_left = CRASHES;
        for heap in usable(report) {
            for format in &formats {
                progress.say(&format!("probing {} with {heap}, {format}", info.name));
                let mut cell = Cell::unknown(
                    &heap,
                    &info.name,
                    *format,
                    None,
                    "not tried, since the driver had crashed or hung before".to_owned(),
                );
                if let Some(asked) = process.as_mut().filter(|_| crashes_left > 0) {
                    let heap = heap.clone();
                    let request = CellRequest { importer: index, heap, format: *format };
                    match asked.ask(&request, limit) {
                        Ok(answer) => cell = Cell { importer: info.name.clone(), ..answer },
                        Err(ChildExit { step, why, hung }) => {
                            crashes_left = if hung { 0 } else { crashes_left - 1 };
                            let (heap, step) = (&request.heap, step.as_deref());
                            cell = Cell::unknown(heap, &info.name, *format, step, why);
                            cell.crashed = true;
                            let started = ProbeProcess::start(source, limit)?;
                            process = started.ok().map(|(process, _)| process);
                        }
                    }
                }
                report.cells.push(cell);
            }
        }
        report.importers.push(info);
    }
    Ok(())
}

/// The heaps that there are buffers from.
fn usable(report: &Report) -> Vec<String> {
    let heaps = report.heaps.iter().filter(|heap| heap.info.available);
    heaps.map(|heap| heap.info.name.clone()).collect()
}

/// Notes a driver that does not even start, once for each heap, with the format that matters most.
fn note_no_start(report: &mut Report, info: ImporterInfo, exit: &ChildExit) {
    for heap in usable(report) {
        let step = exit.step.as_deref().or(Some("open"));
        let why = exit.why.clone();
        let cell = Cell::unknown(&heap, &info.name, Fourcc::XRGB8888, step, why);
        report.cells.push(Cell { crashed: true, ..cell });
    }
    report.importers.push(info);
}
