//! `cargo xtask bench`: what the allocator costs, in the uml machine, as Markdown, JSON and a plot.
//!
//! A number stands beside a yardstick that was measured in the same run, turn about: machines
//! differ and are noisy, and their ratio is what can be compared.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use plotters::prelude::*;
use serde::Deserialize;

use crate::build::executables;
use crate::host::{self, Purpose};
use crate::lab::{self, Job, Kind, Lab};
use crate::progress::note;
use crate::workspace::{Workspace, make_folder};

const LIMIT: Duration = Duration::from_secs(600);

/// A line of the benchmark.
#[derive(Debug, Deserialize)]
struct Row {
    name: String,
    median: f64,
    spread: f64,
    beside: String,
    ratio: f64,
}

/// Runs the benchmarks whose names hold the filter; the exit status.
pub(crate) fn bench(workspace: &Workspace, filter: Option<&str>) -> Result<i32> {
    let machine = lab::purposes(&[Kind::Uml]);
    host::provide(workspace, &[&[Purpose::Build], machine].concat())?;
    let lab = Lab::set_up(workspace, &[Kind::Uml])?;
    note("builds the benchmarks");
    let programs = executables(
        workspace,
        &["bench", "--no-run", "--package", "vcam-allocator", "--bench", "allocator"],
    )?;
    let program = programs.get("allocator").context("cargo built no benchmark")?;
    note("benchmarks in the uml machine");
    let job = Job {
        command: vec![program.display().to_string()],
        folder: workspace.root.clone(),
        out: workspace.target.join("lab/out"),
        environment: Vec::new(),
        kernel: String::new(),
        limit: LIMIT,
        show_stdout: false,
    };
    let outcome = lab.run(Kind::Uml, &job)?;
    if outcome.status != 0 {
        bail!("the benchmark failed; the console's log is {}", outcome.console.display());
    }
    let text = String::from_utf8_lossy(&outcome.stdout);
    let rows: Vec<Row> = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .context("the benchmark printed something else than rows")?;
    let chosen = rows.iter().filter(|row| filter.is_none_or(|words| row.name.contains(words)));
    let table = markdown(chosen);

    let folder = make_folder(&workspace.target.join("bench"))?;
    let plot = folder.join("allocation.svg");
    draw(&rows, &plot).map_err(|error| anyhow!("cannot draw {}: {error}", plot.display()))?;
    for (name, content) in [("bench.md", &*table), ("bench.json", &*text)] {
        let path = folder.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!("{table}");
    println!("{}", folder.display());
    Ok(0)
}

fn markdown<'a>(rows: impl Iterator<Item = &'a Row>) -> String {
    let mut table = "| | median | spread | ratio | to |\n|---|---|---|---|---|\n".to_owned();
    for Row { name, median, spread, beside, ratio } in rows {
        let (median, spread) = (time(*median), time(*spread));
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

/// Draws what an allocation costs against its size, a line for each heap.
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
    chart.configure_series_labels().border_style(BLACK).background_style(WHITE).draw()?;
    Ok(area.present()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_a_table_and_points() {
        let row = Row {
            name: "udmabuf: allocate 64 KiB".into(),
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
