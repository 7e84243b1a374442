//! The command's arguments, as they are typed. [`settings`](crate::settings) resolves them.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use vcam_allocator::Fourcc;
use vcam_isp_gpu::Orientation;
use vcam_pipeline::sensor::Source;
use vcam_pipeline::sensor::format::Format;
use vcam_sinks::Transform;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  bad usage
  3  --strict, and a link copies
  4  needs something that this machine lacks; the message says how to get it

Signals: SIGINT, SIGTERM and SIGHUP end a run, with its report; SIGUSR1 begins a pause, or ends it.

Without --display and --output the picture goes to the terminal, or to vcam.png where there is no
terminal. See what there is with `vcam list`.";

/// A virtual camera whose frames reach the screen without a copy, and which says why when they
/// cannot.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

impl Args {
    /// Whether the command opens a display.
    pub(crate) fn opens_display(&self) -> bool {
        match &self.command {
            None => self.run.display.is_some(),
            Some(Command::Plan(run)) => run.display.is_some(),
            Some(Command::List { .. } | Command::Probe { .. } | Command::ProbeImporters { .. }) => {
                false
            }
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say what a run with these arguments would do and why; shows nothing
    Plan(Box<RunArgs>),
    /// List cameras, heaps, GPUs, displays and V4L2 nodes, and what keeps each from being used
    List {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Find out which heap works with which device: allocate, import, compare pixels
    Probe {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
        /// How long a device may take over one answer before it is given up
        #[arg(long, value_name = "SECONDS", default_value = "20")]
        limit: Seconds,
    },
    /// Try one device, as the standard input asks: how `probe` survives a driver's crash
    #[command(hide = true)]
    ProbeImporters {
        /// The device
        source: String,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Where buffers come from: udmabuf, dma_heap:NAME, system, cma, memfd, several in order of
    /// preference, or auto
    #[arg(
        long,
        env = "VCAM_HEAP",
        value_name = "NAME",
        value_delimiter = ',',
        default_value = "auto"
    )]
    pub(crate) heap: Vec<String>,

    /// Show the picture on a display, or on several; CONNECTOR as `vcam list` names it, such as
    /// HDMI-A-1
    #[arg(
        long,
        value_name = "CONNECTOR[,CONNECTOR…]",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ""
    )]
    pub(crate) display: Option<String>,

    /// The display's card, by path or by driver
    #[arg(long, value_name = "PATH|DRIVER", requires = "display")]
    pub(crate) card: Option<String>,

    /// Turn and mirror the picture on the display: rotate-90, rotate-180 or rotate-270
    /// (counter-clockwise), reflect-x, reflect-y
    #[arg(long, value_name = "WORDS", default_value = "rotate-0", requires = "display")]
    pub(crate) transform: Transform,

    /// Make the picture as large as the display has room for, where its hardware can
    #[arg(long, requires = "display")]
    pub(crate) scale: bool,

    /// Show the latest picture only, so that a slow display does not slow the camera
    #[arg(long, requires = "display")]
    pub(crate) latest: bool,

    /// Save what the display scanned out last, as a PNG, through its writeback connector
    #[arg(long, value_name = "FILE", requires = "display")]
    pub(crate) display_capture: Option<PathBuf>,

    /// Where else pictures go: terminal, null, - (Y4M to the standard output), file:NAME.png or
    /// .ppm (the last picture; each, if NAME has %d), file:NAME.y4m or .yuv (a stream),
    /// file:NAME.dng or .raw (raw frames, as pictures are),
    /// v4l2:/dev/videoN (a V4L2 node that takes pictures)
    #[arg(long, value_name = "SPEC")]
    pub(crate) output: Vec<Output>,

    /// Width and height in pixels [default: the display's favourite, or 640x480]
    #[arg(long, value_name = "WxH")]
    pub(crate) size: Option<Size>,

    /// What the sensor sends: S, its colour filters (RGGB, GRBG, GBRG, BGGR) or Y for none, bits
    /// (8, 10, 12, 16), and P if packed, as in SRGGB10P; or pictures: NV12, YUYV, XR24 [default:
    /// SRGGB8]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) sensor_format: Option<Format>,

    /// What the sensor sees: a scene, a picture (PNG, JPEG), a video (Y4M), or a test pattern; then
    /// :moving or :still, if need be [default: test]
    #[arg(long, value_name = "NAME|FILE")]
    pub(crate) scene: Option<Source>,

    /// Burn the frame's number and time into the picture
    #[arg(long)]
    pub(crate) stamp: bool,

    /// A file of cameras, in TOML or as libcamera's virtual.yaml; other arguments outweigh it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Which camera of the file [default: the first]
    #[arg(long, value_name = "NAME", requires = "config")]
    pub(crate) camera: Option<String>,

    /// The format of pictures: XR24, NV12, RG16, ... [default: XR24, or what the sensor sends]
    #[arg(long, value_name = "FOURCC")]
    pub(crate) format: Option<Fourcc>,

