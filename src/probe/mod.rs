//! `vcam probe`: which heap works with which device, proven, with cost and reason.
//!
//! Every device is tried in a process of its own ([`child`]), which this one ([`parent`]) asks for
//! one cell of the table after the other. A driver that crashes or hangs costs its cell and no
//! more.

mod child;
mod parent;
mod process;
mod protocol;
mod source;
mod table;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use serde::Serialize;
use vcam_allocator::probe::{Cell, ImporterInfo};
use vcam_pipeline::chain;

use crate::exit::Error;
use crate::{knowledge, print};
use protocol::HeapEntry;
use source::Source;

pub(crate) use child::serve;

/// Everything that was found out.
#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    heaps: Vec<HeapEntry>,
    importers: Vec<ImporterInfo>,
    cells: Vec<Cell>,
    /// Devices that could not be asked which formats they take.
    skipped: Vec<Skipped>,
}

/// A device that could not be asked.
#[derive(Debug, Serialize)]
struct Skipped {
    source: String,
    reason: String,
}

/// Probes, keeps what was found for later runs, and prints it.
pub(crate) fn probe(json: bool, limit: Duration) -> Result<(), Error> {
    let report = fill_table(limit)?;
    remember(&report);
    if json { print::json(&report) } else { print::text(&table::Table(&report)) }
}

/// Fills the whole table; no answer of a device may take longer than the limit.
fn fill_table(limit: Duration) -> Result<Report, Error> {
    let heaps = parent::heaps(limit)?;
    let mut report =
        Report { schema: 1, heaps, importers: Vec::new(), cells: Vec::new(), skipped: Vec::new() };
    let mut names = BTreeMap::new();
    let mut progress = ProgressLine { shown: stderr().is_terminal() };
    for source in Source::all() {
        let begun = Instant::now();
        parent::try_source(&source, limit, &mut report, &mut names, &mut progress)?;
        tracing::info!(%source, took = ?begun.elapsed(), "probed");
    }
    Ok(report)
}

/// Keeps what was found for later plans.
fn remember(report: &Report) {
    let mut knowledge = knowledge::open(false);
    for cell in &report.cells {
        if let Some(info) = report.importers.iter().find(|info| info.name == cell.importer) {
            knowledge.note_cell(info, cell);
        }
    }
    if let Err(error) = knowledge.save() {
        tracing::warn!(error = chain(&error), "what was found is not kept");
    }
}

/// A name of its own for each importer: the second `kms:vkms` is `kms:vkms#2`.
fn unique(names: &mut BTreeMap<String, u32>, name: &str) -> String {
    let count = names.entry(name.to_owned()).or_insert(0);
    *count += 1;
    if *count == 1 { name.to_owned() } else { format!("{name}#{count}") }
}

/// One line on the standard error that says what is being tried.
struct ProgressLine {
    shown: bool,
}

impl ProgressLine {
    fn say(&mut self, words: &str) {
        if self.shown {
            // A line that cannot be shown is no reason to stop.
            let _ = write!(stderr(), "\r\x1b[K{words}");
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        self.say("");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_numbered() {
        let mut names = BTreeMap::new();
        let given: Vec<_> =
            ["kms:vkms", "kms:bochs", "kms:vkms"].map(|name| unique(&mut names, name)).into();
        assert_eq!(given, ["kms:vkms", "kms:bochs", "kms:vkms#2"]);
    }
}
