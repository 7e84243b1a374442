//! Raw frames in files of their own: the last one, or all of them.

use std::path::{Path, PathBuf};

use vcam_allocator::constraints::Constraints;
use vcam_allocator::{Dmabuf, LinkEnd};

use crate::file::beside::Beside;
use crate::file::number::Pattern;
use crate::file::raw::sidecar;
#[cfg(feature = "tiff")]
use crate::file::write_dng;
use crate::file::{Colour, FileError, RawFrame, write_raw};
use crate::pixels::{self, copy_rows, stride_of};
use crate::raw::RawDescription;
use crate::sink::{Frame, Sink, SinkCounts, SinkError, Stream, Taken, read_by_the_cpu};

impl RawDescription {
    /// What one frame is.
    fn of(&self, frame: &Frame) -> RawFrame {
        let neutral = frame.taken.and_then(|taken| taken.neutral);
        RawFrame {
            size: self.size,
            colour: self.filters.map(|filters| Colour {
                filters,
                // Nobody says: the light is taken for what the sensor calls white.
                neutral: neutral.unwrap_or([1.0; 3]),
                xyz_to_sensor: self.xyz_to_sensor,
            }),
            black: self.black,
            white: self.white,
            sequence: frame.sequence,
            timestamp: frame.timestamp,
            exposure: frame.taken.map(|Taken { exposure, .. }| exposure),
            gain: frame.taken.map(|Taken { gain, .. }| gain),
        }
    }

    /// Whether a buffer carries such a frame.
    fn check(&self, buffer: &Dmabuf) -> Result<(), FileError> {
        let layout = buffer.layout();
        let is = (layout.row_bytes(0), layout.height(), layout.format());
        let should = (self.row_bytes, self.size.1, self.carrier);
        if is == should {
            return Ok(());
        }
        let text = |(bytes, rows, format)| format!("{rows} rows of {bytes} bytes of {format}");
        Err(FileError::WrongFrame { got: text(is), expected: text(should) })
    }
}

/// Writes each raw frame to a file of its own, as DNG or as it travels.
///
/// The name's ending says which, `.dng` (with the feature `tiff`) or `.raw`; the latter has a JSON document beside it, which
/// says what the bytes are ([`write_raw`]). A name without a pattern gets one frame: the last, when
/// the sink is finished. It holds on to that frame's buffer meanwhile. A name with `%d` or `%06d`
/// gets every frame, under its sequence number, and the camera goes at the pace of the disk.
#[derive(Debug)]
pub struct RawFileSink {
    path: PathBuf,
    encoding: Encoding,
    frames: Frames,
    description: RawDescription,
    written: u64,
}

/// How a frame is written, with room for what is.
#[derive(Debug)]
enum Encoding {
    #[cfg(feature = "tiff")]
    Dng(Vec<u16>),
    Raw(Vec<u8>),
}

#[derive(Debug)]
enum Frames {
    Last(Option<Frame>),
    Every(Pattern),
}

impl RawFileSink {
    /// Prepares to write to `path`, whose ending says how, and checks here and now that it can be
    /// written.
    pub fn create(path: &Path, description: RawDescription) -> Result<Self, FileError> {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let encoding = match ending.to_ascii_lowercase().as_str() {
            #[cfg(feature = "tiff")]
            "dng" => Encoding::Dng(Vec::new()),
            "raw" => Encoding::Raw(Vec::new()),
            _ => return Err(FileError::RawKind(path.to_owned())),
        };
        let frames = match Pattern::parse(path) {
            Some(pattern) => Frames::Every(pattern),
            None => Frames::Last(None),
        };
        drop(Beside::create(path)?);
        if matches!(encoding, Encoding::Raw(_)) {
            drop(Beside::create(&sidecar(path))?);
        }
        Ok(Self { path: path.to_owned(), encoding, frames, description, written: 0 })
    }

    /// Writes one frame, whole or not at all.
    fn write(&mut self, path: &Path, frame: &Frame) -> Result<(), SinkError> {
        let Self { description, encoding, .. } = self;
        description.check(&frame.buffer)?;
        let height = description.size.1 as usize;
        let row_bytes = usize::try_from(description.row_bytes).unwrap_or(usize::MAX);
        let stride = stride_of(&frame.buffer, 0);
        let described = description.of(frame);
        match encoding {
            Encoding::Raw(bytes) => {
                pixels::read_planes(&frame.buffer, frame.ready.as_ref(), |planes| {
                    bytes.resize(row_bytes.saturating_mul(height), 0);
                    copy_rows(planes.plane(0), stride, bytes, row_bytes, row_bytes, height);
                })?;
                write_raw(path, &described, &description.format, description.row_bytes, bytes)?;
            }
            #[cfg(feature = "tiff")]
            Encoding::Dng(samples) => {
                let width = description.size.0 as usize;
                pixels::read_planes(&frame.buffer, frame.ready.as_ref(), |planes| {
                    samples.resize(width.saturating_mul(height), 0);
                    let rows = planes.plane(0).chunks(stride.max(1));
                    for (row, samples) in rows.zip(samples.chunks_mut(width.max(1))) {
                        (description.unpack)(row.get(..row_bytes).unwrap_or(row), samples);
                    }
                })?;
                write_dng(path, &described, samples)?;
            }
        }
        self.written += 1;
        Ok(())
    }
}

