//! What the kernel says of buffers, descriptors and displays.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// A dma-buf in debugfs `dma_buf/bufinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufInfo {
    pub exporter: String,
    pub inode: u64,
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

/// What must be the same before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Books {
    pub descriptors: usize,
    pub mappings: usize,
    pub dma_bufs: usize,
    pub framebuffers: usize,
}

impl Books {
    pub fn read() -> Self {
        let lines =
            |path: &str| fs::read_to_string(path).expect("procfs is mounted").lines().count();
        Self {
            descriptors: fs::read_dir("/proc/self/fd").expect("procfs is mounted").count(),
            mappings: lines("/proc/self/maps"),
            dma_bufs: dma_bufs().len(),
            framebuffers: framebuffers(),
        }
    }
}

impl Books {
    /// Asserts that the books are as they were, once the kernel has cleaned up.
    pub fn assert_unchanged(&self) {
        let deadline = Instant::now() + SETTLING;
        while Self::read() != *self && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(Self::read(), *self);
    }
}

/// What is held of buffers, without the memory that a driver maps for itself and keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub descriptors: usize,
    /// Mappings of dma-bufs in this process.
    pub mapped: usize,
    /// Dma-bufs of the machine.
    pub dma_bufs: usize,
    /// Framebuffers of the machine.
    pub framebuffers: usize,
}

impl Held {
    pub fn read() -> Self {
        let maps = fs::read_to_string("/proc/self/maps").expect("procfs is mounted");
        Self {
            descriptors: fs::read_dir("/proc/self/fd").expect("procfs is mounted").count(),
            mapped: maps.lines().filter(|line| line.contains("/dmabuf:")).count(),
            dma_bufs: dma_bufs().len(),
            framebuffers: framebuffers(),
        }
    }

    /// Asserts that as much is held as then, once the kernel has cleaned up.
    pub fn assert_unchanged(&self) {
        let deadline = Instant::now() + SETTLING;
        while Self::read() != *self && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(Self::read(), *self);
    }
}

/// The kernel lets go of what the last flip replaced when it gets round to it.
const SETTLING: Duration = Duration::from_secs(5);

/// How long the books must stay as they are before they count as settled.
const QUIET: Duration = Duration::from_millis(500);

/// Runs once what loads and caches things for good, and returns the books after it, once the
/// kernel has cleaned up.
pub fn after_warming_up(run: impl FnOnce()) -> Books {
    let before = Books::read();
    run();
    let deadline = Instant::now() + SETTLING;
    let (mut books, mut since) = (Books::read(), Instant::now());
    loop {
        // Fewer is fine: the program before us may just have ended. And what it left may have
        // hidden that the kernel is not done with ours.
        let settled =
            books.dma_bufs <= before.dma_bufs && books.framebuffers <= before.framebuffers;
        if settled && since.elapsed() >= QUIET {
            return books;
        }
        assert!(Instant::now() < deadline, "{books:?} is left of {before:?}");
        std::thread::sleep(Duration::from_millis(10));
        let now = Books::read();
        if now != books {
            (books, since) = (now, Instant::now());
        }
    }
}

/// The framebuffers of every card that has displays.
fn framebuffers() -> usize {
    let lists: Vec<_> =
        cards().filter_map(|card| fs::read_to_string(card.join("framebuffer")).ok()).collect();
    assert!(!lists.is_empty(), "debugfs lists no card's framebuffers");
    lists.iter().map(|list| list.matches("framebuffer[").count()).sum()
}

/// The debugfs folders of the cards.
fn cards() -> impl Iterator<Item = std::path::PathBuf> {
    fs::read_dir("/sys/kernel/debug/dri")
        .expect("debugfs has the cards")
        .flatten()
        .map(|entry| entry.path())
        // The same folders stand there again under the names of their devices.
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().parse::<u32>().is_ok()))
}

/// What the displays of a driver's card do, as debugfs tells it.
pub fn display_state(driver: &str) -> String {
    let card = cards()
        .find(|card| {
            fs::read_to_string(card.join("name")).is_ok_and(|name| name.starts_with(driver))
        })
        .unwrap_or_else(|| panic!("no card of {driver}"));
    fs::read_to_string(card.join("state")).expect("an atomic driver has a state")
}

/// What the displays of the card with this node do, as debugfs tells it; without what it tells of
/// the last commit.
pub fn display_state_of(node: &Path) -> String {
    let name = node.file_name().unwrap().to_string_lossy().replace("card", "");
    let path = Path::new("/sys/kernel/debug/dri").join(name).join("state");
    let state = fs::read_to_string(&path);
    let state = state.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    state.lines().filter(|line| !line.contains("_changed=")).collect::<Vec<_>>().join("\n")
}

/// Waits until a display does something else than this.
pub fn wait_for_display_change(driver: &str, state: &str) {
    wait_for_change(|| display_state(driver), state);
}

/// Waits until the state that is read is another than this.
pub fn wait_for_change(read: impl Fn() -> String, state: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while read() == state {
        assert!(Instant::now() < deadline, "nothing happens on the display");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A name for a file in the folder that the machine shares with its host.
pub fn out(name: &str) -> std::path::PathBuf {
    let folder = std::env::var_os("VCAM_LAB_OUT").expect("the lab sets VCAM_LAB_OUT");
    Path::new(&folder).join(name)
}
