//! u-dma-buf, ikwzm's out-of-tree module: recognised by name, explained, never opened.
//!
//! It was called "udmabuf" first, and its nodes still may be. A node of it is not an allocator: it
//! *is* one buffer of contiguous memory, made when the module is loaded, and its coherency is
//! controlled by writing to files in sysfs. Until it exports dma-bufs in mainline's way, its memory
//! cannot be handed to another device. A user who finds `/dev/udmabuf0` but no `/dev/udmabuf` needs
//! that explanation.
//!
//! Source: <https://github.com/ikwzm/udmabuf>.

use std::fs;
use std::path::Path;

use crate::heap::OpenError;

/// The nodes of the module on this machine, by path.
pub fn names() -> Vec<String> {
    names_in(Path::new("/dev"))
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_node(name))
        .map(|name| folder.join(name).to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Returns `true` if a node of this name is one of the module's: `udmabuf0`, `u-dma-buf0`,
/// `u-dma-buf-mgr`, or a name from a device tree. Mainline's is `udmabuf` without a number.
fn is_node(name: &str) -> bool {
    let numbered = name.strip_prefix("udmabuf").is_some_and(|rest| {
        !rest.is_empty() && rest.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit())
    });
    numbered || name.starts_with("u-dma-buf")
}

/// Returns `true` if the user asks for one of the module's nodes, by name or path.
pub(crate) fn is_meant(name: &str) -> bool {
    is_node(name.strip_prefix("/dev/").unwrap_or(name))
}

/// The error that explains it.
pub(crate) fn explain(name: &str) -> OpenError {
    OpenError::NotAHeap {
        name: name.to_owned(),
        reason: "it belongs to the out-of-tree module u-dma-buf, whose nodes are one buffer each \
                 and not an allocator; mainline's udmabuf (sudo modprobe udmabuf) is what vcam \
                 means, and for contiguous memory dma_heap:default_cma_region"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_nodes_are_told_from_mainlines() {
        for name in ["udmabuf0", "udmabuf12", "u-dma-buf0", "u-dma-buf-mgr", "/dev/udmabuf3"] {
            assert!(is_meant(name), "{name}");
        }
        for name in ["udmabuf", "udmabuf:huge", "/dev/udmabuf", "memfd", "udmabufs"] {
            assert!(!is_meant(name), "{name}");
        }
    }

    #[test]
    fn its_nodes_are_listed_and_mainlines_is_not() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["udmabuf", "udmabuf0", "u-dma-buf1", "video0"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let names = names_in(dir.path());
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names[0].ends_with("/u-dma-buf1") && names[1].ends_with("/udmabuf0"), "{names:?}");
    }
}
