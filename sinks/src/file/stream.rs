//! Pictures one after the other, in one file or down a pipe: YUV4MPEG2 or bare planes.
//!
//! Both have 8 bits a sample and chroma at half the size, in the order luma, blue difference, red
//! difference (I420). What Y4M states of that, [`header`] writes.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use vcam_allocator::constraints::Constraints;
use vcam_allocator::{ColourSpace, Dmabuf, LinkEnd, Range, YcbcrEncoding};
use y4m::{Colorspace, Ratio, VendorExtensionString};

use crate::file::beside::Beside;
use crate::file::pipe::{Pipe, StreamReader};
use crate::file::{FileError, Kind, Stream};
use crate::pixels::RGB_OR_NV12;
use crate::planar::Planar;
use crate::sink::{Frame, Sink, SinkCounts, SinkError, read_by_the_cpu};

/// The rate that a stream states if there is none.
const NOMINAL_RATE: Ratio = Ratio { num: 30, den: 1 };

/// Writes every picture to one stream, and the camera goes at the pace of its reader.
///
/// A file gets its name in [`Sink::finish`]; until then it grows beside it. If the disk fills up or
/// fails, the frames that are whole stay there, and [`FileError::Stopped`] says how many and where.
///
/// A reader of the standard output who leaves had enough, which is no failure: the run is told to
/// end, and frames that were on their way are passed over.
#[derive(Debug)]
pub struct StreamSink {
    name: String,
    encoding: Stream,
    rate: Ratio,
    target: Option<Target>,
    encoder: Option<Encoder>,
    picture: Planar,
    written: u64,
}

/// Where the stream goes; none where it has ended.
#[derive(Debug)]
enum Target {
    File {
        beside: Beside,
        path: PathBuf,
        /// Where the last whole frame ends.
        end: u64,
    },
    Output(Arc<Pipe>),
}

impl StreamSink {
    /// Prepares to write to the file at `path`, whose ending says how, and checks here and now that
    /// it can be written. `period` is the time from one frame to the next; zero for as fast as can
    /// be, which streams state as 30 frames a second.
    pub fn create(path: &Path, period: Duration) -> Result<Self, FileError> {
        let Kind::Stream(encoding) = Kind::of(path)? else {
            return Err(FileError::Kind(path.to_owned()));
        };
        let beside = Beside::create(path)?;
        let target = Target::File { beside, path: path.to_owned(), end: 0 };
        Ok(Self::new(format!("file:{}", path.display()), encoding, period, target))
    }

    /// Prepares to write YUV4MPEG2 to the standard output. Whoever calls this writes nothing else
    /// there.
    pub fn stdout(period: Duration, reader: Box<dyn StreamReader>) -> Result<Self, FileError> {
        let pipe = Arc::new(Pipe::stdout(reader).map_err(FileError::Output)?);
        let target = Target::Output(pipe);
        Ok(Self::new("stdout".to_owned(), Stream::Y4m, period, target))
    }

    fn new(name: String, encoding: Stream, period: Duration, target: Target) -> Self {
        Self {
            name,
            encoding,
            rate: rate(period),
            target: Some(target),
            encoder: None,
            picture: Planar::default(),
            written: 0,
        }
    }

    /// Writes what was read of a frame of this size, in this colour space.
    fn write(&mut self, size: (u32, u32), space: ColourSpace) -> io::Result<()> {
        let encoder = match (&mut self.encoder, &mut self.target) {
            (Some(encoder), _) => encoder,
            (None, Some(target)) => {
                let out = target.out()?;
                self.encoder.insert(Encoder::start(self.encoding, out, size, self.rate, space)?)
            }
            (None, None) => return Ok(()),
        };
        encoder.write(&self.picture)?;
        if let Some(Target::File { beside, end, .. }) = &mut self.target {
            *end = beside.file().stream_position()?;
        }
        self.written += 1;
        Ok(())
    }

    /// Ends the stream where it cannot go on; whether that is a failure depends on why.
    fn stop(&mut self, error: io::Error) -> Result<(), FileError> {
        self.encoder = None;
        let frames = self.written;
        match self.target.take() {
            None => Ok(()),
            Some(Target::Output(pipe)) => match error.kind() {
                io::ErrorKind::BrokenPipe => {
                    pipe.reader().left();
                    Ok(())
                }
                // The run was interrupted, and the reader takes nothing.
                io::ErrorKind::TimedOut => Ok(()),
                _ => Err(FileError::Output(error)),
            },
            Some(Target::File { beside, path, end }) => {
                let source = Box::new(FileError::write(&path, error));
                if frames == 0 {
                    return Err(FileError::Stopped { frames, place: path, source });
                }
                match beside.keep(end) {
                    (place, Ok(())) => Err(FileError::Stopped { frames, place, source }),
                    (place, Err(source)) => Err(FileError::Doubtful { frames, place, source }),
                }
            }
        }
    }
}

