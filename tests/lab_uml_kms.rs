//! Displays that come and go, on cards of vkms made to measure. In the lab's `uml` machine:
//! `cargo xtask test --only uml`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use rustix::process::Signal;
use support::books::{self, Held};
use support::command::{Child, Ran, command, link};
use support::show::Show;
use support::vkms::{Card, Plane};
use vcam_allocator::Method;
use vcam_sinks::Sink;

#[test]
fn a_display_that_was_unplugged_is_shown_on_again() {
    let before = Held::read();
    let card = Card::new("plug", &[Plane::Primary]);
    let state = books::display_state_of(&card.node);
    let mut show = Show::new(&card.node);
    show.sink.enable_capture().unwrap();
    for _ in 0..5 {
        show.frame();
    }
    show.assert_shown();
    assert_eq!(show.sink.counts().dropped, 0);

    card.connect(0, false);
    show.until_gone();
    // Nothing is shown, and nothing waits.
    let counts = show.sink.counts();
    for _ in 0..3 {
        show.frame();
    }
    assert_eq!(show.sink.counts().displayed, counts.displayed);
    card.connect(0, true);
    show.until_back();
    show.frame();
    show.assert_shown();

    // The card is the same, so no buffer was imported again.
    let end = show.sink.link_end();
    assert_eq!((end.method, end.imports), (Method::Import, 3), "{end:?}");
    let counts = show.finish();
    assert!(counts.dropped > 3, "{counts:?}");
    assert_eq!(books::display_state_of(&card.node), state);
    drop(card);
    before.assert_unchanged();
}

#[test]
fn a_card_that_was_taken_out_is_shown_on_again() {
    let before = Held::read();
    let mut card = Card::new("out", &[Plane::Primary]);
    let state = books::display_state_of(&card.node);
    let mut show = Show::new(&card.node);
    for _ in 0..5 {
        show.frame();
    }
    let node = card.node.clone();
    card.take_out();
    show.until_gone();
    // All of it was given back, and so the card gets the number that it had.
    card.plug_in();
    assert_eq!(card.node, node);
    show.until_back();
    show.sink.wait_flip().unwrap();
    let end = show.sink.link_end();
    assert_eq!(end.method, Method::Import, "{end:?}");
    // Once for each card, whichever buffers came by.
    for _ in 0..6 {
        show.frame();
    }
    assert_eq!(show.sink.link_end().imports, 6);
    let counts = show.finish();
    assert!(counts.dropped > 0 && counts.displayed > 10, "{counts:?}");
    assert_eq!(books::display_state_of(&card.node), state);
    drop(card);
    before.assert_unchanged();
}

#[test]
fn a_card_that_stays_away_does_not_keep_a_run_from_its_end() {
    let before = Held::read();
    let mut card = Card::new("away", &[Plane::Primary]);
    let mut show = Show::new(&card.node);
    show.frame();
    card.take_out();
    show.until_gone();
    show.finish();
    drop(card);
    before.assert_unchanged();
}

#[test]
fn neither_the_camera_nor_other_outputs_mind() {
    let before = Held::read();
    let card = Card::new("camera", &[Plane::Primary]);
    let state = books::display_state_of(&card.node);
    let arguments = format!(
        "--heap udmabuf --display --card {} --size 640x480 --output null --json",
        card.node.display()
    );
    let child = Child::spawn(command(&arguments));
    books::wait_for_change(|| books::display_state_of(&card.node), &state);
    card.connect(0, false);
    // Longer than it takes to notice; the frames in between are what is counted below.
    std::thread::sleep(Duration::from_secs(3));
    card.connect(0, true);
    std::thread::sleep(Duration::from_secs(3));
    let ran: Ran = child.end(Signal::INT);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.report();
    let count = |name: &str| report["frames"][name].as_u64().unwrap();
    assert!(count("dropped") > 0, "{report:#}");
    // The null output got every frame.
    assert_eq!(count("displayed"), count("completed"), "{report:#}");
    assert_eq!(count("errors"), 0, "{report:#}");
    assert_eq!(link(&report, 1)["method"], "import", "{report:#}");
    assert_eq!(books::display_state_of(&card.node), state);
    drop(card);
    before.assert_unchanged();
}
