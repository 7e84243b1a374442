//! `vcam probe` in a machine with vkms, vivid and llvmpipe, where every kind of importer can be
//! proven; and with drivers that crash and hang.
//!
//! `cargo xtask test --only uml probe`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use serde_json::Value;
use vcam_testing::accounting::{self, Usage};
use vcam_testing::command::{Ran, command};
use vcam_testing::display_state;

/// Runs `vcam probe --json` with these variables in its environment.
fn probe(arguments: &str, environment: &[(&str, &str)]) -> Value {
    let mut command = command(&format!("probe --json {arguments}"));
    command.envs(environment.iter().copied());
    let ran = Ran::from(command.output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stderr, "", "nothing is said where no terminal listens");
    ran.report()
}

/// The cells of all importers whose name starts like this.
fn cells<'a>(report: &'a Value, importer: &str) -> Vec<&'a Value> {
    let all = report["cells"].as_array().unwrap().iter();
    let cells: Vec<_> =
        all.filter(|cell| cell["importer"].as_str().unwrap().starts_with(importer)).collect();
    assert!(!cells.is_empty(), "{importer} is not in {report:#}");
    cells
}

fn cell<'a>(report: &'a Value, heap: &str, importer: &str, format: &str) -> &'a Value {
    let cells = cells(report, importer);
    cells
        .into_iter()
        .find(|cell| {
            cell["importer"] == importer && cell["heap"] == heap && cell["format"] == format
        })
        .unwrap_or_else(|| panic!("no {heap} x {importer} x {format} in {report:#}"))
}

/// The usage once the kernel has released the buffers that other tests had on the display.
fn settled() -> Usage {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !accounting::dma_bufs().is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    Usage::read()
}

#[test]
fn every_kind_of_importer_is_proven() {
    let begun = Instant::now();
    let report = probe("", &[]);
    println!("vcam probe took {:?}", begun.elapsed());

    assert_eq!(report["schema"], 1);
    for heap in ["udmabuf", "dma_heap:system"] {
        for importer in ["egl-texture:llvmpipe", "egl-target:llvmpipe", "kms:vkms"] {
            let cell = cell(&report, heap, importer, "XR24");
            assert_eq!(cell["result"], "ok", "{cell:#}");
            // Nothing is left open: the pixels were seen.
            assert_eq!(cell["reason"], Value::Null, "{cell:#}");
            assert!(cell["import_us"].is_u64() && cell["alloc_us"].is_u64(), "{cell:#}");
        }
        for (importer, format) in [
            ("egl-texture:llvmpipe", "R8"),
            ("egl-target:llvmpipe", "GR88"),
            ("kms:vkms", "NV12"),
            ("kms:vkms", "RG16"),
            ("kms:vkms/cursor", "AR24"),
            ("v4l2-capture:vivid", "NV12"),
            ("v4l2-output:vivid", "XR24"),
            ("v4l2-output:vivid", "NV12"),
        ] {
            let cell = cell(&report, heap, importer, format);
            assert_eq!(
                (&cell["result"], &cell["reason"]),
                (&"ok".into(), &Value::Null),
                "{cell:#}"
            );
        }
    }
    let memfd = report["cells"].as_array().unwrap().iter().filter(|cell| cell["heap"] == "memfd");
    for cell in memfd {
        assert_eq!(cell["result"], "refused", "{cell:#}");
        assert_eq!(cell["reason"], "a memfd is not a dma-buf", "{cell:#}");
    }
    for importer in report["importers"].as_array().unwrap() {
        assert!(importer["name"].as_str().unwrap().contains(':'), "{importer:#}");
        assert!(!cells(&report, importer["name"].as_str().unwrap()).is_empty());
    }
    let heap = &report["heaps"][0];
    assert_eq!((&heap["name"], &heap["available"]), (&"udmabuf".into(), &true.into()));
}

#[test]
fn nothing_is_left_and_the_display_is_as_it_was() {
    let state = display_state::of_driver("vkms");
    let before = accounting::after_warming_up(|| drop(probe("", &[])));
    probe("", &[]);
    before.assert_unchanged();
    assert_eq!(display_state::of_driver("vkms"), state);
}

