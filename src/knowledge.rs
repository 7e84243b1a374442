//! Knowledge of this machine from earlier runs and probes.

use vcam_allocator::Knowledge;

/// Opens the user's file, or starts from nothing for a user who has no folder for it. With `fresh`,
/// what the file holds is forgotten.
pub(crate) fn open(fresh: bool) -> Knowledge {
    match Knowledge::file() {
        Some(path) if fresh => Knowledge::fresh(&path),
        Some(path) => Knowledge::open(&path),
        None => Knowledge::default(),
    }
}
