//! A run: from arguments to sinks, heap and camera, and to its report.

use std::fmt::Display;
use std::io::{IsTerminal, Write, stdout};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use vcam_allocator::{Alignment, Fourcc, Heap, Layout, OpenError, heaps, sync_counts};
use vcam_isp_gpu::Cfa;
use vcam_pipeline::{Camera, Config, IspChoice, StartError, StopHandle, sensor};
use vcam_sinks::{FileSink, KmsOptions, KmsSink, NullSink, Sink, TerminalSink};

use crate::cli::{Isp, Output, RunArgs, Size};
use crate::count::heap_allocs;
use crate::exit::{self, Error};
use crate::report::{self, Rejected, Report};

/// The picture's size where neither the user nor a display says otherwise.
const SIZE: Size = Size(640, 480);

/// How many frames a run has that nobody watches on a display.
const FRAMES: u64 = 90;

/// Runs the camera and prints its report, also where the run fails.
pub(crate) fn run(args: &RunArgs) -> Result<(), Error> {
    let mut report = Report::new();
    let result = run_into(args, &mut report);
    if let Err(error) = &result {
        report.error = Some(exit::chain(error));
    }
    if args.json {
        print_json(&report)?;
    } else if report.frames.completed > 0 {
        print(&report)?;
    }
    result
}

fn run_into(args: &RunArgs, report: &mut Report) -> Result<(), Error> {
    let size = picture_size(args)?;
    report.size = [size.0, size.1];
    let format = Fourcc::XRGB8888;
    let heap = choose_heap(&args.heap, format, size, &mut report.plan)?;
    let captured = Captured::default();
    let sinks = open_sinks(args, format, size, &captured, &mut report.outputs)?;

    let config = Config {
        size: (size.0, size.1),
        cfa: Cfa::Rggb,
        format,
        period: args.fps.0,
        frames: args.frames.or((args.display.is_none()).then_some(FRAMES)),
        isp: match (args.isp, &args.gpu) {
            (Isp::Cpu, Some(_)) => {
                return Err(Error::Usage("--isp cpu uses no GPU, so --gpu has no meaning".into()));
            }
            (Isp::Cpu, None) => IspChoice::Cpu,
            (Isp::Auto, None) => IspChoice::Auto,
            (Isp::Gpu | Isp::Auto, node) => IspChoice::Gpu(node.clone()),
        },
        strict: args.strict,
        heap_allocs: Some(heap_allocs),
    };
    let camera = Camera::start(config, &*heap, sinks)?;
    report.heaps.raw = Some(heap.name().to_owned());
    report.heaps.output = Some(heap.name().to_owned());
    report.isp.name = camera.isp_description().to_owned();
    report.isp.reason = camera.isp_reason().map(str::to_owned);
    let signals = stop_on_signals(camera.stop_handle())?;
    let (outcome, result) = camera.wait();
    signals.close();

    report.frames = outcome.frames;
    report.links = outcome.links;
    report.steady = outcome.steady;
    report.latency_us = outcome.latency;
    report.fps = outcome.fps;
    let (begin, end) = sync_counts();
    report.sync = report::Sync { begin, end };
    result?;
    if let (Some(path), Some(captured)) = (&args.display_capture, captured.take()) {
        captured.write_png(path)?;
    }
    Ok(())
}

/// What the display showed last, on its way out of the sink's thread.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Option<vcam_sinks::Captured>>>);

impl Captured {
    fn put(&self, captured: vcam_sinks::Captured) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(captured);
    }

    fn take(&self) -> Option<vcam_sinks::Captured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The size that the user asks for, or that the display likes best.
fn picture_size(args: &RunArgs) -> Result<Size, Error> {
    let size = match (args.size, &args.display) {
        (Some(size), _) => size,
        (None, None) => SIZE,
        (None, Some(connector)) => {
            let (width, height) =
                vcam_sinks::preferred_size(args.card.as_deref(), some(connector))?;
            Size(width, height)
        }
    };
    sensor::check_size(size.0, size.1).map_err(StartError::Size)?;
    Ok(size)
}

/// `--display` without a value is the empty string.
fn some(connector: &str) -> Option<&str> {
    Some(connector).filter(|name| !name.is_empty())
}

