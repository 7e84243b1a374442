//! The streams that a camera is to send, and those that it can send instead.

use std::fmt;

use vcam_allocator::{Alignment, ColourSpace, Fourcc, Layout, LayoutError, YcbcrEncoding};
use vcam_isp_gpu::{Orientation, RawFormat};

use crate::sensor::config::CameraDescription;
use crate::sensor::format::Format;
use crate::size::Size;
use crate::stream::{MAX_OUTPUTS, StreamId};

/// The purpose of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamRole {
    /// The sensor's numbers.
    Raw,
    /// Single pictures of the best quality.
    StillCapture,
    /// Frames for an encoder.
    VideoRecording,
    /// Frames for a screen.
    Viewfinder,
}

/// The content of a stream's buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamFormat {
    /// The sensor's numbers.
    Raw(RawFormat),
    /// A picture, by its code in DRM.
    Picture(Fourcc),
}

impl StreamFormat {
    /// Returns the colour space that frames of this size have if nothing else is asked for.
    fn usual(self, size: Size) -> ColourSpace {
        match self {
            Self::Raw(_) => ColourSpace::RAW,
            Self::Picture(format) => ColourSpace::of(format, size.into()),
        }
    }

    /// Returns the colour space nearest to this one that there is: pictures have the primaries and
    /// the transfer function of sRGB, and an ISP makes YUV of them in any encoding and range.
    fn nearest(self, asked: ColourSpace, size: Size, has_isp: bool) -> ColourSpace {
        let usual = self.usual(size);
        match self {
            Self::Picture(format) if has_isp && format.is_yuv() => match asked.encoding {
                YcbcrEncoding::None => usual,
                encoding => ColourSpace { encoding, range: asked.range, ..usual },
            },
            _ => usual,
        }
    }
}

impl fmt::Display for StreamFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raw(format) => format.fmt(f),
            Self::Picture(format) => format.fmt(f),
        }
    }
}

/// A stream that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamConfiguration {
    /// The content of its buffers.
    pub pixel_format: StreamFormat,
    /// The size as it is seen: after a turn by [`CameraConfiguration::orientation`].
    pub size: Size,
    /// Buffers that the camera allocates for the application, besides those that it needs itself.
    pub buffer_count: u32,
    /// How the numbers stand for colours. `None` leaves it to [`CameraConfiguration::validate`],
    /// which puts [`ColourSpace::of`] here, or [`ColourSpace::RAW`]. To be emptied again before the
    /// format or the size changes, unless it is meant to stay.
    pub colour_space: Option<ColourSpace>,
}

impl StreamConfiguration {
    /// Format, width and height as a buffer has them, where a raw frame is rows of its carrier.
    pub(super) fn carrier(&self) -> (Fourcc, Size) {
        match self.pixel_format {
            StreamFormat::Raw(format) => {
                let (carrier, columns) = format.carrier(self.size.width);
                (carrier, Size { width: columns, ..self.size })
            }
            StreamFormat::Picture(format) => (format, self.size),
        }
    }

    /// Returns a buffer's layout if no device asks for more: its stride and size in bytes are the
    /// least there are. See [`Camera::allocate`](super::Camera::allocate) for what they become.
    pub fn least_layout(&self) -> Result<Layout, LayoutError> {
        let (format, Size { width, height }) = self.carrier();
        Layout::linear(format, width, height, Alignment::default())
    }
}

/// The streams that a camera is asked for.
#[derive(Debug, Clone)]
pub struct CameraConfiguration {
    /// The streams: a raw one at most, and two of pictures.
    pub streams: Vec<StreamConfiguration>,
    /// Which way up pictures are.
    pub orientation: Orientation,
    camera: CameraDescription,
}

/// The result of a validation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It can.
    Valid,
    /// It could not, and the configuration was changed to what it can.
    Adjusted(Vec<Adjustment>),
    /// It cannot, and there is nothing near that it could.
    Invalid(Invalid),
}

/// A change that [`CameraConfiguration::validate`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adjustment {
    /// The stream, if it is one's.
    pub stream: Option<StreamId>,
    /// The field.
    pub field: &'static str,
    /// The value before.
    pub from: String,
    /// The value now.
    pub to: String,
}

impl fmt::Display for Adjustment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stream, field, from, to } = self;
        match stream {
            Some(StreamId(index)) => write!(f, "stream {index}: {field} {from} became {to}"),
            None => write!(f, "{field} {from} became {to}"),
        }
    }
}

