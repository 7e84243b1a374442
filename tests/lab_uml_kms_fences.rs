//! Frames that are not complete when they get to a display, and the fences that say when they are.
//! In the lab's `uml` machine: `cargo xtask test --only uml`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::thread;
use std::time::Duration;

use support::books::{self, Held};
use support::raw::{Timeline, VgemFence};
use support::show::{Show, pool};
use support::vkms::{Card, Plane};
use vcam_allocator::{CpuAccess, Fence, FenceError, Fourcc};
use vcam_sinks::{KmsError, Sink, SinkError};

#[test]
fn a_drivers_fence_is_the_cards_to_wait_for() {
    let before = Held::read();
    let card = Card::new("in-fence", &[Plane::Primary]);
    let mut show = Show::new(&card.node);
    show.sink.enable_capture().unwrap();
    // Any buffer will do for a fence.
    let (pool, wait) = (pool("udmabuf", Fourcc::R8, (64, 64)), Duration::ZERO);
    let buffer = pool.take(wait).unwrap();
    for _ in 0..3 {
        show.frame();
        show.sink.wait_flip().unwrap();
        let drawing = VgemFence::attach(&buffer);
        let ready = buffer.export_fence(CpuAccess::Read).unwrap().unwrap();
        let displayed = show.sink.counts().displayed;
        show.present(Some(ready.clone())).unwrap();
        // It was taken although it is not complete, and so it is not shown yet.
        assert!(!ready.is_signalled());
        assert_eq!(show.sink.counts().displayed, displayed);
        drawing.signal();
        show.assert_shown();
    }
    assert_eq!(show.finish().dropped, 0);
    drop((buffer, pool, card));
    before.assert_unchanged();
}

#[test]
fn a_programs_fence_is_waited_for_by_the_sink() {
    let card = Card::new("sw-fence", &[Plane::Primary]);
    let mut show = Show::new(&card.node);
    show.sink.enable_capture().unwrap();
    show.frame();
    let timeline = Timeline::new();
    let ready = Fence::from(timeline.fence(1));
    let drawing = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        timeline.advance(1);
        timeline
    });
    show.present(Some(ready.clone())).unwrap();
    assert!(ready.is_signalled());
    drop(drawing.join().unwrap());
    show.assert_shown();
    assert_eq!(show.finish().dropped, 0);
}

#[test]
fn a_fence_that_never_signals_is_named_after_a_while() {
    let before = Held::read();
    let card = Card::new("no-fence", &[Plane::Primary]);
    let state = books::display_state_of(&card.node);
    let mut show = Show::new(&card.node);
    for _ in 0..3 {
        show.frame();
    }
    let timeline = Timeline::new();
    let never = Fence::from(timeline.fence(1));
    let error = show.present(Some(never.clone())).unwrap_err();
    let SinkError::Kms(KmsError::Fence { what, source: FenceError::Timeout(_) }) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*what, "the drawing of a frame");
    // The display is put back while the fence is still not signalled.
    assert!(!never.is_signalled());
    show.sink.finish().unwrap();
    let counts = show.sink.counts();
    // What is answered with an error was not accepted.
    assert_eq!((counts.displayed, counts.dropped), (3, 0));
    assert_eq!(books::display_state_of(&card.node), state);
    drop((show, timeline, never, card));
    before.assert_unchanged();
}
