//! The protocol between the two processes: one JSON value on a line.

use serde::{Deserialize, Serialize};
use vcam_allocator::probe::{Cell, HeapInfo, ImporterInfo};
use vcam_allocator::{Fourcc, OpenError, heaps};

use crate::print;

/// The parent asks for one cell of the table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct CellRequest {
    /// The index of the importer among those of its source.
    pub(super) importer: usize,
    pub(super) heap: String,
    pub(super) format: Fourcc,
}

/// The child answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// The heaps of this machine.
    Heaps(Vec<HeapEntry>),
    /// The importers of the source, before any cell.
    Importers(Vec<ListedImporter>),
    /// Why the source has no importers.
    Failed(String),
    /// The name of the next step, which may crash.
    Step(String),
    /// The cell that was asked for.
    Cell(Cell),
}

/// An importer of a source, and the formats that it lists.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ListedImporter {
    pub(super) info: ImporterInfo,
    pub(super) formats: Vec<Fourcc>,
}

/// A heap, as `vcam probe --json` prints it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HeapEntry {
    #[serde(flatten)]
    pub(super) info: HeapInfo,
    /// A line for the shell that would make it usable.
    pub(super) fix: Option<String>,
}

impl From<&heaps::Discovered> for HeapEntry {
    fn from(found: &heaps::Discovered) -> Self {
        let fix = match &found.heap {
            Err(OpenError::Permission { permission, .. }) => {
                print::shell_command(&permission.remedy)
            }
            _ => None,
        };
        Self { info: found.into(), fix }
    }
}
