//! Controls, which are asked of a frame, and metadata, which tell what was done: libcamera's names,
//! units and ranges (`control_ids_core.yaml` and `control_ids_draft.yaml` of libcamera 0.7).
//!
//! Both are typed: [`ExposureTime`] is the control, `i32` its value, and
//! `list.set(ExposureTime, 10_000)` does not compile with anything else. A [`ControlList`] has room
//! for one value of each and never allocates, so that requests can be reused for every frame.
//!
//! A control that is set for a request counts for that request's frame and for all that follow,
//! until it is set again.

mod frame;
mod list;

pub(crate) use frame::FrameControls;
pub use list::{Control, ControlError, ControlInfo, ControlList, ControlValue, Value, infos};

use vcam_isp_gpu::Crop;

macro_rules! controls {
    ($($(#[doc = $doc:literal])+ $name:ident: $value:ty;)+) => {
        /// Which control.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ControlId {
            $($(#[doc = $doc])+ $name,)+
        }

        impl ControlId {
            /// All there are.
            pub const ALL: [Self; [$(stringify!($name)),+].len()] = [$(Self::$name),+];

            /// Its name in libcamera.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }
        }

        $(
            $(#[doc = $doc])+
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub struct $name;

            impl Control for $name {
                type Value = $value;
                const ID: ControlId = ControlId::$name;
            }
        )+
    };
}

controls! {
    /// Whether exposure time and gain are automatic; sets both modes.
    AeEnable: bool;
    /// Whether exposure is where it should be: 0 idle, 1 searching, 2 converged. Metadata.
    AeState: i32;
    /// Selects what sets the exposure time: 0 the algorithm, 1 [`ExposureTime`].
    ExposureTimeMode: i32;
    /// How long a row collects light, in microseconds. Only where [`ExposureTimeMode`] is manual;
    /// the sensor takes the nearest that fits into the frame.
    ExposureTime: i32;
    /// Selects what sets the gain: 0 the algorithm, 1 [`AnalogueGain`].
    AnalogueGainMode: i32;
    /// The factor of the signal before it is converted. Only where [`AnalogueGainMode`] is manual.
    AnalogueGain: f32;
    /// The factor of the numbers that are left to the ISP: always 1. Metadata.
    DigitalGain: f32;
    /// Brighter by this many powers of two than the algorithm thinks right.
    ExposureValue: f32;
    /// Lamps that flicker: 0 off, 1 [`AeFlickerPeriod`].
    AeFlickerMode: i32;
    /// The period of the lamps' flicker, in microseconds: 10 000 with mains of 50 Hz.
    AeFlickerPeriod: i32;
    /// How bright the scene's lamp is, in lux, as if the scene were grey on average. Metadata.
    Lux: f32;
    /// Whether the white balance is automatic.
    AwbEnable: bool;
    /// Whether the automatic white balance stays as it is.
    AwbLocked: bool;
    /// Factors of red and blue; green has 1. Only where the white balance is not automatic.
    ColourGains: [f32; 2];
    /// The lamp's colour temperature in kelvin. Only where the white balance is not automatic; the
    /// later of this and [`ColourGains`] counts.
    ColourTemperature: i32;
    /// From white-balanced colours of the sensor to linear sRGB, row after row. Only where the
    /// white balance is not automatic.
    ColourCorrectionMatrix: [f32; 9];
    /// How steep the tone curve is in the middle; 1 changes nothing.
    Contrast: f32;
    /// How colourful; 0 is grey, 1 changes nothing.
    Saturation: f32;
    /// How much edges are sharpened; 0 is not at all.
    Sharpness: f32;
    /// From light to levels: the level is light to the power of 1 over this.
    Gamma: f32;
    /// 0 leaves noise as it is, 1 and 2 (fast, high quality) both denoise.
    NoiseReductionMode: i32;
    /// The shortest and the longest that frames may last, in microseconds.
    FrameDurationLimits: [i64; 2];
    /// From the start of this frame to that of the next, in microseconds. Metadata.
    FrameDuration: i64;
    /// The part of the sensor's frame that processed streams show.
    ScalerCrop: Crop;
    /// The pattern that the sensor shows instead of its scene: 0 nothing, 2 colour bars, 3 bars
    /// that fade to grey, 4 PN9.
    TestPatternMode: i32;
    /// When the first row's reading began, in nanoseconds of `CLOCK_MONOTONIC`. Metadata.
    SensorTimestamp: i64;
    /// The sensor's number for no light, of 65 536 values, for R, Gr, Gb and B. Metadata.
    SensorBlackLevels: [i32; 4];
    /// How sharp the scene is, without a unit: the larger, the sharper. Metadata.
    FocusFoM: i32;
}

/// Values of [`AeState`].
pub mod ae_state {
    /// The algorithm is not at work.
    pub const IDLE: i32 = 0;
    /// On its way.
    pub const SEARCHING: i32 = 1;
    /// There.
    pub const CONVERGED: i32 = 2;
}

/// Values of [`ExposureTimeMode`] and [`AnalogueGainMode`].
pub mod mode {
    /// The algorithm decides.
    pub const AUTO: i32 = 0;
    /// The user decides.
    pub const MANUAL: i32 = 1;
}
