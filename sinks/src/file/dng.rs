//! DNG: a raw frame as photographers' programs read it.
//!
//! Tags and types are those of Adobe's Digital Negative specification 1.4, chapter 4, on top of
//! TIFF/EP (ISO 12234-2). The samples are written as they are, uncompressed, in one strip: bytes up
//! to 8 bits, else 16-bit words.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tiff::encoder::{Rational, SRational, TiffEncoder};
use tiff::tags::Tag;
use tiff::{TiffError, TiffResult};

use crate::file::FileError;
use crate::file::beside::Beside;
use crate::file::raw::{Colour, RawFrame};

/// Tags that TIFF itself does not have.
mod tag {
    use tiff::tags::Tag;

    pub(super) const EXPOSURE_TIME: Tag = Tag::Unknown(33434);
    pub(super) const CFA_REPEAT: Tag = Tag::Unknown(33421);
    pub(super) const CFA_PATTERN: Tag = Tag::Unknown(33422);
    pub(super) const DNG_VERSION: Tag = Tag::Unknown(50706);
    pub(super) const DNG_BACKWARD_VERSION: Tag = Tag::Unknown(50707);
    pub(super) const UNIQUE_CAMERA_MODEL: Tag = Tag::Unknown(50708);
    pub(super) const CFA_PLANE_COLOR: Tag = Tag::Unknown(50710);
    pub(super) const CFA_LAYOUT: Tag = Tag::Unknown(50711);
    pub(super) const BLACK_LEVEL: Tag = Tag::Unknown(50714);
    pub(super) const WHITE_LEVEL: Tag = Tag::Unknown(50717);
    pub(super) const COLOR_MATRIX_1: Tag = Tag::Unknown(50721);
    pub(super) const AS_SHOT_NEUTRAL: Tag = Tag::Unknown(50728);
    pub(super) const CALIBRATION_ILLUMINANT_1: Tag = Tag::Unknown(50778);
}

/// `PhotometricInterpretation`: samples behind colour filters.
const COLOR_FILTER_ARRAY: u16 = 32803;
/// `PhotometricInterpretation`: samples that are linear in light, here one a pixel.
const LINEAR_RAW: u16 = 34892;
/// `CalibrationIlluminant1`, as EXIF numbers light sources.
const D65: u16 = 21;
/// `CFALayout`: rows and columns without offsets.
const RECTANGULAR: u16 = 1;
const UNCOMPRESSED: u16 = 1;
/// `Orientation`: the first row is the top, the first column the left.
const UPRIGHT: u16 = 1;
/// `PlanarConfiguration`: the samples of a pixel stand together.
const CHUNKY: u16 = 1;

/// What is said of the camera; converters choose profiles by it, and have none for this one.
const MAKE: &str = "vcam";

/// Fractions are written in units of 1 / this.
const UNIT: u32 = 1_000_000;

/// Writes a raw frame as a DNG: whole or not at all.
///
/// `samples` are the values themselves, unpacked, row after row without padding.
pub fn write_dng(path: &Path, frame: &RawFrame, samples: &[u16]) -> Result<(), FileError> {
    let (width, height) = frame.size;
    frame.check(samples.len(), u64::from(width).checked_mul(height.into()))?;
    Beside::write(path, |file| {
        encode(file, frame, samples).map_err(|error| match error {
            TiffError::IoError(error) => error,
            other => io::Error::other(other),
        })
    })
}

fn encode(file: &mut File, frame: &RawFrame, samples: &[u16]) -> TiffResult<()> {
    let mut writer = BufWriter::with_capacity(1 << 18, file);
    let mut tiff = TiffEncoder::new(&mut writer)?;
    let mut image = tiff.image_directory()?;
    let small = frame.white <= u16::from(u8::MAX);
    let (offset, bytes) = if small {
        // White is the largest value, so none is lost.
        let bytes: Vec<u8> = samples.iter().map(|sample| (*sample).min(255) as u8).collect();
        (image.write_data(&bytes[..])?, bytes.len())
    } else {
        (image.write_data(samples)?, size_of_val(samples))
    };
    let too_large = |_| TiffError::from(io::Error::from(io::ErrorKind::FileTooLarge));
    let (width, height) = frame.size;
    image.write_tag(Tag::NewSubfileType, 0_u32)?;
    image.write_tag(Tag::ImageWidth, width)?;
    image.write_tag(Tag::ImageLength, height)?;
    image.write_tag(Tag::BitsPerSample, if small { 8_u16 } else { 16 })?;
    image.write_tag(Tag::Compression, UNCOMPRESSED)?;
    image.write_tag(Tag::SamplesPerPixel, 1_u16)?;
    image.write_tag(Tag::PlanarConfiguration, CHUNKY)?;
    image.write_tag(Tag::RowsPerStrip, height)?;
    image.write_tag(Tag::StripOffsets, u32::try_from(offset).map_err(too_large)?)?;
    image.write_tag(Tag::StripByteCounts, u32::try_from(bytes).map_err(too_large)?)?;
    image.write_tag(Tag::Orientation, UPRIGHT)?;
    image.write_tag(Tag::Make, MAKE)?;
    image.write_tag(Tag::Model, MAKE)?;
    image.write_tag(Tag::Software, concat!("vcam ", env!("CARGO_PKG_VERSION")))?;
    image.write_tag(tag::DNG_VERSION, &[1_u8, 4, 0, 0][..])?;
    image.write_tag(tag::DNG_BACKWARD_VERSION, &[1_u8, 1, 0, 0][..])?;
    image.write_tag(tag::UNIQUE_CAMERA_MODEL, MAKE)?;
    image.write_tag(tag::BLACK_LEVEL, fraction(frame.black))?;
    image.write_tag(tag::WHITE_LEVEL, frame.white)?;
    if let Some(exposure) = frame.exposure {
        image.write_tag(tag::EXPOSURE_TIME, fraction(exposure.as_secs_f32()))?;
    }
    match &frame.colour {
        None => image.write_tag(Tag::PhotometricInterpretation, LINEAR_RAW)?,
        Some(Colour { filters, neutral, xyz_to_sensor }) => {
            let matrix: Vec<_> = xyz_to_sensor.iter().flatten().copied().map(signed).collect();
            let neutral = neutral.map(fraction);
            image.write_tag(Tag::PhotometricInterpretation, COLOR_FILTER_ARRAY)?;
            image.write_tag(tag::CFA_REPEAT, &[2_u16, 2][..])?;
            image.write_tag(tag::CFA_PATTERN, &filters[..])?;
            image.write_tag(tag::CFA_PLANE_COLOR, &[0_u8, 1, 2][..])?;
            image.write_tag(tag::CFA_LAYOUT, RECTANGULAR)?;
            image.write_tag(tag::COLOR_MATRIX_1, &matrix[..])?;
            image.write_tag(tag::CALIBRATION_ILLUMINANT_1, D65)?;
            image.write_tag(tag::AS_SHOT_NEUTRAL, &neutral[..])?;
        }
    }
    image.finish()?;
    Ok(writer.flush()?)
}

fn fraction(value: f32) -> Rational {
    // The cast saturates.
    Rational { n: (f64::from(value) * f64::from(UNIT)).round() as u32, d: UNIT }
}

fn signed(value: f32) -> SRational {
    SRational { n: (f64::from(value) * f64::from(UNIT)).round() as i32, d: UNIT as i32 }
}
