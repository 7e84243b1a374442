//! Device nodes: which there are, and how one is opened.
//!
//! Source: open(2); `Documentation/admin-guide/devices.txt` for the names.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::{self, Errno};

use crate::fault;

/// The nodes of a folder whose names are this prefix and a number, such as `card0`, in the order of
/// their numbers; none if the folder cannot be read.
pub fn numbered(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut nodes: Vec<(u32, PathBuf)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((number, entry.path()))
        })
        .collect();
    nodes.sort();
    nodes.into_iter().map(|(_, path)| path).collect()
}

/// Opens a node for reading, which is all that the ioctls of an allocator need: to ask for more
/// fails where a node is handed out read-only.
pub fn open_read_only(node: &Path) -> io::Result<File> {
    open(OpenOptions::new().read(true), node, OFlags::empty())
}

/// Opens a node for reading and writing, which is what devices ask for.
pub fn open_read_write(node: &Path) -> io::Result<File> {
    open(OpenOptions::new().read(true).write(true), node, OFlags::empty())
}

/// Opens a node for reading and writing; what is not there to be read yet is then `EAGAIN`.
pub fn open_nonblocking(node: &Path) -> io::Result<File> {
    open(OpenOptions::new().read(true).write(true), node, OFlags::NONBLOCK)
}

fn open(options: &mut OpenOptions, node: &Path, flags: OFlags) -> io::Result<File> {
    fault::call("open")?;
    options
        .custom_flags((OFlags::CLOEXEC | flags).bits() as i32)
        .open(node)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_in_the_order_of_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["card10", "card2", "card", "card-1", "controlD64", "card2-HDMI", "renderD128"]
        {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let names = ["card2", "card10"].map(|name| folder.path().join(name));
        assert_eq!(numbered(folder.path(), "card"), names);
        assert!(numbered(&folder.path().join("missing"), "card").is_empty());
    }

    #[test]
    fn a_node_that_is_not_there_is_told_by_its_number() {
        let node = Path::new("/dev/video4294967295");
        for open in [open_read_only, open_read_write, open_nonblocking] {
            assert_eq!(open(node).unwrap_err(), Errno::NOENT);
        }
    }

    #[test]
    fn only_who_asks_for_it_is_not_kept_waiting() {
        let flags = |file: File| rustix::fs::fcntl_getfl(&file).unwrap();
        let node = Path::new("/dev/null");
        assert!(flags(open_nonblocking(node).unwrap()).contains(OFlags::NONBLOCK));
        assert!(!flags(open_read_write(node).unwrap()).contains(OFlags::NONBLOCK));
        assert!(!flags(open_read_only(node).unwrap()).contains(OFlags::RDWR));
    }
}
