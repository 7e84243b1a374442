//! A file that is there in full or not at all.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::file::FileError;

/// What every program gives the files that it creates; the user's mask takes from it.
const MODE: u32 = 0o666;

/// A file next to the one that is meant, `.NAME.….part`; gone unless it is put in place or kept.
#[derive(Debug)]
pub(super) struct Beside {
    part: NamedTempFile,
    place: PathBuf,
}

impl Beside {
    /// Creates the file; this is also the proof that the folder can be written to.
    pub(super) fn create(place: &Path) -> Result<Self, FileError> {
        let name = place.file_name().ok_or_else(|| FileError::NotAFile(place.to_owned()))?;
        // To rename a file over a folder fails, and over a device or a pipe replaces it.
        if place.metadata().is_ok_and(|there| !there.is_file()) {
            return Err(FileError::NotAFile(place.to_owned()));
        }
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".");
        let folder = folder(place);
        let part = tempfile::Builder::new()
            .prefix(&hidden)
            .suffix(".part")
            .permissions(Permissions::from_mode(MODE))
            .tempfile_in(&folder)
            .map_err(|error| {
                // The crate adds the path to the message, where it would stand twice.
                let source = error.raw_os_error().map_or(error, io::Error::from_raw_os_error);
                FileError::Folder { path: folder, source }
            })?;
        Ok(Self { part, place: place.to_owned() })
    }

    /// Creates the file, lets `fill` write it, and puts it in place.
    pub(super) fn write(
        place: &Path,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), FileError> {
        Self::filled(place, fill)?.put_in_place()
    }

    /// Creates the file, lets `fill` write it, and brings it to the disk.
    pub(super) fn filled(
        place: &Path,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<Self, FileError> {
        let mut beside = Self::create(place)?;
        let file = beside.part.as_file_mut();
        fill(file)
            .and_then(|()| file.sync_all())
            .map_err(|source| FileError::write(place, source))?;
        Ok(beside)
    }

    /// The file.
    pub(super) fn file(&self) -> &File {
        self.part.as_file()
    }

    /// Brings the contents to the disk, then gives the file its name.
    pub(super) fn put_in_place(self) -> Result<(), FileError> {
        let Self { part, place } = self;
        part.as_file().sync_all().map_err(|source| FileError::write(&place, source))?;
        part.persist(&place).map_err(|error| FileError::write(&place, error.error))?;
        sync_folder(&place);
        Ok(())
    }

    /// Leaves the file where it is, with its first `bytes` brought to the disk; says where.
    pub(super) fn keep(self, bytes: u64) -> (PathBuf, io::Result<()>) {
        let path = self.part.path().to_owned();
        let kept = self.part.keep().map_err(|error| error.error).and_then(|(file, _)| {
            file.set_len(bytes)?;
            file.sync_all()
        });
        sync_folder(&path);
        (path, kept)
    }
}

/// The name is on the disk when the folder is. Some file systems have no fsync for folders.
fn sync_folder(file: &Path) {
    if let Err(error) = File::open(folder(file)).and_then(|folder| folder.sync_all()) {
        tracing::debug!(%error, "could not sync a folder");
    }
}

/// The folder that a file is in.
fn folder(place: &Path) -> PathBuf {
    match place.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.png");
        fs::write(&path, "old").unwrap();
        let failed = Beside::write(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        assert!(matches!(failed, Err(FileError::Full { .. })));
        drop(Beside::create(&path).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_file_belongs_to_whom_other_files_belong_to() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, other) = (dir.path().join("a.png"), dir.path().join("b.png"));
        Beside::write(&ours, |file| file.write_all(b"new")).unwrap();
        fs::write(&other, "new").unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&other));
        assert_eq!(fs::read(&ours).unwrap(), b"new");
    }

    #[test]
    fn what_is_kept_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let beside = Beside::create(&dir.path().join("a.y4m")).unwrap();
        beside.file().write_all(b"whole, and half").unwrap();
        let (path, kept) = beside.keep(5);
        kept.unwrap();
        assert_eq!(fs::read(path).unwrap(), b"whole");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = Beside::create(Path::new("/nowhere/at/all/a.png")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Beside::create(folder.path()), Err(FileError::NotAFile(_))));
        assert!(matches!(Beside::create(Path::new("/dev/null")), Err(FileError::NotAFile(_))));
    }
}
