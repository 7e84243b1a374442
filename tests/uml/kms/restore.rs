//! A program leaves its display as it was found, in whatever way it ends.
//!
//! `cargo xtask test --only uml kms_restore`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::panic::catch_unwind;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use vcam_sinks::{KmsOptions, KmsSink, Latest, Sink};
use vcam_testing::accounting::BufferUsage;
use vcam_testing::command::{Child, command};
use vcam_testing::display_state;
use vcam_testing::drm_master::CardFile;
use vcam_testing::kms_rig::KmsRig;
use vcam_testing::stepped_display::{self, SteppedDisplay};

#[test]
fn a_panic_puts_the_display_back() {
    let rig = KmsRig::new("panic");
    let node = rig.node().to_owned();
    // In the thread that has the display.
    let result = thread::spawn(move || {
        let mut display = SteppedDisplay::new(&node);
        (0..3).for_each(|_| display.frame());
        panic!("a test's");
    })
    .join();
    assert!(result.is_err());
    rig.assert_state_restored();
    // In another, while the display's own thread waits for a frame.
    let node = rig.node().to_owned();
    let result = catch_unwind(|| {
        let sink = KmsSink::open(&stepped_display::options(&node)).unwrap();
        let mut latest = Latest::new(Box::new(sink));
        let buffer = stepped_display::pool(
            "udmabuf",
            vcam_allocator::Fourcc::XRGB8888,
            stepped_display::SIZE,
        )
        .take(Duration::ZERO)
        .unwrap();
        let (sequence, timestamp, ready) = (0, Duration::ZERO, None);
        let (colour_space, taken) = (vcam_allocator::ColourSpace::SRGB, None);
        let frame = vcam_sinks::Frame { sequence, timestamp, buffer, colour_space, ready, taken };
        latest.present(frame).unwrap();
        panic!("a test's");
    });
    assert!(result.is_err());
    rig.assert_as_found();
}

#[test]
fn a_display_that_was_on_shows_again_what_it_showed() {
    let rig = KmsRig::new("was-on");
    // Another program shows something in another mode, and gives the control of the card up.
    let options = KmsOptions { size: (800, 600), ..stepped_display::options(rig.node()) };
    let mut first = SteppedDisplay::on(&Default::default(), &options);
    first.frame();
    first.sink.wait_flip().unwrap();
    let file = CardFile::newest(rig.node());
    file.drop_master();
    let state = display_state::of_node(rig.node());
    let arguments = format!("--display --card {} --size 640x480 --json", rig.node().display());
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let child = Child::spawn(command(&arguments));
        display_state::wait_for_node(rig.node(), &state);
        let ran = child.end(signal);
        assert_eq!(ran.code, 0, "{signal:?}: {ran:?}");
        assert_eq!(display_state::of_node(rig.node()), state, "{signal:?}");
    }
    file.set_master();
    first.finish();
    rig.assert_nothing_held();
}

/// The program cannot put a mode back then; the kernel takes its picture off the screen.
#[test]
fn a_program_that_is_killed_leaves_nothing() {
    let rig = KmsRig::new("killed");
    let held = BufferUsage::read();
    let showing = || display_state::of_node(rig.node()).lines().filter(|l| is_shown(l)).count();
    for _ in 0..3 {
        let arguments = format!("--display --card {} --size 640x480", rig.node().display());
        let child = Child::spawn(command(&arguments));
        display_state::wait_for_change(|| showing().to_string(), "0");
        let ran = child.end(Signal::KILL);
        assert_eq!(ran.code, -1, "{ran:?}");
        held.assert_unchanged();
        assert_eq!(showing(), 0);
    }
    // And the next one has the display at once.
    let mut display = rig.display();
    display.frame();
    assert_eq!(display.finish().displayed, 1);
    rig.assert_nothing_held();
}

/// True if a line of a display's state says that a plane shows something.
fn is_shown(line: &str) -> bool {
    line.trim_start().strip_prefix("fb=").is_some_and(|id| id != "0")
}
