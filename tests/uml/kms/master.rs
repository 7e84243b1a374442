//! Displays that several programs want: the DRM master shows its frames.
//!
//! `cargo xtask test --only uml kms_master`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::error::Error;

use vcam_sinks::{Cards, KmsError, KmsOptions, KmsSink, Sink};
use vcam_testing::drm_master::CardFile;
use vcam_testing::kms_rig::KmsRig;
use vcam_testing::stepped_display::{self, SteppedDisplay};
use vcam_testing::vkms::{Card, Plane};

#[test]
fn a_card_with_another_master_is_not_to_be_had() {
    let card = Card::new("busy", &[Plane::Primary]);
    let first = KmsSink::open(&stepped_display::options(&card.node)).unwrap();
    let error = KmsSink::open(&stepped_display::options(&card.node)).unwrap_err();
    assert!(matches!(error, KmsError::Master { .. }), "{error:?}");
    assert!(error.to_string().contains("text console"), "{error}");
    assert!(error.source().is_some());
    drop(first);
    drop(KmsSink::open(&stepped_display::options(&card.node)).unwrap());
}

/// Another program has the display for a while, with another mode, and then gives it back.
#[test]
fn a_display_that_another_program_had_is_shown_on_again() {
    let rig = KmsRig::with_planes("switch", &[Plane::Primary, Plane::Overlay]);
    let mut ours = rig.display();
    ours.sink.enable_capture().unwrap();
    let our_file = CardFile::newest(rig.node());
    for _ in 0..5 {
        ours.frame();
    }
    our_file.drop_master();
    let options = KmsOptions { size: (800, 600), ..stepped_display::options(rig.node()) };
    let mut theirs = SteppedDisplay::on(&Cards::default(), &options);
    theirs.frame();
    ours.until_gone();
    let counts = ours.sink.counts();
    // They are not disturbed, and we do not wait.
    for _ in 0..5 {
        theirs.frame();
        ours.frame();
    }
    assert_eq!(theirs.sink.counts().dropped, 0);
    assert_eq!(ours.sink.counts().displayed, counts.displayed);
    // They put back what they found.
    theirs.finish();
    ours.until_back();
    ours.frame();
    ours.assert_shown();
    assert_eq!(ours.sink.link_end().imports, 3);
    ours.finish();
    rig.assert_as_found();
}

/// Between two of our frames another program came and went, and left its mode: our next frame is
/// shown all the same, and none is lost.
#[test]
fn a_crtc_that_was_stolen_is_taken_back_for_the_same_frame() {
    let rig = KmsRig::new("stolen");
    let mut ours = rig.display();
    ours.sink.enable_capture().unwrap();
    let our_file = CardFile::newest(rig.node());
    for _ in 0..5 {
        ours.frame();
    }
    ours.sink.wait_flip().unwrap();
    our_file.drop_master();
    let options = KmsOptions { size: (800, 600), ..stepped_display::options(rig.node()) };
    let mut theirs = SteppedDisplay::on(&Cards::default(), &options);
    let their_file = CardFile::newest(rig.node());
    theirs.frame();
    theirs.sink.wait_flip().unwrap();
    their_file.drop_master();
    our_file.set_master();
    ours.frame();
    ours.assert_shown();
    ours.frame();
    assert_eq!(ours.sink.counts().dropped, 0);
    // They no longer have the display that they would restore, and no harm is done.
    drop(theirs);
    ours.frame();
    ours.assert_shown();
    assert_eq!(ours.finish().dropped, 0);
    rig.assert_as_found();
}

#[test]
fn a_run_ends_well_while_another_program_has_the_display() {
    let rig = KmsRig::new("elsewhere");
    let mut ours = rig.display();
    ours.frame();
    CardFile::newest(rig.node()).drop_master();
    let theirs = KmsSink::open(&stepped_display::options(rig.node())).unwrap();
    ours.until_gone();
    ours.finish();
    drop(theirs);
    rig.assert_nothing_held();
}
