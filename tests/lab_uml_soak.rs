//! A hundred thousand frames from the sensor through the ISP to the display: none is lost, and the
//! process holds at the end what it held at the beginning.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use support::command::{Ran, command};

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// Memory of its own, in KiB: without what it shares with files and others.
    anonymous: u64,
    descriptors: usize,
}

impl Held {
    /// `None` once the process is gone.
    fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        let anonymous = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
        Some(Self { anonymous, descriptors })
    }
}

/// Runs to the end, looking now and then at what the process holds.
fn soak(isp: &str, frames: u64) {
    let mut vcam = command(&format!(
        "--heap udmabuf --isp {isp} --display --latest --size 128x32 --fps max --json --strict \
         --frames {frames}"
    ));
    let mut child = vcam.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut samples = Vec::new();
    while child.try_wait().unwrap().is_none() {
        samples.extend(Held::of(child.id()));
        std::thread::sleep(Duration::from_millis(100));
    }
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.code, &*ran.stderr), (0, ""), "{ran:?}");
    let report = ran.report();
    let count = &report["frames"];
    assert_eq!(count["completed"], frames, "{report:#}");
    assert_eq!((&count["dropped"], &count["errors"]), (&0.into(), &0.into()), "{report:#}");
    assert!(count["displayed"].as_u64().unwrap() > 0, "{report:#}");
    let steady = &report["steady"];
    assert_eq!(steady["imports_per_frame"], 0.0, "{report:#}");
    assert!(steady["heap_allocs_per_frame"].as_f64().unwrap() < 0.01, "{report:#}");

    // The first quarter is for starting, the last sample may be of its end.
    samples.pop();
    let running = &samples[samples.len() / 4..];
    println!("{isp}: {frames} frames at {} fps; KiB and descriptors:", report["fps"]);
    for held in running.iter().step_by(running.len().div_ceil(16).max(1)) {
        println!("  {:6} {}", held.anonymous, held.descriptors);
    }
    let quarters: Vec<_> = running.chunks(running.len().div_ceil(4).max(1)).collect();
    assert!(quarters.len() == 4 && quarters[3].len() >= 4, "too few samples: {samples:?}");
    // Some come and go with every frame; what leaks stays.
    let least = |part: &&[Held]| part.iter().map(|held| held.descriptors).min().unwrap();
    let descriptors: Vec<_> = quarters.iter().map(least).collect();
    assert!(descriptors[3] <= descriptors[0], "descriptors: {descriptors:?}");
    // A driver may take another megabyte once, as llvmpipe does; what leaks grows all the time.
    let mean =
        |part: &&[Held]| part.iter().map(|held| held.anonymous).sum::<u64>() / part.len() as u64;
    let memory: Vec<_> = quarters.iter().map(mean).collect();
    let grows = memory.windows(2).all(|two| two[1] > two[0] + 16);
    assert!(!grows && memory[3] < memory[0] + 4096, "KiB: {memory:?}");
}

#[test]
fn a_hundred_thousand_frames_leave_no_trace() {
    soak("cpu", 100_000);
}

#[test]
fn nor_do_ten_thousand_of_the_gpu() {
    soak("gpu", 10_000);
}
