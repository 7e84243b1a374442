//! A hundred thousand frames from the sensor through the ISP to the display: none is lost, and the
//! process holds the same resources at the end as at the beginning. They are drawn as
//! `$VCAM_LAB_OUT/soak-cpu.svg` and `soak-gpu.svg`.
//!
//! `cargo xtask test --only uml soak`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use plotters::prelude::*;
use vcam_testing::command::{Ran, command};

const FRAMES: u64 = 100_000;

/// The resources of a process.
#[derive(Debug, Clone, Copy)]
struct BufferUsage {
    /// The time, in seconds since its start.
    at: f64,
    /// Memory of its own, in KiB: without what it shares with files and others.
    anonymous: u64,
    descriptors: usize,
}

impl BufferUsage {
    /// `None` once the process is gone.
    fn of(pid: u32, start: Instant) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        let anonymous = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
        Some(Self { at: start.elapsed().as_secs_f64(), anonymous, descriptors })
    }
}

/// Runs to the end, and samples the resources of the process.
fn soak(isp: &str) {
    let mut vcam = command(&format!(
        "--heap udmabuf --isp {isp} --display --latest --size 128x32 --fps max --json --strict \
         --frames {FRAMES}"
    ));
    let start = Instant::now();
    let mut child = vcam.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut samples = Vec::new();
    while child.try_wait().unwrap().is_none() {
        samples.extend(BufferUsage::of(child.id(), start));
        std::thread::sleep(Duration::from_millis(100));
    }
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.code, &*ran.stderr), (0, ""), "{ran:?}");
    let report = ran.report();
    let count = &report["frames"];
    assert_eq!(count["completed"], FRAMES, "{report:#}");
    assert_eq!((&count["dropped"], &count["errors"]), (&0.into(), &0.into()), "{report:#}");
    assert!(count["displayed"].as_u64().unwrap() > 0, "{report:#}");
    let steady = &report["steady"];
    assert_eq!(steady["imports_per_frame"], 0.0, "{report:#}");
    let allocations = steady["heap_allocs_per_frame"].as_f64().unwrap() * FRAMES as f64;
    assert!(allocations < 10.0, "{report:#}");

    // The first quarter is for starting, the last sample may be of its end.
    samples.pop();
    let running = &samples[samples.len() / 4..];
    println!("{isp}: {FRAMES} frames at {:.0} fps", report["fps"].as_f64().unwrap());
    let folder = std::env::var_os("VCAM_LAB_OUT").expect("the lab sets VCAM_LAB_OUT");
    draw(&samples, isp, &Path::new(&folder).join(format!("soak-{isp}.svg"))).unwrap();
    let quarters: Vec<_> = running.chunks(running.len().div_ceil(4).max(1)).collect();
    assert!(quarters.len() == 4 && quarters[3].len() >= 4, "too few samples: {samples:?}");
    // Some come and go with every frame; what leaks stays.
    let least = |part: &&[BufferUsage]| part.iter().map(|held| held.descriptors).min().unwrap();
    let descriptors: Vec<_> = quarters.iter().map(least).collect();
    assert!(descriptors[3] <= descriptors[0], "descriptors: {descriptors:?}");
    // A driver may take another megabyte once, as llvmpipe does; what leaks grows all the time.
    let mean = |part: &&[BufferUsage]| {
        part.iter().map(|held| held.anonymous).sum::<u64>() / part.len() as u64
    };
    let memory: Vec<_> = quarters.iter().map(mean).collect();
    let grows = memory.windows(2).all(|two| two[1] > two[0] + 16);
    assert!(!grows && memory[3] < memory[0] + 4096, "KiB: {memory:?}");
}

/// Memory above, descriptors below.
fn draw(samples: &[BufferUsage], isp: &str, path: &Path) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new(path, (800, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let end = samples.last().map_or(1.0, |held| held.at);
    let memory = |held: &BufferUsage| held.anonymous as f64 / 1024.0;
    let descriptors = |held: &BufferUsage| held.descriptors as f64;
    let title = format!("{FRAMES} frames, the ISP on the {}, uml machine", isp.to_uppercase());
    let (above, below) = area.split_vertically(280);
    let panel =
        |area: &DrawingArea<_, _>, title: &str, what, value: &dyn Fn(&BufferUsage) -> f64| {
            let most = samples.iter().map(value).fold(1.0, f64::max);
            let mut chart = ChartBuilder::on(area)
                .caption(title, ("sans-serif", 20))
                .margin(12)
                .x_label_area_size(36)
                .y_label_area_size(56)
                .build_cartesian_2d(0.0..end, 0.0..most * 1.2)?;
            chart
                .configure_mesh()
                .max_light_lines(1)
                .x_desc("time (s)")
                .y_desc(what)
                .x_label_formatter(&|at| format!("{at:.0}"))
                .y_label_formatter(&|value| format!("{value:.0}"))
                .draw()?;
            let line = samples.iter().map(|held| (held.at, value(held)));
            chart.draw_series(LineSeries::new(line, BLUE.stroke_width(2)))?;
            Ok::<_, Box<dyn Error>>(())
        };
    panel(&above, &title, "memory (MiB)", &memory)?;
    panel(&below, "", "descriptors", &descriptors)?;
    Ok(area.present()?)
}

#[test]
fn a_hundred_thousand_frames_leave_no_trace() {
    soak("cpu");
}

#[test]
fn nor_do_those_of_the_gpu() {
    soak("gpu");
}
