//! `cargo xtask bench`: costs, as Markdown, JSON and a plot.
//!
//! Each number has a yardstick that was measured in the same run, alternating with it: machines
//! differ and are noisy, and only the ratio can be compared. Benchmarks that need kernel devices
//! run in the uml machine, the others here.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use plotters::prelude::*;
use serde::{Deserialize, Serialize};

use crate::build::executables;
use crate::host;
use crate::lab::{self, Job, Kind, Lab, Output};
use crate::process::{self, End};
use crate::progress::note;
use crate::workspace::{Workspace, make_folder};

const LIMIT: Duration = Duration::from_secs(600);

/// Set for a benchmark that is to be quick: fewer and shorter measurements.
const QUICK: &str = "VCAM_BENCH_QUICK";

/// A program that prints rows: one JSON object a line.
struct Bench {
    /// Its name, and that of its crate without `vcam-`.
    name: &'static str,
    package: &'static str,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Here,
    Uml,
}

const BENCHES: [Bench; 3] = [
    Bench { name: "allocator", package: "vcam-allocator", place: Place::Uml },
    Bench { name: "sensor", package: "vcam-pipeline", place: Place::Here },
    Bench { name: "isp", package: "vcam-isp-gpu", place: Place::Uml },
];

/// A line of a benchmark.
#[derive(Debug, Clone, Deserialize, Serialize)]
struct Row {
    name: String,
    #[serde(default)]
    unit: Unit,
    median: f64,
    /// From the least to the most.
    spread: f64,
    /// The yardstick that was measured alternating with it.
    beside: String,
    /// Its time over that of the other, or its squared error.
    ratio: f64,
}

/// The quantity that a row measures.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize)]
enum Unit {
    #[default]
    #[serde(rename = "ns")]
    Nanoseconds,
    #[serde(rename = "dB")]
    Decibels,
}

/// Runs the benchmarks; the exit status.
///
/// The filter is the name of one of them, or a part of the names of rows.
pub(crate) fn bench(workspace: &Workspace, filter: Option<&str>, quick: bool) -> Result<i32> {
    let (chosen, rows_with) = chosen(filter);
    let in_uml = chosen.iter().any(|bench| bench.place == Place::Uml);
    let machine = if in_uml { lab::purposes(&[Kind::Uml]) } else { &[] };
    host::provide(workspace, machine)?;
    let lab = if in_uml { Some(Lab::set_up(workspace, &[Kind::Uml])?) } else { None };
    let folder = make_folder(&workspace.target.join("bench"))?;
    let mut rows = Vec::new();
    let mut report = String::new();
    for Bench { name, package, place } in chosen {
        note(&format!("builds the benchmark '{name}'"));
        let arguments = ["bench", "--no-run", "--package", package, "--bench", name];
        let programs = executables(workspace, &arguments)?;
        let program = programs.get(*name).context("cargo built no benchmark")?;
        let text = match (&lab, place) {
            (Some(lab), Place::Uml) => {
                note(&format!("benchmarks '{name}' in the uml machine"));
                in_lab(lab, workspace, program, quick)?
            }
            _ => {
                note(&format!("benchmarks '{name}' here"));
                here(program, quick)?
            }
        };
        let all: Vec<Row> = text
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .with_context(|| format!("'{name}' printed something else than rows"))?;
        let wanted = |row: &&Row| rows_with.is_none_or(|words| row.name.contains(words));
        let place = match place {
            Place::Here => "here",
            Place::Uml => "in the uml machine",
        };
        let table = markdown(all.iter().filter(wanted));
        // Writing to a string does not fail.
        let _ = writeln!(report, "## {name}, {place}\n\n{table}");
        rows.extend(all.iter().filter(wanted).cloned());
    }
    let plot = folder.join("allocation.svg");
    draw(&rows, &plot).map_err(|error| anyhow!("cannot draw {}: {error}", plot.display()))?;
    let json = serde_json::to_string_pretty(&rows).context("rows are no JSON")?;
    for (name, content) in [("bench.md", &report), ("bench.json", &json)] {
        let path = folder.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!("{report}");
    println!("{}", folder.display());
    Ok(0)
}

/// The benchmark that a filter names; if it names none, all of them, and the filter for rows.
fn chosen(filter: Option<&str>) -> (Vec<&'static Bench>, Option<&str>) {
    let named: Vec<_> = BENCHES.iter().filter(|bench| Some(bench.name) == filter).collect();
    match named.is_empty() {
        true => (BENCHES.iter().collect(), filter),
        false => (named, None),
    }
}

fn in_lab(lab: &Lab, workspace: &Workspace, program: &Path, quick: bool) -> Result<String> {
    let job = Job {
        command: vec![program.display().to_string()],
        folder: workspace.root.clone(),
        out: workspace.target.join("lab/out"),
        kernel: String::new(),
        environment: if quick { vec![(QUICK.to_owned(), "1".to_owned())] } else { Vec::new() },
        limit: LIMIT,
        output: Output::StdoutKept,
        programs: Vec::new(),
    };
    let outcome = lab.run(Kind::Uml, &job)?;
    if outcome.status != 0 {
        bail!("the benchmark failed; the console's log is {}", outcome.console.display());
    }
    Ok(String::from_utf8_lossy(&outcome.stdout).into_owned())
}

fn here(program: &Path, quick: bool) -> Result<String> {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    if quick {
        command.env(QUICK, "1");
    }
    process::own_group(&mut command);
    let mut child = command.spawn().context("cannot run the benchmark")?;
    let output = child.stdout.take().context("the benchmark has no stdout")?;
    let reader = std::thread::spawn(move || std::io::read_to_string(output));
    let end = process::supervise(&mut child, Some(LIMIT), || ())?;
    let text = reader.join().unwrap_or_else(|_| Ok(String::new()));
    match end {
        End::Exited(status) if status.success() => text.context("cannot read the benchmark's rows"),
        End::Exited(status) => bail!("the benchmark failed: {status}"),
        End::TimedOut => bail!("the benchmark took more than {} s", LIMIT.as_secs()),
        End::Interrupted | End::OutputClosed => bail!("interrupted"),
    }
}

fn markdown<'a>(rows: impl Iterator<Item = &'a Row>) -> String {
    let mut table = "| | median | spread | ratio | to |\n|---|---|---|---|---|\n".to_owned();
    for Row { name, unit, median, spread, beside, ratio } in rows {
        let quantity = |value: f64| match unit {
            Unit::Nanoseconds => time(value),
            Unit::Decibels => format!("{value:.2} dB"),
        };
        let (median, spread) = (quantity(*median), quantity(*spread));
        // Writing to a string does not fail.
        let _ = writeln!(table, "| {name} | {median} | {spread} | {ratio:.2} | {beside} |");
    }
    table
}

