//! Pictures in files of their own: the last one, or all of them.

use std::path::{Path, PathBuf};

use vcam_allocator::constraints::Constraints;
use vcam_allocator::{Dmabuf, Fourcc, LinkEnd};

use crate::file::beside::Beside;
use crate::file::number::Pattern;
use crate::file::{FileError, Kind, Still, png, ppm};
use crate::pixels;
use crate::sink::{Frame, Sink, SinkCounts, SinkError, read_by_the_cpu};

/// Writes each picture to a file of its own, as PNG or PPM.
///
/// A name without a pattern gets one picture: the last frame, written by [`Sink::finish`]. It holds
/// on to that frame's buffer meanwhile, so the pool needs one more. A name with `%d` or `%06d` gets
/// every frame, under its sequence number, and the camera goes at the pace of the disk.
#[derive(Debug)]
pub struct FileSink {
    path: PathBuf,
    still: Still,
    files: Files,
    rgb: Vec<u8>,
    written: u64,
}

#[derive(Debug)]
enum Files {
    Last(Option<Frame>),
    Every(Pattern),
}

impl FileSink {
    /// Prepares to write to `path`, whose ending says how, and checks here and now that it can be
    /// written.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        let Kind::Still(still) = Kind::of(path)? else {
            return Err(FileError::Kind(path.to_owned()));
        };
        let files = match Pattern::parse(path) {
            Some(pattern) => Files::Every(pattern),
            None => Files::Last(None),
        };
        drop(Beside::create(path)?);
        Ok(Self { path: path.to_owned(), still, files, rgb: Vec::new(), written: 0 })
    }
}

/// Writes one frame, whole or not at all.
fn write(still: Still, path: &Path, frame: &Frame, rgb: &mut Vec<u8>) -> Result<(), SinkError> {
    let size = pixels::rgb(&frame.buffer, frame.colour_space, frame.ready.as_ref(), rgb)?;
    Beside::write(path, |file| match still {
        Still::Png => png::encode(file, size, rgb),
        Still::Ppm => ppm::encode(file, size, rgb),
    })?;
    Ok(())
}

impl Sink for FileSink {
    fn name(&self) -> String {
        format!("file:{}", self.path.display())
    }

    fn constraints(&self) -> Constraints {
        read_by_the_cpu(&self.name(), 1, Fourcc::pictures())
    }

    fn prepare(&mut self, _: &[Dmabuf]) {}

    fn present(&mut self, new: Frame) -> Result<(), SinkError> {
        match &mut self.files {
            Files::Every(pattern) => {
                let path = pattern.path(new.sequence);
                match write(self.still, &path, &new, &mut self.rgb) {
                    Ok(()) => self.written += 1,
                    Err(SinkError::File(source)) => {
                        return Err(SinkError::File(FileError::Stopped {
                            frames: self.written,
                            place: self.path.clone(),
                            source: Box::new(source),
                        }));
                    }
                    Err(other) => return Err(other),
                }
            }
            Files::Last(frame) => {
                if let Some(old) = frame.replace(new) {
                    old.discard();
                }
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        if let Files::Last(frame) = &mut self.files
            && let Some(last) = frame.take()
        {
            write(self.still, &self.path, &last, &mut self.rgb)?;
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
            tracing::error!(%error, sink = self.name(), "the last frame is lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vcam_allocator::heaps::memfd::Memfd;
    use vcam_allocator::{Alignment, ColourSpace, CpuAccess, Layout, Pool};

    use super::*;

    /// A frame of which every pixel has this value.
    fn frame(pool: &Pool, sequence: u64) -> Frame {
        let buffer = pool.take(Duration::ZERO).unwrap();
        let mut pixels = buffer.cpu_access(CpuAccess::Write).unwrap();
        pixels.plane_mut(0).fill(sequence as u8);
        pixels.end().unwrap();
        let (timestamp, colour_space) = (Duration::ZERO, ColourSpace::SRGB);
        Frame { sequence, timestamp, buffer, colour_space, ready: None, taken: None }
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
    fn a_ppm_is_the_same_picture() {
        let dir = tempfile::tempdir().unwrap();
        let pool = pool();
        let mut sink = FileSink::create(&dir.path().join("%d.ppm")).unwrap();
        sink.present(frame(&pool, 65)).unwrap();
        // Not read back by the crate that wrote it.
        let bytes = std::fs::read(dir.path().join("65.ppm")).unwrap();
        let (header, pixels) = bytes.split_at(bytes.len() - 5 * 3 * 3);
        let header: Vec<_> = header.split(u8::is_ascii_whitespace).collect();
        assert_eq!(header, [&b"P6"[..], b"5", b"3", b"255", b""]);
        assert!(pixels.iter().all(|byte| *byte == 65));
    }

    #[test]
    fn a_failure_says_how_many_frames_are_safe() {
        let dir = tempfile::tempdir().unwrap();
        let pool = pool();
        let mut sink = FileSink::create(&dir.path().join("%d.png")).unwrap();
        sink.present(frame(&pool, 1)).unwrap();
        sink.present(frame(&pool, 2)).unwrap();
        // A folder is in the way of the third.
        std::fs::create_dir(dir.path().join("3.png")).unwrap();
        let error = sink.present(frame(&pool, 3)).unwrap_err();
        assert!(matches!(error, SinkError::File(FileError::Stopped { frames: 2, .. })), "{error}");
        assert!(error.to_string().starts_with("only 2 frames are safe, in "), "{error}");
        assert_eq!(sink.counts(), SinkCounts { displayed: 2, dropped: 0 });
    }

    #[test]
    fn a_place_that_cannot_be_written_is_known_before_streaming() {
        let dir = tempfile::tempdir().unwrap();
        let create = |path: &str| FileSink::create(&dir.path().join(path)).unwrap_err();
        assert!(matches!(create("missing/a.png"), FileError::Folder { .. }));
        assert!(matches!(create("a.jpg"), FileError::Kind(_)));
        assert!(matches!(create("a.y4m"), FileError::Kind(_)));
        std::fs::create_dir(dir.path().join("folder.png")).unwrap();
        assert!(matches!(create("folder.png"), FileError::NotAFile(_)));
        let read_only = FileSink::create(Path::new("/proc/a.png")).unwrap_err();
        assert!(matches!(read_only, FileError::Folder { .. }));
    }
}
