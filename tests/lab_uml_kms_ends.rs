//! However a program ends, its display is as it was found. In the lab's `uml` machine:
//! `cargo xtask test --only uml`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::panic::catch_unwind;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use support::books::{self, Held};
use support::command::{Child, command};
use support::show::{self, Show};
use support::vkms::{Card, Plane};
use vcam_sinks::{KmsOptions, KmsSink, Latest, Sink};

#[test]
fn a_panic_puts_the_display_back() {
    let before = Held::read();
    let card = Card::new("panic", &[Plane::Primary]);
    let state = books::display_state_of(&card.node);
    let node = card.node.clone();
    // In the thread that has the display.
    let result = thread::spawn(move || {
        let mut show = Show::new(&node);
        (0..3).for_each(|_| show.frame());
        panic!("a test's");
    })
    .join();
    assert!(result.is_err());
    assert_eq!(books::display_state_of(&card.node), state);
    // In another, while the display's own thread waits for a frame.
    let node = card.node.clone();
    let result = catch_unwind(|| {
        let sink = KmsSink::open(&show::options(&node)).unwrap();
        let mut latest = Latest::new(Box::new(sink));
        let buffer = show::pool("udmabuf", vcam_allocator::Fourcc::XRGB8888, show::SIZE)
            .take(Duration::ZERO)
            .unwrap();
        let (sequence, timestamp, ready) = (0, Duration::ZERO, None);
        let (colour_space, taken) = (vcam_allocator::ColourSpace::SRGB, None);
        let frame = vcam_sinks::Frame { sequence, timestamp, buffer, colour_space, ready, taken };
        latest.present(frame).unwrap();
        panic!("a test's");
    });
    assert!(result.is_err());
    assert_eq!(books::display_state_of(&card.node), state);
    drop(card);
    before.assert_unchanged();
}

#[test]
fn a_display_that_was_on_shows_again_what_it_showed() {
    let before = Held::read();
    let card = Card::new("was-on", &[Plane::Primary]);
    // Somebody shows something in another mode, and gives the control of the card up.
    let options = KmsOptions { size: (800, 600), ..show::options(&card.node) };
    let mut first = Show::on(&Default::default(), &options);
    first.frame();
    first.sink.wait_flip().unwrap();
    let file = support::master::File::newest(&card.node);
    file.drop_master();
    let state = books::display_state_of(&card.node);
    let arguments = format!("--display --card {} --size 640x480 --json", card.node.display());
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let child = Child::spawn(command(&arguments));
        books::wait_for_change(|| books::display_state_of(&card.node), &state);
        let ran = child.end(signal);
        assert_eq!(ran.code, 0, "{signal:?}: {ran:?}");
        assert_eq!(books::display_state_of(&card.node), state, "{signal:?}");
    }
    file.set_master();
    first.finish();
    drop(card);
    before.assert_unchanged();
}

/// Nobody can put a mode back then; the kernel takes what the program showed off the screen.
#[test]
fn a_program_that_is_killed_leaves_nothing() {
    let before = Held::read();
    let card = Card::new("killed", &[Plane::Primary]);
    let held = Held::read();
    let showing = || books::display_state_of(&card.node).lines().filter(|l| is_shown(l)).count();
    for _ in 0..3 {
        let arguments = format!("--display --card {} --size 640x480", card.node.display());
        let child = Child::spawn(command(&arguments));
        books::wait_for_change(|| showing().to_string(), "0");
        let ran = child.end(Signal::KILL);
        assert_eq!(ran.code, -1, "{ran:?}");
        held.assert_unchanged();
        assert_eq!(showing(), 0);
    }
    // And the next one has the display at once.
    let mut show = Show::new(&card.node);
    show.frame();
    assert_eq!(show.finish().displayed, 1);
    drop(card);
    before.assert_unchanged();
}

/// Whether a line of a display's state says that a plane shows something.
fn is_shown(line: &str) -> bool {
    line.trim_start().strip_prefix("fb=").is_some_and(|id| id != "0")
}
