//! The configuration of libcamera's virtual camera (`src/libcamera/pipeline/virtual/README.md`).
//!
//! Its cameras send NV12, and show coloured bars or diagonal lines that move, or pictures that are
//! stretched to the frame, each for four frames.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{CameraDescription, Fault, Location, Mode, RATES, Wrong, key_of};
use crate::sensor::format::{Format, PictureFormat};
use crate::sensor::scene::Spec;
use crate::sensor::settings::{Settings, Source};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    #[serde(default)]
    supported_formats: Vec<Spanned<Resolution>>,
    test_pattern: Option<Spanned<String>>,
    frames: Option<Spanned<Frames>>,
    location: Option<Spanned<String>>,
    model: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resolution {
    #[serde(default = "default_width")]
    width: u32,
    #[serde(default = "default_height")]
    height: u32,
    #[serde(default = "default_rates")]
    frame_rates: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Frames {
    path: String,
}

fn default_width() -> u32 {
    1920
}

fn default_height() -> u32 {
    1080
}

fn default_rates() -> Vec<f64> {
    vec![30.0, 60.0]
}

/// Frames that each picture of a folder stays (`frameRepeat` of `image_frame_generator.h`).
const FRAME_REPEAT: u64 = 4;

/// libcamera's bars are as bright as can be (`test_pattern_generator.cpp`).
const BARS: &str = "bars100";

/// Reads the cameras of a document; files are looked for in this folder.
pub(super) fn parse(text: &str, folder: &Path) -> Result<Vec<CameraDescription>, Wrong> {
    let blocks: BTreeMap<String, Spanned<Block>> =
        serde_saphyr::from_str(text).map_err(|error| Wrong::Syntax {
            line: error.location().map_or(1, |location| location.line() as usize),
            message: first_line(&error.without_snippet().to_string()),
        })?;
    let camera = |(name, block): (String, Spanned<Block>)| camera(name, block, folder);
    Ok(blocks.into_iter().map(camera).collect::<Result<_, _>>()?)
}

/// The error's own words; what follows repeats the place and the text.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}

fn fault<T>(at: &Spanned<T>, key: &str, message: impl ToString) -> Fault {
    let line = at.referenced.line() as usize;
    Fault { line, key: key.to_owned(), message: message.to_string() }
}

fn camera(name: String, at: Spanned<Block>, folder: &Path) -> Result<CameraDescription, Fault> {
    let block = &at.value;
    let source = match (&block.test_pattern, &block.frames) {
        (Some(_), Some(frames)) => {
            return Err(fault(frames, "frames", "cannot be set with test_pattern"));
        }
        (None, Some(frames)) => {
            let pictures = Spec::file(folder.join(&frames.value.path));
            Source::Scene(pictures.stretched().each_for(FRAME_REPEAT))
        }
        (Some(pattern), None) => match pattern.value.as_str() {
            "bars" => moving(BARS),
            "lines" => moving("lines"),
            other => {
                let message = format!("'{other}' is neither bars nor lines");
                return Err(fault(pattern, "test_pattern", message));
            }
        },
        (None, None) => moving(BARS),
    };
    let mut settings =
        Settings { format: Format::Picture(PictureFormat::Nv12), source, ..Settings::default() };
    let mut modes = Vec::new();
    for resolution in &block.supported_formats {
        let Resolution { width, height, frame_rates } = &resolution.value;
        let rates = match frame_rates[..] {
            [rate] => [rate, rate],
            [low, high] => [low, high],
            _ => return Err(fault(resolution, "frame_rates", "is not one rate, or two")),
        };
        if !rates.iter().all(|rate| RATES.contains(rate)) || rates[0] > rates[1] {
            let message = format!("is not a range within {} to {}", RATES.start(), RATES.end());
            return Err(fault(resolution, "frame_rates", message));
        }
        settings.size = (*width, *height).into();
        settings.validate().map_err(|error| fault(resolution, key_of(&error), &error))?;
        modes.push(Mode { size: settings.size, rates });
    }
    if modes.is_empty() {
        modes.push(Mode { size: (default_width(), default_height()).into(), rates: [30.0, 60.0] });
    }
    settings.size = modes[0].size;
    let location = match &block.location {
        None => Location::Front,
        Some(place) => match place.value.as_str() {
            "CameraLocationFront" | "front" => Location::Front,
            "CameraLocationBack" | "back" => Location::Back,
            "CameraLocationExternal" | "external" => Location::External,
            other => {
                let message = format!("'{other}' is no location that libcamera has");
                return Err(fault(place, "location", message));
            }
        },
    };
    let model = block.model.clone().unwrap_or_else(|| "Unknown".to_owned());
    Ok(CameraDescription { name, settings, modes, model, location })
}

fn moving(scene: &str) -> Source {
    Source::Scene(Spec::named(scene).moving())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault_of(text: &str) -> (usize, String) {
        match parse(text, Path::new("/")) {
            Err(Wrong::Value(Fault { line, key, .. })) => (line, key),
            Err(Wrong::Syntax { line, message }) => (line, message),
            Ok(cameras) => panic!("{cameras:?}"),
        }
    }

    #[test]
    fn a_file_for_libcamera_is_read() {
        let text = r#"# A comment before the version, as in libcamera's own file.
%YAML 1.1
---
"Virtual0":
  supported_formats:
  - width: 1920
    height: 1080
    frame_rates:
    - 30
    - 60
  - width: 1680
    height: 1050
    frame_rates:
    - 70
  test_pattern: "lines"
  location: "CameraLocationBack"
  model: "Virtual Video Device"
"Virtual1":
  frames:
    path: "pictures/"
  supported_formats:
  - width: 800
"Virtual2": {}
"#;
        let cameras = parse(text, Path::new("/etc")).ok().unwrap();
        let [first, second, third] = &cameras[..] else { panic!("{cameras:?}") };
        let expected = [
            Mode { size: (1920, 1080).into(), rates: [30.0, 60.0] },
            Mode { size: (1680, 1050).into(), rates: [70.0, 70.0] },
        ];
        assert_eq!((&*first.name, &first.modes[..]), ("Virtual0", &expected[..]));
        assert_eq!(first.settings.source.to_string(), "lines:moving");
        assert_eq!(first.settings.format.to_string(), "NV12");
        assert_eq!((first.location, &*first.model), (Location::Back, "Virtual Video Device"));
        assert_eq!(second.settings.source.to_string(), "/etc/pictures/");
        let pictures = Spec::file("/etc/pictures/").stretched().each_for(4);
        assert_eq!(second.settings.source, Source::Scene(pictures));
        assert_eq!(third.settings.source.to_string(), "bars100:moving");
        assert_eq!(second.modes, [Mode { size: (800, 1080).into(), rates: [30.0, 60.0] }]);
        assert_eq!(third.settings.size, (1920, 1080).into());
        assert_eq!(third.model, "Unknown");
    }

    #[test]
    fn what_libcamera_refuses_is_refused() {
        for (text, line, key) in [
            ("A:\n  test_pattern: bars\n  frames:\n    path: a.jpg\n", 4, "frames"),
            ("A:\n  location: above\n", 2, "location"),
            ("A:\n  supported_formats:\n  - width: 801\n", 3, "format"),
            ("A:\n  supported_formats:\n  - frame_rates: [1, 2, 3]\n", 3, "frame_rates"),
            ("A:\n  supported_formats:\n  - frame_rates: [60, 30]\n", 3, "frame_rates"),
            ("A:\n  supported_formats:\n  - width: 2\n", 3, "size"),
        ] {
            assert_eq!(fault_of(text), (line, key.to_owned()), "{text}");
        }
        assert_eq!(fault_of("A:\n  supported_formats:\n  - width: many\n").0, 3);
    }
}