/// Why nothing can be made of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It asks for nothing.
    #[error("the configuration has no stream")]
    Empty,
}

/// The fewest and the most buffers that a stream may have for the application.
const BUFFERS: std::ops::RangeInclusive<u32> = 1..=64;

/// The default number of buffers of a stream.
const DEFAULT_BUFFERS: u32 = 4;

/// No size: the largest is taken.
const UNSET: Size = Size { width: 0, height: 0 };

/// The smallest picture.
const SMALLEST: u32 = 16;

impl CameraConfiguration {
    pub(super) fn new(camera: CameraDescription, roles: &[StreamRole]) -> Self {
        let size = camera.modes.first().map_or(camera.settings.size, |mode| mode.size);
        let sends = camera.settings.format;
        let stream = |role: &StreamRole| {
            let pixel_format = match (sends, role) {
                (Format::Raw(raw), StreamRole::Raw) => StreamFormat::Raw(raw),
                (Format::Raw(_), StreamRole::VideoRecording) => StreamFormat::Picture(Fourcc::NV12),
                (Format::Raw(_), _) => StreamFormat::Picture(Fourcc::XRGB8888),
                (Format::Picture(picture), _) => StreamFormat::Picture(picture.fourcc()),
            };
            let (buffer_count, colour_space) = (DEFAULT_BUFFERS, None);
            StreamConfiguration { pixel_format, size, buffer_count, colour_space }
        };
        let streams = roles.iter().map(stream).collect();
        Self { streams, orientation: Orientation::UPRIGHT, camera }
    }

    /// The streams, to add buffers of to a [`Request`](super::Request).
    pub fn stream_ids(&self) -> impl Iterator<Item = StreamId> + use<> {
        (0..self.streams.len()).map(StreamId)
    }

    /// Changes what the camera cannot do into what it can, and says what was changed.
    pub fn validate(&mut self) -> Status {
        if self.streams.is_empty() {
            return Status::Invalid(Invalid::Empty);
        }
        let mut changes = Changes::default();
        let sends = self.camera.settings.format;
        let has_isp = matches!(sends, Format::Raw(_));
        if !has_isp && self.orientation != Orientation::UPRIGHT {
            let was = std::mem::replace(&mut self.orientation, Orientation::UPRIGHT);
            let words = |it: Orientation| format!("{it:?}");
            changes.note(None, "orientation", words(was), words(self.orientation));
        }
        self.drop_streams(has_isp, &mut changes);
        let sensor_size = self.sensor_size();
        for (index, stream) in self.streams.iter_mut().enumerate() {
            let mut fit = Fit { stream: StreamId(index), changes: &mut changes };
            let format = match (stream.pixel_format, sends) {
                (StreamFormat::Raw(_), Format::Raw(raw)) => StreamFormat::Raw(raw),
                (_, Format::Picture(picture)) => StreamFormat::Picture(picture.fourcc()),
                (StreamFormat::Picture(format), Format::Raw(_)) => {
                    let is_made = format.is_picture();
                    StreamFormat::Picture(if is_made { format } else { Fourcc::XRGB8888 })
                }
            };
            fit.set("format", &mut stream.pixel_format, format);
            let full = match stream.pixel_format {
                StreamFormat::Raw(_) => sensor_size,
                StreamFormat::Picture(_) => self.orientation.size(sensor_size.into()).into(),
            };
            let size = match (stream.pixel_format, has_isp) {
                (StreamFormat::Picture(_), true) if stream.size != UNSET => {
                    let within = |side: u32, most: u32| side.clamp(SMALLEST.min(most), most);
                    Size {
                        width: within(stream.size.width, full.width),
                        height: within(stream.size.height, full.height),
                    }
                }
                _ => full,
            };
            fit.set("size", &mut stream.size, size);
            let count = stream.buffer_count.clamp(*BUFFERS.start(), *BUFFERS.end());
            fit.set("buffer count", &mut stream.buffer_count, count);
            let space = stream.colour_space.get_or_insert_with(|| stream.pixel_format.usual(size));
            let possible = stream.pixel_format.nearest(*space, size, has_isp);
            fit.set("colour space", space, possible);
        }
        match changes.0.is_empty() {
            true => Status::Valid,
            false => Status::Adjusted(changes.0),
        }
    }

