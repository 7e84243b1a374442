//! The description of a sensor's raw frames, for sinks that write them to files.

use std::sync::Arc;

use vcam_sinks::RawDescription;

use crate::sensor::Settings;
use crate::sensor::encode;
use crate::sensor::format::Format;
use crate::sensor::model::colour::XYZ_TO_SENSOR;

/// Describes the raw frames of a sensor; `None` for one that sends pictures.
pub fn raw_description(settings: &Settings) -> Option<RawDescription> {
    let Format::Raw(format) = settings.format else { return None };
    let width = settings.size.width;
    let filters = format.cfa().map(|cfa| {
        [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(column, row)| cfa.colour_at(column, row) as u8)
    });
    Some(RawDescription {
        format: format.to_string(),
        carrier: format.carrier(width).0,
        size: settings.size.into(),
        filters,
        black: encode::black(format).into(),
        white: format.white(),
        row_bytes: format.row_bytes(width),
        xyz_to_sensor: XYZ_TO_SENSOR.map(|row| row.map(|factor| factor as f32)),
        unpack: Arc::new(move |row, samples| format.unpack(row, samples)),
    })
}
