//! The settings of a sensor.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use vcam_allocator::ColourSpace;
use vcam_isp_gpu::RawFormat;

use super::format::{Format, PictureFormat};
use super::model::Mains;
use super::model::colour::KELVIN;
use super::model::lens::{Lens, MAX_BLUR};
use super::pattern::TestPattern;
use super::readout::Readout;
use super::scene::{EmptySpec, SceneError, Spec};
use super::{HEIGHTS, SizeError, WIDTHS, check_size};
use crate::size::Size;

/// How bright a lamp can be, in lux on the scene: from starlight to more than the sun.
pub const LUX: std::ops::RangeInclusive<f32> = 0.001..=200_000.0;

/// The source of a sensor's frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Known numbers.
    Pattern(TestPattern),
    /// A scene, as a camera sees it.
    Scene(Spec),
}

impl Default for Source {
    fn default() -> Self {
        Self::Pattern(TestPattern::default())
    }
}

impl Source {
    /// The same, with a file's path taken from this folder if it is not absolute.
    #[must_use]
    pub fn relative_to(self, folder: &Path) -> Self {
        match self {
            Self::Scene(spec) => Self::Scene(spec.relative_to(folder)),
            pattern => pattern,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(pattern) => pattern.fmt(f),
            Self::Scene(spec) => spec.fmt(f),
        }
    }
}

impl FromStr for Source {
    type Err = EmptySpec;

    /// A test pattern, a scene's name, or a file.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(pattern) => Ok(Self::Pattern(pattern)),
            Err(_) => text.parse().map(Self::Scene),
        }
    }
}

/// The lamp that shines on a scene.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Light {
    /// Its colour temperature in kelvin: within [`KELVIN`].
    pub kelvin: f32,
    /// Its brightness on the scene: within [`LUX`].
    pub lux: f32,
    /// The alternating current that makes it flicker; `None` is steady light.
    pub mains: Option<Mains>,
}

impl Default for Light {
    /// Daylight in an office.
    fn default() -> Self {
        Self { kelvin: 6500.0, lux: 500.0, mains: None }
    }
}

/// The pixels of a sensor, good and bad.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pixels {
    /// Whether photons and reading make noise.
    pub noise: bool,
    /// The part of all pixels that is hot: 0 to 0.01.
    pub hot: f32,
    /// Which noise, and which hot pixels: the same seed makes the same frames.
    pub seed: u64,
}

impl Default for Pixels {
    /// Those of an ordinary sensor: noise, and one pixel in 100 000 is hot.
    fn default() -> Self {
        Self { noise: true, hot: 1e-5, seed: 0 }
    }
}

/// The largest part of hot pixels.
const MAX_HOT: f32 = 0.01;

/// The settings of a sensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The size of its frames.
    pub size: Size,
    /// The format that it sends.
    pub format: Format,
    /// Which pixels of its array are read out.
    pub readout: Readout,
    /// The pattern or scene that it shows.
    pub source: Source,
    /// The lamp. Without one, raw frames are taken in daylight in an office, and pictures are as
    /// bright as the scene, whatever the exposure. Test patterns know none.
    pub light: Option<Light>,
    /// The lens. Without one, raw frames have a lens that darkens the corners by
    /// [`Lens::ORDINARY`], and pictures an ideal one. Test patterns know none.
    pub lens: Option<Lens>,
    /// The pixels; test patterns and pictures are without noise.
    pub pixels: Pixels,
    /// Whether the frame's number and time are burnt in; the test picture has its number anyway.
    pub stamp: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            size: Size { width: 640, height: 480 },
            format: Format::Raw(RawFormat::SRGGB8),
            readout: Readout::default(),
            source: Source::default(),
            light: None,
            lens: None,
            pixels: Pixels::default(),
            stamp: false,
        }
    }
}

