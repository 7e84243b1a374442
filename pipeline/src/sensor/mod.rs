//! The sensor: fills frames in place, as a camera's sensor would.
//!
//! ```text
//! scene ─▶ model: lamp, lens, filters, exposure, noise ─▶ numbers ─┐
//!                                          test pattern ─▶ numbers ─┴▶ packed rows in a buffer
//! ```
//!
//! [`Settings`] say what it is. Each frame, [`Sensor::expose`] returns which exposure and gain
//! count for it and when it is taken, and [`Sensor::fill`] writes its rows. Controls set in
//! between, with [`Sensor::set_controls`], count frames later, as [`delay`] explains.
//!
//! Frames depend on the settings, the frame's number, its controls and, under a lamp that flickers
//! and with a stamp, its time; on nothing else. Rows are written whole, in order, and never read
//! back, so a frame is as fast into uncached memory as into cached; a scene that stands still is
//! looked at once.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use vcam_allocator::ColourSpace;
use vcam_isp_gpu::{Cfa, RawFormat};

pub mod config;
pub mod delay;
pub(crate) mod encode;
pub mod format;
pub mod frame_counter;
pub mod frame_timer;
pub mod model;
mod optics;
pub mod pattern;
mod processed;
mod raw;
pub mod readout;
mod row_cache;
pub mod scene;
pub mod settings;
mod stamp;
pub mod timing;
mod workers;

use crate::size::Size;
use delay::{Controls, Registers};
use format::Format;
use pattern::{Painter, TestPattern};
use processed::ProcessedSensor;
use raw::RawSensor;
pub use settings::{Light, Settings, SettingsError, Source};
use stamp::Stamp;
use timing::{GAINS, Timing};
pub use workers::Workers;

/// The widths that a sensor can have, in pixels. The lower bounds leave room for the
/// [`frame_counter`].
pub const WIDTHS: RangeInclusive<u32> = 128..=16_384;
/// As [`WIDTHS`], for the height.
pub const HEIGHTS: RangeInclusive<u32> = 32..=16_384;

/// The 8-bit raw value of no light at all; as many times more with more bits, as there are more
/// values. As a fraction, see [`Sensor::black_level`].
pub const BLACK_LEVEL: u8 = 16;

/// The default duration of a frame: 30 a second.
pub const FRAME_DURATION: Duration = Duration::from_nanos(33_333_333);

/// The frame has a size that the sensor does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the sensor has no frame of {width}x{height}: its smallest is {}x{}, its largest {}x{}",
    WIDTHS.start(), HEIGHTS.start(), WIDTHS.end(), HEIGHTS.end()
)]
pub struct SizeError {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// Whether the sensor has frames of this size.
pub fn check_size(width: u32, height: u32) -> Result<(), SizeError> {
    if WIDTHS.contains(&width) && HEIGHTS.contains(&height) {
        Ok(())
    } else {
        Err(SizeError { width, height })
    }
}

/// The controls and times of a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metadata {
    /// The frame's number.
    pub frame: u64,
    /// When its first row is read, since boot (`CLOCK_MONOTONIC`).
    pub timestamp: Duration,
    /// The exposure and gain that it was taken with.
    pub controls: Controls,
    /// From this frame to the next.
    pub frame_duration: Duration,
    /// From one row to the next.
    pub line_duration: Duration,
}

impl Metadata {
    /// When row `y` collected its light: each row a line later than the one above.
    pub fn row_exposure(&self, y: u32) -> std::ops::Range<Duration> {
        let end = self.timestamp + self.line_duration * y;
        let exposure = Duration::from_secs_f32(self.controls.exposure_us * 1e-6);
        end.saturating_sub(exposure)..end
    }
}

/// A frame, as those who write it know it.
#[derive(Debug, Clone, Copy)]
struct Capture {
    frame: u64,
    timestamp: Duration,
    controls: Controls,
}

/// The source of the numbers.
#[derive(Debug)]
enum Image {
    Pattern(Painter),
    Raw(RawSensor),
    Processed(ProcessedSensor),
}

/// A sensor.
#[derive(Debug)]
pub struct Sensor {
    format: Format,
    size: Size,
    image: Image,
    /// The pattern that it shows instead, as long as one is set.
    pattern: Option<(TestPattern, Painter)>,
    stamp: Option<Stamp>,
    timing: Timing,
    registers: Registers,
    /// The controls of the present frame.
    controls: Controls,
    timestamp: Duration,
    workers: Arc<Workers>,
}

impl Sensor {
    /// A sensor that shows the test picture in 8 bits, in frames of this size in pixels.
    pub fn new(width: u32, height: u32, cfa: Cfa) -> Result<Self, SizeError> {
        check_size(width, height)?;
        let format = Format::Raw(RawFormat::SRGGB8.with_cfa(Some(cfa)));
        let size = Size { width, height };
        let image = Image::Pattern(Painter::new(TestPattern::Test, format, size));
        Ok(Self::with(format, size, image, None, Workers::new()))
    }

    /// A sensor that is as the settings say.
    pub fn open(settings: &Settings) -> Result<Self, SettingsError> {
        settings.validate()?;
        let (format, size) = (settings.format, settings.size);
        let workers = Workers::new();
        let bands = workers.bands();
        let image = match (&settings.source, format) {
            (Source::Pattern(pattern), _) => Image::Pattern(Painter::new(*pattern, format, size)),
            (Source::Scene(spec), Format::Raw(raw)) => {
                Image::Raw(RawSensor::new(settings, spec, raw, bands)?)
            }
            (Source::Scene(spec), Format::Picture(picture)) => {
                Image::Processed(ProcessedSensor::new(settings, spec, picture, bands)?)
            }
        };
        let stamp = settings.stamp.then(|| Stamp::new(format, size));
        Ok(Self::with(format, size, image, stamp, workers))
    }

