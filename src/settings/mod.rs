//! The settings of a run: what the arguments, the configuration file and the display say together,
//! resolved and checked, before anything is opened for good.

mod controls;
mod sensor;

use std::io::{IsTerminal, stdout};
use std::path::PathBuf;
use std::time::Duration;

use vcam_allocator::{ColourSpace, Fourcc};
use vcam_isp_gpu::View;
use vcam_pipeline::controls::ControlList;
use vcam_pipeline::sensor::Settings;
use vcam_pipeline::sensor::format::Format;
use vcam_pipeline::{CopyPolicy, HeapOrder, IspChoice};
use vcam_sinks::{Cards, Transform};

use crate::args::{Gpu, Isp, Output, RunArgs};
use crate::exit::Error;

/// How many frames a run has that no display shows.
const FRAMES: u64 = 90;

/// The settings of a run.
#[derive(Debug)]
pub(crate) struct RunSettings {
    pub(crate) sensor: Settings,
    /// Time from one frame to the next; zero for as fast as possible.
    pub(crate) period: Duration,
    /// The format of pictures.
    pub(crate) format: Fourcc,
    /// How pictures stand for colours.
    pub(crate) colour_space: ColourSpace,
    pub(crate) view: View,
    /// Controls that hold for every frame.
    pub(crate) controls: ControlList,
    pub(crate) isp: IspChoice,
    /// Heaps in order of preference.
    pub(crate) heaps: Vec<HeapChoice>,
    pub(crate) displays: Displays,
    /// Where pictures go, besides displays.
    pub(crate) destinations: Vec<Destination>,
    /// How many frames to make; `None` until interrupted.
    pub(crate) frames: Option<u64>,
    /// Whether a copy is an error.
    pub(crate) strict: bool,
    /// Whether to forget what was learned about this machine.
    pub(crate) fresh: bool,
}

/// A heap that the user chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HeapChoice {
    Named(String),
    /// Whichever suits.
    Auto,
}

/// The displays that show the pictures.
#[derive(Debug)]
pub(crate) struct Displays {
    /// The connector of each display; `None` for the first that is connected.
    pub(crate) connectors: Vec<Option<String>>,
    /// Their card, by path or by driver.
    pub(crate) card: Option<String>,
    pub(crate) transform: Transform,
    pub(crate) scale: bool,
    /// Whether they show the latest picture only.
    pub(crate) latest: bool,
    /// The file for what the first display scanned out last.
    pub(crate) capture: Option<PathBuf>,
}

/// Where pictures go, besides displays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    Named(Output),
    /// A file that the user did not ask for.
    DefaultFile,
}

impl RunSettings {
    /// Resolves the arguments of a run. Asks a display for its size if nothing else says how large
    /// pictures are.
    pub(crate) fn resolve(args: &RunArgs, cards: &Cards) -> Result<Self, Error> {
        check_stdout(args)?;
        let isp = isp(args)?;
        let displays = Displays::resolve(args);
        let (sensor, period) = sensor::resolve(args, &displays, cards)?;
        let format = format(args, &sensor)?;
        let controls = controls::resolve(&args.control, &sensor)?;
        let mut view = View { orientation: args.orientation.into(), ..View::default() };
        // The ISP and every sink are told this one.
        let colour_space = ColourSpace::of(format, view.orientation.size(sensor.size.into()));
        view.colour_space = Some(colour_space);
        Ok(Self {
            sensor,
            period,
            format,
            colour_space,
            view,
            controls,
            isp,
            heaps: args.heap.iter().map(|name| HeapChoice::of(name)).collect(),
            displays,
            destinations: destinations(args),
            frames: args.frames.or(args.display.is_none().then_some(FRAMES)),
            strict: args.strict,
            fresh: args.fresh,
        })
    }

    /// Width and height of pictures in pixels: the frame's, turned with it.
    pub(crate) fn picture_size(&self) -> (u32, u32) {
        self.view.orientation.size(self.sensor.size.into())
    }

    /// Which heap to take: by measured costs only if the user left the heap to vcam.
    pub(crate) fn heap_order(&self) -> HeapOrder {
        match self.heaps.iter().all(|heap| *heap == HeapChoice::Auto) {
            true => HeapOrder::ByCost,
            false => HeapOrder::AsGiven,
        }
    }

    /// When to copy.
    pub(crate) fn copies(&self) -> CopyPolicy {
        match (self.strict, self.heap_order()) {
            (true, _) => CopyPolicy::Forbid,
            (false, HeapOrder::ByCost) => CopyPolicy::ByCost,
            (false, HeapOrder::AsGiven) => CopyPolicy::Fallback,
        }
    }

    /// Whether pictures are drawn on the terminal.
    pub(crate) fn draw_on_terminal(&self) -> bool {
        self.destinations.contains(&Destination::Named(Output::Terminal))
    }
}

impl HeapChoice {
    fn of(name: &str) -> Self {
        match name {
            "auto" => Self::Auto,
            name => Self::Named(name.to_owned()),
        }
    }
}

