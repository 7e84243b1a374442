//! A run: from arguments to sinks, heap and camera, and to its report.

use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::Signals;
use vcam_allocator::{
    Accounting, ColourSpace, Fourcc, Heap, Knowledge, OpenError, heaps, sync_counts,
};
use vcam_isp_gpu::View;
use vcam_pipeline::controls::{self, ControlList};
use vcam_pipeline::sensor::config::{self, Camera};
use vcam_pipeline::sensor::format::Format;
use vcam_pipeline::sensor::timing::Timing;
use vcam_pipeline::sensor::{FRAME_DURATION, Settings};
use vcam_pipeline::{
    Config, IspChoice, PauseHandle, Prepared, StartError, StopHandle, SyscallCount, chain,
    raw_description,
};
#[cfg(feature = "v4l")]
use vcam_sinks::v4l2::{V4l2Options, V4l2Sink};
use vcam_sinks::{
    Cards, FileSink, KmsOptions, KmsSink, Latest, NullSink, RawFileSink, Sink, StreamReader,
    StreamSink, TerminalSink, check_png, open_file,
};

use crate::cli::{Fps, Gpu, Isp, Output, RunArgs, Setting, Size};
use crate::count;
use crate::exit::Error;
use crate::report::{self, Rejected, Report};
use crate::status::StatusLine;

/// The picture's size where neither the user nor a display says otherwise.
const SIZE: (u32, u32) = (640, 480);

/// Where the picture goes if nobody says where, and there is no terminal.
const PICTURE: &str = "vcam.png";

/// What reports say of the ISP behind a sensor that sends pictures.
const NO_ISP: &str = "none: the sensor sends pictures";

/// How many frames a run has that nobody watches on a display.
const FRAMES: u64 = 90;

/// Runs the camera and prints its report, also where the run fails.
pub(crate) fn run(args: &RunArgs) -> Result<(), Error> {
    let mut report = Report::new();
    let result = run_into(args, &mut report);
    if let Err(error) = &result {
        report.error = Some(chain(error));
    }
    let printed = match (args.json, report.frames.completed) {
        (true, _) => print_json(&report),
        (false, 0) => Ok(()),
        (false, _) if args.output.contains(&Output::Stdout) => print_aside(&report),
        (false, _) => print(&report),
    };
    result.and(printed)
}

