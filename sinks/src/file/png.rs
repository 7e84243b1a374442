//! PNG.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, ImageError};

use crate::file::beside::Beside;
use crate::file::{FileError, Kind, Still};

/// Writes a picture of RGB pixels, three bytes each, row after row, at least a pixel wide and high.
///
/// The picture is written beside its place, brought to the disk, and then renamed into it: at no
/// time is there half a file under that name, not even after a crash.
pub fn write_png(path: &Path, size: (u32, u32), rgb: &[u8]) -> Result<(), FileError> {
    Beside::write(path, |file| encode(file, size, rgb))
}

/// Whether [`write_png`] can write to this path: it ends in `.png`, and a file can be made there.
pub fn check_png(path: &Path) -> Result<(), FileError> {
    match Kind::of(path) {
        Ok(Kind::Still(Still::Png)) => Beside::create(path).map(drop),
        _ => Err(FileError::NotPng(path.to_owned())),
    }
}

pub(super) fn encode(file: &mut File, (width, height): (u32, u32), rgb: &[u8]) -> io::Result<()> {
    check_length((width, height), rgb)?;
    let mut writer = BufWriter::with_capacity(1 << 18, file);
    // Fast, because a sequence of frames is written while the camera runs.
    PngEncoder::new_with_quality(&mut writer, CompressionType::Fast, FilterType::Adaptive)
        .write_image(rgb, width, height, ExtendedColorType::Rgb8)
        .map_err(io_error)?;
    writer.flush()
}

/// The encoders of the crate panic on what does not pass here.
pub(super) fn check_length((width, height): (u32, u32), rgb: &[u8]) -> io::Result<()> {
    let bytes = u64::from(width).saturating_mul(u64::from(height)).saturating_mul(3);
    if rgb.len() as u64 == bytes { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

pub(super) fn io_error(error: ImageError) -> io::Error {
    match error {
        ImageError::IoError(error) => error,
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        let rgb: Vec<u8> = (0..3 * 5 * 4).collect();
        write_png(&path, (5, 4), &rgb).unwrap();
        let read = image::open(&path).unwrap().into_rgb8();
        assert_eq!((read.dimensions(), read.into_raw()), ((5, 4), rgb));
    }

    #[test]
    fn too_few_pixels_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(write_png(&dir.path().join("a.png"), (5, 4), &[0; 59]).is_err());
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn only_a_png_is_called_one() {
        let dir = tempfile::tempdir().unwrap();
        check_png(&dir.path().join("a.PNG")).unwrap();
        assert!(matches!(check_png(&dir.path().join("a.ppm")), Err(FileError::NotPng(_))));
        assert!(matches!(check_png(&dir.path().join("x/a.png")), Err(FileError::Folder { .. })));
    }
}
