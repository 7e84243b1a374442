//! Y4M video (YUV4MPEG2, as ffmpeg and mjpegtools write it), again and again.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use vcam_allocator::{ColourSpace, Range, YcbcrEncoding};
use y4m::{Colorspace, Decoder, Error};

use super::error::{MAX_SIDE, SceneError};
use super::picture::part;
use super::{Scene, Show};
use crate::sensor::model::colour::srgb_to_linear;
use crate::size::Size;

/// The most memory of a frame, in bytes.
const MAX_FRAME: y4m::Limits = y4m::Limits { bytes: 256 << 20 };

/// A video that fills the scene: each pixel is the nearest of the frame.
pub(super) struct Video {
    path: PathBuf,
    decoder: Decoder<BufReader<File>>,
    frames: u64,
    /// The frame that [`Video::planes`] holds.
    shown: u64,
    /// Brightness and both differences of colour.
    planes: [Vec<u8>; 3],
    width: usize,
    /// Columns and rows of a frame that share a colour difference, as shifts; `None` without
    /// colour.
    subsampling: Option<[u32; 2]>,
    /// The column, and row, of the frame for each of the scene.
    columns: Vec<usize>,
    rows: Vec<usize>,
    /// Linear light of a level.
    linear: [f32; 256],
    /// Rows that make red, green and blue, 0 to 255, of luma and both differences.
    to_rgb: [[f32; 4]; 3],
    /// Whether reading has failed, and was complained about.
    failed: bool,
}

impl fmt::Debug for Video {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Video").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Counts the bytes that are read.
struct Counted<'a, R> {
    inner: R,
    count: &'a Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.set(self.count.get() + count as u64);
        Ok(count)
    }
}

impl Video {
    /// Reads the whole video once, so that what is wrong with it is told before it is shown.
    pub(super) fn open(path: &Path, size: Size, show: Show) -> Result<Self, SceneError> {
        let owned = || path.to_owned();
        let read = |source| SceneError::Read { path: owned(), source };
        check_sides(path)?;
        let file = File::open(path).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        let position = Cell::new(0);
        let counted = Counted { inner: BufReader::new(file), count: &position };
        let video = |source| SceneError::Video { path: owned(), source };
        let opened = Decoder::new_with_limits(counted, MAX_FRAME);
        let mut decoder = opened.map_err(|error| match error {
            Error::EOF => SceneError::Truncated { path: owned(), what: "in its header".to_owned() },
            Error::OutOfMemory => {
                let what = format!("a frame has more than {} MiB", MAX_FRAME.bytes >> 20);
                SceneError::TooLarge { path: owned(), what }
            }
            error => video(error),
        })?;
        let bits = decoder.get_bit_depth();
        if bits != 8 {
            return Err(SceneError::Depth { path: owned(), bits });
        }
        let (mut frames, mut end) = (0, position.get());
        loop {
            match decoder.read_frame() {
                Ok(_) => (frames, end) = (frames + 1, position.get()),
                Err(Error::EOF) if end == length => break,
                Err(Error::EOF) => {
                    let what = format!("after {frames} whole frames");
                    return Err(SceneError::Truncated { path: owned(), what });
                }
                Err(error) => return Err(video(error)),
            }
        }
        if frames == 0 {
            return Err(SceneError::Empty { path: owned() });
        }
        let (width, height) = (decoder.get_width(), decoder.get_height());
        let subsampling = match decoder.get_colorspace() {
            Colorspace::Cmono => None,
            Colorspace::C444 => Some([0, 0]),
            Colorspace::C422 => Some([1, 0]),
            _ => Some([1, 1]),
        };
        // Sides are at most `MAX_SIDE`.
        let [x, y, cut_width, cut_height] = part(width as u32, height as u32, size, show);
        let space = colour_space(path, decoder.get_raw_params(), height as u32);
        // Levels are rounded by what is added, before they are cut off to whole numbers.
        let to_rgb = space.to_rgb().map(|[of_luma, of_blue, of_red, added]| {
            [of_luma, of_blue, of_red, 255.0 * added + 0.5].map(|factor| factor as f32)
        });
        let nearest = |start: u32, length: u32, target: usize| {
            let at = move |index: usize| (2 * index + 1) * length as usize / (2 * target);
            (0..target).map(move |index| start as usize + at(index)).collect()
        };
        let mut video = Self {
            path: owned(),
            decoder: rewound(path).map_err(video)?,
            frames,
            shown: 0,
            planes: Default::default(),
            width,
            subsampling,
            columns: nearest(x, cut_width, size.columns()),
            rows: nearest(y, cut_height, size.rows()),
            linear: std::array::from_fn(|level| srgb_to_linear(level as f32 / 255.0)),
            to_rgb,
            failed: false,
        };
        video.read().map_err(|source| SceneError::Video { path: owned(), source })?;
        Ok(video)
    }

