//! vcam's own configuration, in TOML: `docs/sensor.md` lists its keys.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;
use toml::Spanned;

use super::{CameraDescription, Fault, Location, Mode, RATES, Wrong, key_of};
use crate::sensor::model::Mains;
use crate::sensor::settings::{Settings, Source};
use crate::size::Size;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    camera: Vec<Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    name: Spanned<String>,
    model: Option<String>,
    location: Option<Spanned<String>>,
    size: Option<Spanned<[u32; 2]>>,
    fps: Option<Spanned<f64>>,
    format: Option<Spanned<String>>,
    scene: Option<Spanned<String>>,
    readout: Option<Spanned<String>>,
    stamp: Option<bool>,
    #[serde(default)]
    light: LightTable,
    #[serde(default)]
    lens: LensTable,
    #[serde(default)]
    pixels: PixelsTable,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct LightTable {
    kelvin: Option<Spanned<f32>>,
    lux: Option<Spanned<f32>>,
    mains: Option<Spanned<u32>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct LensTable {
    vignetting: Option<Spanned<f32>>,
    blur: Option<Spanned<f32>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct PixelsTable {
    noise: Option<bool>,
    hot: Option<Spanned<f32>>,
    seed: Option<u64>,
}

/// Where values stand, to be told when one is wrong.
struct Places<'a> {
    text: &'a str,
    lines: HashMap<&'static str, usize>,
}

impl Places<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        line_of(self.text, span.start)
    }

    /// Takes a value, if there is one, and remembers its place.
    fn take<T>(&mut self, key: &'static str, value: Option<Spanned<T>>, into: &mut T) {
        if let Some(value) = value {
            self.lines.insert(key, self.line(&value.span()));
            *into = value.into_inner();
        }
    }

    /// As [`Places::take`], for what is written as text.
    fn parse<T: FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
        value: Option<Spanned<String>>,
        into: &mut T,
    ) -> Result<(), Fault> {
        let Some(value) = value else { return Ok(()) };
        self.lines.insert(key, self.line(&value.span()));
        *into = value.get_ref().parse().map_err(|error: T::Err| self.fault(key, error))?;
        Ok(())
    }

    fn fault(&self, key: &str, message: impl Display) -> Fault {
        // A key that is not written has the place of the camera's name.
        let line = self.lines.get(key).or_else(|| self.lines.get("name")).copied().unwrap_or(1);
        Fault { line, key: key.to_owned(), message: message.to_string() }
    }
}

/// The line of a byte, counted from 1.
fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// Reads the cameras of a document; files are looked for in this folder.
pub(super) fn parse(text: &str, folder: &Path) -> Result<Vec<CameraDescription>, Wrong> {
    let document: Document = toml::from_str(text).map_err(|error| syntax(text, &error))?;
    let mut names = BTreeSet::new();
    let mut cameras = Vec::new();
    for table in document.camera {
        let line = line_of(text, table.name.span().start);
        let camera = camera(text, table, folder)?;
        if !names.insert(camera.name.clone()) {
            let message = format!("there is another camera '{}'", camera.name);
            return Err(Fault { line, key: "name".to_owned(), message }.into());
        }
        cameras.push(camera);
    }
    Ok(cameras)
}

fn syntax(text: &str, error: &toml::de::Error) -> Wrong {
    let at = error.span().map_or(text.len(), |span| span.start);
    let line = line_of(text, at);
    let message = error.message().lines().collect::<Vec<_>>().join("; ");
    // Where a value is of the wrong type, the error's place is the value: its key comes before.
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let message = match text[start..at].split_once('=') {
        Some((key, _)) => format!("{}: {message}", key.trim()),
        None => message,
    };
    Wrong::Syntax { line, message }
}

