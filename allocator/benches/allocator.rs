//! Benchmarks of the allocator: `cargo xtask bench`.
//!
//! Prints one JSON object for each row, with the keys of `print`. A ratio is to a yardstick that is
//! measured in the same run, alternating with the subject, because machines differ and are noisy.

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vcam_allocator::constraints::{Constraints, Rule, Statement};
use vcam_allocator::heaps::{self, memfd::Memfd};
use vcam_allocator::plan::{HeapOffer, Planner, Stream};
use vcam_allocator::{Alignment, Capabilities, CpuAccess, Fourcc, Heap, Layout, Modifier, Pool};

/// Each number is the median of this many measurements.
const ROUNDS: usize = 5;

/// The approximate length of one measurement.
fn round() -> Duration {
    Duration::from_millis(if std::env::var_os("VCAM_BENCH_QUICK").is_some() { 4 } else { 40 })
}

/// A measured row.
struct Row {
    median: f64,
    spread: f64,
}

/// Nanoseconds of one call of each, measured alternating.
fn measure(mut subject: impl FnMut(), mut yardstick: impl FnMut()) -> (Row, Row) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(nanoseconds(&mut subject));
        theirs.push(nanoseconds(&mut yardstick));
    }
    (row(ours), row(theirs))
}

fn nanoseconds(subject: &mut impl FnMut()) -> f64 {
    let (start, mut calls) = (Instant::now(), 0u32);
    let mut batch = 1;
    let round = round();
    while start.elapsed() < round {
        (0..batch).for_each(|_| subject());
        calls += batch;
        batch = (batch * 2).min(1024);
    }
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}

fn row(mut samples: Vec<f64>) -> Row {
    samples.sort_by(f64::total_cmp);
    Row { median: samples[samples.len() / 2], spread: samples[samples.len() - 1] - samples[0] }
}

fn print(name: &str, (ours, theirs): &(Row, Row), beside: &str) {
    let row = serde_json::json!({
        "name": name,
        "unit": "ns",
        "median": ours.median,
        "spread": ours.spread,
        "beside": beside,
        "ratio": ours.median / theirs.median,
    });
    println!("{row}");
}

fn layout(bytes: u64) -> Layout {
    // A row of 4096 bytes, and as many rows as the size takes.
    let exact = Alignment { stride: 1, offset: 1, rows: 1, size: 1 };
    let rows = u32::try_from(bytes / 4096).expect("a size of this benchmark");
    Layout::linear(Fourcc::R8, 4096, rows, exact).expect("a size of this benchmark")
}

fn pool() {
    let pool = Pool::new(&Memfd::new(), &layout(4096), "bench", 4).expect("memfd allocates");
    let shared = Arc::new(0);
    let both =
        measure(|| drop(black_box(pool.take(Duration::ZERO))), || drop(black_box(shared.clone())));
    print("pool: take and return", &both, "an Arc cloned and dropped");
}

fn planner() {
    let formats: Vec<_> =
        (0..39).map(|n| Fourcc(0x2000_0000 + n)).chain([Fourcc::XRGB8888]).collect();
    let all: Vec<_> = formats.iter().map(|f| (*f, BTreeSet::from([Modifier::LINEAR]))).collect();
    let device = |n: u32| -> Constraints {
        let owner = format!("device{n}");
        [Rule::Formats(all.iter().cloned().collect()), Rule::StrideMultiple(1 << n)]
            .into_iter()
            .map(|rule| Statement::new(&owner, "bench", rule))
            .collect()
    };
    let parties: Vec<_> = (0..8).map(device).collect();
    let names = ["a", "b", "c", "d", "e", "f"];
    let heaps = names.map(|name| HeapOffer::new(name, Capabilities::all())).to_vec();
    let planner = Planner::new(heaps);
    let stream =
        Stream { name: "bench", width: 1920, height: 1080, formats: &formats, parties: &parties };
    let both =
        measure(|| drop(black_box(planner.plan(&stream))), || drop(black_box(parties.clone())));
    print("plan: 8 devices, 6 heaps, 40 formats", &both, "a copy of the statements");
}

fn heap(heap: &dyn Heap) {
    let name = heap.name();
    let buffer = match heap.allocate(&layout(8 << 20), "bench") {
        Ok(buffer) => buffer,
        Err(error) => return eprintln!("{name}: {error}"),
    };
    let memory = Memfd::new().allocate(&layout(8 << 20), "bench").expect("memfd allocates");
    let access = |buffer: &vcam_allocator::Dmabuf| {
        drop(black_box(buffer.cpu_access(CpuAccess::Write)));
    };
    let both = measure(|| access(&buffer), || access(&memory));
    print(&format!("{name}: CPU access, start and end"), &both, "the same on a memfd");
    for exponent in 12..=26 {
        let layout = layout(1 << exponent);
        let both = measure(
            || drop(black_box(heap.allocate(&layout, "bench"))),
            || drop(black_box(Memfd::new().allocate(&layout, "bench"))),
        );
        print(
            &format!("{name}: allocate {} KiB", 1 << (exponent - 10)),
            &both,
            "a memfd of that size",
        );
    }
}

fn main() {
    // `cargo test --benches` asks for a list of tests; there are none here.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    pool();
    planner();
    let ordinary =
        |name: &String| name == heaps::udmabuf::NAME || name.starts_with(heaps::dma_heap::PREFIX);
    for name in heaps::names().into_iter().filter(ordinary) {
        match heaps::open(&name) {
            Ok(opened) => heap(&*opened),
            Err(error) => eprintln!("{error}"),
        }
    }
}