impl Displays {
    fn resolve(args: &RunArgs) -> Self {
        let names = args.display.iter().flat_map(|names| names.split(','));
        // `--display` without a value is the empty string.
        let connector = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        Self {
            connectors: names.map(connector).collect(),
            card: args.card.clone(),
            transform: args.transform,
            scale: args.scale,
            latest: args.latest,
            capture: args.display_capture.clone(),
        }
    }
}

/// The outputs that are named. If there is neither one nor a display, the terminal, or a file where
/// there is no terminal; nothing if the user only wants the report.
fn destinations(args: &RunArgs) -> Vec<Destination> {
    if args.display.is_some() || !args.output.is_empty() {
        return args.output.iter().cloned().map(Destination::Named).collect();
    }
    vec![match args.json {
        true => Destination::Named(Output::Null),
        false if stdout().is_terminal() => Destination::Named(Output::Terminal),
        false => Destination::DefaultFile,
    }]
}

/// Which ISP makes the pictures.
fn isp(args: &RunArgs) -> Result<IspChoice, Error> {
    Ok(match (args.isp, &args.gpu) {
        (Isp::Cpu, Some(_)) => {
            return Err(Error::Usage("--isp cpu uses no GPU, so --gpu has no meaning".into()));
        }
        (Isp::Cpu, None) => IspChoice::Cpu,
        (_, Some(Gpu::Software)) => IspChoice::Software,
        (_, Some(Gpu::Node(node))) => IspChoice::Gpu(Some(node.clone())),
        (Isp::Auto, Some(Gpu::Auto) | None) => IspChoice::Auto,
        (Isp::Gpu, Some(Gpu::Auto) | None) => IspChoice::Gpu(None),
    })
}

/// The format of pictures: what the user says, else what the sensor sends, else `XR24`.
fn format(args: &RunArgs, sensor: &Settings) -> Result<Fourcc, Error> {
    let sent = match sensor.format {
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
    Ok(format)
}

/// Refuses arguments that give the standard output to more than one writer.
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

/// Refuses to write a video stream to a terminal.
pub(crate) fn check_reader(args: &RunArgs) -> Result<(), Error> {
    if args.output.contains(&Output::Stdout) && stdout().is_terminal() {
        return Err(Error::Usage(
            "--output - writes a video stream, which is nothing for a terminal; let a program \
             read it, as in: vcam --output - | ffplay -"
                .into(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Args;

    fn resolve(line: &str) -> Result<RunSettings, Error> {
        let args = Args::parse_from(["vcam"].into_iter().chain(line.split_whitespace()));
        RunSettings::resolve(&args.run, &Cards::through_seat())
    }

    fn usage(line: &str) -> String {
        match resolve(line) {
            Err(Error::Usage(words)) => words,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_main_job_is_resolved() {
        let settings = resolve("--heap udmabuf --display=HDMI-A-1 --size 640x480").unwrap();
        assert_eq!(settings.heaps, [HeapChoice::Named("udmabuf".into())]);
        assert_eq!(settings.displays.connectors, [Some("HDMI-A-1".to_owned())]);
        assert_eq!((settings.destinations.len(), settings.frames), (0, None));
        assert_eq!((settings.picture_size(), settings.format), ((640, 480), Fourcc::XRGB8888));
        assert_eq!(
            (settings.heap_order(), settings.copies()),
            (HeapOrder::AsGiven, CopyPolicy::Fallback)
        );
        let left_open = resolve("--json").unwrap();
        assert_eq!(
            (left_open.heap_order(), left_open.copies()),
            (HeapOrder::ByCost, CopyPolicy::ByCost)
        );
        let strict = resolve("--json --strict").unwrap();
        assert_eq!((strict.heap_order(), strict.copies()), (HeapOrder::ByCost, CopyPolicy::Forbid));
    }

    #[test]
    fn pictures_turn_with_the_view() {
        let settings = resolve("--size 640x480 --orientation rotate90 --output null").unwrap();
        assert_eq!(settings.picture_size(), (480, 640));
        assert_eq!(settings.frames, Some(FRAMES));
        assert_eq!(settings.destinations, [Destination::Named(Output::Null)]);
    }

    #[test]
    fn several_displays_are_named_with_commas() {
        let settings = resolve("--display=A-1,,B-2 --size 640x480").unwrap();
        assert_eq!(settings.displays.connectors, [Some("A-1".into()), None, Some("B-2".into())]);
    }

    #[test]
    fn contradictions_are_bad_usage() {
        assert!(usage("--isp cpu --gpu auto").contains("--gpu has no meaning"));
        assert!(usage("--output - --output terminal").contains("both want the standard output"));
        assert!(usage("--output - --json").contains("--json"));
        assert!(usage("--format YUV9").contains("it makes XR24"));
        assert!(usage("--sensor-format NV12 --format XR24").contains("the sensor sends NV12"));
    }
}
