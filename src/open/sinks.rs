//! Opens displays, files, nodes and the terminal.

use std::path::{Path, PathBuf};

use vcam_pipeline::{StartError, chain, raw_description};
use vcam_sinks::v4l2::{V4l2Options, V4l2Sink};
use vcam_sinks::{
    Cards, FileSink, KmsOptions, KmsSink, Latest, NullSink, RawFileSink, Sink, StreamSink,
    TerminalSink, open_file,
};

use super::capture::DisplayCapture;
use crate::args::Output;
use crate::exit::Error;
use crate::settings::{Destination, RunSettings};
use crate::signals::RunControl;

/// Where the picture goes if no output is named and there is no terminal.
const PICTURE: &str = "vcam.png";

/// Where pictures go, opened.
#[derive(Default)]
pub(super) struct Sinks {
    pub(super) sinks: Vec<Box<dyn Sink>>,
    /// Each sink in words, for the report.
    pub(super) descriptions: Vec<String>,
    /// The first display's card.
    pub(super) card: Option<PathBuf>,
    /// The first display's last picture, if it is to be saved.
    pub(super) capture: Option<DisplayCapture>,
}

/// Opens the displays, then the other destinations.
pub(super) fn open(
    settings: &RunSettings,
    cards: &Cards,
    control: &RunControl,
) -> Result<Sinks, Error> {
    let mut opened = Sinks::default();
    for connector in &settings.displays.connectors {
        opened.add_display(connector.clone(), settings, cards)?;
    }
    for destination in &settings.destinations {
        match destination {
            Destination::Named(output) => opened.add_output(output, settings, control)?,
            Destination::DefaultFile => opened.add_default_file(settings, control)?,
        }
    }
    Ok(opened)
}

impl Sinks {
    fn add_display(
        &mut self,
        connector: Option<String>,
        settings: &RunSettings,
        cards: &Cards,
    ) -> Result<(), Error> {
        let displays = &settings.displays;
        let options = KmsOptions {
            card: displays.card.clone(),
            connector,
            transform: displays.transform,
            scale: displays.scale,
            colour_space: settings.colour_space,
            ..KmsOptions::new(settings.picture_size(), settings.format)
        };
        let mut sink = KmsSink::open_beside(cards, &options)?;
        // There is one file, so it is the first display's.
        if let (Some(path), None) = (&displays.capture, &self.capture) {
            self.capture = Some(DisplayCapture::new(&mut sink, path)?);
        }
        self.card.get_or_insert_with(|| sink.card_path().to_owned());
        let (width, height, refresh) = sink.mode();
        let (name, connector) = (sink.name(), sink.connector());
        self.descriptions.push(format!("{name} {connector} {width}x{height}@{refresh}"));
        let sink: Box<dyn Sink> = Box::new(sink);
        self.sinks.push(if displays.latest { Box::new(Latest::new(sink)) } else { sink });
        Ok(())
    }

    fn add_output(
        &mut self,
        output: &Output,
        settings: &RunSettings,
        control: &RunControl,
    ) -> Result<(), Error> {
        let sink: Box<dyn Sink> = match output {
            Output::Null => Box::new(NullSink::new()),
            Output::Terminal => Box::new(TerminalSink::new().map_err(Error::Terminal)?),
            Output::File(path) => open_any_file(path, settings)?,
            Output::V4l2(node) => open_node(node, settings)?,
            Output::Stdout => {
                Box::new(StreamSink::stdout(settings.period, Box::new(control.clone()))?)
            }
        };
        self.descriptions.push(match output {
            Output::V4l2(node) => format!("{} {}", sink.name(), node.display()),
            _ => sink.name(),
        });
        self.sinks.push(sink);
        Ok(())
    }

    /// The user did not ask for this file, so the run goes on without it if it cannot be written.
    fn add_default_file(
        &mut self,
        settings: &RunSettings,
        control: &RunControl,
    ) -> Result<(), Error> {
        let output = match FileSink::create(Path::new(PICTURE)) {
            Ok(_) => Output::File(PICTURE.into()),
            Err(error) => {
                self.descriptions.push(format!("no picture: {}", chain(&error)));
                Output::Null
            }
        };
        self.add_output(&output, settings, control)
    }
}

/// A file of pictures, or of raw frames, as its name ends.
fn open_any_file(path: &Path, settings: &RunSettings) -> Result<Box<dyn Sink>, Error> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let is_raw = ["dng", "raw"].iter().any(|raw| ending.eq_ignore_ascii_case(raw));
    Ok(match raw_description(&settings.sensor).filter(|_| is_raw) {
        Some(description) => Box::new(RawFileSink::create(path, description)?),
        None if is_raw => {
            let sink = format!("file:{}", path.display());
            return Err(StartError::NoRaw { sink }.into());
        }
        None => open_file(path, settings.period)?,
    })
}

/// A V4L2 node that takes pictures.
fn open_node(node: &Path, settings: &RunSettings) -> Result<Box<dyn Sink>, Error> {
    let (node, size) = (node.to_owned(), settings.picture_size());
    let RunSettings { format, colour_space, period, .. } = *settings;
    Ok(Box::new(V4l2Sink::open(&V4l2Options { node, size, format, colour_space, period })?))
}
