//! The master of a card, changed by hand as by a switch of virtual terminals.

use std::fs;
use std::os::fd::BorrowedFd;
use std::path::Path;

/// The files of this process that are this node, oldest first.
fn files(node: &Path) -> Vec<i32> {
    let mut files: Vec<i32> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .filter(|entry| fs::read_link(entry.path()).is_ok_and(|to| to == node))
        .map(|entry| entry.file_name().to_string_lossy().parse().unwrap())
        .collect();
    files.sort_unstable();
    files
}

/// A card's open file that other code in this process owns.
#[derive(Debug, Clone, Copy)]
pub struct CardFile(i32);

impl CardFile {
    /// The file that was opened last of this node.
    ///
    /// # Panics
    ///
    /// If the process has none open.
    pub fn newest(node: &Path) -> Self {
        Self(*files(node).last().expect("the card is open"))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the test keeps its owner alive while it uses this.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }

    /// Gives control of the card up, as `logind` does for a session in the background.
    pub fn drop_master(&self) {
        drm_ffi::auth::release_master(self.fd()).unwrap();
    }

    /// Takes control of the card.
    pub fn set_master(&self) {
        drm_ffi::auth::acquire_master(self.fd()).unwrap();
    }
}
