//! Once streaming, a frame allocates nothing, on whichever thread its rows are made, nor does 3A.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use vcam_isp_gpu::stats::Statistics;
use vcam_pipeline::ipa::{Calibration, Ipa, Limits};
use vcam_pipeline::sensor::delay::{Controls, DelayedControls};
use vcam_pipeline::sensor::settings::Pixels;
use vcam_pipeline::sensor::{Sensor, Settings};
use vcam_testing::allocations::{self, CountingAllocator};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Frames in a row without an allocation. Handing work to threads from outside of their pool would
/// allocate once in 63.
const IN_A_ROW: u32 = 100;

/// Whether as many frames in a row allocate nothing, among so many that each thread has made rows
/// before: its first ones allocate what it keeps.
fn comes_to_allocate_nothing(settings: &Settings) -> bool {
    let mut sensor = Sensor::open(settings).unwrap();
    let workers = sensor.workers();
    let stride = settings.size.width as usize * 4;
    let mut frame = vec![0; stride * settings.size.height as usize];
    let mut statistics = Statistics::default();
    statistics.histogram[40] = 1000;
    for zone in &mut statistics.zones {
        (zone.sum, zone.quads) = ([4.0, 10.0, 7.0], 100);
    }
    workers.run(move || {
        let start = Controls::default();
        let limits = Limits::from(sensor.timing());
        let mut ipa = Ipa::new(limits, start, Some(Calibration::of_sensor().unwrap()));
        let mut delayed = DelayedControls::new(start);
        let mut in_a_row = 0;
        for sequence in 0..5 * u64::from(IN_A_ROW) {
            let before = allocations::of_all_threads();
            let metadata = sensor.expose(sequence, Duration::from_millis(33) * sequence as u32);
            sensor.fill_plane(sequence, 0, &mut frame, stride);
            sensor.fill_plane(sequence, 1, &mut frame, stride);
            let decision = ipa.process(metadata.controls, &statistics);
            sensor.set_controls(delayed.push(decision.controls));
            let allocated = allocations::of_all_threads() > before;
            in_a_row = if allocated { 0 } else { in_a_row + 1 };
            if in_a_row == IN_A_ROW {
                return true;
            }
        }
        false
    })
}

/// One test and no more: whatever else ran would be counted too.
#[test]
fn frames_allocate_nothing() {
    let settings = |size, source: &str, format: &str| Settings {
        size,
        source: source.parse().unwrap(),
        format: format.parse().unwrap(),
        stamp: true,
        ..Settings::default()
    };
    // A pattern's rows are shared among threads from a mebibyte on, a scene's always.
    let (large, small) = ((2048, 544).into(), (256, 64).into());
    // Without noise a still scene's rows are made again only when exposure changes; here it comes
    // to its limit, and stays.
    let pixels = Pixels { noise: false, ..Pixels::default() };
    for settings in [
        settings(large, "test", "SRGGB8"),
        settings(large, "test", "NV12"),
        settings(small, "solid", "SRGGB10P"),
        settings(small, "ball", "Y16"),
        settings(small, "ball", "NV12"),
        Settings { pixels, ..settings(small, "colorchecker", "SRGGB12") },
    ] {
        assert!(comes_to_allocate_nothing(&settings), "{settings:?}");
    }
}
