//! Displays that come and go, on cards of vkms made for the test.
//!
//! `cargo xtask test --only uml kms_hotplug`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use rustix::process::Signal;
use vcam_allocator::Method;
use vcam_sinks::Sink;
use vcam_testing::command::{Child, Ran, command, link};
use vcam_testing::kms_rig::KmsRig;

#[test]
fn a_display_that_was_unplugged_is_shown_on_again() {
    let rig = KmsRig::new("plug");
    let mut display = rig.display();
    display.sink.enable_capture().unwrap();
    for _ in 0..5 {
        display.frame();
    }
    display.assert_shown();
    assert_eq!(display.sink.counts().dropped, 0);

    rig.card.connect(0, false);
    display.until_gone();
    // Nothing is shown, and nothing waits.
    let counts = display.sink.counts();
    for _ in 0..3 {
        display.frame();
    }
    assert_eq!(display.sink.counts().displayed, counts.displayed);
    rig.card.connect(0, true);
    display.until_back();
    display.frame();
    display.assert_shown();

    // The card is the same, so no buffer was imported again.
    let end = display.sink.link_end();
    assert_eq!((end.method, end.imports), (Method::Import, 3), "{end:?}");
    let counts = display.finish();
    assert!(counts.dropped > 3, "{counts:?}");
    rig.assert_as_found();
}

#[test]
fn a_card_that_was_taken_out_is_shown_on_again() {
    let mut rig = KmsRig::new("out");
    let mut display = rig.display();
    for _ in 0..5 {
        display.frame();
    }
    let node = rig.node().to_owned();
    rig.card.take_out();
    display.until_gone();
    // All of it was given back, and so the card gets the number that it had.
    rig.card.plug_in();
    assert_eq!(rig.card.node, node);
    display.until_back();
    display.sink.wait_flip().unwrap();
    let end = display.sink.link_end();
    assert_eq!(end.method, Method::Import, "{end:?}");
    // Once for each card, whichever buffers came by.
    for _ in 0..6 {
        display.frame();
    }
    assert_eq!(display.sink.link_end().imports, 6);
    let counts = display.finish();
    assert!(counts.dropped > 0 && counts.displayed > 10, "{counts:?}");
    rig.assert_as_found();
}

#[test]
fn a_card_that_stays_away_does_not_keep_a_run_from_its_end() {
    let mut rig = KmsRig::new("away");
    let mut display = rig.display();
    display.frame();
    rig.card.take_out();
    display.until_gone();
    display.finish();
    rig.assert_nothing_held();
}

#[test]
fn neither_the_camera_nor_other_outputs_mind() {
    let rig = KmsRig::new("camera");
    let arguments = format!(
        "--heap udmabuf --display --card {} --size 640x480 --output null --json",
        rig.node().display()
    );
    let child = Child::spawn(command(&arguments));
    rig.wait_until_shown();
    rig.card.connect(0, false);
    // Longer than it takes to notice; the frames in between are what is counted below.
    std::thread::sleep(Duration::from_secs(3));
    rig.card.connect(0, true);
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
    rig.assert_as_found();
}
