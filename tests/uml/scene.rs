//! A raw sensor before a scene, by way of the GPU to the display, and back by writeback.
//!
//! `cargo xtask test --only uml scene`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use vcam_pipeline::colour::Lab;
use vcam_pipeline::sensor::scene::colorchecker::{COLUMNS, PATCHES, ROWS, field};
use vcam_testing::command::{Ran, command, link};
use vcam_testing::lab_output;

/// Linear light of levels that stand for sRGB.
fn published(rgb: [u8; 3]) -> [f64; 3] {
    rgb.map(|level| match f64::from(level) / 255.0 {
        low if low <= 0.04045 => low / 12.92,
        level => ((level + 0.055) / 1.055).powf(2.4),
    })
}

/// Shows a ColorChecker until everything has settled; the mean light of each patch on the screen.
fn shown(arguments: &str, size: (u32, u32)) -> Vec<[f64; 3]> {
    let picture = lab_output("colorchecker.png");
    let ran = command(&format!(
        "--heap udmabuf --display --scene colorchecker --frames 45 --size {}x{} --json --strict \
         {arguments}",
        size.0, size.1
    ))
    .arg("--display-capture")
    .arg(&picture)
    .output()
    .map(Ran::from)
    .unwrap();
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.report();
    assert_eq!(report["frames"]["displayed"], 45, "{report:#}");
    for index in [0, 1] {
        assert_eq!(link(&report, index)["method"], "import", "{report:#}");
        assert_eq!(link(&report, index)["bytes_copied"], 0, "{report:#}");
    }
    let shown = image::open(&picture).unwrap().into_rgb8();
    assert_eq!(shown.dimensions(), size);
    let mut patches = Vec::new();
    for patch in 0..COLUMNS * ROWS {
        let inner = |range: std::ops::Range<usize>| {
            // Demosaicing mixes what is at the edges.
            let margin = range.len() / 8;
            range.start + margin..range.end - margin
        };
        let columns = inner(field(patch % COLUMNS, COLUMNS, size.0 as usize));
        let rows = inner(field(patch / COLUMNS, ROWS, size.1 as usize));
        let mut sum = [0.0; 3];
        for (x, y) in rows.clone().flat_map(|y| columns.clone().map(move |x| (x, y))) {
            let pixel = shown.get_pixel(x as u32, y as u32).0;
            // The tone curve is a power of 1 / 2.2.
            (0..3).for_each(|c| sum[c] += (f64::from(pixel[c]) / 255.0).powf(2.2));
        }
        let count = (rows.len() * columns.len()) as f64;
        patches.push(sum.map(|light| light / count));
    }
    patches
}

/// The differences of the patches from the published values, at the same mean brightness.
fn differences(seen: &[[f64; 3]]) -> Vec<f64> {
    let expected = PATCHES.map(published);
    // The best factor by least squares: exposure is free.
    let dot = |one: &dyn Fn(usize) -> [f64; 3], other: &dyn Fn(usize) -> [f64; 3]| -> f64 {
        (0..PATCHES.len()).map(|at| (0..3).map(|c| one(at)[c] * other(at)[c]).sum::<f64>()).sum()
    };
    let factor = dot(&|at| seen[at], &|at| expected[at]) / dot(&|at| seen[at], &|at| seen[at]);
    seen.iter()
        .zip(expected)
        .map(|(seen, expected)| {
            let seen = Lab::of_linear_srgb(seen.map(|light| light * factor));
            seen.difference(Lab::of_linear_srgb(expected))
        })
        .collect()
}

fn assert_right(arguments: &str) {
    let differences = differences(&shown(arguments, (640, 480)));
    let mean = differences.iter().sum::<f64>() / differences.len() as f64;
    println!("{arguments}: mean ΔE2000 {mean:.2}, each {differences:.2?}");
    assert!(mean < 3.0, "{arguments}: mean {mean:.2}, each {differences:.2?}");
}

#[test]
fn a_packed_raw_sensor_shows_the_right_colours_without_a_copy() {
    assert_right("--sensor-format SRGGB10P --isp gpu");
}

#[test]
fn every_depth_and_order_shows_the_right_colours() {
    for format in ["SGRBG8", "SBGGR10", "SGBRG12P", "SRGGB16"] {
        assert_right(&format!("--sensor-format {format} --isp gpu"));
    }
}

#[test]
fn yuv_pictures_show_the_right_colours() {
    assert_right("--sensor-format SRGGB10 --format NV12 --isp gpu");
}

#[test]
fn a_sensor_without_colour_filters_shows_greys() {
    let seen = shown("--sensor-format Y10 --isp gpu", (640, 480));
    for patch in seen {
        assert!(
            (patch[0] - patch[1]).abs() < 0.01 && (patch[1] - patch[2]).abs() < 0.01,
            "{patch:?}"
        );
    }
}