impl Sink for RawFileSink {
    fn name(&self) -> String {
        format!("file:{}", self.path.display())
    }

    fn stream(&self) -> Stream {
        Stream::Raw
    }

    fn constraints(&self) -> Constraints {
        read_by_the_cpu(&self.name(), 1, [self.description.carrier])
    }

    fn prepare(&mut self, _: &[Dmabuf]) {}

    fn present(&mut self, new: Frame) -> Result<(), SinkError> {
        match &mut self.frames {
            Frames::Every(pattern) => {
                let path = pattern.path(new.sequence);
                self.write(&path, &new).map_err(|error| match error {
                    SinkError::File(source) => SinkError::File(FileError::Stopped {
                        frames: self.written,
                        place: self.path.clone(),
                        source: Box::new(source),
                    }),
                    other => other,
                })
            }
            Frames::Last(frame) => {
                if let Some(old) = frame.replace(new) {
                    old.discard();
                }
                Ok(())
            }
        }
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        if let Frames::Last(frame) = &mut self.frames
            && let Some(last) = frame.take()
        {
            self.write(&self.path.clone(), &last)?;
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

impl Drop for RawFileSink {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!(%error, sink = self.name(), "the last frame is lost");
        }
    }
}

#[cfg(feature = "tiff")]
#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;
    use std::time::Duration;

    use vcam_allocator::heaps::memfd::Memfd;
    use vcam_allocator::{Alignment, ColourSpace, CpuAccess, Fourcc, Layout, Pool};

    use super::*;
    use crate::file::XYZ_TO_SRGB;

    const TAKEN: Taken =
        Taken { exposure: Duration::from_millis(20), gain: 2.5, neutral: Some([0.5, 1.0, 0.625]) };

    /// Four samples of ten bits in five bytes, the last of which has the low bits.
    fn unpack(row: &[u8], samples: &mut [u16]) {
        for (group, samples) in row.chunks_exact(5).zip(samples.chunks_mut(4)) {
            for (at, sample) in samples.iter_mut().enumerate() {
                *sample = u16::from(group[at]) << 2 | u16::from(group[4] >> (2 * at)) & 3;
            }
        }
    }

    fn description() -> RawDescription {
        RawDescription {
            format: "SRGGB10P".to_owned(),
            carrier: Fourcc::R8,
            size: (8, 2),
            filters: Some([0, 1, 1, 2]),
            black: 64.0,
            white: 1023,
            row_bytes: 10,
            xyz_to_sensor: XYZ_TO_SRGB,
            unpack: Arc::new(unpack),
        }
    }

    fn pool() -> Pool {
        // With padding after the ten bytes of a row.
        let layout = Layout::linear(Fourcc::R8, 10, 2, Alignment::default()).unwrap();
        Pool::new(&Memfd::new(), &layout, "test", 2).unwrap()
    }

    /// A frame whose bytes count up from its number.
    fn frame(pool: &Pool, sequence: u64, taken: Option<Taken>) -> Frame {
        let buffer = pool.take(Duration::ZERO).unwrap();
        let stride = stride_of(&buffer, 0);
        let mut bytes = buffer.cpu_access(CpuAccess::Write).unwrap();
        for (y, row) in bytes.plane_mut(0).chunks_mut(stride).take(2).enumerate() {
            row.fill(0xee);
            for (x, byte) in row[..10].iter_mut().enumerate() {
                *byte = sequence as u8 + (10 * y + x) as u8;
            }
        }
        bytes.end().unwrap();
        let timestamp = Duration::from_nanos(1_000 + sequence);
        Frame { sequence, timestamp, buffer, ready: None, taken, colour_space: ColourSpace::RAW }
    }

    /// The values of a tag in a file's first directory, as TIFF 6.0 has it: in chapter 2, entries of
    /// tag, type, count, and the value or where it is. Numbers of 16 and 32 bits, and fractions.
    fn tag(file: &[u8], tag: u16) -> Vec<f64> {
        let half = |at: usize| u16::from_ne_bytes([file[at], file[at + 1]]);
        let word = |at: usize| u32::from_ne_bytes(file[at..at + 4].try_into().unwrap());
        let directory = word(4) as usize;
        let entries = (0..usize::from(half(directory))).map(|entry| directory + 2 + 12 * entry);
        let at = entries.into_iter().find(|at| half(*at) == tag).unwrap();
        let (kind, count, value) = (half(at + 2), word(at + 4) as usize, at + 8);
        match (kind, count) {
            (3, 1) => vec![half(value).into()],
            (4, 1) => vec![word(value).into()],
            (5, _) => {
                let fractions = (0..count).map(|index| word(value) as usize + 8 * index);
                fractions.map(|at| f64::from(word(at)) / f64::from(word(at + 4))).collect()
            }
            other => panic!("tag {tag} is {other:?}"),
        }
    }