    /// Reads the next frame.
    fn read(&mut self) -> Result<(), Error> {
        let frame = self.decoder.read_frame()?;
        for (plane, data) in self.planes.iter_mut().zip([
            frame.get_y_plane(),
            frame.get_u_plane(),
            frame.get_v_plane(),
        ]) {
            plane.clear();
            plane.extend_from_slice(data);
        }
        Ok(())
    }

    /// Reads on to this frame, from the start if it lies behind.
    fn seek(&mut self, frame: u64) -> Result<(), Error> {
        if frame < self.shown {
            self.decoder = rewound(&self.path)?;
            self.read()?;
            self.shown = 0;
        }
        while self.shown < frame {
            self.read()?;
            self.shown += 1;
        }
        Ok(())
    }
}

/// What a video says of its colours, by the extensions of its header: `XCOLORRANGE`, as ffmpeg and
/// the encoders of AV1 write it, and `XCOLORMATRIX`, as vcam does.
///
/// A file that says nothing is all there is to go by, so it is taken for what players take it for
/// ([`ColourSpace::of_video`]). The primaries and the transfer function are those of sRGB.
fn colour_space(path: &Path, header: &[u8], height: u32) -> ColourSpace {
    let mut space = ColourSpace::of_video(height);
    for word in header.split(u8::is_ascii_whitespace) {
        let text = String::from_utf8_lossy(word);
        let unknown = || {
            let path = path.display();
            tracing::warn!("{path} says {text}, which is not known; it is read as {space}");
        };
        if let Some(range) = word.strip_prefix(b"XCOLORRANGE=") {
            match range {
                b"FULL" => space.range = Range::Full,
                b"LIMITED" => space.range = Range::Limited,
                _ => unknown(),
            }
        } else if let Some(encoding) = word.strip_prefix(b"XCOLORMATRIX=") {
            match encoding {
                b"BT601" | b"BT470BG" | b"SMPTE170M" => space.encoding = YcbcrEncoding::Rec601,
                b"BT709" => space.encoding = YcbcrEncoding::Rec709,
                b"BT2020" | b"BT2020NC" => space.encoding = YcbcrEncoding::Rec2020,
                _ => unknown(),
            }
        }
    }
    space
}

fn rewound(path: &Path) -> Result<Decoder<BufReader<File>>, Error> {
    Decoder::new(BufReader::with_capacity(1 << 16, File::open(path)?))
}

/// Refuses a header whose sides are too long to multiply: the decoder does not check them.
fn check_sides(path: &Path) -> Result<(), SceneError> {
    let read = |source| SceneError::Read { path: path.to_owned(), source };
    let mut header = Vec::new();
    let file = BufReader::new(File::open(path).map_err(read)?);
    file.take(1024).read_until(b'\n', &mut header).map_err(read)?;
    for word in String::from_utf8_lossy(&header).split_ascii_whitespace().skip(1) {
        let (Some(name @ ('W' | 'H')), side) = (word.chars().next(), word.get(1..)) else {
            continue;
        };
        let side = side.unwrap_or_default();
        if side.parse::<u64>().is_ok_and(|side| side > u64::from(MAX_SIDE)) || side.len() > 20 {
            let what = format!("a side ({name}) of {side} pixels is more than {MAX_SIDE}");
            return Err(SceneError::TooLarge { path: path.to_owned(), what });
        }
    }
    Ok(())
}

impl Scene for Video {
    fn prepare(&mut self, frame: u64) {
        if let Err(error) = self.seek(frame % self.frames)
            && !self.failed
        {
            self.failed = true;
            let path = self.path.display();
            tracing::warn!(
                "{path} has changed while it is shown; its picture stands still: {error}"
            );
        }
    }

