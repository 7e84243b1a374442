//! Buffers that a display refuses in the middle of a stream: the same frame is shown by copy.
//!
//! `cargo xtask test --only uml kms_copy`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use vcam_allocator::{ColourSpace, Fourcc, Importer, Method, Pool, Refusal};
use vcam_sinks::{Frame, Sink};
use vcam_testing::accounting::BufferUsage;
use vcam_testing::kms_rig::KmsRig;
use vcam_testing::stepped_display::{self, SteppedDisplay, pool};
use vcam_testing::vkms::{Card, Plane};

const BYTES: u64 = 640 * 480 * 4;

/// Shows the next frame, in a buffer of another pool, on each of these.
fn frame_of(displays: &mut [SteppedDisplay], pool: &Pool) {
    let buffer = pool.take(Duration::from_secs(60)).unwrap();
    stepped_display::paint(&buffer, displays[0].frames);
    for display in displays {
        let (sequence, timestamp, ready) = (display.frames, Duration::ZERO, None);
        display.frames += 1;
        let buffer = buffer.clone();
        let (colour_space, taken) = (ColourSpace::SRGB, None);
        let frame = Frame { sequence, timestamp, buffer, colour_space, ready, taken };
        display.sink.present(frame).unwrap();
    }
}

#[test]
fn a_buffer_that_the_card_does_not_take_is_copied_for_the_same_frame() {
    let rig = KmsRig::new("refused");
    let mut display = rig.display();
    display.sink.enable_capture().unwrap();
    for _ in 0..7 {
        display.frame();
    }
    // No card takes a memfd; before this frame it was not known that such a buffer would come.
    let others = pool("memfd", Fourcc::XRGB8888, stepped_display::SIZE);
    for copied in 1..=5 {
        frame_of(std::slice::from_mut(&mut display), &others);
        display.assert_shown();
        let end = display.sink.link_end();
        assert_eq!((end.method, end.since_frame), (Method::Copy, 7), "{end:?}");
        assert_eq!(end.bytes_copied, copied * BYTES);
        assert!(end.reason.unwrap().contains("PRIME_FD_TO_HANDLE"));
    }
    // The refusal is those buffers' and not the others'.
    for _ in 0..5 {
        display.frame();
        display.assert_shown();
    }
    assert_eq!(display.sink.link_end().bytes_copied, 5 * BYTES);
    assert_eq!(display.sink.link_end().imports, 3);
    let counts = display.finish();
    assert_eq!((counts.displayed, counts.dropped), (17, 0));
    drop(others);
    rig.assert_as_found();
}

#[test]
fn what_goes_wrong_on_one_card_is_remembered_for_that_card_alone() {
    let before = BufferUsage::read();
    let one = Card::new("wrong", &[Plane::Primary]);
    let two = Card::new("right", &[Plane::Primary]);
    let mut displays = [SteppedDisplay::new(&one.node), SteppedDisplay::new(&two.node)];
    let pool = pool("udmabuf", Fourcc::XRGB8888, stepped_display::SIZE);
    for display in &mut displays {
        display.sink.enable_capture().unwrap();
    }
    (0..6).for_each(|_| frame_of(&mut displays, &pool));
    for display in &mut displays {
        display.sink.wait_flip().unwrap();
        assert_eq!(display.sink.link_end().imports, 3);
    }
    // A test's, of a buffer that is imported already.
    let injected = Refusal::errno("kms:vkms", "ADDFB2", 22);
    displays[0].sink.decline(&pool.buffers()[1], injected);
    for _ in 0..6 {
        frame_of(&mut displays, &pool);
        displays.iter_mut().for_each(SteppedDisplay::assert_shown);
    }
    let [wrong, right] = displays;
    let end = wrong.sink.link_end();
    assert_eq!(end.method, Method::Copy, "{end:?}");
    assert!((6..9).contains(&end.since_frame), "{end:?}");
    assert_eq!(&*end.reason.unwrap(), "kms:vkms: ADDFB2: EINVAL (Invalid argument)");
    // It came by every third time, and the others are still imported.
    assert!((1..=3).contains(&(end.bytes_copied / BYTES)), "{}", end.bytes_copied);
    assert_eq!(right.sink.link_end().method, Method::Import);
    for display in [wrong, right] {
        let counts = display.finish();
        assert_eq!((counts.displayed, counts.dropped), (12, 0));
    }
    drop((pool, one, two));
    before.assert_unchanged();
}
