//! Why a device node cannot be opened, and what mends it.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::uapi::fault;

/// A device node that this user may not open, and what would mend that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permission {
    /// The node.
    pub node: PathBuf,
    /// Its permission bits, such as `0o660`.
    pub mode: u32,
    /// The name of its group, or the number of a group without one.
    pub group: String,
    /// One line that mends it, to be run in a shell.
    pub fix: String,
}

impl Permission {
    /// Describes a node that exists but did not open.
    pub fn of(node: &Path) -> Self {
        let (mode, gid) =
            fs::metadata(node).map_or((0, 0), |meta| (meta.mode() & 0o777, meta.gid()));
        let group = group_name(gid).unwrap_or_else(|| gid.to_string());
        let shared_with_group = gid != 0 && mode & 0o060 == 0o060;
        let fix = if shared_with_group {
            format!("sudo usermod -aG {group} \"$USER\"   # then log in again")
        } else {
            // The rule that systemd ships for udmabuf since 257: whoever sits at the machine.
            let name = node.file_name().unwrap_or_default().to_string_lossy();
            let subsystem = match node.parent().and_then(Path::to_str) {
                Some("/dev/dma_heap") => "dma_heap",
                Some("/dev/dri") => "drm",
                _ if name.starts_with("video") => "video4linux",
                _ => "misc",
            };
            format!(
                "echo 'SUBSYSTEM==\"{subsystem}\", KERNEL==\"{name}\", TAG+=\"uaccess\", GROUP=\"video\", \
                 MODE=\"0660\"' | sudo tee /etc/udev/rules.d/70-vcam.rules && sudo udevadm trigger"
            )
        };
        Self { node: node.to_owned(), mode, group, fix }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, mode, group, fix } = self;
        write!(f, "{} has mode {mode:04o} and group '{group}'; try: {fix}", node.display())
    }
}

/// Opens a node for reading, which is all that allocators ask for.
///
/// Write access is not needed for the ioctls and fails where a node is handed out read-only.
pub(crate) fn open_readonly(node: &Path) -> Result<fs::File, Errno> {
    open(node, false)
}

/// Opens a node for reading and writing, which is what the exporters among devices ask for.
pub(crate) fn open_read_write(node: &Path) -> Result<fs::File, Errno> {
    open(node, true)
}

fn open(node: &Path, write: bool) -> Result<fs::File, Errno> {
    fault::call("open")?;
    OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(rustix::fs::OFlags::CLOEXEC.bits() as i32)
        .open(node)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// The name of a group in `/etc/group`.
fn group_name(gid: u32) -> Option<String> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_of_root_alone_is_mended_by_a_udev_rule() {
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("udmabuf");
        fs::write(&node, "").unwrap();
        fs::set_permissions(&node, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let permission = Permission::of(&node);
        assert_eq!(permission.mode, 0o600);
        assert!(permission.to_string().contains("KERNEL==\"udmabuf\""), "{permission}");
    }

    #[test]
    fn group_zero_is_root() {
        assert_eq!(group_name(0).as_deref(), Some("root"));
    }
}