    fn with(
        format: Format,
        size: Size,
        image: Image,
        stamp: Option<Stamp>,
        workers: Workers,
    ) -> Self {
        let mut timing = Timing::new(size.width, size.height);
        timing.set_frame_duration(FRAME_DURATION);
        let controls = within(&timing, Controls::default());
        Self {
            format,
            size,
            image,
            pattern: None,
            stamp,
            timing,
            registers: Registers::new(controls),
            controls,
            timestamp: Duration::ZERO,
            workers: Arc::new(workers),
        }
    }

    /// Returns the format that it sends.
    pub fn format(&self) -> Format {
        self.format
    }

    /// How the numbers of its frames stand for colours.
    pub fn colour_space(&self) -> ColourSpace {
        self.format.colour_space(self.size())
    }

    /// Its times, and the limits that follow from them.
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// Returns its number for no light, as a fraction of full scale; 0 where it sends pictures.
    pub fn black_level(&self) -> f32 {
        match self.format {
            Format::Raw(raw) => f32::from(encode::black(raw)) / f32::from(raw.white()),
            Format::Picture(_) => 0.0,
        }
    }

    /// Returns the threads that it makes rows with: to make one frame after another, do so on one
    /// of them, with [`Workers::run`], and then nothing is allocated for a frame.
    pub fn workers(&self) -> Arc<Workers> {
        self.workers.clone()
    }

    /// Writes exposure and gain, or what comes nearest within the limits; each counts for a later
    /// frame, see [`delay`].
    pub fn set_controls(&mut self, controls: Controls) {
        self.registers.write(self.nearest(controls));
    }

    /// Sets exposure and gain before the first frame, which is taken with them.
    pub fn start_with(&mut self, controls: Controls) {
        self.registers = Registers::new(self.nearest(controls));
    }

    /// Returns the nearest controls within the limits.
    pub fn nearest(&self, controls: Controls) -> Controls {
        within(&self.timing, controls)
    }

    /// Shows a test pattern instead of what it sees, from the next frame on, or sees again.
    pub fn set_pattern(&mut self, pattern: Option<TestPattern>) {
        if pattern != self.pattern.as_ref().map(|(shown, _)| *shown) {
            self.pattern =
                pattern.map(|pattern| (pattern, Painter::new(pattern, self.format, self.size)));
        }
    }

    /// Makes frames last this long, or what comes nearest; says how long they then last. Zero makes
    /// them as short as they can be. An exposure that no longer fits is shortened.
    pub fn set_frame_duration(&mut self, duration: Duration) -> Duration {
        self.timing.set_frame_duration(duration)
    }

    /// Changes the lamp before the scene, from the next frame on.
    pub fn set_light(&mut self, light: Light) -> Result<(), SettingsError> {
        light.validate()?;
        match &mut self.image {
            Image::Pattern(_) => {}
            Image::Raw(camera) => camera.set_light(light),
            Image::Processed(camera) => camera.set_lux(light.lux),
        }
        Ok(())
    }

    /// Begins a frame, whose first row is read at `timestamp` since boot; says what counts for it.
    pub fn expose(&mut self, frame: u64, timestamp: Duration) -> Metadata {
        // The frame may have become shorter since the exposure was written.
        self.controls = within(&self.timing, self.registers.latch());
        self.timestamp = timestamp;
        Metadata {
            frame,
            timestamp,
            controls: self.controls,
            frame_duration: self.timing.frame_duration(),
            line_duration: self.timing.line_duration(),
        }
    }

    /// Writes frame number `frame`, row by row and without reading what was there.
    ///
    /// `plane` starts with the first pixel and has rows `stride` bytes apart; rows that it is too
    /// short for are left out, and so are the bytes between rows.
    pub fn fill(&mut self, frame: u64, plane: &mut [u8], stride: usize) {
        self.fill_plane(frame, 0, plane, stride);
    }

    /// As [`Sensor::fill`], for one of several planes: NV12 has two.
    pub fn fill_plane(&mut self, frame: u64, index: usize, plane: &mut [u8], stride: usize) {
        let capture = Capture { frame, timestamp: self.timestamp, controls: self.controls };
        let workers = &*self.workers;
        if let Some((_, painter)) = &mut self.pattern {
            painter.fill(frame, index, plane, stride, workers);
        } else {
            match &mut self.image {
                Image::Pattern(painter) => painter.fill(frame, index, plane, stride, workers),
                Image::Raw(camera) => camera.fill(&capture, &self.timing, plane, stride, workers),
                Image::Processed(camera) => camera.fill(&capture, index, plane, stride, workers),
            }
        }
        if let Some(stamp) = &mut self.stamp {
            stamp.write(frame, self.timestamp, index, plane, stride);
        }
    }

    /// The size of its frames.
    pub fn size(&self) -> Size {
        self.size
    }
}

/// The nearest controls within the limits.
fn within(timing: &Timing, controls: Controls) -> Controls {
    // In this order, what is no number becomes the lower limit.
    let gain = controls.gain.max(*GAINS.start()).min(*GAINS.end());
    Controls { exposure_us: timing.exposure(controls.exposure_us), gain }
}

#[cfg(test)]
mod tests;
