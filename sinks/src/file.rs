//! Pictures in files: the last one, or all of them.

use std::io;
use std::path::{Path, PathBuf};

use vcam_allocator::constraints::Constraints;
use vcam_allocator::{Dmabuf, LinkEnd};

use crate::pixels;
use crate::png::{Beside, folder, write_png};
use crate::sink::{Frame, Sink, SinkCounts, SinkError, read_by_the_cpu};

/// Writes PNGs.
///
/// A name without a pattern gets one picture: the last frame, written by [`Sink::finish`]. It holds
/// on to that frame's buffer meanwhile, so the pool needs one more. A name with `%d` or `%06d` gets
/// every frame, under its sequence number, and the camera goes at the pace of the disk.
#[derive(Debug)]
pub struct FileSink {
    name: String,
    files: Files,
    rgb: Vec<u8>,
    written: u64,
}

#[derive(Debug)]
enum Files {
    Last { path: PathBuf, frame: Option<Frame> },
    Every(Pattern),
}

/// Why a picture cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The path ends in no file name, or is a folder.
    #[error("{} is not the name of a file", .0.display())]
    NotAFile(PathBuf),
    /// Another kind of file than PNG.
    #[error("{} does not end in .png, and PNG is all that can be written", .0.display())]
    Kind(PathBuf),
    /// The folder is missing, or nothing can be written into it.
    #[error("could not write into the folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Writing failed half-way; the file is as it was before.
    #[error("could not write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

impl FileSink {
    /// Prepares to write to `path`, and checks here and now that it can be written.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        if !path.extension().is_some_and(|end| end.eq_ignore_ascii_case("png")) {
            return Err(FileError::Kind(path.to_owned()));
        }
        if path.is_dir() {
            return Err(FileError::NotAFile(path.to_owned()));
        }
        let files = match Pattern::parse(path) {
            Some(pattern) => Files::Every(pattern),
            None => Files::Last { path: path.to_owned(), frame: None },
        };
        if !folder(path).is_dir() {
            let source = io::Error::from(io::ErrorKind::NotFound);
            return Err(FileError::Folder { path: folder(path), source });
        }
        drop(Beside::create(path)?);
        let name = format!("file:{}", path.display());
        Ok(Self { name, files, rgb: Vec::new(), written: 0 })
    }
}

fn write(path: &Path, frame: &Frame, rgb: &mut Vec<u8>) -> Result<(), SinkError> {
    let layout = frame.buffer.layout();
    let size = (layout.width(), layout.height());
    pixels::read(&frame.buffer, frame.ready.as_ref(), |rows, stride, order| {
        pixels::to_rgb(rows, stride, order, size, rgb);
    })?;
    write_png(path, size, rgb)?;
    Ok(())
}

impl Sink for FileSink {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn constraints(&self) -> Constraints {
        read_by_the_cpu(&self.name(), 1)
    }

    fn prepare(&mut self, _: &[Dmabuf]) {}

