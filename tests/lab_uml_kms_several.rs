//! Several displays at once, of one card and of two. In the lab's `uml` machine:
//! `cargo xtask test --only uml`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::thread;

use support::books::{self, Held};
use support::command::{Ran, command, link};
use support::show::{self, Show};
use support::vkms::{Card, Plane};
use vcam_sinks::{Cards, KmsError, KmsOptions, KmsSink, Sink};

/// Shows frames on both at once, each on a thread of its own and at its own pace.
fn show_on_both(shows: [Show; 2]) {
    let threads = shows.map(|mut show| {
        thread::spawn(move || {
            show.sink.enable_capture().unwrap();
            for _ in 0..40 {
                show.frame();
            }
            show.assert_shown();
            assert_eq!(show.sink.link_end().imports, 3);
            show
        })
    });
    // Ended one after the other: the second goes on when the first is no more.
    for thread in threads {
        let mut show = thread.join().unwrap();
        show.frame();
        show.assert_shown();
        let counts = show.finish();
        assert_eq!((counts.displayed, counts.dropped), (41, 0));
    }
}

#[test]
fn two_displays_of_one_card_show_their_own_frames() {
    let before = Held::read();
    let card = Card::with_displays("twins", 2, &[Plane::Primary]);
    let state = books::display_state_of(&card.node);
    let cards = Cards::default();
    let options = show::options(&card.node);
    // Without a name each takes a connector that is free.
    let shows = [Show::on(&cards, &options), Show::on(&cards, &options)];
    assert_ne!(shows[0].sink.connector(), shows[1].sink.connector());
    let named = KmsOptions { connector: Some(shows[0].sink.connector().into()), ..options.clone() };
    let error = KmsSink::open_beside(&cards, &named).unwrap_err();
    assert!(matches!(error, KmsError::Taken { .. }), "{error:?}");
    let error = KmsSink::open_beside(&cards, &options).unwrap_err();
    assert!(matches!(error, KmsError::NoConnector { .. }), "{error:?}");
    show_on_both(shows);
    assert_eq!(books::display_state_of(&card.node), state);
    drop(card);
    before.assert_unchanged();
}

#[test]
fn displays_of_two_cards_show_their_own_frames() {
    let before = Held::read();
    let one = Card::new("one", &[Plane::Primary]);
    let two = Card::new("two", &[Plane::Primary]);
    let cards = Cards::default();
    show_on_both([&one, &two].map(|card| Show::on(&cards, &show::options(&card.node))));
    drop((one, two));
    before.assert_unchanged();
}

#[test]
fn one_of_two_displays_is_unplugged_and_the_other_does_not_mind() {
    let before = Held::read();
    let card = Card::with_displays("half", 2, &[Plane::Primary]);
    let cards = Cards::default();
    let options = show::options(&card.node);
    let mut stays = Show::on(&cards, &options);
    let mut goes = Show::on(&cards, &options);
    stays.sink.enable_capture().unwrap();
    stays.frame();
    goes.frame();
    // Which of the two connectors has the lower number is the driver's business.
    card.connect(1, false);
    goes.until_gone();
    for _ in 0..10 {
        stays.frame();
    }
    stays.assert_shown();
    assert_eq!(stays.sink.counts().dropped, 0);
    card.connect(1, true);
    goes.until_back();
    stays.frame();
    stays.assert_shown();
    assert_eq!(stays.finish().dropped, 0);
    goes.finish();
    drop(card);
    before.assert_unchanged();
}

#[test]
fn a_card_with_two_displays_is_taken_out_and_both_come_back() {
    let before = Held::read();
    let mut card = Card::with_displays("both", 2, &[Plane::Primary]);
    let cards = Cards::default();
    let options = show::options(&card.node);
    let mut shows = [Show::on(&cards, &options), Show::on(&cards, &options)];
    shows.iter_mut().for_each(Show::frame);
    card.take_out();
    shows.iter_mut().for_each(Show::until_gone);
    card.plug_in();
    shows.iter_mut().for_each(Show::until_back);
    let [one, two] = shows;
    assert_ne!(one.sink.connector(), two.sink.connector());
    one.finish();
    two.finish();
    drop(card);
    before.assert_unchanged();
}

#[test]
fn the_command_shows_on_two_displays_without_a_copy() {
    let before = Held::read();
    let card = Card::with_displays("pair", 2, &[Plane::Primary]);
    let state = books::display_state_of(&card.node);
    let cards = Cards::default();
    let options = show::options(&card.node);
    let (one, two) = {
        let one = KmsSink::open_beside(&cards, &options).unwrap();
        let two = KmsSink::open_beside(&cards, &options).unwrap();
        (one.connector().to_owned(), two.connector().to_owned())
    };
    drop(cards);
    let arguments = format!(
        "--heap udmabuf --display={one},{two} --card {} --size 320x240 --frames 30 --strict --json",
        card.node.display()
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
    assert_eq!(books::display_state_of(&card.node), state);
    drop(card);
    before.assert_unchanged();
}

#[test]
fn the_command_finds_displays_on_two_cards() {
    let before = Held::read();
    let card = Card::new("second", &[Plane::Primary]);
    let name = {
        let sink = KmsSink::open(&show::options(&card.node)).unwrap();
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
    drop(card);
    before.assert_unchanged();
}
