//! Raw frames as the sensor gave them: the bytes, and a JSON document that says what they are.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::file::FileError;
use crate::file::beside::Beside;

/// The number of the JSON document's shape.
const SCHEMA: u32 = 1;

/// CIE XYZ to linear sRGB, both with white D65: the matrix of a sensor whose red, green and blue
/// are those of sRGB. Source: IEC 61966-2-1, inverted.
pub const XYZ_TO_SRGB: [[f32; 3]; 3] =
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]];

/// What a raw frame is, apart from its samples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RawFrame {
    /// Width and height in samples.
    pub size: (u32, u32),
    /// The colour filters and what they see; `None` for a sensor that sees brightness alone.
    pub colour: Option<Colour>,
    /// The value that stands for no light.
    pub black: f32,
    /// The value of a saturated sample, above `black`.
    pub white: u16,
    /// Counts up by one for each frame of the camera.
    pub sequence: u64,
    /// `CLOCK_MONOTONIC` at the start of the exposure.
    #[serde(rename = "timestamp_ns", serialize_with = "nanoseconds")]
    pub timestamp: Duration,
    /// The time of exposure, where it is known.
    #[serde(rename = "exposure_ns", serialize_with = "some_nanoseconds")]
    pub exposure: Option<Duration>,
    /// The factor between light and samples, where it is known.
    pub gain: Option<f32>,
}

/// How a sensor sees colour.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Colour {
    /// The filters of the first two samples of the first row, then those of the second: 0 is red,
    /// 1 green, 2 blue.
    pub filters: [u8; 4],
    /// What the sensor makes of a white thing in the light of this frame: red, green and blue, the
    /// largest of them 1. It is what white balance divides by.
    pub neutral: [f32; 3],
    /// From CIE XYZ to the sensor's red, green and blue, in the light D65.
    pub xyz_to_sensor: [[f32; 3]; 3],
}

impl RawFrame {
    /// Whether this can be, with so many samples or bytes.
    pub(super) fn check(&self, given: usize, expected: Option<u64>) -> Result<(), FileError> {
        let (width, height) = self.size;
        if width == 0 || height == 0 {
            return Err(FileError::Raw("it has no samples"));
        }
        if expected != Some(given as u64) {
            return Err(FileError::Raw("its size is not that of its samples"));
        }
        if !(0.0..f32::from(self.white)).contains(&self.black) {
            return Err(FileError::Raw("its black level is not from 0 to below its white level"));
        }
        let Some(Colour { filters, neutral, xyz_to_sensor }) = &self.colour else { return Ok(()) };
        // Green on a diagonal.
        if !matches!(filters, [0, 1, 1, 2] | [1, 0, 2, 1] | [1, 2, 0, 1] | [2, 1, 1, 0]) {
            return Err(FileError::Raw("its colour filters are not in the order of Bayer"));
        }
        if !neutral.iter().all(|part| part.is_finite() && *part > 0.0) {
            return Err(FileError::Raw("its white balance is not above 0"));
        }
        if !xyz_to_sensor.iter().flatten().all(|factor| factor.is_finite()) {
            return Err(FileError::Raw("its colour matrix is not of numbers"));
        }
        Ok(())
    }
}