    /// Leaves as many of each kind as there can be; the first ones stay.
    fn drop_streams(&mut self, has_isp: bool, changes: &mut Changes) {
        let (mut raw, mut processed) = (0, 0);
        let most = if has_isp { (1, MAX_OUTPUTS) } else { (0, 1) };
        let was = self.streams.len();
        self.streams.retain(|stream| {
            // Without an ISP all are the sensor's pictures.
            let (count, most) = match (stream.pixel_format, has_isp) {
                (StreamFormat::Raw(_), true) => (&mut raw, most.0),
                _ => (&mut processed, most.1),
            };
            *count += 1;
            *count <= most
        });
        let is = self.streams.len();
        if is != was {
            changes.note(None, "number of streams", was.to_string(), is.to_string());
        }
    }

    /// The smallest of the sensor's modes that has every pixel which is asked for; if none has, the
    /// largest.
    pub(super) fn sensor_size(&self) -> Size {
        let sizes = || self.camera.modes.iter().map(|mode| mode.size);
        let covers = |mode: &Size| {
            self.streams.iter().all(|stream| {
                let full = match stream.pixel_format {
                    StreamFormat::Raw(_) => *mode,
                    StreamFormat::Picture(_) => self.orientation.size((*mode).into()).into(),
                };
                stream.size.width <= full.width && stream.size.height <= full.height
            })
        };
        let area = |size: &Size| size.area();
        sizes()
            .filter(covers)
            .min_by_key(area)
            .or_else(|| sizes().max_by_key(area))
            .unwrap_or(self.camera.settings.size)
    }

    pub(super) fn camera(&self) -> &CameraDescription {
        &self.camera
    }
}

/// The changes so far.
#[derive(Debug, Default)]
struct Changes(Vec<Adjustment>);

impl Changes {
    fn note(&mut self, stream: Option<StreamId>, field: &'static str, from: String, to: String) {
        self.0.push(Adjustment { stream, field, from, to });
    }
}

/// Changes a stream, and notes what was changed.
struct Fit<'a> {
    stream: StreamId,
    changes: &'a mut Changes,
}