fn camera(text: &str, table: Table, folder: &Path) -> Result<CameraDescription, Fault> {
    let mut places = Places { text, lines: HashMap::new() };
    let mut settings = Settings::default();
    let mut name = String::new();
    places.take("name", Some(table.name), &mut name);
    let mut size = [settings.size.width, settings.size.height];
    places.take("size", table.size, &mut size);
    settings.size = Size { width: size[0], height: size[1] };
    let mut fps = 30.0;
    places.take("fps", table.fps, &mut fps);
    if !RATES.contains(&fps) {
        let message =
            format!("{fps} is not a frame rate from {} to {}", RATES.start(), RATES.end());
        return Err(places.fault("fps", message));
    }
    places.parse("format", table.format, &mut settings.format)?;
    places.parse("readout", table.readout, &mut settings.readout)?;
    let mut source = Source::default();
    places.parse("scene", table.scene, &mut source)?;
    settings.source = source.relative_to(folder);
    settings.stamp = table.stamp.unwrap_or(settings.stamp);

    let LightTable { kelvin, lux, mains } = &table.light;
    let has_light = kelvin.is_some() || lux.is_some() || mains.is_some();
    let mut light = settings.light();
    places.take("light.kelvin", table.light.kelvin, &mut light.kelvin);
    places.take("light.lux", table.light.lux, &mut light.lux);
    if let Some(mains) = table.light.mains {
        let mut hertz = 0;
        places.take("light.mains", Some(mains), &mut hertz);
        light.mains = match hertz {
            0 => None,
            50 => Some(Mains::Hz50),
            60 => Some(Mains::Hz60),
            other => {
                let message = format!("{other} is none of 50, 60 and 0 for steady light");
                return Err(places.fault("light.mains", message));
            }
        };
    }
    settings.light = has_light.then_some(light);
    let has_lens = table.lens.vignetting.is_some() || table.lens.blur.is_some();
    let mut lens = settings.lens();
    places.take("lens.vignetting", table.lens.vignetting, &mut lens.vignetting);
    places.take("lens.blur", table.lens.blur, &mut lens.blur);
    settings.lens = has_lens.then_some(lens);
    let pixels = &mut settings.pixels;
    places.take("pixels.hot", table.pixels.hot, &mut pixels.hot);
    pixels.noise = table.pixels.noise.unwrap_or(pixels.noise);
    pixels.seed = table.pixels.seed.unwrap_or(pixels.seed);
    settings.validate().map_err(|error| places.fault(key_of(&error), &error))?;

    let mut place = "front".to_owned();
    places.take("location", table.location, &mut place);
    let location = match place.as_str() {
        "front" => Location::Front,
        "back" => Location::Back,
        "external" => Location::External,
        other => {
            let message = format!("'{other}' is none of front, back and external");
            return Err(places.fault("location", message));
        }
    };
    let modes = vec![Mode { size: settings.size, rates: [fps, fps] }];
    let model = table.model.unwrap_or_else(|| "vcam".to_owned());
    Ok(CameraDescription { name, settings, modes, model, location })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::readout::Readout;

    fn fault(text: &str) -> (usize, String) {
        match parse(text, Path::new("/")) {
            Err(Wrong::Value(Fault { line, key, .. })) => (line, key),
            Err(Wrong::Syntax { line, message }) => (line, message),
            Ok(cameras) => panic!("{cameras:?}"),
        }
    }

    #[test]
    fn a_camera_has_what_is_written_and_else_the_defaults() {
        let text = r#"
            [[camera]]
            name = "front"
            [[camera]]
            name = "back"
            model = "a model"
            location = "back"
            size = [1920, 1080]
            fps = 59.94
            format = "SGRBG12P"
            scene = "pictures/wall.png:moving"
            readout = "bin2"
            stamp = true
            light = { kelvin = 2800, lux = 20, mains = 60 }
            lens = { vignetting = 0, blur = 1.5 }
            pixels = { noise = false, hot = 0, seed = 7 }
        "#;
        let cameras = parse(text, Path::new("/etc/vcam")).ok().unwrap();
        let [front, back] = &cameras[..] else { panic!("{cameras:?}") };
        assert_eq!((&*front.name, &front.settings), ("front", &Settings::default()));
        assert_eq!(front.modes, [Mode { size: (640, 480).into(), rates: [30.0; 2] }]);
        assert_eq!(back.location, Location::Back);
        assert_eq!(back.modes[0].rates, [59.94; 2]);
        let settings = &back.settings;
        assert_eq!(settings.size, (1920, 1080).into());
        assert_eq!(settings.format.to_string(), "SGRBG12P");
        assert_eq!(settings.source.to_string(), "/etc/vcam/pictures/wall.png:moving");
        assert_eq!((settings.readout, settings.stamp), (Readout::Bin2, true));
        assert_eq!((settings.light().kelvin, settings.light().mains), (2800.0, Some(Mains::Hz60)));
        assert_eq!((settings.lens().vignetting, settings.lens().blur), (0.0, 1.5));
        assert_eq!((settings.pixels.noise, settings.pixels.seed), (false, 7));
    }

    #[test]
    fn each_value_is_checked_where_it_stands() {
        for (key, value) in [
            ("size", "[1, 1]"),
            ("fps", "0"),
            ("fps", "inf"),
            ("format", "\"RGB\""),
            ("readout", "\"half\""),
            ("scene", "\"\""),
            ("location", "\"up\""),
            ("light.lux", "-1"),
            ("light.mains", "55"),
            ("lens.blur", "nan"),
            ("pixels.hot", "1"),
        ] {
            let text = format!("[[camera]]\nname = \"a\"\n\n{key} = {value}\n");
            assert_eq!(fault(&text), (4, key.to_owned()));
        }
        let twice = "[[camera]]\nname = \"a\"\n[[camera]]\nname = \"a\"\n";
        assert_eq!(fault(twice), (4, "name".to_owned()));
        assert_eq!(fault("[[camera]]\nsize = [640, 480]\n").0, 1);
    }
}
