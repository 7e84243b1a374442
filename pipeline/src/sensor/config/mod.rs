//! Cameras from a file: vcam's own TOML, or the `virtual.yaml` of libcamera's virtual camera.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::settings::{Settings, SettingsError};
use crate::size::Size;

mod own;
mod virtual_yaml;

/// Configuration files larger than this are taken for a mistake.
const MAX_BYTES: u64 = 1 << 20;

/// The rates that a camera may be asked for, in frames a second.
const RATES: std::ops::RangeInclusive<f64> = 0.01..=1000.0;

/// A camera of a configuration file.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraDescription {
    /// Its name, which no other camera of the file has.
    pub name: String,
    /// The sensor's settings in its first mode.
    pub settings: Settings,
    /// The sizes that it has, and how fast each is; at least one, the favourite first.
    pub modes: Vec<Mode>,
    /// The model's name, for people.
    pub model: String,
    /// Which way it looks.
    pub location: Location,
}

/// A size that a camera has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mode {
    /// The size of its frames.
    pub size: Size,
    /// The slowest and the fastest, in frames a second.
    pub rates: [f64; 2],
}

impl Mode {
    /// From one frame to the next, at the lowest and at the highest rate.
    pub fn frame_durations(&self) -> [Duration; 2] {
        // Both rates are within limits that make durations.
        self.rates.map(|rate| Duration::from_secs_f64(1.0 / rate))
    }
}

/// Which way a camera looks, as libcamera has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Location {
    /// At the user.
    #[default]
    Front,
    /// Away from the user.
    Back,
    /// It is not fixed to the machine.
    External,
}

/// Why a file is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("the configuration {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is larger than any configuration.
    #[error("{} is no configuration: it has more than {} KiB", path.display(), MAX_BYTES >> 10)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It does not follow the file's grammar, or a key is unknown or of the wrong type.
    #[error("{}:{line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The key, if there is one, and what is wrong.
        message: String,
    },
    /// A key has a value that it cannot have.
    #[error("{}:{line}: {key}: {message}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The key.
        key: String,
        /// The mistake.
        message: String,
    },
    /// There is no camera in it.
    #[error("{} has no camera", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// A value that is wrong: where, and why.
struct Fault {
    line: usize,
    key: String,
    message: String,
}

/// A mistake that one of the readers finds.
enum Wrong {
    /// The text.
    Syntax { line: usize, message: String },
    /// A value.
    Value(Fault),
}

impl From<Fault> for Wrong {
    fn from(fault: Fault) -> Self {
        Self::Value(fault)
    }
}

/// Reads the cameras of a file: libcamera's where its name ends in `.yaml` or `.yml`, else vcam's.
///
/// Files that it names are looked for in its folder.
pub fn read(path: &Path) -> Result<Vec<CameraDescription>, ConfigError> {
    let owned = || path.to_owned();
    let mut text = String::new();
    let read = File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|source| ConfigError::Read { path: owned(), source })?;
    if read as u64 > MAX_BYTES {
        return Err(ConfigError::TooLarge { path: owned() });
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let extension = path.extension().unwrap_or_default();
    let cameras = if extension == "yaml" || extension == "yml" {
        virtual_yaml::parse(&text, folder)
    } else {
        own::parse(&text, folder)
    };
    let cameras = cameras.map_err(|wrong| match wrong {
        Wrong::Syntax { line, message } => ConfigError::Syntax { path: owned(), line, message },
        Wrong::Value(Fault { line, key, message }) => {
            ConfigError::Value { path: owned(), line, key, message }
        }
    })?;
    if cameras.is_empty() { Err(ConfigError::Empty { path: owned() }) } else { Ok(cameras) }
}

/// The key that a complaint about settings belongs to.
fn key_of(error: &SettingsError) -> &'static str {
    match error {
        SettingsError::Size(_) => "size",
        SettingsError::Odd { .. } => "format",
        SettingsError::Array { .. } => "readout",
        SettingsError::Range { name, .. } => name,
        SettingsError::Scene(_) => "scene",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_none_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cameras.toml");
        assert!(matches!(read(&path), Err(ConfigError::Read { .. })));
        std::fs::write(&path, "").unwrap();
        assert!(matches!(read(&path), Err(ConfigError::Empty { .. })));
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(read(&path), Err(ConfigError::Read { .. })));
        std::fs::write(&path, "#".repeat(2 << 20)).unwrap();
        assert!(matches!(read(&path), Err(ConfigError::TooLarge { .. })));
    }

    #[test]
    fn what_is_wrong_is_told_with_file_line_and_key() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text, end) in [
            (
                "a.toml",
                "[[camera]]\nname = \"a\"\nsize = \"big\"\n",
                "a.toml:3: size: invalid type",
            ),
            ("a.toml", "[[camera]]\nname = \"a\"\nsice = 3\n", "a.toml:3: unknown field `sice`"),
            ("a.toml", "[[camera]]\nname = ", "a.toml:2: "),
            (
                "a.toml",
                "[[camera]]\nname = \"a\"\n\n[camera.light]\nkelvin = 100\n",
                "a.toml:5: light.kelvin: light.kelvin is 100, and must be 2000 to 12000 kelvin",
            ),
            ("a.yaml", "A:\n  test_pattern: dots\n", "a.yaml:2: test_pattern: "),
            ("a.yaml", "A:\n  colour: red\n", "a.yaml:2: "),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let message = read(&path).unwrap_err().to_string();
            let end = folder.path().join(end).display().to_string();
            assert!(message.starts_with(&end), "{message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }
}