impl Fit<'_> {
    fn set<T: PartialEq + fmt::Display + Copy>(&mut self, name: &'static str, was: &mut T, is: T) {
        self.set_as(name, was, is, |value| value.to_string());
    }

    fn set_as<T: PartialEq + Copy>(
        &mut self,
        name: &'static str,
        was: &mut T,
        is: T,
        words: impl Fn(T) -> String,
    ) {
        let before = std::mem::replace(was, is);
        if before != is {
            self.changes.note(Some(self.stream), name, words(before), words(is));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camera::CameraManager;
    use crate::sensor::config::Mode;

    fn camera(format: &str) -> CameraDescription {
        let mut camera = CameraManager::default_camera();
        camera.settings.format = format.parse().unwrap();
        let mode = |size: (u32, u32)| Mode { size: size.into(), rates: [1.0, 30.0] };
        camera.modes = vec![mode((640, 480)), mode((1920, 1080)), mode((1280, 720))];
        camera
    }

    fn changed(configuration: &mut CameraConfiguration) -> Vec<String> {
        let status = configuration.validate();
        assert_eq!(configuration.validate(), Status::Valid, "{configuration:?}");
        match status {
            Status::Valid => Vec::new(),
            Status::Adjusted(changes) => changes.iter().map(Adjustment::to_string).collect(),
            Status::Invalid(invalid) => vec![invalid.to_string()],
        }
    }

    #[test]
    fn what_is_generated_is_valid() {
        use StreamRole::*;
        for format in ["SRGGB10P", "Y10", "NV12", "XR24"] {
            for role in [StillCapture, VideoRecording, Viewfinder] {
                let mut configuration = CameraConfiguration::new(camera(format), &[role]);
                assert_eq!(configuration.validate(), Status::Valid, "{format} {role:?}");
            }
        }
        let roles = [Raw, VideoRecording, Viewfinder];
        let mut three = CameraConfiguration::new(camera("SBGGR12"), &roles);
        assert_eq!(three.validate(), Status::Valid);
        assert_eq!(three.streams[0].pixel_format.to_string(), "SBGGR12");
        assert_eq!(three.stream_ids().map(StreamId::index).collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn nothing_is_made_of_nothing() {
        let mut empty = CameraConfiguration::new(camera("SRGGB8"), &[]);
        assert_eq!(empty.validate(), Status::Invalid(Invalid::Empty));
    }

    #[test]
    fn what_cannot_be_becomes_what_can_and_is_told() {
        let viewfinder = [StreamRole::Viewfinder];
        let mut one = CameraConfiguration::new(camera("SRGGB8"), &viewfinder);
        one.streams[0].pixel_format = StreamFormat::Picture(Fourcc::new(*b"AB48"));
        one.streams[0].size = (4000, 3).into();
        one.streams[0].buffer_count = 0;
        let changes = changed(&mut one);
        assert_eq!(
            changes,
            [
                "stream 0: format AB48 became XR24",
                "stream 0: size 4000x3 became 1920x16",
                "stream 0: buffer count 0 became 1",
            ]
        );

        let roles = [StreamRole::Viewfinder; 4];
        let mut many = CameraConfiguration::new(camera("SRGGB8"), &roles);
        assert_eq!(changed(&mut many), ["number of streams 4 became 2"]);

        let roles = [StreamRole::Raw, StreamRole::Viewfinder];
        let mut direct = CameraConfiguration::new(camera("NV12"), &roles);
        direct.orientation = Orientation::ROTATE_90;
        direct.streams[0].size = (64, 64).into();
        let changes = changed(&mut direct);
        assert_eq!(changes.len(), 3, "{changes:?}");
        assert_eq!(direct.streams[0].size, (640, 480).into());
    }

    #[test]
    fn a_colour_space_is_chosen_with_format_and_size_and_stays_what_was_asked_for() {
        let roles = [StreamRole::Raw, StreamRole::VideoRecording, StreamRole::Viewfinder];
        let spaces = |configuration: &CameraConfiguration| {
            let each = configuration.streams.iter().map(|stream| stream.colour_space.unwrap());
            each.map(|space| space.to_string()).collect::<Vec<_>>()
        };
        let mut three = CameraConfiguration::new(camera("SRGGB10"), &roles);
        assert_eq!(three.validate(), Status::Valid);
        assert_eq!(spaces(&three), ["RAW", "Rec709/sRGB/Rec601/Limited", "sRGB"]);
        let mut large = CameraConfiguration::new(camera("SRGGB10"), &roles[1..2]);
        large.streams[0].size = (1280, 720).into();
        assert_eq!(large.validate(), Status::Valid);
        assert_eq!(spaces(&large), ["Rec709/sRGB/Rec709/Limited"]);
        large.streams[0].colour_space = Some(ColourSpace::SYCC);
        assert_eq!(large.validate(), Status::Valid);
        assert_eq!(spaces(&large), ["sYCC"]);
        // The camera makes no primaries and no transfer function but its own.
        large.streams[0].colour_space = Some(ColourSpace::SMPTE170M);
        assert_eq!(
            changed(&mut large),
            ["stream 0: colour space SMPTE170M became Rec709/sRGB/Rec601/Limited"]
        );
        three.streams[2].colour_space = Some(ColourSpace::SYCC);
        assert_eq!(changed(&mut three), ["stream 2: colour space sYCC became sRGB"]);
        // A sensor that sends pictures has no choice.
        let mut direct = CameraConfiguration::new(camera("NV12"), &roles[2..]);
        direct.streams[0].colour_space = Some(ColourSpace::SYCC);
        assert_eq!(
            changed(&mut direct),
            ["stream 0: colour space sYCC became Rec709/sRGB/Rec601/Limited"]
        );
    }

    #[test]
    fn the_sensor_reads_no_more_than_is_needed() {
        let viewfinder = [StreamRole::Viewfinder];
        let mut one = CameraConfiguration::new(camera("SRGGB8"), &viewfinder);
        for (asked, mode) in [
            ((640, 480), (640, 480)),
            ((100, 100), (640, 480)),
            ((641, 480), (1280, 720)),
            ((1920, 1080), (1920, 1080)),
        ] {
            one.streams[0].size = asked.into();
            assert_eq!((one.validate(), one.sensor_size()), (Status::Valid, mode.into()));
        }
        one.orientation = Orientation::ROTATE_90;
        one.streams[0].size = (720, 1280).into();
        assert_eq!((one.validate(), one.sensor_size()), (Status::Valid, (1280, 720).into()));
    }
}