fn run_into(args: &RunArgs, report: &mut Report) -> Result<(), Error> {
    check_reader(args)?;
    let captured = Captured::default();
    let ending = Ending::default();
    // Before there are threads that it would not count.
    let syscalls = count::syscalls().map(SyscallCount::new);
    // Before anything is touched that would have to be put back.
    let signals = heed_signals(ending.clone())?;
    let prepared = prepare(args, &captured, ending, syscalls, report)?;
    let run = prepared.start()?;
    // Unless pictures are drawn where it would stand.
    let status = match draws_pictures(args) {
        true => None,
        false => StatusLine::start(run.progress())?,
    };
    let (outcome, result) = run.wait();
    drop(status);
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

/// Whether pictures go to a terminal.
fn draws_pictures(args: &RunArgs) -> bool {
    let by_default = args.display.is_none() && args.output.is_empty() && !args.json;
    args.output.contains(&Output::Terminal) || by_default && stdout().is_terminal()
}

/// Says what a run would do and why, and shows nothing.
pub(crate) fn plan(args: &RunArgs) -> Result<(), Error> {
    let mut report = Report::new();
    let ending = Ending::default();
    let prepared = prepare(args, &Captured::default(), ending, None, &mut report);
    let planned = prepared.is_ok();
    let result = prepared.and_then(|prepared| Ok(prepared.check_strict()?));
    if let Err(error) = &result {
        report.error = Some(chain(error));
    }
    let printed = match (args.json, planned) {
        (true, _) => print_json(&report),
        (false, true) => print(&report.as_plan()),
        (false, false) => Ok(()),
    };
    result.and(printed)
}

/// All that comes before the first frame; what is known by then goes into the report.
fn prepare(
    args: &RunArgs,
    captured: &Captured,
    ending: Ending,
    syscalls: Option<SyscallCount>,
    report: &mut Report,
) -> Result<Prepared, Error> {
    let cards = Cards::through_seat();
    let SensorWish { settings, period } = sensor_wish(args, &cards)?;
    let size = Size(settings.size.0, settings.size.1);
    report.size = [size.0, size.1];
    report.sensor.format = settings.format.to_string();
    report.sensor.scene = settings.source.to_string();
    let sent = match settings.format {
        Format::Picture(picture) => Some(picture.fourcc()),
        Format::Raw(_) => None,
    };
    let format = args.format.or(sent).unwrap_or(Fourcc::XRGB8888);
    if let Some(sent) = sent.filter(|sent| *sent != format) {
        let words = format!("the sensor sends {sent}, and there is no ISP to make {format} of it");
        return Err(Error::Usage(words));
    }
    if !format.is_picture() {
        let known: Vec<_> = Fourcc::pictures().map(|format| format.to_string()).collect();
        let known = known.join(", ");
        let words = format!("the ISP makes no pictures in {format}; it makes {known}");
        return Err(Error::Usage(words));
    }
    // What was asked for by name comes first, so that a slip of the pen is told before a display
    // is opened; what `auto` stands for depends on the display.
    let asked: Vec<_> = args.heap.iter().map(|name| Wish::of(name)).collect::<Result<_, _>>()?;
    let controls = controls(args, &settings)?;
    let mut view = View { orientation: args.orientation.into(), ..View::default() };
    let shown = view.orientation.size(settings.size);
    // The ISP and every sink are told this one.
    let colour_space = ColourSpace::of(format, shown);
    view.colour_space = Some(colour_space);
    let pictures = Pictures { format, colour_space, size: Size(shown.0, shown.1), period };
    let Outputs { sinks, card, descriptions } =
        open_sinks(args, &cards, &settings, &pictures, captured, &ending)?;
    report.outputs = descriptions;
    let heaps = open_heaps(asked, card.as_deref())?;
    report.plan.rejected = heaps.unusable;
    let config = Config {
        sensor: settings,
        format,
        view,
        controls,
        period,
        stop: ending.stop,
        pause: ending.pause,
        frames: args.frames.or((args.display.is_none()).then_some(FRAMES)),
        isp: match (args.isp, &args.gpu) {
            (Isp::Cpu, Some(_)) => {
                return Err(Error::Usage("--isp cpu uses no GPU, so --gpu has no meaning".into()));
            }
            (Isp::Cpu, None) => IspChoice::Cpu,
            (_, Some(Gpu::Software)) => IspChoice::Software,
            (_, Some(Gpu::Node(node))) => IspChoice::Gpu(Some(node.clone())),
            (Isp::Auto, Some(Gpu::Auto) | None) => IspChoice::Auto,
            (Isp::Gpu, Some(Gpu::Auto) | None) => IspChoice::Gpu(None),
        },
        strict: args.strict,
        by_cost: args.heap.iter().all(|name| name == "auto"),
        knowledge: knowledge(args.fresh),
        heap_allocs: Some(count::heap_allocs),
        syscalls,
    };
    let prepared = Prepared::new(config, heaps.opened, sinks)?;
    report.isp.name = prepared.isp_description().unwrap_or(NO_ISP).to_owned();
    report.isp.reason = prepared.isp_reason().map(str::to_owned);
    report.links = prepared.links().to_vec();
    report.colour_space = prepared.colour_space();
    report.planned(prepared.plans());
    report.memory = Accounting::read().ok();
    Ok(prepared)
}

/// What the arguments say of every frame.
fn controls(args: &RunArgs, settings: &Settings) -> Result<ControlList, Error> {
    let (width, height) = settings.size;
    let infos = controls::infos(settings.size, &Timing::new(width, height), settings.format);
    let mut list = ControlList::default();
    for Setting { name, value } in &args.control {
        list.set_by_name(&infos, name, value).map_err(StartError::from)?;
    }
    // Whoever names a value wants it.
    if list.get(controls::ExposureTime).is_some() && list.get(controls::ExposureTimeMode).is_none()
    {
        list.set(controls::ExposureTimeMode, controls::mode::MANUAL);
    }
    if list.get(controls::AnalogueGain).is_some() && list.get(controls::AnalogueGainMode).is_none()
    {
        list.set(controls::AnalogueGainMode, controls::mode::MANUAL);
    }
    let names_white = list.get(controls::ColourGains).is_some()
        || list.get(controls::ColourTemperature).is_some();
    if names_white && list.get(controls::AwbEnable).is_none() {
        list.set(controls::AwbEnable, false);
    }
    Ok(list)
}

/// What was learned about this machine, or nothing for a user who has no folder for it.
pub(crate) fn knowledge(fresh: bool) -> Knowledge {
    match Knowledge::file() {
        Some(path) if fresh => Knowledge::fresh(&path),
        Some(path) => Knowledge::open(&path),
        None => Knowledge::default(),
    }
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

/// What the user wants of the sensor.
struct SensorWish {
    settings: Settings,
    /// Time from one frame to the next; zero for as fast as can be.
    period: Duration,
}

/// What the arguments say of the sensor, then the configuration, then the display.
fn sensor_wish(args: &RunArgs, cards: &Cards) -> Result<SensorWish, Error> {
    let camera = match &args.config {
        Some(path) => Some(camera_of(path, args.camera.as_deref())?),
        None => None,
    };
    let size = match (args.size, &camera, &args.display) {
        (Some(Size(width, height)), ..) => (width, height),
        (None, Some(camera), _) => camera.settings.size,
        (None, None, None) => SIZE,
        (None, None, Some(connector)) => {
            let first = connector.split(',').next().and_then(some);
            vcam_sinks::preferred_size(cards, args.card.as_deref(), first)?
        }
    };
    let fastest = camera.as_ref().and_then(|camera| camera.modes.first()).map(|mode| {
        let [_, shortest] = mode.frame_durations();
        shortest
    });
    let period = args.fps.map(|Fps(period)| period).or(fastest).unwrap_or(FRAME_DURATION);
    let mut settings = camera.map_or_else(Settings::default, |camera| camera.settings);
    settings.size = size;
    settings.stamp |= args.stamp;
    if let Some(format) = args.sensor_format {
        settings.format = format;
    }
    if let Some(source) = &args.scene {
        settings.source = source.clone();
    }
    // What needs no file to be opened is told before a display is.
    settings.validate().map_err(StartError::Sensor)?;
    Ok(SensorWish { settings, period })
}

/// A camera of a configuration file: the one of this name, or the first.
fn camera_of(path: &Path, name: Option<&str>) -> Result<Camera, Error> {
    let mut cameras = config::read(path)?;
    let index = match name {
        None => 0,
        Some(name) => cameras.iter().position(|camera| camera.name == name).ok_or_else(|| {
            let names: Vec<_> = cameras.iter().map(|camera| camera.name.as_str()).collect();
            let (path, names) = (path.display(), names.join(", "));
            Error::Usage(format!("{path} has no camera '{name}'; it has {names}"))
        })?,
    };
    Ok(cameras.swap_remove(index))
}

/// `--display` without a value is the empty string.
fn some(connector: &str) -> Option<&str> {
    Some(connector).filter(|name| !name.is_empty())
}

/// What `auto` stands for: ordinary memory first, then the display's own, which a display that
/// takes nothing else still takes, and at last memory that only the CPU can use.
fn auto(card: Option<&Path>) -> Vec<String> {
    let mut names = heaps::ordinary();
    names.extend(card.and_then(heaps::dumb::name_of));
    names.push(heaps::memfd::NAME.to_owned());
    names
}

/// The heaps of a wish.
struct Heaps {
    opened: Vec<Box<dyn Heap>>,
    unusable: Vec<Rejected>,
}

/// A word of `--heap`.
enum Wish {
    Named(String, Result<Box<dyn Heap>, OpenError>),
    Auto,
}

impl Wish {
    /// A name that nobody knows is a slip of the pen, whatever else was asked for.
    fn of(name: &str) -> Result<Self, OpenError> {
        if name == "auto" {
            return Ok(Self::Auto);
        }
        match heaps::open(name) {
            Err(error @ OpenError::Unknown { .. }) => Err(error),
            opened => Ok(Self::Named(name.to_owned(), opened)),
        }
    }
}

/// The heaps of the wish that can be opened, in its order, and why the others cannot.
///
/// A single heap is a promise: if it cannot be kept, that is an error.
fn open_heaps(wish: Vec<Wish>, card: Option<&Path>) -> Result<Heaps, Error> {
    let candidates = wish.into_iter().flat_map(|word| match word {
        Wish::Named(name, opened) => vec![(name, opened)],
        Wish::Auto => {
            auto(card).into_iter().map(|name| (name.clone(), heaps::open(&name))).collect()
        }
    });
    let (mut opened, mut unusable, mut first_error) = (Vec::new(), Vec::new(), None);
    for (name, heap) in candidates {
        match heap {
            Ok(heap) => opened.push(heap),
            Err(error) => {
                unusable.push(Rejected::everywhere(name, chain(&error)));
                first_error.get_or_insert(error);
            }
        }
    }
    match first_error {
        Some(error) if opened.is_empty() => Err(error.into()),
        _ => Ok(Heaps { opened, unusable }),
    }
}

/// Where pictures go.
#[derive(Default)]
struct Outputs {
    sinks: Vec<Box<dyn Sink>>,
    /// The display's card.
    card: Option<PathBuf>,
    /// Each sink in words, for the report.
    descriptions: Vec<String>,
}

/// What sinks are to take.
struct Pictures {
    format: Fourcc,
    colour_space: ColourSpace,
    size: Size,
    /// Time from one to the next; zero for as fast as can be.
    period: Duration,
}

/// Opens the displays and the other outputs.
fn open_sinks(
    args: &RunArgs,
    cards: &Cards,
    settings: &Settings,
    pictures: &Pictures,
    captured: &Captured,
    ending: &Ending,
) -> Result<Outputs, Error> {
    let Pictures { format, colour_space, size, period } = *pictures;
    check_stdout(args)?;
    let Outputs { mut sinks, mut card, mut descriptions } = Outputs::default();
    for (index, connector) in args.display.iter().flat_map(|names| names.split(',')).enumerate() {
        let options = KmsOptions {
            card: args.card.clone(),
            connector: some(connector).map(str::to_owned),
            transform: args.transform,
            scale: args.scale,
            colour_space,
            ..KmsOptions::new((size.0, size.1), format)
        };
        let mut sink = KmsSink::open_beside(cards, &options)?;
        // There is one file, so it is the first display's.
        if let (Some(path), 0) = (&args.display_capture, index) {
            // Whether it can be written is said now, and not after the run.
            check_png(path)?;
            sink.enable_capture()?;
            let captured = captured.clone();
            sink.on_finish_capture(Box::new(move |picture| captured.put(picture)));
        }
        card.get_or_insert_with(|| sink.card_path().to_owned());
        let (width, height, refresh) = sink.mode();
        let (name, connector) = (sink.name(), sink.connector());
        descriptions.push(format!("{name} {connector} {width}x{height}@{refresh}"));
        let sink: Box<dyn Sink> = Box::new(sink);
        sinks.push(if args.latest { Box::new(Latest::new(sink)) } else { sink });
    }
    let default = match (args.display.is_none() && args.output.is_empty(), args.json) {
        (false, _) => None,
        (true, true) => Some(Output::Null),
        (true, false) if draws_pictures(args) => Some(Output::Terminal),
        (true, false) => match FileSink::create(Path::new(PICTURE)) {
            Ok(_) => Some(Output::File(PICTURE.into())),
            // Nobody asked for this file, so the run goes on without it.
            Err(error) => {
                descriptions.push(format!("no picture: {}", chain(&error)));
                Some(Output::Null)
            }
        },
    };
    for output in args.output.iter().chain(&default) {
        let sink: Box<dyn Sink> = match output {
            Output::Null => Box::new(NullSink::new()),
            Output::Terminal => Box::new(TerminalSink::new().map_err(Error::Terminal)?),
            Output::File(path) => open_any_file(path, period, settings)?,
            Output::V4l2(node) => open_node(node, pictures)?,
            Output::Stdout => Box::new(StreamSink::stdout(period, Box::new(ending.clone()))?),
        };
        descriptions.push(match output {
            Output::V4l2(node) => format!("{} {}", sink.name(), node.display()),
            _ => sink.name(),
        });
        sinks.push(sink);
    }
    Ok(Outputs { sinks, card, descriptions })
}

/// Opens a V4L2 node that takes pictures.
#[cfg(feature = "v4l")]
fn open_node(node: &Path, pictures: &Pictures) -> Result<Box<dyn Sink>, Error> {
    let Pictures { format, colour_space, size, period } = *pictures;
    let (node, size) = (node.to_owned(), (size.0, size.1));
    let options = V4l2Options { node, size, format, colour_space, period };
    Ok(Box::new(V4l2Sink::open(&options)?))
}

/// Says that there are no V4L2 nodes to open.
#[cfg(not(feature = "v4l"))]
fn open_node(node: &Path, _: &Pictures) -> Result<Box<dyn Sink>, Error> {
    let node = node.display();
    Err(Error::Usage(format!("this vcam was built without V4L2, so it cannot write to {node}")))
}

/// A file of pictures, or of raw frames, as its ending says.
fn open_any_file(
    path: &Path,
    period: Duration,
    settings: &Settings,
) -> Result<Box<dyn Sink>, Error> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let is_raw = ["dng", "raw"].iter().any(|raw| ending.eq_ignore_ascii_case(raw));
    Ok(match raw_description(settings).filter(|_| is_raw) {
        Some(description) => Box::new(RawFileSink::create(path, description)?),
        None if is_raw => {
            let sink = format!("file:{}", path.display());
            return Err(StartError::NoRaw { sink }.into());
        }
        None => open_file(path, period)?,
    })
}

/// Only one can have the standard output.
fn check_stdout(args: &RunArgs) -> Result<(), Error> {
    let json = args.json.then_some("--json");
    let name = |output: &Output| match output {
        Output::Stdout => "--output -",
        _ => "--output terminal",
    };
    let owners = args.output.iter().filter(|output| output.owns_stdout()).map(name);
    let owners: Vec<_> = owners.chain(json).collect();
    if let [one, other, ..] = owners[..] {
        return Err(Error::Usage(format!(
            "{one} and {other} both want the standard output; choose one"
        )));
    }
    Ok(())
}

/// A stream is nothing for people to read.
fn check_reader(args: &RunArgs) -> Result<(), Error> {
    if args.output.contains(&Output::Stdout) && stdout().is_terminal() {
        return Err(Error::Usage(
            "--output - writes a video stream, which is nothing for a terminal; let a program \
             read it, as in: vcam --output - | ffplay -"
                .into(),
        ));
    }
    Ok(())
}

/// What ends a run from outside, or has it pause.
#[derive(Debug, Clone, Default)]
struct Ending {
    stop: StopHandle,
    pause: PauseHandle,
    /// Whether a signal did.
    interrupted: Arc<AtomicBool>,
}

impl StreamReader for Ending {
    fn left(&self) {
        self.stop.stop();
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

/// Lets SIGINT, SIGTERM and SIGHUP end the run in good order, with its report, and SIGUSR1 begin a
/// pause or end it. SIGXFSZ must not end it at once: the write that went too far fails too, and says so.
fn heed_signals(ending: Ending) -> Result<signal_hook::iterator::Handle, Error> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGXFSZ]).map_err(Error::Signals)?;
    let handle = signals.handle();
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                match signal {
                    SIGXFSZ => {}
                    SIGUSR1 => ending.pause.toggle(),
                    _ => {
                        ending.interrupted.store(true, Ordering::Relaxed);
                        ending.stop.stop();
                    }
                }
            }
        })
        .map_err(Error::Signals)?;
    Ok(handle)
}

/// Prints for people.
pub(crate) fn print(text: &impl Display) -> Result<(), Error> {
    written("standard output", writeln!(stdout().lock(), "{text}"))
}

/// Prints for people where somebody else has the standard output.
fn print_aside(text: &impl Display) -> Result<(), Error> {
    written("standard error", writeln!(stderr().lock(), "{text}"))
}

/// Prints one JSON document.
pub(crate) fn print_json(document: &impl Serialize) -> Result<(), Error> {
    let mut out = stdout().lock();
    let result = serde_json::to_writer_pretty(&mut out, document).map_err(std::io::Error::from);
    written("standard output", result.and_then(|()| writeln!(out)))
}

fn written(where_to: &str, result: std::io::Result<()>) -> Result<(), Error> {
    match result {
        // Whoever reads our output had enough; that is no failure of ours.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|source| Error::Write { path: where_to.into(), source }),
    }
}