/// Writes a raw frame's bytes, and beside them, with `.json` after the name, what they are.
///
/// `format` is the V4L2 name of the samples' format, such as `SRGGB10P`; `row_bytes` are the bytes
/// of a row of `data`, which holds `height` rows and nothing else. The document is in place before
/// the bytes are, so no bytes are ever without it; and the bytes are on the disk before that, so no
/// document is in place for bytes that found no room.
///
/// The document has `schema` (1), `format`, `row_bytes` and the fields of [`RawFrame`], times as
/// `timestamp_ns` and `exposure_ns`.
pub fn write_raw(
    path: &Path,
    frame: &RawFrame,
    format: &str,
    row_bytes: u64,
    data: &[u8],
) -> Result<(), FileError> {
    #[derive(Serialize)]
    struct Sidecar<'a> {
        schema: u32,
        format: &'a str,
        row_bytes: u64,
        #[serde(flatten)]
        frame: &'a RawFrame,
    }

    frame.check(data.len(), row_bytes.checked_mul(frame.size.1.into()))?;
    let bytes = Beside::filled(path, |file| file.write_all(data))?;
    Beside::write(&sidecar(path), |file| {
        let document = Sidecar { schema: SCHEMA, format, row_bytes, frame };
        let mut text = serde_json::to_vec_pretty(&document)?;
        text.push(b'\n');
        file.write_all(&text)
    })?;
    bytes.put_in_place()
}

/// The name of the JSON document that belongs to a file of raw samples.
pub(super) fn sidecar(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".json");
    name.into()
}

fn nanoseconds<S: serde::Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

fn some_nanoseconds<S: serde::Serializer>(
    time: &Option<Duration>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => nanoseconds(time, to),
        None => to.serialize_none(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::file) fn example(size: (u32, u32), filters: [u8; 4]) -> RawFrame {
        RawFrame {
            size,
            colour: Some(Colour {
                filters,
                neutral: [0.5, 1.0, 0.625],
                xyz_to_sensor: XYZ_TO_SRGB,
            }),
            black: 64.0,
            white: 1023,
            sequence: 12,
            timestamp: Duration::from_nanos(3_000_000_005),
            exposure: Some(Duration::from_micros(8_333)),
            gain: None,
        }
    }

    #[test]
    fn the_document_says_what_the_bytes_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.raw");
        // Four samples of ten bits are five bytes.
        let data: Vec<u8> = (0..10).collect();
        let frame = example((4, 2), [1, 0, 2, 1]);
        write_raw(&path, &frame, "SGRBG10P", 5, &data).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), data);
        let document = std::fs::read(dir.path().join("a.raw.json")).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
        assert_eq!(document["schema"], 1);
        assert_eq!(document["format"], "SGRBG10P");
        assert_eq!(document["row_bytes"], 5);
        assert_eq!(document["size"], serde_json::json!([4, 2]));
        assert_eq!(document["black"], 64.0);
        assert_eq!(document["white"], 1023);
        assert_eq!(document["sequence"], 12);
        assert_eq!(document["timestamp_ns"], 3_000_000_005_u64);
        assert_eq!(document["exposure_ns"], 8_333_000);
        assert_eq!(document["gain"], serde_json::Value::Null);
        assert_eq!(document["colour"]["filters"], serde_json::json!([1, 0, 2, 1]));
        assert_eq!(document["colour"]["neutral"], serde_json::json!([0.5, 1.0, 0.625]));
    }

    #[test]
    fn what_contradicts_itself_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let good = example((4, 2), [0, 1, 1, 2]);
        let colour = |change: fn(&mut Colour)| {
            let mut frame = good.clone();
            frame.colour.as_mut().map(change).unwrap();
            frame
        };
        for (frame, row_bytes) in [
            (good.clone(), 4),
            (good.clone(), u64::MAX),
            (RawFrame { size: (4, 0), ..good.clone() }, 5),
            (RawFrame { black: 1023.0, ..good.clone() }, 5),
            (RawFrame { black: f32::NAN, ..good.clone() }, 5),
            (colour(|colour| colour.filters = [0, 1, 2, 1]), 5),
            (colour(|colour| colour.filters = [0, 0, 1, 2]), 5),
            (colour(|colour| colour.neutral[1] = 0.0), 5),
            (colour(|colour| colour.xyz_to_sensor[2][2] = f32::INFINITY), 5),
        ] {
            let result = write_raw(&dir.path().join("a"), &frame, "SRGGB10P", row_bytes, &[0; 10]);
            assert!(matches!(result, Err(FileError::Raw(_))), "{frame:?}");
        }
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    }
}
