//! A PNG that is there in full or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder};

use crate::file::FileError;

/// Writes a picture of RGB pixels, three bytes each, row after row.
///
/// The picture is written beside its place, brought to the disk, and then renamed into it: at no
/// time is there half a file under that name, not even after a crash.
pub fn write_png(path: &Path, (width, height): (u32, u32), rgb: &[u8]) -> Result<(), FileError> {
    let failed = |source| FileError::Write { path: path.to_owned(), source };
    // The encoder panics on this.
    if rgb.len() as u64 != 3 * u64::from(width) * u64::from(height) {
        return Err(failed(io::Error::from(io::ErrorKind::InvalidInput)));
    }
    let mut beside = Beside::create(path)?;
    let mut writer = BufWriter::with_capacity(1 << 18, &mut beside.file);
    // Fast, because a sequence of frames is written while the camera runs.
    PngEncoder::new_with_quality(&mut writer, CompressionType::Fast, FilterType::Adaptive)
        .write_image(rgb, width, height, ExtendedColorType::Rgb8)
        .map_err(|error| match error {
            image::ImageError::IoError(error) => failed(error),
            other => failed(io::Error::other(other)),
        })?;
    writer.flush().map_err(failed)?;
    drop(writer);
    beside.put_in_place(path).map_err(failed)
}

/// A file next to the one that is meant, gone unless it is put in place.
pub(crate) struct Beside {
    path: PathBuf,
    file: File,
    placed: bool,
}

impl Beside {
    /// Creates the file; this is also the proof that the folder can be written to.
    pub(crate) fn create(place: &Path) -> Result<Self, FileError> {
        let name = place.file_name().ok_or_else(|| FileError::NotAFile(place.to_owned()))?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.part", std::process::id()));
        let path = place.with_file_name(hidden);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(|source| FileError::Folder { path: folder(place), source })?;
        Ok(Self { path, file, placed: false })
    }

    /// Brings the contents to the disk, then gives the file its name.
    fn put_in_place(mut self, place: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, place)?;
        self.placed = true;
        // The name is on the disk when the folder is. Some file systems have no fsync for folders.
        if let Err(error) = File::open(folder(place)).and_then(|folder| folder.sync_all()) {
            tracing::debug!(%error, "could not sync a folder");
        }
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.placed
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "a partial file stays behind");
        }
    }
}

/// The folder that a file is in.
pub(crate) fn folder(place: &Path) -> PathBuf {
    match place.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
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
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        fs::write(&path, "old").unwrap();
        write_png(&path, (5, 4), &[0; 59]).unwrap_err();
        drop(Beside::create(&path).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = write_png(Path::new("/nowhere/at/all/a.png"), (1, 1), &[0; 3]).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
