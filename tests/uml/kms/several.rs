//! Several displays at once, of one card and of two.
//!
//! `cargo xtask test --only uml kms_several`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::thread;

use vcam_sinks::{Cards, KmsError, KmsOptions, KmsSink, Sink};
use vcam_testing::accounting::BufferUsage;
use vcam_testing::command::{Ran, command, link};
use vcam_testing::kms_rig::KmsRig;
use vcam_testing::stepped_display::{self, SteppedDisplay};
use vcam_testing::vkms::{Card, Plane};

/// Shows frames on both at once, each on a thread of its own and at its own pace.
fn show_on_both(displays: [SteppedDisplay; 2]) {
    let threads = displays.map(|mut display| {
        thread::spawn(move || {
            display.sink.enable_capture().unwrap();
            for _ in 0..40 {
                display.frame();
            }
            display.assert_shown();
            assert_eq!(display.sink.link_end().imports, 3);
            display
        })
    });
    // Ended one after the other: the second goes on when the first is no more.
    for thread in threads {
        let mut display = thread.join().unwrap();
        display.frame();
        display.assert_shown();
        let counts = display.finish();
        assert_eq!((counts.displayed, counts.dropped), (41, 0));
    }
}

#[test]
fn two_displays_of_one_card_show_their_own_frames() {
    let rig = KmsRig::with_two_displays("twins");
    let cards = Cards::default();
    let options = stepped_display::options(rig.node());
    // Without a name each takes a connector that is free.
    let displays = [SteppedDisplay::on(&cards, &options), SteppedDisplay::on(&cards, &options)];
    assert_ne!(displays[0].sink.connector(), displays[1].sink.connector());
    let named =
        KmsOptions { connector: Some(displays[0].sink.connector().into()), ..options.clone() };
    let error = KmsSink::open_beside(&cards, &named).unwrap_err();
    assert!(matches!(error, KmsError::Taken { .. }), "{error:?}");
    let error = KmsSink::open_beside(&cards, &options).unwrap_err();
    assert!(matches!(error, KmsError::NoConnector { .. }), "{error:?}");
    show_on_both(displays);
    rig.assert_as_found();
}

#[test]
fn displays_of_two_cards_show_their_own_frames() {
    let before = BufferUsage::read();
    let one = Card::new("one", &[Plane::Primary]);
    let two = Card::new("two", &[Plane::Primary]);
    let cards = Cards::default();
    show_on_both(
        [&one, &two].map(|card| SteppedDisplay::on(&cards, &stepped_display::options(&card.node))),
    );
    drop((one, two));
    before.assert_unchanged();
}

#[test]
fn one_of_two_displays_is_unplugged_and_the_other_does_not_mind() {
    let rig = KmsRig::with_two_displays("half");
    let cards = Cards::default();
    let options = stepped_display::options(rig.node());
    let mut stays = SteppedDisplay::on(&cards, &options);
    let mut goes = SteppedDisplay::on(&cards, &options);
    stays.sink.enable_capture().unwrap();
    stays.frame();
    goes.frame();
    // The driver decides which of the two connectors has the lower number.
    rig.card.connect(1, false);
    goes.until_gone();
    for _ in 0..10 {
        stays.frame();
    }
    stays.assert_shown();
    assert_eq!(stays.sink.counts().dropped, 0);
    rig.card.connect(1, true);
    goes.until_back();
    stays.frame();
    stays.assert_shown();
    assert_eq!(stays.finish().dropped, 0);
    goes.finish();
    rig.assert_nothing_held();
}

#[test]
fn a_card_with_two_displays_is_taken_out_and_both_come_back() {
    let mut rig = KmsRig::with_two_displays("both");
    let cards = Cards::default();
    let options = stepped_display::options(rig.node());
    let mut displays = [SteppedDisplay::on(&cards, &options), SteppedDisplay::on(&cards, &options)];
    displays.iter_mut().for_each(SteppedDisplay::frame);
    rig.card.take_out();
    displays.iter_mut().for_each(SteppedDisplay::until_gone);
    rig.card.plug_in();
    displays.iter_mut().for_each(SteppedDisplay::until_back);
    let [one, two] = displays;
    assert_ne!(one.sink.connector(), two.sink.connector());
    one.finish();
    two.finish();
    rig.assert_nothing_held();
}

#[test]
fn the_command_shows_on_two_displays_without_a_copy() {
    let rig = KmsRig::with_two_displays("pair");
    let cards = Cards::default();
    let options = stepped_display::options(rig.node());
    let (one, two) = {
        let one = KmsSink::open_beside(&cards, &options).unwrap();
        let two = KmsSink::open_beside(&cards, &options).unwrap();
        (one.connector().to_owned(), two.connector().to_owned())
    };
    drop(cards);
    let arguments = format!(
        "--heap udmabuf --display={one},{two} --card {} --size 320x240 --frames 30 --strict --json",
        rig.node().display()
    );
    let ran: Ran = command(&arguments).output().unwrap().into();
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.report();
    assert_eq!(report["frames"]["displayed"], 30, "{report:#}");
    assert_eq!(report["frames"]["dropped"], 0, "{report:#}");
    for index in 1..=2 {
        assert_eq!(link(&report, index)["method"], "import", "{report:#}");
    }
    assert!(report["outputs"][0].as_str().unwrap().contains(&one), "{report:#}");
    assert!(report["outputs"][1].as_str().unwrap().contains(&two), "{report:#}");
    rig.assert_as_found();
}

#[test]
fn the_command_finds_displays_on_two_cards() {
    let rig = KmsRig::new("second");
    let name = {
        let sink = KmsSink::open(&stepped_display::options(rig.node())).unwrap();
        sink.connector().to_owned()
    };
    // The machine's own card has the first.
    let arguments = format!("--display=Virtual-1,{name} --size 320x240 --frames 20 --json");
    let ran: Ran = command(&arguments).output().unwrap().into();
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.report();
    assert_eq!(report["frames"]["displayed"], 20, "{report:#}");
    assert_eq!(report["frames"]["dropped"], 0, "{report:#}");
    let ran: Ran = command("--display=Virtual-1,Virtual-1 --frames 1").output().unwrap().into();
    ran.failed_with(2, &["Virtual-1", "another output"]);
    rig.assert_nothing_held();
}
