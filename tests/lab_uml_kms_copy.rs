//! Buffers that a display refuses in the middle of a stream: the same frame is shown by copy. In the
//! lab's `uml` machine: `cargo xtask test --only uml`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use support::books::{self, Held};
use support::show::{self, Show, pool};
use support::vkms::{Card, Plane};
use vcam_allocator::{ColourSpace, Fourcc, Importer, Method, Pool, Refusal};
use vcam_sinks::{Frame, Sink};

const BYTES: u64 = 640 * 480 * 4;

/// Shows the next frame, in a buffer of another pool, on each of these.
fn frame_of(shows: &mut [Show], pool: &Pool) {
    let buffer = pool.take(Duration::from_secs(60)).unwrap();
    show::paint(&buffer, shows[0].frames);
    for show in shows {
        let (sequence, timestamp, ready) = (show.frames, Duration::ZERO, None);
        show.frames += 1;
        let buffer = buffer.clone();
        let (colour_space, taken) = (ColourSpace::SRGB, None);
        let frame = Frame { sequence, timestamp, buffer, colour_space, ready, taken };
        show.sink.present(frame).unwrap();
    }
}

#[test]
fn a_buffer_that_the_card_does_not_take_is_copied_for_the_same_frame() {
    let before = Held::read();
    let card = Card::new("refused", &[Plane::Primary]);
    let state = books::display_state_of(&card.node);
    let mut show = Show::new(&card.node);
    show.sink.enable_capture().unwrap();
    for _ in 0..7 {
        show.frame();
    }
    // No card takes a memfd; before this frame nobody knew that such a buffer would come.
    let others = pool("memfd", Fourcc::XRGB8888, show::SIZE);
    for copied in 1..=5 {
        frame_of(std::slice::from_mut(&mut show), &others);
        show.assert_shown();
        let end = show.sink.link_end();
        assert_eq!((end.method, end.since_frame), (Method::Copy, 7), "{end:?}");
        assert_eq!(end.bytes_copied, copied * BYTES);
        assert!(end.reason.unwrap().contains("PRIME_FD_TO_HANDLE"));
    }
    // The refusal is those buffers' and not the others'.
    for _ in 0..5 {
        show.frame();
        show.assert_shown();
    }
    assert_eq!(show.sink.link_end().bytes_copied, 5 * BYTES);
    assert_eq!(show.sink.link_end().imports, 3);
    let counts = show.finish();
    assert_eq!((counts.displayed, counts.dropped), (17, 0));
    assert_eq!(books::display_state_of(&card.node), state);
    drop((others, card));
    before.assert_unchanged();
}

#[test]
fn what_goes_wrong_on_one_card_is_remembered_for_that_card_alone() {
    let before = Held::read();
    let one = Card::new("wrong", &[Plane::Primary]);
    let two = Card::new("right", &[Plane::Primary]);
    let mut shows = [Show::new(&one.node), Show::new(&two.node)];
    let pool = pool("udmabuf", Fourcc::XRGB8888, show::SIZE);
    for show in &mut shows {
        show.sink.enable_capture().unwrap();
    }
    (0..6).for_each(|_| frame_of(&mut shows, &pool));
    for show in &mut shows {
        show.sink.wait_flip().unwrap();
        assert_eq!(show.sink.link_end().imports, 3);
    }
    // A test's, of a buffer that is imported already.
    let injected = Refusal::errno("kms:vkms", "ADDFB2", 22);
    shows[0].sink.decline(&pool.buffers()[1], injected);
    for _ in 0..6 {
        frame_of(&mut shows, &pool);
        shows.iter_mut().for_each(Show::assert_shown);
    }
    let [wrong, right] = shows;
    let end = wrong.sink.link_end();
    assert_eq!(end.method, Method::Copy, "{end:?}");
    assert!((6..9).contains(&end.since_frame), "{end:?}");
    assert_eq!(&*end.reason.unwrap(), "kms:vkms: ADDFB2: EINVAL (Invalid argument)");
    // It came by every third time, and the others are still imported.
    assert!((1..=3).contains(&(end.bytes_copied / BYTES)), "{}", end.bytes_copied);
    assert_eq!(right.sink.link_end().method, Method::Import);
    for show in [wrong, right] {
        let counts = show.finish();
        assert_eq!((counts.displayed, counts.dropped), (12, 0));
    }
    drop((pool, one, two));
    before.assert_unchanged();
}
