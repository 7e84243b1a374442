//! `vcam probe`: which heap works with which device, proven, with cost and reason.
//!
//! Every device is tried in a process of its own ([`child`]), which this one ([`parent`]) asks one
//! cell of the table after the other. A driver that crashes or hangs costs its cell and no more.

mod child;
mod parent;
mod table;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use vcam_allocator::Fourcc;
use vcam_allocator::probe::{Cell, HeapInfo, ImporterInfo};
use vcam_pipeline::chain;
use vcam_uapi::node::numbered;

use crate::exit::Error;
use crate::run::{knowledge, print, print_json};

pub(crate) use child::serve;

/// Everything that was found out.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) schema: u32,
    pub(crate) heaps: Vec<HeapInfo>,
    pub(crate) importers: Vec<ImporterInfo>,
    pub(crate) cells: Vec<Cell>,
    /// Devices that could not even be asked what they take.
    pub(crate) skipped: Vec<Skipped>,
}

/// A device that could not be asked.
#[derive(Debug, Serialize)]
pub(crate) struct Skipped {
    pub(crate) source: String,
    pub(crate) reason: String,
}

/// Where importers are: what one process tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// No importers, but the heaps: some of them are drivers too.
    Heaps,
    /// The GPU that EGL chooses.
    Egl,
    /// A display card.
    Kms(PathBuf),
    /// A V4L2 node.
    V4l2(PathBuf),
}

impl Source {
    /// All there are on this machine.
    fn all() -> Vec<Self> {
        let cards = vcam_sinks::kms::probe::nodes().into_iter().map(Self::Kms);
        let nodes = numbered(Path::new("/dev"), "video").into_iter().map(Self::V4l2);
        std::iter::once(Self::Egl).chain(cards).chain(nodes).collect()
    }

    /// Who it would be, for a driver that does not live long enough to say so.
    fn suspects(&self) -> Vec<ImporterInfo> {
        let (kinds, class, node): (&[_], _, _) = match self {
            Self::Heaps => (&[], "", None),
            Self::Egl => (&["egl-texture", "egl-target"], "", None),
            Self::Kms(node) => (&["kms"], "drm", Some(node)),
            Self::V4l2(node) => (&["v4l2"], "video4linux", Some(node)),
        };
        let driver = node.and_then(|node| crate::list::sysfs_driver(class, node));
        let driver = driver.unwrap_or_else(|| "unknown".to_owned());
        kinds
            .iter()
            .map(|kind| {
                let name = format!("{kind}:{driver}");
                match node {
                    Some(node) => ImporterInfo::of_node(name, &driver, node),
                    None => ImporterInfo {
                        name,
                        driver: driver.clone(),
                        node: None,
                        identity: String::new(),
                    },
                }
            })
            .collect()
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Heaps => f.write_str("heaps"),
            Self::Egl => f.write_str("egl"),
            Self::Kms(node) => write!(f, "kms:{}", node.display()),
            Self::V4l2(node) => write!(f, "v4l2:{}", node.display()),
        }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "heaps" => Ok(Self::Heaps),
            None if text == "egl" => Ok(Self::Egl),
            Some(("kms", node)) => Ok(Self::Kms(node.into())),
            Some(("v4l2", node)) => Ok(Self::V4l2(node.into())),
            _ => Err("a source is egl, kms:NODE or v4l2:NODE".to_owned()),
        }
    }
}

/// An importer of a source, and the formats that it lists.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Offer {
    info: ImporterInfo,
    formats: Vec<Fourcc>,
}

/// One cell to be filled.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Request {
    /// The index of the importer in its source's offers.
    importer: usize,
    heap: String,
    format: Fourcc,
}

/// What the process that tries says, one to a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// The heaps there are.
    Heaps(Vec<HeapInfo>),
    /// First of all: the importers there are.
    Offers(Vec<Offer>),
    /// Or why there are none.
    Failed(String),
    /// What comes next may crash.
    Step(String),
    /// A cell is filled.
    Cell(Cell),
}

/// Probes, and prints what was found.
pub(crate) fn probe(json: bool, limit: Duration) -> Result<(), Error> {
    let report = run(limit)?;
    remember(&report);
    if json { print_json(&report) } else { print(&table::Table(&report)) }
}

/// Lets later plans know.
fn remember(report: &Report) {
    let mut knowledge = knowledge(false);
    for cell in &report.cells {
        if let Some(info) = report.importers.iter().find(|info| info.name == cell.importer) {
            knowledge.note_cell(info, cell);
        }
    }
    if let Err(error) = knowledge.save() {
        tracing::warn!(error = chain(&error), "what was found is not kept");
    }
}

/// Fills the whole table.
pub(crate) fn run(limit: Duration) -> Result<Report, Error> {
    let heaps = parent::heaps(limit)?;
    let mut report =
        Report { schema: 1, heaps, importers: Vec::new(), cells: Vec::new(), skipped: Vec::new() };
    let mut names = BTreeMap::new();
    let mut progress = Progress { shown: stderr().is_terminal() };
    for source in Source::all() {
        let begun = Instant::now();
        parent::try_out(&source, limit, &mut report, &mut names, &mut progress)?;
        tracing::info!(%source, took = ?begun.elapsed(), "probed");
    }
    Ok(report)
}

/// A name that nobody else has: the second `kms:vkms` is `kms:vkms#2`.
fn unique(names: &mut BTreeMap<String, u32>, name: &str) -> String {
    let count = names.entry(name.to_owned()).or_insert(0);
    *count += 1;
    if *count == 1 { name.to_owned() } else { format!("{name}#{count}") }
}

/// One line on the standard error that says what is being tried.
struct Progress {
    shown: bool,
}

impl Progress {
    fn say(&mut self, words: &str) {
        if self.shown {
            // Nobody minds if it cannot be shown.
            let _ = write!(stderr(), "\r\x1b[K{words}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.say("");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_reads_back_as_it_is_written() {
        for source in
            [Source::Egl, Source::Kms("/dev/dri/card1".into()), Source::V4l2("/dev/video0".into())]
        {
            assert_eq!(source.to_string().parse(), Ok(source));
        }
        assert!("gl".parse::<Source>().is_err());
    }

    #[test]
    fn names_are_told_apart_by_number() {
        let mut names = BTreeMap::new();
        let given: Vec<_> =
            ["kms:vkms", "kms:bochs", "kms:vkms"].map(|name| unique(&mut names, name)).into();
        assert_eq!(given, ["kms:vkms", "kms:bochs", "kms:vkms#2"]);
    }
}
