//! The dma-bufs that this process holds, as the kernel counts them.
//!
//! Source: `Documentation/filesystems/proc.rst`, "DMA Buffer files".

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use serde::Serialize;

/// The dma-bufs that this process has descriptors of, by exporter.
///
/// Each buffer counts once, however many descriptors there are of it. Memory that is only mapped,
/// or only imported by a device, has no descriptor and is not counted; debugfs `dma_buf/bufinfo`
/// lists it, for root.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Accounting {
    /// By the exporter's name, such as `udmabuf` or `system`.
    pub exporters: BTreeMap<String, Held>,
}

/// Buffers of one exporter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Buffers.
    pub buffers: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Descriptors of them.
    pub descriptors: u64,
}

impl Accounting {
    /// Reads `/proc/self/fdinfo`: at least one system call for each descriptor, so not for every
    /// frame.
    pub fn read() -> io::Result<Self> {
        let mut books = Self::default();
        let mut seen = BTreeSet::new();
        for entry in fs::read_dir("/proc/self/fdinfo")? {
            // A descriptor may have been closed since the folder was read.
            let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
            books.add(&text, &mut seen);
        }
        Ok(books)
    }

    fn add(&mut self, text: &str, seen: &mut BTreeSet<u64>) {
        let field = |key: &str| {
            text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim)
        };
        let Some(exporter) = field("exp_name") else { return };
        let number = |key| field(key).and_then(|value| value.parse::<u64>().ok());
        let held = self.exporters.entry(exporter.to_owned()).or_default();
        held.descriptors += 1;
        // Before Linux 5.14 there is no inode here, and every descriptor counts as a buffer.
        if number("ino").is_none_or(|inode| seen.insert(inode)) {
            held.buffers += 1;
            held.bytes = held.bytes.saturating_add(number("size").unwrap_or(0));
        }
    }

    /// All exporters together.
    pub fn total(&self) -> Held {
        self.exporters.values().fold(Held::default(), |sum, held| Held {
            buffers: sum.buffers + held.buffers,
            bytes: sum.bytes.saturating_add(held.bytes),
            descriptors: sum.descriptors + held.descriptors,
        })
    }
}

/// Number of descriptors that this process has open, and may have (`RLIMIT_NOFILE`).
///
/// A limit that cannot be read counts as none.
pub(crate) fn descriptors() -> (u64, u64) {
    let open = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    // One of them was the folder itself.
    (open.saturating_sub(1), limit.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDMABUF: &str = "pos:\t0\nflags:\t02000002\nmnt_id:\t12\nino:\t77\nsize:\t8388608\n\
                           count:\t2\nexp_name:\tudmabuf\nname:\ttest-0\n";

    #[test]
    fn a_buffer_with_two_descriptors_counts_once() {
        let (mut books, mut seen) = (Accounting::default(), BTreeSet::new());
        books.add(UDMABUF, &mut seen);
        books.add(UDMABUF, &mut seen);
        books.add(&UDMABUF.replace("77", "78").replace("udmabuf", "system"), &mut seen);
        books.add("pos:\t0\nflags:\t02\nmnt_id:\t12\nino:\t5\n", &mut seen);
        let held = |buffers, descriptors| Held { buffers, bytes: buffers * 8_388_608, descriptors };
        assert_eq!(books.exporters["udmabuf"], held(1, 2));
        assert_eq!(books.exporters["system"], held(1, 1));
        assert_eq!(books.total(), held(2, 3));
    }

    #[test]
    fn this_process_can_be_asked() {
        assert!(Accounting::read().is_ok());
        let (open, limit) = descriptors();
        assert!(open >= 3 && limit >= open, "{open} of {limit}");
    }
}