/// Nanoseconds in the unit that people would choose.
fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        n if n < 1e3 => format!("{n:.0} ns"),
        n if n < 1e6 => format!("{:.1} µs", n / 1e3),
        n => format!("{:.2} ms", n / 1e6),
    }
}

/// `udmabuf: allocate 64 KiB` as heap, KiB and microseconds.
fn allocation(row: &Row) -> Option<(&str, f64, f64)> {
    let (heap, rest) = row.name.split_once(": allocate ")?;
    let size = rest.strip_suffix(" KiB")?.parse().ok()?;
    Some((heap, size, row.median / 1e3))
}

/// Draws the cost of an allocation against its size, a line for each heap.
fn draw(rows: &[Row], path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let points: Vec<_> = rows.iter().filter_map(allocation).collect();
    let mut heaps: Vec<_> = points.iter().map(|(heap, ..)| *heap).collect();
    heaps.dedup();
    let range = |of: fn(&(&str, f64, f64)) -> f64| {
        let values = points.iter().map(of);
        let low = values.clone().fold(f64::INFINITY, f64::min);
        (low * 0.8)..(values.fold(0.0, f64::max) * 1.2)
    };
    let area = SVGBackend::new(path, (800, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    if points.is_empty() {
        return Ok(area.present()?);
    }
    let mut chart = ChartBuilder::on(&area)
        .caption("Allocating a buffer, uml machine", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(range(|p| p.1).log_scale(), range(|p| p.2).log_scale())?;
    chart.configure_mesh().x_desc("size (KiB)").y_desc("time (µs)").draw()?;
    for (index, heap) in heaps.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        let line = points.iter().filter(|(of, ..)| of == heap).map(|(_, x, y)| (*x, *y));
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
            .label(*heap)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .border_style(BLACK)
        .background_style(WHITE)
        .draw()?;
    Ok(area.present()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_a_table_and_points() {
        let row = Row {
            name: "udmabuf: allocate 64 KiB".into(),
            unit: Unit::default(),
            median: 1500.0,
            spread: 20.0,
            beside: "a memfd".into(),
            ratio: 1.25,
        };
        assert_eq!(allocation(&row), Some(("udmabuf", 64.0, 1.5)));
        let table = markdown([&row].into_iter());
        assert!(
            table.ends_with("| udmabuf: allocate 64 KiB | 1.5 µs | 20 ns | 1.25 | a memfd |\n")
        );
    }
}