#[test]
fn a_driver_without_imports_is_refused_with_the_extension_it_lacks() {
    let report = probe("", &[("GALLIUM_DRIVER", "softpipe")]);
    for cell in cells(&report, "egl-") {
        let importer = cell["importer"].as_str().unwrap();
        assert!(importer.ends_with(":softpipe"), "{cell:#}");
        // Not every heap has every format.
        if cell["step"] != "allocate" {
            assert_eq!(cell["step"], "EGL_EXT_image_dma_buf_import", "{cell:#}");
            assert_eq!(cell["result"], "refused", "{cell:#}");
        }
    }
    assert_eq!(cell(&report, "udmabuf", "egl-texture:softpipe", "XR24")["result"], "refused");
    assert_eq!(cell(&report, "udmabuf", "kms:vkms", "XR24")["result"], "ok");
}

#[test]
fn a_driver_that_crashes_costs_its_own_cells_and_no_more() {
    let before = settled();
    // One cell alone: what comes after it is tried again, in a new process.
    let one = [("VCAM_FAULT_PROBE_ABORT", "egl-texture:llvmpipe udmabuf XR24")];
    let report = probe("", &one);
    for found in cells(&report, "egl-texture") {
        let hit = found["heap"] == "udmabuf" && found["format"] == "XR24";
        assert_eq!(found["result"] == "error" && found["step"] == "open", hit, "{found:#}");
    }
    let died = cell(&report, "udmabuf", "egl-texture:llvmpipe", "XR24");
    assert!(died["reason"].as_str().unwrap().contains("SIGABRT"), "{died:#}");

    // Every cell, and then the whole of a card before it says anything.
    let report = probe("", &[("VCAM_FAULT_PROBE_ABORT", "egl-texture")]);
    assert!(cells(&report, "egl-texture").iter().all(|cell| cell["result"] == "error"));
    assert_eq!(cell(&report, "udmabuf", "egl-target:llvmpipe", "XR24")["result"], "ok");
    assert_eq!(cell(&report, "udmabuf", "kms:vkms", "XR24")["result"], "ok");
    let report = probe("", &[("VCAM_FAULT_PROBE_ABORT", "kms:/dev/dri/")]);
    for cell in cells(&report, "kms:") {
        assert_eq!(cell["result"], "error", "{cell:#}");
        assert!(cell["reason"].as_str().unwrap().contains("SIGABRT"), "{cell:#}");
    }
    assert_eq!(cell(&report, "udmabuf", "v4l2-capture:vivid", "XR24")["result"], "ok");
    before.assert_unchanged();
}

#[test]
fn a_driver_that_hangs_is_given_up() {
    let report = probe("--limit 3", &[("VCAM_FAULT_PROBE_HANG", "egl-target")]);
    let first = cells(&report, "egl-target")[0];
    assert_eq!(first["result"], "error", "{first:#}");
    assert_eq!(first["reason"], "no answer after 3 s", "{first:#}");
    assert!(cells(&report, "egl-target").iter().all(|cell| cell["result"] == "error"));
    assert_eq!(cell(&report, "udmabuf", "egl-texture:llvmpipe", "XR24")["result"], "ok");
    assert_eq!(cell(&report, "udmabuf", "kms:vkms", "XR24")["result"], "ok");
}

#[test]
fn a_display_in_use_is_not_touched() {
    let state = display_state::of_driver("vkms");
    let mut user = command("--heap udmabuf --isp gpu --display --card vkms --size 640x480")
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    display_state::wait_for_driver("vkms", &state);
    let report = probe("", &[]);
    let found = cell(&report, "udmabuf", "kms:vkms", "XR24");
    assert_eq!(found["result"], "ok", "{found:#}");
    let reason = found["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("another program controls the display"), "{found:#}");
    assert_eq!(user.try_wait().unwrap(), None, "the user of the display was thrown off");
    assert!(display_state::of_driver("vkms").contains("size=640x480"));
    let pid = rustix::process::Pid::from_child(&user);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(user.wait().unwrap().code(), Some(0));
}

#[test]
fn the_table_says_it_in_words() {
    let ran = Ran::from(command("probe").output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    for words in [
        "udmabuf",
        "dma_heap:system",
        "kms:vkms XR24",
        "egl-texture:llvmpipe R8",
        "refused, PRIME_FD_TO_HANDLE: a memfd is not a dma-buf",
    ] {
        assert!(ran.stdout.contains(words), "'{words}' is not in {}", ran.stdout);
    }
}
