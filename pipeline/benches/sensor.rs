//! The cost of a frame of the sensor, against that of only writing as many bytes.
//!
//! Prints one JSON object a row: `{"name", "unit", "median", "spread", "beside", "ratio"}`. A ratio
//! is to a yardstick measured in the same run, alternating, because machines differ and are noisy:
//! above 1, the sensor takes as many times longer than the memory. The last number of a row,
//! `"mpix_per_s_per_core"`, is of the processor's time and not of the clock's, so that it holds on
//! a machine that does other things too.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rayon::prelude::*;
use vcam_pipeline::sensor::settings::Pixels;
use vcam_pipeline::sensor::{Sensor, Settings};

/// Each number is the median of this many measurements.
const ROUNDS: usize = 9;

/// How long one measurement takes, about.
const ROUND: Duration = Duration::from_millis(100);

/// A frame of 4K: larger than caches that belong to one core.
const SIZE: (u32, u32) = (3840, 2160);

/// Nanoseconds of one call: the clock's, and those of all processors.
fn nanoseconds(subject: &mut dyn FnMut()) -> [f64; 2] {
    let (start, mut calls) = (Instant::now(), 0u32);
    let busy = processor_time();
    while start.elapsed() < ROUND {
        subject();
        calls += 1;
    }
    [start.elapsed(), processor_time() - busy].map(|time| time.as_nanos() as f64 / f64::from(calls))
}

/// The CPU time of this process so far.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Median and spread.
fn summary(mut samples: Vec<f64>) -> (f64, f64) {
    samples.sort_by(f64::total_cmp);
    (samples[samples.len() / 2], samples[samples.len() - 1] - samples[0])
}

/// Measures a sensor, alternating with filling the same buffer by as many threads.
fn measure(name: &str, settings: &Settings) {
    let mut sensor = Sensor::open(settings).expect("a sensor of this benchmark");
    let workers = sensor.workers();
    let cores = workers.threads();
    // Bytes of a row: all formats here have one plane.
    let row = match settings.format {
        vcam_pipeline::sensor::format::Format::Raw(raw) => raw.row_bytes(SIZE.0) as usize,
        vcam_pipeline::sensor::format::Format::Picture(picture) => {
            picture.row_bytes(SIZE.0 as usize)
        }
    };
    let mut frame = vec![0u8; row * SIZE.1 as usize];
    let mut sequence = 0;
    let (mut ours, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..=ROUNDS {
        ours.push(nanoseconds(&mut || {
            sensor.expose(sequence, Duration::ZERO);
            sensor.fill(sequence, black_box(&mut frame), row);
            sequence += 1;
        }));
        memory.push(nanoseconds(&mut || {
            let part = frame.len().div_ceil(4 * cores);
            workers.run(|| {
                black_box(&mut frame).par_chunks_mut(part).for_each(|part| part.fill(0x55));
            });
        }));
    }
    // The first round warms up: a still scene is looked at.
    ours.remove(0);
    memory.remove(0);
    let [(median, spread), (busy, _)] =
        [0, 1].map(|at| summary(ours.iter().map(|times| times[at]).collect()));
    let (yardstick, _) = summary(memory.iter().map(|times| times[0]).collect());
    let pixels = f64::from(SIZE.0) * f64::from(SIZE.1);
    let row = serde_json::json!({
        "name": format!("sensor: {name}"),
        "unit": "ns",
        "median": median,
        "spread": spread,
        "beside": format!("filling its {} MB, {cores} threads", frame.len() / 1_000_000),
        "ratio": median / yardstick,
        "mpix_per_s_per_core": pixels * 1e3 / busy,
    });
    println!("{row}");
}

fn main() {
    // `cargo test --benches` asks for a list of tests; there are none here.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let settings = |source: &str, format: &str, noise| Settings {
        size: SIZE.into(),
        source: source.parse().expect("a source"),
        format: format.parse().expect("a format"),
        pixels: Pixels { noise, ..Pixels::default() },
        ..Settings::default()
    };
    for (name, source, format, noise) in [
        ("test picture, SRGGB8", "test", "SRGGB8", false),
        ("test bars, SRGGB8", "test:bars", "SRGGB8", false),
        ("test bars, SRGGB16", "test:bars", "SRGGB16", false),
        ("test bars, SRGGB10P", "test:bars", "SRGGB10P", false),
        ("still ColorChecker, SRGGB10, no noise", "colorchecker", "SRGGB10", false),
        ("still ColorChecker, SRGGB8, full model", "colorchecker", "SRGGB8", true),
        ("still ColorChecker, SRGGB10, full model", "colorchecker", "SRGGB10", true),
        ("still ColorChecker, SRGGB10P, full model", "colorchecker", "SRGGB10P", true),
        ("still ColorChecker, SRGGB12P, full model", "colorchecker", "SRGGB12P", true),
        ("moving ball, SRGGB10, full model", "ball", "SRGGB10", true),
        ("still ColorChecker, XR24", "colorchecker", "XR24", false),
        ("moving ball, XR24", "ball", "XR24", false),
    ] {
        measure(name, &settings(source, format, noise));
    }
}
