//! Who is master of a card: what a switch of virtual terminals does, by hand.

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

/// A file of somebody else in this process, without being its owner.
#[derive(Debug, Clone, Copy)]
pub struct File(i32);

impl File {
    /// The file that was opened last of this node.
    pub fn newest(node: &Path) -> Self {
        Self(*files(node).last().expect("somebody has the card open"))
    }

    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the test keeps its owner alive while it uses this.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }

    /// Gives control of the card up, as `logind` does for a session in the background.
    pub fn drop_master(&self) {
        drm_ffi::auth::release_master(self.fd()).unwrap();
    }

    pub fn set_master(&self) {
        drm_ffi::auth::acquire_master(self.fd()).unwrap();
    }
}
