//! Frames that are not complete when they reach a display, and their fences.
//!
//! `cargo xtask test --only uml kms_fences`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::thread;
use std::time::Duration;

use vcam_allocator::{CpuAccess, Fence, FenceError, Fourcc};
use vcam_sinks::{KmsError, Sink, SinkError};
use vcam_testing::kms_rig::KmsRig;
use vcam_testing::raw::{SwSyncTimeline, VgemFence};
use vcam_testing::stepped_display::{SteppedDisplay, pool};
use vcam_testing::vkms::{Card, Plane};

#[test]
fn a_drivers_fence_is_the_cards_to_wait_for() {
    let rig = KmsRig::new("in-fence");
    let mut display = rig.display();
    display.sink.enable_capture().unwrap();
    // Any buffer will do for a fence.
    let (pool, wait) = (pool("udmabuf", Fourcc::R8, (64, 64)), Duration::ZERO);
    let buffer = pool.take(wait).unwrap();
    for _ in 0..3 {
        display.frame();
        display.sink.wait_flip().unwrap();
        let drawing = VgemFence::attach(&buffer);
        let ready = buffer.export_fence(CpuAccess::Read).unwrap().unwrap();
        let displayed = display.sink.counts().displayed;
        display.present(Some(ready.clone())).unwrap();
        // It was accepted although it is not complete, so it is not shown yet.
        assert!(!ready.is_signalled());
        assert_eq!(display.sink.counts().displayed, displayed);
        drawing.signal();
        display.assert_shown();
    }
    assert_eq!(display.finish().dropped, 0);
    drop((buffer, pool));
    rig.assert_nothing_held();
}

#[test]
fn a_programs_fence_is_waited_for_by_the_sink() {
    let card = Card::new("sw-fence", &[Plane::Primary]);
    let mut display = SteppedDisplay::new(&card.node);
    display.sink.enable_capture().unwrap();
    display.frame();
    let timeline = SwSyncTimeline::new();
    let ready = Fence::from(timeline.fence(1));
    let drawing = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        timeline.advance(1);
        timeline
    });
    display.present(Some(ready.clone())).unwrap();
    assert!(ready.is_signalled());
    drop(drawing.join().unwrap());
    display.assert_shown();
    assert_eq!(display.finish().dropped, 0);
}

#[test]
fn a_fence_that_never_signals_is_named_after_a_while() {
    let rig = KmsRig::new("no-fence");
    let mut display = rig.display();
    for _ in 0..3 {
        display.frame();
    }
    let timeline = SwSyncTimeline::new();
    let never = Fence::from(timeline.fence(1));
    let error = display.present(Some(never.clone())).unwrap_err();
    let SinkError::Kms(KmsError::Fence { what, source: FenceError::Timeout(_) }) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(*what, "the drawing of a frame");
    // The display is put back while the fence is still not signalled.
    assert!(!never.is_signalled());
    display.sink.finish().unwrap();
    let counts = display.sink.counts();
    // A frame that is answered with an error was not accepted.
    assert_eq!((counts.displayed, counts.dropped), (3, 0));
    drop((display, timeline, never));
    rig.assert_as_found();
}
