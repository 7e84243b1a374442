//! The sensor: what the arguments say, else the configuration file, else the display.

use std::path::Path;
use std::time::Duration;

use vcam_pipeline::StartError;
use vcam_pipeline::sensor::config::{self, CameraDescription};
use vcam_pipeline::sensor::{FRAME_DURATION, Settings};
use vcam_sinks::{Cards, preferred_size};

use super::Displays;
use crate::args::{Fps, RunArgs, Size};
use crate::exit::Error;

/// The size of frames if nothing else says it.
const SIZE: (u32, u32) = (640, 480);

/// The sensor's settings, and the time from one frame to the next, zero for as fast as possible.
pub(super) fn resolve(
    args: &RunArgs,
    displays: &Displays,
    cards: &Cards,
) -> Result<(Settings, Duration), Error> {
    let camera = match &args.config {
        Some(path) => Some(read_camera(path, args.camera.as_deref())?),
        None => None,
    };
    let size = match (args.size, &camera, displays.connectors.first()) {
        (Some(Size(width, height)), ..) => (width, height),
        (None, Some(camera), _) => camera.settings.size.into(),
        (None, None, None) => SIZE,
        (None, None, Some(connector)) => {
            preferred_size(cards, displays.card.as_deref(), connector.as_deref())?
        }
    };
    let fastest = camera.as_ref().and_then(|camera| camera.modes.first()).map(|mode| {
        let [_, shortest] = mode.frame_durations();
        shortest
    });
    let period = args.fps.map(|Fps(period)| period).or(fastest).unwrap_or(FRAME_DURATION);
    let mut settings = camera.map_or_else(Settings::default, |camera| camera.settings);
    settings.size = size.into();
    settings.stamp |= args.stamp;
    if let Some(format) = args.sensor_format {
        settings.format = format;
    }
    if let Some(source) = &args.scene {
        settings.source = source.clone();
    }
    // What is wrong without a look at any file is reported before a display is opened.
    settings.validate().map_err(StartError::Sensor)?;
    Ok((settings, period))
}

/// A camera of a configuration file: the one of this name, or the first.
fn read_camera(path: &Path, name: Option<&str>) -> Result<CameraDescription, Error> {
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