    /// The samples of a DNG, which are in one piece.
    fn samples(file: &[u8]) -> Vec<u16> {
        let [at, count] = [273, 279].map(|number| tag(file, number)[0] as usize);
        file[at..at + count].chunks(2).map(|two| u16::from_ne_bytes([two[0], two[1]])).collect()
    }

    #[test]
    fn a_pattern_gets_every_frame_as_it_travels_and_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let pool = pool();
        let path = dir.path().join("frame-%04d.raw");
        let mut sink = RawFileSink::create(&path, description()).unwrap();
        assert_eq!(sink.stream(), Stream::Raw);
        for sequence in 7..10 {
            sink.present(frame(&pool, sequence, Some(TAKEN))).unwrap();
        }
        assert_eq!(sink.counts(), SinkCounts { displayed: 3, dropped: 0 });
        assert_eq!(dir.path().read_dir().unwrap().count(), 6);
        let bytes = fs::read(dir.path().join("frame-0008.raw")).unwrap();
        assert_eq!(bytes, (8..28).collect::<Vec<u8>>());
        let document = fs::read(dir.path().join("frame-0008.raw.json")).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
        assert_eq!(document["format"], "SRGGB10P");
        assert_eq!((&document["sequence"], &document["row_bytes"]), (&8.into(), &10.into()));
        assert_eq!(document["timestamp_ns"], 1_008);
        assert_eq!(document["exposure_ns"], 20_000_000);
        assert_eq!(document["gain"], 2.5);
        assert_eq!(document["colour"]["neutral"], serde_json::json!([0.5, 1.0, 0.625]));
    }

    #[test]
    fn a_dng_has_the_samples_of_the_last_frame_and_how_it_was_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (pool, path) = (pool(), dir.path().join("last.DNG"));
        let mut sink = RawFileSink::create(&path, description()).unwrap();
        for sequence in 0..4 {
            sink.present(frame(&pool, sequence, Some(TAKEN))).unwrap();
        }
        assert!(!path.exists());
        sink.finish().unwrap();
        let mut expected = vec![0; 16];
        let bytes: Vec<u8> = (3..23).collect();
        unpack(&bytes[..10], &mut expected[..8]);
        unpack(&bytes[10..], &mut expected[8..]);
        let file = fs::read(&path).unwrap();
        assert_eq!(samples(&file), expected);
        // ExposureTime and AsShotNeutral.
        assert_eq!(tag(&file, 33434), [0.02]);
        assert_eq!(tag(&file, 50728), [0.5, 1.0, 0.625]);
        // Nothing is held any more.
        assert!(pool.take(Duration::ZERO).is_ok_and(|_| pool.take(Duration::ZERO).is_ok()));
    }

    #[test]
    fn a_frame_of_which_nobody_says_how_it_was_taken_is_written_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let pool = pool();
        let mut sink = RawFileSink::create(&dir.path().join("%d.raw"), description()).unwrap();
        sink.present(frame(&pool, 0, None)).unwrap();
        let document = fs::read(dir.path().join("0.raw.json")).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&document).unwrap();
        assert!(document["exposure_ns"].is_null() && document["gain"].is_null(), "{document:#}");
        assert_eq!(document["colour"]["neutral"], serde_json::json!([1.0, 1.0, 1.0]));
    }

    #[test]
    fn a_failure_says_how_many_frames_are_safe() {
        let dir = tempfile::tempdir().unwrap();
        let pool = pool();
        let mut sink = RawFileSink::create(&dir.path().join("%d.dng"), description()).unwrap();
        sink.present(frame(&pool, 0, None)).unwrap();
        fs::create_dir(dir.path().join("1.dng")).unwrap();
        let error = sink.present(frame(&pool, 1, None)).unwrap_err();
        assert!(matches!(error, SinkError::File(FileError::Stopped { frames: 1, .. })), "{error}");
        assert_eq!(sink.counts(), SinkCounts { displayed: 1, dropped: 0 });
    }

    #[test]
    fn another_buffer_than_was_announced_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let description = RawDescription { row_bytes: 8, carrier: Fourcc::R16, ..description() };
        let mut sink = RawFileSink::create(&dir.path().join("%d.raw"), description).unwrap();
        let error = sink.present(frame(&pool(), 0, None)).unwrap_err();
        let SinkError::File(FileError::Stopped { source, .. }) = &error else { panic!("{error}") };
        assert_eq!(
            source.to_string(),
            "a raw frame travels as 2 rows of 10 bytes of R8, but the file was set up for 2 rows \
             of 8 bytes of R16"
        );
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn the_ending_says_how() {
        let dir = tempfile::tempdir().unwrap();
        let create = |name: &str| RawFileSink::create(&dir.path().join(name), description());
        assert!(matches!(create("a.png"), Err(FileError::RawKind(_))));
        assert!(matches!(create("missing/a.dng"), Err(FileError::Folder { .. })));
        fs::create_dir(dir.path().join("a.raw.json")).unwrap();
        assert!(matches!(create("a.raw"), Err(FileError::NotAFile(_))));
    }
}
