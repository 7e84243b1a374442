//! The state of displays, as debugfs has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The framebuffers of every card that has displays.
pub(crate) fn framebuffers() -> usize {
    let lists: Vec<_> =
        cards().filter_map(|card| fs::read_to_string(card.join("framebuffer")).ok()).collect();
    assert!(!lists.is_empty(), "debugfs lists no card's framebuffers");
    lists.iter().map(|list| list.matches("framebuffer[").count()).sum()
}

/// The debugfs folders of the cards.
fn cards() -> impl Iterator<Item = PathBuf> {
    fs::read_dir("/sys/kernel/debug/dri")
        .expect("debugfs has the cards")
        .flatten()
        .map(|entry| entry.path())
        // The same folders appear again under the names of their devices.
        .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().parse::<u32>().is_ok()))
}

/// The state of the displays of a driver's card.
pub fn of_driver(driver: &str) -> String {
    let card = cards()
        .find(|card| {
            fs::read_to_string(card.join("name")).is_ok_and(|name| name.starts_with(driver))
        })
        .unwrap_or_else(|| panic!("no card of {driver}"));
    fs::read_to_string(card.join("state")).expect("an atomic driver has a state")
}

/// The state of the displays of the card with this node, without the lines about the last commit.
pub fn of_node(node: &Path) -> String {
    let name = node.file_name().unwrap().to_string_lossy().replace("card", "");
    let path = Path::new("/sys/kernel/debug/dri").join(name).join("state");
    let state = fs::read_to_string(&path);
    let state = state.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    state.lines().filter(|line| !line.contains("_changed=")).collect::<Vec<_>>().join("\n")
}

/// Waits until the state of the displays of a driver's card differs from this one.
pub fn wait_for_driver(driver: &str, state: &str) {
    wait_for_change(|| of_driver(driver), state);
}

/// Waits until the state of the displays of the card with this node differs from this one.
pub fn wait_for_node(node: &Path, state: &str) {
    wait_for_change(|| of_node(node), state);
}

/// Waits until the state that is read differs from this one.
pub fn wait_for_change(read: impl Fn() -> String, state: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while read() == state {
        assert!(Instant::now() < deadline, "nothing happens on the display");
        std::thread::sleep(Duration::from_millis(10));
    }
}
