//! Displays that are swapped for others while frames are shown, in the lab's `qemu` machine:
//! `cargo xtask test --only qemu`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use support::books::{self, Held};
use support::command::{Child, command, link};
use support::show::Show;
use vcam_allocator::{Fourcc, Method};
use vcam_sinks::{Cards, KmsOptions, Sink};

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
    let before = Held::read();
    let virtio = Unbound::new("virtio_gpu");
    let options = KmsOptions::new((320, 240), Fourcc::XRGB8888);
    // Any card will do, and so what is there is shown on.
    let mut show = Show::on(&Cards::default(), &options);
    assert_eq!(show.sink.name(), "kms:bochs-drm");
    for _ in 0..5 {
        show.frame();
    }
    show.sink.wait_flip().unwrap();
    let end = show.sink.link_end();
    assert_eq!((end.method, end.imports, end.bytes_copied), (Method::Import, 3, 0), "{end:?}");

    let bochs = Unbound::new("bochs-drm");
    show.until_gone();
    drop(virtio);
    show.until_back();
    assert_eq!(show.sink.name(), "kms:virtio_gpu");
    let first = show.frames - 1;
    let dropped = show.sink.counts().dropped;
    for _ in 0..5 {
        show.frame();
    }
    let end = show.sink.link_end();
    assert_eq!((end.method, end.since_frame), (Method::Copy, first), "{end:?}");
    assert_eq!(end.bytes_copied, 6 * 320 * 240 * 4, "{end:?}");
    let reason = end.reason.as_deref().unwrap();
    assert!(
        reason.contains("virtio_gpu") && reason.contains("PRIME_FD_TO_HANDLE: ENODEV"),
        "{reason}"
    );
    let counts = show.finish();
    // From the first frame on that there was a display for, none was lost.
    assert_eq!(counts.dropped, dropped, "{counts:?}");
    drop(bochs);
    before.assert_unchanged();
}

#[test]
fn a_run_goes_on_by_copy_on_the_display_that_takes_the_place_of_its_own() {
    let before = Held::read();
    let virtio = Unbound::new("virtio_gpu");
    let dark = books::display_state("bochs-drm");
    let child = Child::spawn(command(
        "--heap udmabuf --isp cpu --display --size 320x240 --fps 10 --output null --json",
    ));
    books::wait_for_display_change("bochs-drm", &dark);
    drop(virtio);
    let dark = books::display_state("virtio_gpu");
    let bochs = Unbound::new("bochs-drm");
    books::wait_for_display_change("virtio_gpu", &dark);
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

/// The sink looks at its display once a second; what it sees there is its own.
#[test]
fn a_display_that_is_looked_at_goes_on() {
    let options = KmsOptions {
        card: Some("bochs-drm".into()),
        ..KmsOptions::new((320, 240), Fourcc::XRGB8888)
    };
    let mut show = Show::on(&Cards::default(), &options);
    for _ in 0..60 {
        show.frame();
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let end = show.sink.link_end();
    assert_eq!((end.method, end.imports), (Method::Import, 3), "{end:?}");
    assert_eq!(show.finish().displayed, 60);
}
