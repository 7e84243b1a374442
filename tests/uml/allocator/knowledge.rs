//! The next run or probe uses the knowledge of this one.
//!
//! `cargo xtask test --only uml allocator_knowledge`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use vcam_testing::command::{Ran, command, link};

/// A cache folder of its own, in which nothing is known yet.
struct Cache(tempfile::TempDir);

impl Cache {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("vcam/knowledge.json")
    }

    fn read(&self) -> Value {
        serde_json::from_slice(&fs::read(self.file()).unwrap()).unwrap()
    }

    /// Changes what is known.
    fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut known = self.read();
        change(&mut known);
        fs::write(self.file(), known.to_string()).unwrap();
    }

    fn vcam(&self, arguments: &str, environment: &[(&str, &str)]) -> Ran {
        let mut command = command(arguments);
        command.envs(environment.iter().copied()).env("XDG_CACHE_HOME", self.path());
        let ran = Ran::from(command.output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
        ran
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

const RUN: &str = "--isp gpu --display --size 640x480 --frames 6 --json";

#[test]
fn a_heap_on_which_a_driver_crashed_is_not_handed_to_it_again() {
    let cache = Cache::new();
    let fault = ("VCAM_FAULT_PROBE_ABORT", "kms:vkms udmabuf XR24");
    cache.vcam("probe --json", &[fault]);

    let report = cache.vcam(RUN, &[]).report();
    assert_eq!(report["heaps"]["output"], "dma_heap:system", "{report:#}");
    let rejected = report["plan"]["rejected"].to_string();
    assert!(rejected.contains("SIGABRT") && rejected.contains("a probe"), "{rejected}");
    assert_eq!(link(&report, 1)["method"], "import");

    // If the user names that heap, the driver gets copies.
    let report = cache.vcam(&format!("--heap udmabuf {RUN}"), &[]).report();
    assert_eq!(report["heaps"]["output"], "udmabuf");
    assert_eq!(link(&report, 1)["method"], "copy", "{report:#}");
    assert!(link(&report, 1)["reason"].as_str().unwrap().contains("SIGABRT"), "{report:#}");
    assert_eq!(report["frames"]["displayed"], 6);

    let report = cache.vcam(&format!("--heap udmabuf --fresh {RUN}"), &[]).report();
    assert_eq!(link(&report, 1)["method"], "import", "{report:#}");
    // And it was forgotten for good.
    let report = cache.vcam(RUN, &[]).report();
    assert_eq!(report["heaps"]["output"], "udmabuf", "{report:#}");
}

#[test]
fn costs_are_measured_once_and_kept() {
    let cache = Cache::new();
    let first = cache.vcam(RUN, &[]).report();
    assert_eq!(link(&first, 0)["method"], "import", "{first:#}");
    let costs = first["plan"]["streams"][0]["costs"].as_array().unwrap();
    assert!(costs.iter().any(|cost| cost["heap"] == "udmabuf"), "{costs:?}");
    let known = cache.read();
    println!("costs: {:#} {:#}", known["heaps"], known["links"]);
    assert!(known["heaps"].as_array().unwrap().len() >= 3, "{known:#}");
    assert_eq!(known["links"].as_array().unwrap().len(), 2, "{known:#}");

    let written = fs::metadata(cache.file()).unwrap().modified().unwrap();
    let second = cache.vcam(RUN, &[]).report();
    assert_eq!(second["plan"]["streams"][0]["costs"], first["plan"]["streams"][0]["costs"]);
    assert_eq!(fs::metadata(cache.file()).unwrap().modified().unwrap(), written);

    // Another kernel's numbers count for nothing.
    cache.change(|known| known["machine"] = "another kernel".into());
    cache.vcam(RUN, &[]);
    assert_eq!(cache.read()["machine"], known["machine"]);
}

#[test]
fn a_copy_that_is_cheaper_is_made_where_the_user_leaves_the_choice() {
    let cache = Cache::new();
    cache.vcam(RUN, &[]);
    cache.change(|known| {
        let raw = known["links"].as_array_mut().unwrap().iter_mut();
        let raw = raw.filter(|link| link["format"] == "R8");
        raw.for_each(|link| link["cost"] = serde_json::json!({"import_us": 900, "copy_us": 300}));
    });
    let report = cache.vcam(RUN, &[]).report();
    let raw = link(&report, 0);
    assert_eq!(raw["method"], "copy", "{report:#}");
    let reason = raw["reason"].as_str().unwrap();
    assert!(reason.contains("300 µs by copy and 900 µs by import"), "{reason}");
    assert_eq!(raw["bytes_copied"], 6 * 640 * 480, "only the frames' own copies count");
    assert_eq!(link(&report, 1)["method"], "import");

    for choice in ["--strict", "--heap udmabuf"] {
        let report = cache.vcam(&format!("{choice} {RUN}"), &[]).report();
        assert_eq!(link(&report, 0)["method"], "import", "{choice}: {report:#}");
    }
}

#[test]
fn a_heap_that_costs_clearly_more_comes_later() {
    let cache = Cache::new();
    let run = "--output null --isp cpu --size 640x480 --frames 6 --json";
    cache.vcam(run, &[]);
    cache.change(|known| {
        let heaps = known["heaps"].as_array_mut().unwrap().iter_mut();
        for heap in heaps.filter(|heap| heap["heap"] == "udmabuf") {
            heap["cost"]["read_ns"] = 1_000_000_000.into();
        }
    });
    let report = cache.vcam(run, &[]).report();
    assert_ne!(report["heaps"]["raw"], "udmabuf", "{report:#}");
    let rejected = report["plan"]["rejected"].to_string();
    assert!(rejected.contains("\"by\":\"cost\"") && rejected.contains("as measured"), "{rejected}");
}
