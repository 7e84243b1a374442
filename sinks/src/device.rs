//! Opening a device's node, and what keeps one from it.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use vcam_allocator::Permission;
use vcam_uapi::node;

/// Why a node does not open.
pub(crate) enum Closed {
    /// It is there, but not for this user.
    Permission(Box<Permission>),
    /// Anything else.
    Other(io::Error),
}

/// Opens a node for reading and writing, for this owner alone.
///
/// Events are read without waiting: whoever wants to wait polls, with a limit.
pub(crate) fn open(path: &Path) -> Result<File, Closed> {
    node::open_nonblocking(path).map_err(|errno| match errno {
        Errno::ACCESS | Errno::PERM => Closed::Permission(Box::new(Permission::of(path))),
        errno => Closed::Other(errno.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_not_there_is_no_matter_of_permission() {
        let error = open(Path::new("/dev/video4294967295"));
        assert!(
            matches!(error, Err(Closed::Other(error)) if error.kind() == io::ErrorKind::NotFound)
        );
    }
}