/// Why there is no such sensor.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It has no frames of this size.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// The format wants whole pairs of pixels.
    #[error("{format} has no frames of {width}x{height}: {needs}")]
    Odd {
        /// The format.
        format: Format,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// The condition that it does not meet.
        needs: &'static str,
    },
    /// The array behind the readout would be too large.
    #[error(
        "readout {readout} makes frames of {width}x{height} from an array of {}x{}, and the largest is {}x{}",
        readout.array(Size { width: *width, height: *height }).width,
        readout.array(Size { width: *width, height: *height }).height, WIDTHS.end(), HEIGHTS.end()
    )]
    Array {
        /// The readout.
        readout: Readout,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// A number is out of its range.
    #[error("{name} is {value}, and must be {range}")]
    Range {
        /// The setting, as a configuration file names it.
        name: &'static str,
        /// Its value.
        value: f32,
        /// Its range, in words.
        range: &'static str,
    },
    /// The scene cannot be opened.
    #[error(transparent)]
    Scene(#[from] SceneError),
}

impl Settings {
    /// Whether there is such a sensor, as far as can be told without opening the scene.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let Size { width, height } = self.size;
        check_size(width, height)?;
        let odd = |needs| SettingsError::Odd { format: self.format, width, height, needs };
        match self.format {
            Format::Picture(PictureFormat::Nv12) if width % 2 + height % 2 > 0 => {
                return Err(odd("its width and height are even"));
            }
            Format::Picture(PictureFormat::Yuyv) if width % 2 > 0 => {
                return Err(odd("its width is even"));
            }
            Format::Raw(raw)
                if raw.cfa().is_some()
                    && self.readout != Readout::Full
                    && width % 2 + height % 2 > 0 =>
            {
                return Err(odd("bins and skips take whole groups of colour filters"));
            }
            _ => {}
        }
        let array = self.readout.array(self.size);
        if array.width > *WIDTHS.end() || array.height > *HEIGHTS.end() {
            return Err(SettingsError::Array { readout: self.readout, width, height });
        }
        self.light().validate()?;
        // Written so that what is no number is refused.
        let within = |name, value: f32, valid: bool, range| match valid {
            true => Ok(()),
            false => Err(SettingsError::Range { name, value, range }),
        };
        let Lens { vignetting, blur } = self.lens();
        within("lens.vignetting", vignetting, (0.0..1.0).contains(&vignetting), "0 to below 1")?;
        within("lens.blur", blur, (0.0..=MAX_BLUR).contains(&blur), "0 to 8 pixels")?;
        let hot = self.pixels.hot;
        within("pixels.hot", hot, (0.0..=MAX_HOT).contains(&hot), "0 to 0.01")
    }

    /// The lamp that shines where one does.
    pub fn light(&self) -> Light {
        self.light.unwrap_or_default()
    }

    /// The lens that there is.
    pub fn lens(&self) -> Lens {
        self.lens.unwrap_or(match self.format {
            Format::Raw(_) => Lens::ORDINARY,
            Format::Picture(_) => Lens::IDEAL,
        })
    }

    /// How the numbers of its frames stand for colours.
    pub fn colour_space(&self) -> ColourSpace {
        self.format.colour_space(self.size)
    }
}

impl Light {
    /// Whether there is such a lamp.
    pub fn validate(&self) -> Result<(), SettingsError> {
        let Self { kelvin, lux, .. } = *self;
        if !KELVIN.contains(&kelvin) {
            let range = "2000 to 12000 kelvin";
            return Err(SettingsError::Range { name: "light.kelvin", value: kelvin, range });
        }
        if !LUX.contains(&lux) {
            let range = "0.001 to 200000 lux";
            return Err(SettingsError::Range { name: "light.lux", value: lux, range });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_patterns_first() {
        for text in ["test", "test:pn9", "bars", "colorchecker:moving", "test.png", "./test"] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        assert_eq!("test".parse::<Source>(), Ok(Source::default()));
        assert!(matches!("bars".parse(), Ok(Source::Scene(_))));
    }

    #[test]
    fn what_makes_no_sensor_is_refused() {
        let good = Settings::default();
        assert!(good.validate().is_ok());
        let with = |change: &dyn Fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.validate()
        };
        let format = |text: &str| text.parse::<Format>().unwrap();
        assert!(matches!(with(&|s| s.size = (64, 480).into()), Err(SettingsError::Size(_))));
        for (text, size) in [("NV12", (641, 480)), ("NV12", (640, 481)), ("YUYV", (641, 480))] {
            let result = with(&|s| (s.format, s.size) = (format(text), size.into()));
            assert!(matches!(result, Err(SettingsError::Odd { .. })), "{text}");
        }
        let binned = |s: &mut Settings| (s.readout, s.size) = (Readout::Bin2, (641, 480).into());
        assert!(matches!(with(&binned), Err(SettingsError::Odd { .. })));
        let huge = |s: &mut Settings| (s.readout, s.size) = (Readout::Skip4, (8000, 480).into());
        assert!(matches!(with(&huge), Err(SettingsError::Array { .. })));
        assert!(with(&|s| (s.format, s.size) = (format("YUYV"), (640, 481).into())).is_ok());
        for value in [f32::NAN, -1.0, f32::INFINITY] {
            let changes: [&dyn Fn(&mut Settings); 5] = [
                &|s| s.light = Some(Light { kelvin: value, ..Light::default() }),
                &|s| s.light = Some(Light { lux: value, ..Light::default() }),
                &|s| s.lens = Some(Lens { vignetting: value, blur: 0.0 }),
                &|s| s.lens = Some(Lens { vignetting: 0.0, blur: value }),
                &|s| s.pixels.hot = value,
            ];
            for change in changes {
                assert!(matches!(with(change), Err(SettingsError::Range { .. })), "{value}");
            }
        }
    }
}
