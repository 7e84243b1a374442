//! Draws how exposure and white balance settle:
//! `cargo run -p vcam-pipeline --example settling -- docs/settling.svg`.
//!
//! A ColorChecker is seen by the full model of the sensor. After a while it gets three stops more
//! light; later its lamp changes from 2800 K to 6500 K.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use plotters::coord::Shift;
use plotters::prelude::*;
use vcam_isp_gpu::{Statistics, Zone};
use vcam_pipeline::ipa::{Calibration, Ipa};
use vcam_pipeline::sensor::delay::{Controls, DelayedControls};
use vcam_pipeline::sensor::format::Format;
use vcam_pipeline::sensor::{Light, Sensor, Settings};

const FRAMES: u64 = 90;
/// When the scene gets brighter.
const BRIGHTER: u64 = 20;
/// When the lamp changes.
const COOLER: u64 = 55;

const BEFORE: Light = Light { kelvin: 2800.0, lux: 60.0, mains: None };

/// The record of a frame.
struct Point {
    exposure_us: f32,
    gain: f32,
    /// Percent of the frame.
    saturated: f32,
    kelvin: f32,
}

/// The part of a frame that is saturated, in percent.
fn saturated(statistics: &Statistics) -> f32 {
    let sum = |of: fn(&Zone) -> u32| statistics.zones.iter().map(of).sum::<u32>() as f32;
    let saturated = sum(|zone| zone.saturated);
    100.0 * saturated / (saturated + sum(|zone| zone.quads))
}

fn simulate() -> Result<Vec<Point>, Box<dyn Error>> {
    let settings = Settings {
        size: (384, 256).into(),
        format: "SRGGB10".parse()?,
        source: "colorchecker".parse()?,
        light: Some(BEFORE),
        ..Settings::default()
    };
    let mut sensor = Sensor::open(&settings)?;
    let Format::Raw(format) = settings.format else { return Err("SRGGB10 is raw".into()) };
    let stride = format.row_bytes(settings.size.width) as usize;
    let mut raw = vec![0; stride * settings.size.height as usize];
    let start = Controls::default();
    let mut ipa = Ipa::new(sensor.timing().into(), start, Some(Calibration::of_sensor()?));
    let mut delayed = DelayedControls::new(start);
    let mut points = Vec::new();
    for frame in 0..FRAMES {
        if frame == BRIGHTER {
            sensor.set_light(Light { lux: BEFORE.lux * 8.0, ..BEFORE })?;
        } else if frame == COOLER {
            sensor.set_light(Light { lux: BEFORE.lux * 8.0, kelvin: 6500.0, ..BEFORE })?;
        }
        let metadata = sensor.expose(frame, Duration::from_micros(33_333) * frame as u32);
        sensor.fill(frame, &mut raw, stride);
        let black = sensor.black_level();
        let statistics = Statistics::of_raw(format, &raw, stride, settings.size.into(), black);
        let decision = ipa.process(metadata.controls, &statistics);
        sensor.set_controls(delayed.push(decision.controls));
        points.push(Point {
            exposure_us: metadata.controls.exposure_us,
            gain: metadata.controls.gain,
            saturated: saturated(&statistics),
            kelvin: decision.colour.kelvin.ok_or("the sensor has colours")?,
        });
    }
    Ok(points)
}

/// Draws a line for each series, and marks the changes.
fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    label: &str,
    range: std::ops::Range<f32>,
    series: &[(&str, Vec<f32>)],
) -> Result<(), Box<dyn Error>> {
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .x_label_area_size(32)
        .y_label_area_size(64)
        .build_cartesian_2d(0f32..FRAMES as f32, range.clone())?;
    chart.configure_mesh().max_light_lines(0).x_desc("frame").y_desc(label).draw()?;
    for change in [BRIGHTER, COOLER] {
        let line = [(change as f32, range.start), (change as f32, range.end)];
        chart.draw_series(LineSeries::new(line, BLACK.mix(0.4)))?;
    }
    for (index, (name, values)) in series.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        let line = values.iter().enumerate().map(|(frame, value)| (frame as f32, *value));
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .border_style(BLACK)
        .background_style(WHITE)
        .draw()?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("where to? name an SVG file")?;
    let points = simulate()?;
    let area = SVGBackend::new(Path::new(&path), (800, 720)).into_drawing_area();
    area.fill(&WHITE)?;
    let titled = area.titled(
        "Three stops more light at frame 20, 2800 K to 6500 K at frame 55",
        ("sans-serif", 18),
    )?;
    let panels = titled.split_evenly((3, 1));
    let values = |of: &dyn Fn(&Point) -> f32| points.iter().map(of).collect::<Vec<_>>();
    panel(
        &panels[0],
        "exposure, gain",
        0.0..50.0,
        &[
            ("exposure (ms)", values(&|point| point.exposure_us / 1000.0)),
            ("gain", values(&|point| point.gain)),
        ],
    )?;
    panel(
        &panels[1],
        "saturated (%)",
        0.0..100.0,
        &[("of all quads", values(&|point| point.saturated))],
    )?;
    panel(
        &panels[2],
        "temperature (K)",
        2000.0..8000.0,
        &[
            ("estimated", values(&|point| point.kelvin)),
            ("of the lamp", {
                let lamp = |frame| if frame < COOLER { BEFORE.kelvin } else { 6500.0 };
                (0..FRAMES).map(lamp).collect()
            }),
        ],
    )?;
    area.present()?;
    Ok(())
}