    fn row(&self, _: u64, y: usize, row: &mut [[f32; 3]]) {
        let y = self.rows[y];
        let luma = &self.planes[0][y * self.width..][..self.width];
        let [blues, reds] = &self.planes[1..] else { unreachable!("there are three planes") };
        // Luma has the same factor in all three, red difference none in blue, and vice versa.
        let [
            [of_luma, _, red_of_red, red],
            [_, blue_of_green, red_of_green, green],
            [_, blue_of_blue, _, blue],
        ] = self.to_rgb;
        for (pixel, &x) in row.iter_mut().zip(&self.columns) {
            let level = f32::from(luma[x]);
            let [cb, cr] = self.subsampling.map_or([128.0; 2], |[horizontal, vertical]| {
                let width = self.width.div_ceil(1 << horizontal);
                let at = (y >> vertical) * width + (x >> horizontal);
                [f32::from(blues[at]), f32::from(reds[at])]
            });
            let grey = of_luma * level;
            *pixel = [
                grey + red_of_red * cr + red,
                grey + blue_of_green * cb + red_of_green * cr + green,
                grey + blue_of_blue * cb + blue,
            ]
            .map(|level| self.linear[level.clamp(0.0, 255.0) as usize]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Spec;
    use super::*;
    use crate::sensor::model::colour::linear_to_srgb;

    const SIZE: Size = Size { width: 8, height: 4 };

    /// Frames of one grey each.
    fn grey(colours: &str, frame_bytes: usize, levels: &[u8]) -> Vec<u8> {
        let mut file = format!("YUV4MPEG2 W8 H4 F30:1 Ip {colours}\n").into_bytes();
        for level in levels {
            file.extend_from_slice(b"FRAME\n");
            file.extend(std::iter::repeat_n(*level, 32));
            file.extend(std::iter::repeat_n(128, frame_bytes - 32));
        }
        file
    }

    fn opened(bytes: &[u8]) -> Result<super::super::SceneView, SceneError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        Spec::file(file.path()).open(SIZE)
    }

    #[test]
    fn frames_follow_each_other_and_begin_anew() {
        for (colours, bytes) in
            [("C420jpeg", 48), ("", 48), ("C422", 64), ("C444", 96), ("Cmono", 32)]
        {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), grey(colours, bytes, &[16, 126, 235])).unwrap();
            let mut view = Spec::file(file.path()).open(SIZE).unwrap();
            let mut light = |frame| {
                let mut row = [[0.0; 3]; 8];
                view.prepare(frame);
                view.row(frame, 3, &mut row);
                row[7]
            };
            assert_eq!(light(0), [0.0; 3], "{colours}");
            assert!((light(1)[0] - 0.2158).abs() < 1e-3, "{colours}");
            assert_eq!(light(2), [1.0; 3], "{colours}");
            assert_eq!(light(3), [0.0; 3], "{colours}");
            assert_eq!(light(8), [1.0; 3], "{colours}");
        }
    }

    /// The level of sRGB that the scene shows for a video of one colour, in 4:2:0.
    fn shown(header: &str, height: usize, [luma, blue, red]: [u8; 3]) -> [u8; 3] {
        let mut file = format!("YUV4MPEG2 W8 H{height} F30:1 {header}\nFRAME\n").into_bytes();
        file.extend(std::iter::repeat_n(luma, 8 * height));
        file.extend(std::iter::repeat_n(blue, 2 * height));
        file.extend(std::iter::repeat_n(red, 2 * height));
        let mut row = [[0.0; 3]; 8];
        opened(&file).unwrap().row(0, 1, &mut row);
        row[3].map(|light| (linear_to_srgb(light) * 255.0).round() as u8)
    }

    #[test]
    fn a_video_is_read_as_it_says_and_one_that_says_nothing_as_players_read_it() {
        // As ffmpeg's swscale reads these bytes (`-vf scale=in_color_matrix=…:in_range=…`).
        let levels = [73, 124, 145];
        for (header, height, expected) in [
            ("C420jpeg", 576, [94, 54, 58]),
            ("C420jpeg", 578, [97, 58, 58]),
            ("C420jpeg XCOLORRANGE=LIMITED", 578, [97, 58, 58]),
            ("C420jpeg XCOLORMATRIX=BT601", 578, [94, 54, 58]),
            ("C420jpeg XCOLORMATRIX=BT709", 64, [97, 58, 58]),
            ("C420jpeg XCOLORRANGE=FULL", 64, [97, 62, 66]),
            ("XCOLORRANGE=FULL XCOLORMATRIX=BT709 C420jpeg", 64, [100, 66, 66]),
            ("C420jpeg XCOLORRANGE=SOME XCOLORMATRIX=SOME", 64, [94, 54, 58]),
        ] {
            assert_eq!(shown(header, height, levels), expected, "{header} {height}");
        }
    }

    #[test]
    fn grey_of_the_full_range_comes_as_it_is() {
        for level in [0, 16, 128, 240, 255] {
            assert_eq!(shown("C420jpeg XCOLORRANGE=FULL", 8, [level, 128, 128]), [level; 3]);
        }
    }

    #[test]
    fn bad_videos_are_refused() {
        let whole = grey("C420jpeg", 48, &[16, 235]);
        for length in [whole.len() - 1, whole.len() - 50, 20] {
            assert!(matches!(opened(&whole[..length]), Err(SceneError::Truncated { .. })));
        }
        let header = |header: &str| opened(format!("YUV4MPEG2 {header}\n").as_bytes());
        assert!(matches!(header("W8 H4"), Err(SceneError::Empty { .. })));
        for sides in
            ["W4294967296 H4294967296", "W8 H99999999999999999999999999", "W16384 H16384 C444"]
        {
            assert!(matches!(header(sides), Err(SceneError::TooLarge { .. })), "{sides}");
        }
        for sides in ["W0 H4", "Wx H4", "W8", "W8 H4 C411"] {
            assert!(matches!(header(sides), Err(SceneError::Video { .. })), "{sides}");
        }
        assert!(matches!(header("W8 H4 C420p10"), Err(SceneError::Depth { bits: 10, .. })));
    }
}