    fn present(&mut self, new: Frame) -> Result<(), SinkError> {
        match &mut self.files {
            Files::Every(pattern) => {
                write(&pattern.path(new.sequence), &new, &mut self.rgb)?;
                self.written += 1;
            }
            Files::Last { frame, .. } => {
                if let Some(old) = frame.replace(new) {
                    old.discard();
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        if let Files::Last { path, frame } = &mut self.files
            && let Some(last) = frame.take()
        {
            write(path, &last, &mut self.rgb)?;
            self.written += 1;
        }
        Ok(())
    }

    fn link_end(&self) -> LinkEnd {
        LinkEnd::native("the CPU reads it in place")
    }

    fn counts(&self) -> SinkCounts {
        SinkCounts { displayed: self.written, dropped: 0 }
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!(%error, sink = self.name, "the last frame is lost");
        }
    }
}

/// A file name with a place for a number: `%d`, or `%06d` for six digits at least.
#[derive(Debug, PartialEq, Eq)]
struct Pattern {
    before: PathBuf,
    digits: usize,
    after: String,
}

impl Pattern {
    fn parse(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        name.match_indices('%').find_map(|(at, _)| {
            let (number, after) = name[at + 1..].split_once('d')?;
            let digits = match number {
                "" => 0,
                // More digits than that make no name that a file system takes.
                _ => number.strip_prefix('0')?.parse().ok().filter(|digits| *digits <= 200)?,
            };
            Some(Self { before: path.with_file_name(&name[..at]), digits, after: after.to_owned() })
        })
    }

    fn path(&self, number: u64) -> PathBuf {
        let digits = self.digits;
        let mut path = self.before.clone().into_os_string();
        path.push(format!("{number:0digits$}{}", self.after));
        path.into()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vcam_allocator::heaps::memfd::Memfd;
    use vcam_allocator::{Alignment, CpuAccess, Fourcc, Layout, Pool};

    use super::*;

    fn pattern(path: &str, number: u64) -> Option<String> {
        Pattern::parse(Path::new(path)).map(|pattern| pattern.path(number).display().to_string())
    }

    #[test]
    fn a_number_goes_where_the_pattern_is() {
        assert_eq!(pattern("out/a-%d.png", 7).as_deref(), Some("out/a-7.png"));
        assert_eq!(pattern("/x/%06d.png", 7).as_deref(), Some("/x/000007.png"));
        assert_eq!(pattern("100%-%03dd.png", 1234).as_deref(), Some("100%-1234d.png"));
        for plain in ["a.png", "50%.png", "%s.png", "%6d.png", "%0d.png", "%d/a.png", "%0999d.png"]
        {
            assert_eq!(pattern(plain, 1), None, "{plain}");
        }
    }

    /// A frame of which every pixel has this value.
    fn frame(pool: &Pool, sequence: u64) -> Frame {
        let buffer = pool.take(Duration::ZERO).unwrap();
        let mut pixels = buffer.cpu_access(CpuAccess::Write).unwrap();
        pixels.plane_mut(0).fill(sequence as u8);
        pixels.end().unwrap();
        Frame { sequence, timestamp: Duration::ZERO, buffer, ready: None }
    }

    fn pool() -> Pool {
        let layout = Layout::linear(Fourcc::XRGB8888, 5, 3, Alignment::default()).unwrap();
        Pool::new(&Memfd::new(), &layout, "test", 2).unwrap()
    }

    #[test]
    fn a_plain_name_gets_the_last_frame() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("last.png");
        let pool = pool();
        let mut sink = FileSink::create(&path).unwrap();
        for sequence in 1..=5 {
            sink.present(frame(&pool, sequence)).unwrap();
        }
        assert!(!path.exists());
        sink.finish().unwrap();
        let picture = image::open(&path).unwrap().into_rgb8();
        assert_eq!(picture.dimensions(), (5, 3));
        assert!(picture.as_raw().iter().all(|byte| *byte == 5));
        assert_eq!(sink.counts(), SinkCounts { displayed: 1, dropped: 0 });
        // Nothing is held any more.
        assert!(pool.take(Duration::ZERO).is_ok_and(|_| pool.take(Duration::ZERO).is_ok()));
    }

    #[test]
    fn a_pattern_gets_every_frame() {
        let dir = tempfile::tempdir().unwrap();
        let pool = pool();
        let mut sink = FileSink::create(&dir.path().join("%02d.png")).unwrap();
        for sequence in 8..=10 {
            sink.present(frame(&pool, sequence)).unwrap();
        }
        let mut names: Vec<_> =
            dir.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["08.png", "09.png", "10.png"]);
    }

    #[test]
    fn a_place_that_cannot_be_written_is_known_before_streaming() {
        let dir = tempfile::tempdir().unwrap();
        let create = |path: &str| FileSink::create(&dir.path().join(path)).unwrap_err();
        assert!(matches!(create("missing/a.png"), FileError::Folder { .. }));
        assert!(matches!(create("a.jpg"), FileError::Kind(_)));
        std::fs::create_dir(dir.path().join("folder.png")).unwrap();
        assert!(matches!(create("folder.png"), FileError::NotAFile(_)));
        let read_only = FileSink::create(Path::new("/proc/a.png")).unwrap_err();
        assert!(matches!(read_only, FileError::Folder { .. }));
    }
}