/// The first heap of the wish that gives a buffer of the picture's size.
///
/// A single heap is a promise: if it cannot be kept, that is an error.
fn choose_heap(
    wish: &[String],
    format: Fourcc,
    size: Size,
    plan: &mut report::Plan,
) -> Result<Box<dyn Heap>, Error> {
    let auto = wish.iter().any(|name| name == "auto");
    let candidates = if auto {
        heaps::discover().into_iter().map(|found| (found.name, found.heap)).collect()
    } else {
        wish.iter().map(|name| (name.clone(), heaps::open(name))).collect::<Vec<_>>()
    };
    let layout =
        Layout::linear(format, size.0, size.1, Alignment::default()).map_err(StartError::Layout)?;
    let mut first_error = None;
    for (name, opened) in candidates {
        let proven = opened.map_err(Error::Heap).and_then(|heap| {
            heap.allocate(&layout, "plan").map_err(StartError::Alloc)?;
            Ok(heap)
        });
        match proven {
            Ok(heap) => {
                plan.chosen = Some(heap.name().to_owned());
                return Ok(heap);
            }
            // A name that nobody knows is a slip of the pen, whatever else was asked for.
            Err(error @ Error::Heap(OpenError::Unknown { .. })) => return Err(error),
            Err(error) => {
                let reason = exit::chain(&error);
                plan.rejected.push(Rejected { heap: name, by: "vcam".into(), reason });
                first_error.get_or_insert(error);
            }
        }
    }
    Err(first_error.unwrap_or_else(|| Error::Usage("--heap names no heap".into())))
}

/// Opens the display and the other outputs, and describes each for the report.
fn open_sinks(
    args: &RunArgs,
    format: Fourcc,
    size: Size,
    captured: &Captured,
    descriptions: &mut Vec<String>,
) -> Result<Vec<Box<dyn Sink>>, Error> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if let Some(connector) = &args.display {
        let options = KmsOptions {
            card: args.card.clone(),
            connector: some(connector).map(str::to_owned),
            size: (size.0, size.1),
            format,
        };
        let mut sink = KmsSink::open(&options)?;
        if let Some(path) = &args.display_capture {
            // Whether it can be written is said now, and not after the run.
            FileSink::create(path)?;
            sink.enable_capture()?;
            let captured = captured.clone();
            sink.on_finish_capture(Box::new(move |picture| captured.put(picture)));
        }
        let (width, height, refresh) = sink.mode();
        let (name, connector) = (sink.name(), sink.connector());
        descriptions.push(format!("{name} {connector} {width}x{height}@{refresh}"));
        sinks.push(Box::new(sink));
    }
    let default = match (args.display.is_none() && args.output.is_empty(), args.json) {
        (false, _) => None,
        (true, true) => Some(Output::Null),
        (true, false) if stdout().is_terminal() => Some(Output::Terminal),
        (true, false) => Some(Output::File("vcam.png".into())),
    };
    for output in args.output.iter().chain(&default) {
        let sink: Box<dyn Sink> = match output {
            Output::Null => Box::new(NullSink::new()),
            Output::Terminal if args.json => {
                return Err(Error::Usage(
                    "--output terminal and --json both want the standard output; choose one".into(),
                ));
            }
            Output::Terminal => Box::new(TerminalSink::new().map_err(Error::Terminal)?),
            Output::File(path) => Box::new(FileSink::create(path)?),
        };
        descriptions.push(sink.name());
        sinks.push(sink);
    }
    Ok(sinks)
}

/// Lets SIGINT and SIGTERM end the run in good order, with its report.
fn stop_on_signals(stop: StopHandle) -> Result<signal_hook::iterator::Handle, Error> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(Error::Signals)?;
    let handle = signals.handle();
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || signals.forever().for_each(|_| stop.stop()))
        .map_err(Error::Signals)?;
    Ok(handle)
}

/// Prints for people.
pub(crate) fn print(text: &impl Display) -> Result<(), Error> {
    written(writeln!(stdout().lock(), "{text}"))
}

/// Prints one JSON document.
pub(crate) fn print_json(document: &impl Serialize) -> Result<(), Error> {
    let mut out = stdout().lock();
    let result = serde_json::to_writer_pretty(&mut out, document).map_err(std::io::Error::from);
    written(result.and_then(|()| writeln!(out)))
}

fn written(result: std::io::Result<()>) -> Result<(), Error> {
    match result {
        // Whoever reads our output had enough; that is no failure of ours.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|source| Error::Write { path: "standard output".into(), source }),
    }
}