    /// Set a control by libcamera's name for all frames, as in ExposureTime=5000 or Contrast=1.2;
    /// an exposure time or gain that is set is manual, all else automatic
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) control: Vec<Setting>,

    /// Turn the picture, clockwise, or mirror it
    #[arg(long, value_name = "WAY", default_value = "rotate0")]
    pub(crate) orientation: Way,

    /// Frames a second, or max [default: 30]
    #[arg(long, value_name = "N")]
    pub(crate) fps: Option<Fps>,

    /// How many frames to make [default: 90; with --display, until interrupted]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) frames: Option<u64>,

    /// What turns raw frames into pictures
    #[arg(long, value_enum, default_value_t)]
    pub(crate) isp: Isp,

    /// The GPU: its render node, software (Mesa's renderer on the CPU), or auto: what EGL chooses,
    /// if it is not slower than our own program on the CPU [default: auto]
    #[arg(long, value_name = "NODE|software|auto")]
    pub(crate) gpu: Option<Gpu>,

    /// Forget what earlier runs and `vcam probe` learned about this machine, and measure again
    #[arg(long)]
    pub(crate) fresh: bool,

    /// Fail, with exit code 3, if any link copies
    #[arg(long)]
    pub(crate) strict: bool,

    /// Print the report as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Isp {
    /// The GPU; the CPU where there is none, or where it is a program and slower, as measured once
    #[default]
    Auto,
    /// The GPU
    Gpu,
    /// The CPU
    Cpu,
}

/// Which GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gpu {
    Auto,
    Software,
    Node(PathBuf),
}

impl FromStr for Gpu {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" => Self::Auto,
            "software" => Self::Software,
            node => Self::Node(node.into()),
        })
    }
}

/// A control and its value, both in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl FromStr for Setting {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) =
            text.split_once('=').ok_or("a control is NAME=VALUE, as in ExposureTime=5000")?;
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

/// Which way up, by libcamera's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    #[value(name = "rotate0")]
    Rotate0,
    #[value(name = "rotate90")]
    Rotate90,
    #[value(name = "rotate180")]
    Rotate180,
    #[value(name = "rotate270")]
    Rotate270,
    #[value(name = "mirror")]
    Mirror,
    #[value(name = "flip")]
    Flip,
}

impl From<Way> for Orientation {
    fn from(way: Way) -> Self {
        match way {
            Way::Rotate0 => Self::UPRIGHT,
            Way::Rotate90 => Self::ROTATE_90,
            Way::Rotate180 => Self::ROTATE_180,
            Way::Rotate270 => Self::ROTATE_270,
            Way::Mirror => Self { mirror: true, ..Self::UPRIGHT },
            Way::Flip => Self { flip: true, ..Self::UPRIGHT },
        }
    }
}

/// A picture's size in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u32, pub(crate) u32);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let sides = text.split_once(['x', 'X']).ok_or("a size is WIDTHxHEIGHT, as in 640x480")?;
        let side =
            |side: &str| side.parse().map_err(|_| format!("'{side}' is not a number of pixels"));
        Ok(Self(side(sides.0)?, side(sides.1)?))
    }
}

/// A frame rate, as the time from one frame to the next; zero is as fast as can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fps(pub(crate) Duration);

impl FromStr for Fps {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "max" {
            return Ok(Self(Duration::ZERO));
        }
        match text.parse::<f64>() {
            Ok(fps) if (0.01..=1000.0).contains(&fps) => {
                Ok(Self(Duration::from_secs_f64(1.0 / fps)))
            }
            _ => Err("a frame rate is a number from 0.01 to 1000, or max".to_owned()),
        }
    }
}

/// A time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seconds(pub(crate) Duration);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<f64>() {
            Ok(seconds) if (0.1..=3600.0).contains(&seconds) => {
                Ok(Self(Duration::from_secs_f64(seconds)))
            }
            _ => Err("a time limit is a number of seconds from 0.1 to 3600".to_owned()),
        }
    }
}

/// Where pictures go, besides the display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    Terminal,
    Null,
    File(PathBuf),
    /// A V4L2 node, by its path or by its name in `/dev`.
    V4l2(PathBuf),
    /// A stream on the standard output.
    Stdout,
}

impl Output {
    /// Whether nothing else may be written to the standard output.
    pub(crate) fn owns_stdout(&self) -> bool {
        matches!(self, Self::Terminal | Self::Stdout)
    }
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "terminal" => Ok(Self::Terminal),
            "null" => Ok(Self::Null),
            "-" => Ok(Self::Stdout),
            _ => match text.split_once(':') {
                Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
                Some(("v4l2", node)) if !node.is_empty() => Ok(Self::V4l2(node.into())),
                _ => Err("an output is terminal, null, -, file:NAME or v4l2:NODE".to_owned()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_main_job_parses() {
        let args = Args::parse_from(["vcam", "--heap", "udmabuf", "--display"]);
        assert_eq!(args.run.display.as_deref(), Some(""));
        let args = Args::parse_from(["vcam", "--display=Virtual-1", "--heap", "cma,system"]);
        assert_eq!(args.run.display.as_deref(), Some("Virtual-1"));
        assert_eq!(args.run.heap, ["cma", "system"]);
    }

    #[test]
    fn outputs_are_named() {
        let args = Args::parse_from(["vcam", "--output", "-", "--output=file:a b.y4m"]);
        assert_eq!(args.run.output, [Output::Stdout, Output::File("a b.y4m".into())]);
        let args = Args::parse_from(["vcam", "--output", "v4l2:/dev/video2"]);
        assert_eq!(args.run.output, [Output::V4l2("/dev/video2".into())]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for size in ["", "640", "x", "640x", "-1x4", "640x480x3", "4294967296x1"] {
            assert!(size.parse::<Size>().is_err(), "{size:?}");
        }
        for fps in ["0", "-1", "nan", "inf", "1e9", ""] {
            assert!(fps.parse::<Fps>().is_err(), "{fps:?}");
        }
        for output in ["", "file:", "tty", "file", "--", "v4l2", "v4l2:"] {
            assert!(output.parse::<Output>().is_err(), "{output:?}");
        }
        assert!(Args::try_parse_from(["vcam", "--frames", "0"]).is_err());
        assert!(Args::try_parse_from(["vcam", "--card", "vkms"]).is_err());
    }
}
