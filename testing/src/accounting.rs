//! The kernel's own counts: buffers, descriptors, mappings, framebuffers.

use std::fs;
use std::time::{Duration, Instant};

use crate::display_state::framebuffers;

/// A dma-buf in debugfs `dma_buf/bufinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufInfo {
    /// The driver that gave it.
    pub exporter: String,
    /// The number that stands for its memory.
    pub inode: u64,
    /// Its name, empty if it was given none.
    pub name: String,
    /// The devices that are attached to it.
    pub devices: Vec<String>,
}

/// Every dma-buf of the machine.
pub fn dma_bufs() -> Vec<BufInfo> {
    parse(&fs::read_to_string("/sys/kernel/debug/dma_buf/bufinfo").expect("debugfs is mounted"))
}

/// The file has a line for each buffer, and below it, indented, what is attached.
fn parse(text: &str) -> Vec<BufInfo> {
    let mut buffers: Vec<BufInfo> = Vec::new();
    let mut attached = false;
    for line in text.lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        if line.contains("Attached Devices:") {
            attached = true;
        } else if line.starts_with("Total") {
            attached = false;
        } else if let (true, [device], Some(buffer)) = (attached, &fields[..], buffers.last_mut()) {
            buffer.devices.push((*device).to_owned());
        } else if let [_, _, _, _, exporter, inode, rest @ ..] = &fields[..]
            && let Ok(inode) = inode.parse()
        {
            let (exporter, name) = ((*exporter).to_owned(), rest.join(" "));
            buffers.push(BufInfo { exporter, inode, name, devices: Vec::new() });
            attached = false;
        }
    }
    buffers
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("procfs is mounted").count()
}

fn maps() -> String {
    fs::read_to_string("/proc/self/maps").expect("procfs is mounted")
}

/// The resources that a process uses, all its mappings included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Descriptors of this process.
    pub descriptors: usize,
    /// Mappings of this process.
    pub mappings: usize,
    /// Dma-bufs of the machine.
    pub dma_bufs: usize,
    /// Framebuffers of the machine.
    pub framebuffers: usize,
}

impl Usage {
    /// Reads it from the kernel.
    pub fn read() -> Self {
        Self {
            descriptors: descriptors(),
            mappings: maps().lines().count(),
            dma_bufs: dma_bufs().len(),
            framebuffers: framebuffers(),
        }
    }

    /// Asserts that as much is used as then, once the kernel has cleaned up.
    pub fn assert_unchanged(&self) {
        assert_comes_to_be(self, Self::read);
    }
}

/// The resources that buffers use, without the memory that a driver maps for itself and keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferUsage {
    /// Descriptors of this process.
    pub descriptors: usize,
    /// Mappings of dma-bufs in this process.
    pub mapped: usize,
    /// Dma-bufs of the machine.
    pub dma_bufs: usize,
    /// Framebuffers of the machine.
    pub framebuffers: usize,
}

impl BufferUsage {
    /// Reads it from the kernel.
    pub fn read() -> Self {
        Self {
            descriptors: descriptors(),
            mapped: maps().lines().filter(|line| line.contains("/dmabuf:")).count(),
            dma_bufs: dma_bufs().len(),
            framebuffers: framebuffers(),
        }
    }

    /// Asserts that as much is held as then, once the kernel has cleaned up.
    pub fn assert_unchanged(&self) {
        assert_comes_to_be(self, Self::read);
    }
}

/// The kernel releases the buffers that the last flip replaced with a delay.
const SETTLING: Duration = Duration::from_secs(5);

/// The time for which a usage must not change to count as settled.
const QUIET: Duration = Duration::from_millis(500);

/// Asserts that what is read becomes this.
fn assert_comes_to_be<T: PartialEq + std::fmt::Debug>(expected: &T, read: impl Fn() -> T) {
    let deadline = Instant::now() + SETTLING;
    while read() != *expected && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(read(), *expected);
}

/// Runs code once that loads and caches things for good, and returns the usage after it, once the
/// kernel has cleaned up.
pub fn after_warming_up(run: impl FnOnce()) -> Usage {
    let before = Usage::read();
    run();
    let deadline = Instant::now() + SETTLING;
    let (mut usage, mut since) = (Usage::read(), Instant::now());
    loop {
        // Fewer is fine: the program before us may just have ended. Its leftovers may have hidden
        // that the kernel still cleans up ours.
        let settled =
            usage.dma_bufs <= before.dma_bufs && usage.framebuffers <= before.framebuffers;
        if settled && since.elapsed() >= QUIET {
            return usage;
        }
        assert!(Instant::now() < deadline, "{usage:?} is left of {before:?}");
        std::thread::sleep(Duration::from_millis(10));
        let now = Usage::read();
        if now != usage {
            (usage, since) = (now, Instant::now());
        }
    }
}
