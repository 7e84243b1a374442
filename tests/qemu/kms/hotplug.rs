//! Displays that are swapped for others while frames are shown.
//!
//! `cargo xtask test --only qemu kms_hotplug`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use vcam_allocator::{Fourcc, Method};
use vcam_sinks::{Cards, KmsOptions, Sink};
use vcam_testing::accounting::BufferUsage;
use vcam_testing::command::{Child, command, link};
use vcam_testing::display_state;
use vcam_testing::stepped_display::SteppedDisplay;

/// A device that a driver was taken from; it gets it back when dropped.
struct Unbound {
    driver: PathBuf,
    device: String,
}

impl Unbound {
    /// Takes the driver from the card that it drives, as if the card were pulled out.
    fn new(driver: &str) -> Self {
        let card = vcam_sinks::cards()
            .into_iter()
            .find(|card| card.driver.as_deref() == Some(driver))
            .unwrap_or_else(|| panic!("the lab has a card of {driver}"));
        let name = card.path.file_name().unwrap();
        let device =
            fs::canonicalize(Path::new("/sys/class/drm").join(name).join("device")).unwrap();
        let driver = fs::canonicalize(device.join("driver")).unwrap();
        let device = device.file_name().unwrap().to_str().unwrap().to_owned();
        fs::write(driver.join("unbind"), &device).unwrap();
        Self { driver, device }
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        fs::write(self.driver.join("bind"), &self.device).unwrap();
    }
}

#[test]
fn a_display_is_swapped_for_one_that_refuses_the_buffers() {
    let before = BufferUsage::read();
    let virtio = Unbound::new("virtio_gpu");
    let options = KmsOptions::new((320, 240), Fourcc::XRGB8888);
    // Any card will do, so the one that is there is used.
    let mut display = SteppedDisplay::on(&Cards::default(), &options);
    assert_eq!(display.sink.name(), "kms:bochs-drm");
    for _ in 0..5 {
        display.frame();
    }
    display.sink.wait_flip().unwrap();
    let end = display.sink.link_end();
    assert_eq!((end.method, end.imports, end.bytes_copied), (Method::Import, 3, 0), "{end:?}");

    let bochs = Unbound::new("bochs-drm");
    display.until_gone();
    drop(virtio);
    display.until_back();
    assert_eq!(display.sink.name(), "kms:virtio_gpu");
    let first = display.frames - 1;
    let dropped = display.sink.counts().dropped;
    for _ in 0..5 {
        display.frame();
    }
    let end = display.sink.link_end();
    assert_eq!((end.method, end.since_frame), (Method::Copy, first), "{end:?}");
    assert_eq!(end.bytes_copied, 6 * 320 * 240 * 4, "{end:?}");
    let reason = end.reason.as_deref().unwrap();
    assert!(
        reason.contains("virtio_gpu") && reason.contains("PRIME_FD_TO_HANDLE: ENODEV"),
        "{reason}"
    );
    let counts = display.finish();
    // From the first frame on that there was a display for, none was lost.
    assert_eq!(counts.dropped, dropped, "{counts:?}");
    drop(bochs);
    before.assert_unchanged();
}

#[test]
fn a_run_goes_on_by_copy_on_the_display_that_takes_the_place_of_its_own() {
    let before = BufferUsage::read();
    let virtio = Unbound::new("virtio_gpu");
    let dark = display_state::of_driver("bochs-drm");
    let child = Child::spawn(command(
        "--heap udmabuf --isp cpu --display --size 320x240 --fps 10 --output null --json",
    ));
    display_state::wait_for_driver("bochs-drm", &dark);
    drop(virtio);
    let dark = display_state::of_driver("virtio_gpu");
    let bochs = Unbound::new("bochs-drm");
    display_state::wait_for_driver("virtio_gpu", &dark);
    std::thread::sleep(std::time::Duration::from_secs(3));
    let ran = child.end(Signal::INT);
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.report();
    let count = |name: &str| report["frames"][name].as_u64().unwrap();
    // The other output got every frame, and the display none as long as it was not there.
    assert_eq!(count("displayed"), count("completed"), "{report:#}");
    assert_eq!(count("errors"), 0, "{report:#}");
    let (shown, other) = (link(&report, 1), link(&report, 2));
    assert_eq!(shown["method"], "copy", "{report:#}");
    assert!(shown["since_frame"].as_u64().unwrap() > 0, "{report:#}");
    let reason = shown["reason"].as_str().unwrap();
    assert!(reason.contains("PRIME_FD_TO_HANDLE: ENODEV"), "{report:#}");
    assert_ne!(other["method"], "copy", "{report:#}");
    drop(bochs);
    before.assert_unchanged();
}

/// The sink looks at its display once a second; the state that it sees there is its own.
#[test]
fn a_display_that_is_looked_at_goes_on() {
    let options = KmsOptions {
        card: Some("bochs-drm".into()),
        ..KmsOptions::new((320, 240), Fourcc::XRGB8888)
    };
    let mut display = SteppedDisplay::on(&Cards::default(), &options);
    for _ in 0..60 {
        display.frame();
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let end = display.sink.link_end();
    assert_eq!((end.method, end.imports), (Method::Import, 3), "{end:?}");
    assert_eq!(display.finish().displayed, 60);
}