impl Target {
    fn out(&self) -> io::Result<Out> {
        Ok(match self {
            Self::File { beside, .. } => Out::File(beside.file().try_clone()?),
            Self::Output(pipe) => Out::Pipe(pipe.clone()),
        })
    }
}

impl Sink for StreamSink {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn constraints(&self) -> Constraints {
        read_by_the_cpu(&self.name, 1, RGB_OR_NV12)
    }

    fn prepare(&mut self, _: &[Dmabuf]) {}

    fn present(&mut self, frame: Frame) -> Result<(), SinkError> {
        if self.target.is_none() {
            frame.discard();
            return Ok(());
        }
        let layout = frame.buffer.layout();
        let size = (layout.width(), layout.height());
        let (space, ready) = (frame.colour_space, frame.ready.as_ref());
        let space = self.picture.read(&frame.buffer, space, ready)?;
        // It was read, so the next picture may go into it.
        drop(frame);
        self.write(size, space).or_else(|error| self.stop(error))?;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.encoder = None;
        match self.target.take() {
            // A stream without a frame has no header either, and is no file.
            Some(Target::File { beside, .. }) if self.written > 0 => Ok(beside.put_in_place()?),
            _ => Ok(()),
        }
    }

    fn link_end(&self) -> LinkEnd {
        LinkEnd::native("the CPU reads it in place")
    }

    fn counts(&self) -> SinkCounts {
        SinkCounts { displayed: self.written, dropped: 0 }
    }
}

impl Drop for StreamSink {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!(%error, sink = self.name, "the stream is lost");
        }
    }
}

/// Where bytes go.
#[derive(Debug)]
enum Out {
    File(File),
    Pipe(Arc<Pipe>),
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Pipe(pipe) => pipe.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes bytes of pictures.
enum Encoder {
    Y4m(y4m::Encoder<Out>),
    Yuv(Out),
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Y4m(_) => "Y4m",
            Self::Yuv(_) => "Yuv",
        })
    }
}

impl Encoder {
    fn start(
        encoding: Stream,
        out: Out,
        size: (u32, u32),
        rate: Ratio,
        space: ColourSpace,
    ) -> io::Result<Self> {
        Ok(match encoding {
            Stream::Yuv => Self::Yuv(out),
            Stream::Y4m => {
                let header = header(size, rate, space).map_err(io_error)?;
                Self::Y4m(header.write_header(out).map_err(io_error)?)
            }
        })
    }

    fn write(&mut self, picture: &Planar) -> io::Result<()> {
        let planes = picture.planes();
        match self {
            Self::Y4m(encoder) => {
                encoder.write_frame(&y4m::Frame::new(planes, None)).map_err(io_error)
            }
            Self::Yuv(out) => planes.into_iter().try_for_each(|plane| out.write_all(plane)),
        }
    }
}

/// What a stream of this size and rate says of itself.
///
/// `C420jpeg` puts chroma samples amid their four pixels, as they are reckoned here. Range and
/// encoding have no place in the format: the range is in the extension that ffmpeg and the encoders
/// of AV1 read. None of them reads an extension for the encoding, and headers are to be short; so it
/// is there only where it is not that which players expect ([`ColourSpace::of_video`]).
fn header(
    (width, height): (u32, u32),
    rate: Ratio,
    space: ColourSpace,
) -> Result<y4m::EncoderBuilder, y4m::Error> {
    let range: &[u8] = match space.range {
        Range::Limited => b"COLORRANGE=LIMITED",
        Range::Full => b"COLORRANGE=FULL",
    };
    let header = y4m::encode(width as usize, height as usize, rate)
        .with_colorspace(Colorspace::C420jpeg)
        .append_vendor_extension(VendorExtensionString::new(range.into())?);
    if space.encoding == ColourSpace::of_video(height).encoding {
        return Ok(header);
    }
    let encoding: &[u8] = match space.encoding {
        YcbcrEncoding::None | YcbcrEncoding::Rec601 => b"COLORMATRIX=BT601",
        YcbcrEncoding::Rec709 => b"COLORMATRIX=BT709",
        YcbcrEncoding::Rec2020 => b"COLORMATRIX=BT2020",
    };
    Ok(header.append_vendor_extension(VendorExtensionString::new(encoding.into())?))
}

fn io_error(error: y4m::Error) -> io::Error {
    match error {
        y4m::Error::IoError(error) => error,
        other => io::Error::other(other),
    }
}

/// The frame rate of a period: a whole number, one of NTSC's, or to a thousandth.
fn rate(period: Duration) -> Ratio {
    let rate = 1.0 / period.as_secs_f64();
    if !(0.001..1e6).contains(&rate) {
        return NOMINAL_RATE;
    }
    // A period is a whole number of nanoseconds, so a rate is exact to about this.
    let close = |other: f64| (rate / other - 1.0).abs() < 1e-6;
    let (whole, ntsc) = (rate.round(), (rate * 1.001).round());
    if close(whole) {
        Ratio::new(whole as usize, 1)
    } else if close(ntsc / 1.001) {
        Ratio::new(ntsc as usize * 1000, 1001)
    } else {
        Ratio::new((rate * 1000.0).round() as usize, 1000)
    }
}

