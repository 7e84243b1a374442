//! Planes that the machine's card lacks: overlays, on a card made for the test.
//!
//! `cargo xtask test --only uml kms_planes`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use vcam_allocator::probe::{Cell, Outcome, Prober, probe};
use vcam_allocator::{Fourcc, heaps};
use vcam_testing::kms_rig::KmsRig;
use vcam_testing::vkms::{Card, Plane};

const HEAPS: [&str; 2] = ["udmabuf", "dma_heap:system"];

fn cell(prober: &mut dyn Prober, heap: &str, format: Fourcc) -> Cell {
    let heap = heaps::open(heap).unwrap();
    probe(prober, &*heap, format, &mut |_| ())
}

#[test]
fn an_overlay_shows_what_it_is_handed() {
    let rig = KmsRig::with_planes("overlay", &[Plane::Primary, Plane::Overlay, Plane::Cursor]);
    let mut probers = vcam_sinks::kms::probe::probers(rig.node()).unwrap();
    let names: Vec<String> = probers.iter().map(|prober| prober.info().name).collect();
    assert_eq!(names, ["kms:vkms", "kms:vkms/overlay", "kms:vkms/cursor"]);
    let overlay = &mut *probers[1];
    assert_eq!(overlay.info().node.as_deref(), rig.node().to_str());
    for heap in HEAPS {
        for format in [Fourcc::XRGB8888, Fourcc::ARGB8888, Fourcc::NV12] {
            assert!(overlay.formats().contains(&format), "{format}");
            let cell = cell(overlay, heap, format);
            // Nothing is left open: the pixels were seen.
            assert_eq!((cell.result, &cell.reason), (Outcome::Ok, &None), "{cell:?}");
        }
    }
    // The overlay was looked at, and not the plane below, which is tried next.
    let below = cell(&mut *probers[0], "udmabuf", Fourcc::XRGB8888);
    assert_eq!((below.result, &below.reason), (Outcome::Ok, &None), "{below:?}");
    drop(probers);
    rig.assert_nothing_held();
}

#[test]
fn a_card_without_an_overlay_has_no_such_importer() {
    let card = Card::new("plain", &[Plane::Primary]);
    let probers = vcam_sinks::kms::probe::probers(&card.node).unwrap();
    let names: Vec<String> = probers.iter().map(|prober| prober.info().name).collect();
    assert_eq!(names, ["kms:vkms"]);
}