#[cfg(test)]
mod tests {
    use vcam_allocator::heaps::memfd::Memfd;
    use vcam_allocator::{Alignment, CpuAccess, Fourcc, Layout, Pool};

    use super::*;

    fn pool() -> Pool {
        let layout = Layout::linear(Fourcc::XRGB8888, 5, 3, Alignment::default()).unwrap();
        Pool::new(&Memfd::new(), &layout, "test", 1).unwrap()
    }

    /// A grey frame.
    fn frame(pool: &Pool, sequence: u64) -> Frame {
        let buffer = pool.take(Duration::ZERO).unwrap();
        let mut pixels = buffer.cpu_access(CpuAccess::Write).unwrap();
        pixels.plane_mut(0).fill(sequence as u8);
        pixels.end().unwrap();
        let (timestamp, colour_space) = (Duration::ZERO, ColourSpace::SRGB);
        Frame { sequence, timestamp, buffer, colour_space, ready: None, taken: None }
    }

    #[test]
    fn a_stream_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.y4m");
        let pool = pool();
        let mut sink = StreamSink::create(&path, Duration::from_millis(40)).unwrap();
        for sequence in [0, 51, 255] {
            sink.present(frame(&pool, sequence)).unwrap();
        }
        assert!(!path.exists());
        sink.finish().unwrap();
        assert_eq!(sink.counts(), SinkCounts { displayed: 3, dropped: 0 });
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.starts_with(b"YUV4MPEG2 W5 H3 F25:1 XCOLORRANGE=LIMITED C420jpeg\nFRAME\n"));
        let mut stream = y4m::decode(&bytes[..]).unwrap();
        for luma in [16, 60, 235] {
            let frame = stream.read_frame().unwrap();
            assert_eq!(frame.get_y_plane(), [luma; 15]);
            assert_eq!(frame.get_u_plane(), [128; 6]);
            assert_eq!(frame.get_v_plane(), [128; 6]);
        }
        assert!(matches!(stream.read_frame(), Err(y4m::Error::EOF)));
        assert_eq!(dir.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn a_header_says_what_players_would_not_guess() {
        let written = |height, space| {
            let mut bytes = Vec::new();
            let header = header((640, height), NOMINAL_RATE, space).unwrap();
            let _ = header.write_header(&mut bytes).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        for (height, space, tags) in [
            (576, ColourSpace::of_video(576), "XCOLORRANGE=LIMITED C420jpeg"),
            (720, ColourSpace::of_video(720), "XCOLORRANGE=LIMITED C420jpeg"),
            (480, ColourSpace::SYCC, "XCOLORRANGE=FULL C420jpeg"),
            (720, ColourSpace::SYCC, "XCOLORRANGE=FULL XCOLORMATRIX=BT601 C420jpeg"),
            (480, ColourSpace::REC709, "XCOLORRANGE=LIMITED XCOLORMATRIX=BT709 C420jpeg"),
        ] {
            let expected = format!("YUV4MPEG2 W640 H{height} F30:1 {tags}\n");
            assert_eq!(written(height, space), expected);
        }
    }

    #[test]
    fn a_yuv_file_is_the_planes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yuv");
        let pool = pool();
        let mut sink = StreamSink::create(&path, Duration::ZERO).unwrap();
        sink.present(frame(&pool, 255)).unwrap();
        sink.present(frame(&pool, 0)).unwrap();
        drop(sink);
        let expected = [vec![235; 15], vec![128; 12], vec![16; 15], vec![128; 12]].concat();
        assert_eq!(std::fs::read(&path).unwrap(), expected);
    }

    #[test]
    fn a_run_without_frames_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.y4m");
        StreamSink::create(&path, Duration::ZERO).unwrap().finish().unwrap();
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
        let png = StreamSink::create(&dir.path().join("a.png"), Duration::ZERO).unwrap_err();
        assert!(matches!(png, FileError::Kind(_)));
    }

    #[test]
    fn rates_are_told_as_people_know_them() {
        for (fps, told) in [
            (30.0, (30, 1)),
            (24.0, (24, 1)),
            (30000.0 / 1001.0, (30000, 1001)),
            (24000.0 / 1001.0, (24000, 1001)),
            (12.5, (12500, 1000)),
            (0.01, (10, 1000)),
            (1000.0, (1000, 1)),
        ] {
            let Ratio { num, den } = rate(Duration::from_secs_f64(1.0 / fps));
            assert_eq!((num, den), told, "{fps}");
        }
        assert_eq!(rate(Duration::ZERO).num, 30);
    }
}
