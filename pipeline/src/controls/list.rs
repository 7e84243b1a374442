//! Typed values in a list that never allocates, and the limits that they have.

use std::fmt;
use std::str::FromStr;

use vcam_isp_gpu::Crop;

use super::*;
use crate::sensor::format::Format;
use crate::sensor::timing::{GAINS, Timing};
use crate::size::Size;

/// A control: its value's type, and which one it is.
pub trait Control: Copy {
    /// The type of its value.
    type Value: Value;
    /// Which one.
    const ID: ControlId;
}

/// A type that controls have values of.
pub trait Value: Copy {
    /// As any value.
    fn into_value(self) -> ControlValue;
    /// Back again; `None` if it is of another type.
    fn of_value(value: ControlValue) -> Option<Self>;
}

macro_rules! values {
    ($($(#[doc = $doc:literal])+ $variant:ident($value:ty),)+) => {
        /// The value of any control.
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub enum ControlValue {
            $($(#[doc = $doc])+ $variant($value),)+
        }

        $(impl Value for $value {
            fn into_value(self) -> ControlValue {
                ControlValue::$variant(self)
            }

            fn of_value(value: ControlValue) -> Option<Self> {
                match value {
                    ControlValue::$variant(value) => Some(value),
                    _ => None,
                }
            }
        })+
    };
}

values! {
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i32),
    /// Four of them.
    Ints([i32; 4]),
    /// A longer whole number.
    Long(i64),
    /// Two of them.
    Longs([i64; 2]),
    /// A number.
    Float(f32),
    /// Two of them.
    Floats([f32; 2]),
    /// A matrix, row after row.
    Matrix([f32; 9]),
    /// A rectangle.
    Rectangle(Crop),
}

impl ControlValue {
    /// Whether it lies between two others of its type, in each of its numbers.
    fn is_between(&self, min: &Self, max: &Self) -> bool {
        fn all<T: PartialOrd>(values: &[T], min: &[T], max: &[T]) -> bool {
            let bounds = min.iter().zip(max);
            values.iter().zip(bounds).all(|(value, (min, max))| min <= value && value <= max)
        }
        match (self, min, max) {
            (Self::Bool(_), Self::Bool(_), Self::Bool(_)) => true,
            (Self::Int(v), Self::Int(a), Self::Int(b)) => (a..=b).contains(&v),
            (Self::Ints(v), Self::Ints(a), Self::Ints(b)) => all(v, a, b),
            (Self::Long(v), Self::Long(a), Self::Long(b)) => (a..=b).contains(&v),
            (Self::Longs(v), Self::Longs(a), Self::Longs(b)) => all(v, a, b),
            (Self::Float(v), Self::Float(a), Self::Float(b)) => (a..=b).contains(&v),
            (Self::Floats(v), Self::Floats(a), Self::Floats(b)) => all(v, a, b),
            (Self::Matrix(v), Self::Matrix(a), Self::Matrix(b)) => all(v, a, b),
            (Self::Rectangle(v), Self::Rectangle(a), Self::Rectangle(b)) => {
                v.width >= a.width && v.height >= a.height && v.is_within((b.width, b.height))
            }
            _ => false,
        }
    }
}

impl ControlValue {
    /// A value of the same type, from text: `true`, `5000`, `1.5`, several numbers with commas
    /// between them, or a rectangle as `WxH+X+Y`.
    fn parse_like(&self, text: &str) -> Option<Self> {
        fn list<T: FromStr, const N: usize>(text: &str) -> Option<[T; N]> {
            let numbers: Option<Vec<T>> =
                text.split(',').map(|number| number.trim().parse().ok()).collect();
            numbers?.try_into().ok()
        }
        fn rectangle(text: &str) -> Option<Crop> {
            let (size, place) = text.split_once('+')?;
            let ((width, height), (x, y)) = (size.split_once('x')?, place.split_once('+')?);
            let number = |text: &str| text.parse().ok();
            let [x, y, width, height] = [number(x)?, number(y)?, number(width)?, number(height)?];
            Some(Crop { x, y, width, height })
        }
        Some(match self {
            Self::Bool(_) => Self::Bool(text.parse().ok()?),
            Self::Int(_) => Self::Int(text.parse().ok()?),
            Self::Ints(_) => Self::Ints(list(text)?),
            Self::Long(_) => Self::Long(text.parse().ok()?),
            Self::Longs(_) => Self::Longs(list(text)?),
            Self::Float(_) => Self::Float(text.parse().ok()?),
            Self::Floats(_) => Self::Floats(list(text)?),
            Self::Matrix(_) => Self::Matrix(list(text)?),
            Self::Rectangle(_) => Self::Rectangle(rectangle(text)?),
        })
    }

    /// The texts that [`parse_like`](Self::parse_like) takes, in words.
    fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "true or false",
            Self::Int(_) | Self::Long(_) => "a whole number",
            Self::Ints(_) => "four whole numbers, as in 1,2,3,4",
            Self::Longs(_) => "two whole numbers, as in 33333,33333",
            Self::Float(_) => "a number",
            Self::Floats(_) => "two numbers, as in 1.5,2",
            Self::Matrix(_) => "nine numbers, as in 1,0,0,0,1,0,0,0,1",
            Self::Rectangle(_) => "a rectangle, as in 320x240+160+120",
        }
    }
}

impl fmt::Display for ControlValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Ints(values) => write!(f, "{values:?}"),
            Self::Long(value) => value.fmt(f),
            Self::Longs(values) => write!(f, "{values:?}"),
            Self::Float(value) => value.fmt(f),
            Self::Floats(values) => write!(f, "{values:?}"),
            Self::Matrix(values) => write!(f, "{values:?}"),
            Self::Rectangle(value) => value.fmt(f),
        }
    }
}

/// At most one value of each control; copied, cleared and merged without allocating.
#[derive(Clone, Copy, PartialEq)]
pub struct ControlList([Option<ControlValue>; ControlId::ALL.len()]);

impl Default for ControlList {
    fn default() -> Self {
        Self::NONE
    }
}

impl ControlList {
    /// Nothing is set.
    pub const NONE: Self = Self([None; ControlId::ALL.len()]);

    /// Sets a control, and returns the list for the next one.
    pub fn set<C: Control>(&mut self, _: C, value: C::Value) -> &mut Self {
        self.0[C::ID as usize] = Some(value.into_value());
        self
    }

    /// Returns the value of a control, if it is set.
    pub fn get<C: Control>(&self, _: C) -> Option<C::Value> {
        self.0[C::ID as usize].and_then(C::Value::of_value)
    }

    /// The same, by number and without a type.
    pub fn value(&self, id: ControlId) -> Option<ControlValue> {
        self.0[id as usize]
    }

    /// Leaves nothing set.
    pub fn clear(&mut self) {
        *self = Self::NONE;
    }

    /// Sets a control by its name and a value in words, such as `ExposureTime` and `5000`, as far
    /// as `infos` has it.
    pub fn set_by_name(
        &mut self,
        infos: &[ControlInfo],
        name: &str,
        value: &str,
    ) -> Result<(), ControlError> {
        let find = |info: &&ControlInfo| info.id.name().eq_ignore_ascii_case(name);
        let Some(info) = infos.iter().find(find) else {
            let names: Vec<_> = infos.iter().map(|info| info.id.name()).collect();
            let (name, known) = (name.to_owned(), names.join(", "));
            return Err(ControlError::Name { name, known });
        };
        let Some(parsed) = info.min.parse_like(value) else {
            let value = value.to_owned();
            return Err(ControlError::Words { id: info.id, value, kind: info.min.kind() });
        };
        self.0[info.id as usize] = Some(parsed);
        Ok(())
    }

    /// Takes over all that is set in another list.
    pub fn merge(&mut self, other: &Self) {
        for (value, other) in self.0.iter_mut().zip(other.0) {
            *value = other.or(*value);
        }
    }

    /// All that is set, in the order of [`ControlId::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (ControlId, ControlValue)> {
        ControlId::ALL.into_iter().zip(self.0).filter_map(|(id, value)| Some((id, value?)))
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Whether each value is one that these limits allow.
    pub(crate) fn check(&self, infos: &[ControlInfo]) -> Result<(), ControlError> {
        self.iter().try_for_each(|(id, value)| {
            let Some(info) = infos.iter().find(|info| info.id == id) else {
                return Err(ControlError::Unknown { id });
            };
            let ControlInfo { min, max, .. } = *info;
            let ordered = match value {
                ControlValue::Longs([from, to]) => from <= to,
                _ => true,
            };
            match ordered && value.is_between(&min, &max) {
                true => Ok(()),
                false => Err(ControlError::Range { id, value, min, max }),
            }
        })
    }
}

impl fmt::Debug for ControlList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(id, value)| (id.name(), value))).finish()
    }
}

/// A control that a camera has, and what it may be set to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ControlInfo {
    /// Which.
    pub id: ControlId,
    /// The least, in each number that the value has.
    pub min: ControlValue,
    /// The most; no part of a rectangle may lie outside this one.
    pub max: ControlValue,
    /// The value as long as it is not set; `None` where the algorithm decides.
    pub default: Option<ControlValue>,
}

/// Why a list of controls is not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ControlError {
    /// There is no control of this name.
    #[error("the camera has no control '{name}'; it has {known}")]
    Name {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// The value is none of this control.
    #[error("{} cannot be '{value}': it is {kind}", id.name())]
    Words {
        /// Which.
        id: ControlId,
        /// The type that was given.
        value: String,
        /// The type that it has.
        kind: &'static str,
    },
    /// The camera has no such control, or it is one that it only reports.
    #[error("the camera has no control {} to set", id.name())]
    Unknown {
        /// Which.
        id: ControlId,
    },
    /// The value is out of range.
    #[error("{} cannot be {value}: it is from {min} to {max}", id.name())]
    Range {
        /// Which.
        id: ControlId,
        /// Its value.
        value: ControlValue,
        /// The least.
        min: ControlValue,
        /// The most.
        max: ControlValue,
    },
}

/// The controls of a camera whose sensor has frames of this size, format and times; one that sends
/// pictures, or has no colours, has fewer.
pub fn infos(size: Size, timing: &Timing, sends: Format) -> Vec<ControlInfo> {
    fn info<C: Control>(
        _: C,
        min: C::Value,
        max: C::Value,
        default: Option<C::Value>,
    ) -> ControlInfo {
        let [min, max] = [min, max].map(Value::into_value);
        ControlInfo { id: C::ID, min, max, default: default.map(Value::into_value) }
    }
    let durations = timing.frame_durations();
    let micros = |duration: &std::time::Duration| duration.as_micros() as i64;
    let [shortest, longest] = [micros(durations.start()), micros(durations.end())];
    let [first, last] = [1, longest.min(i32::MAX.into()) as i32];
    let mut infos = vec![
        info(ExposureTime, first, last, None),
        info(AnalogueGain, *GAINS.start(), *GAINS.end(), None),
        info(FrameDurationLimits, [shortest; 2], [longest; 2], None),
        info(TestPatternMode, 0, 4, Some(0)),
    ];
    let Format::Raw(raw) = sends else {
        infos.sort_by_key(|info| info.id);
        return infos;
    };
    let smallest = Crop { x: 0, y: 0, width: 2, height: 2 };
    let all = Crop::all(size.into());
    infos.extend([
        info(AeEnable, false, true, Some(true)),
        info(ExposureTimeMode, mode::AUTO, mode::MANUAL, Some(mode::AUTO)),
        info(AnalogueGainMode, mode::AUTO, mode::MANUAL, Some(mode::AUTO)),
        info(ExposureValue, -8.0, 8.0, Some(0.0)),
        info(AeFlickerMode, 0, 1, Some(0)),
        info(AeFlickerPeriod, 100, 1_000_000, None),
        info(Contrast, 0.25, 4.0, Some(1.0)),
        info(Sharpness, 0.0, 4.0, Some(0.0)),
        info(Gamma, 0.25, 5.0, Some(2.2)),
        info(NoiseReductionMode, 0, 2, Some(0)),
        info(ScalerCrop, smallest, all, Some(all)),
    ]);
    if raw.cfa().is_some() {
        infos.extend([
            info(AwbEnable, false, true, Some(true)),
            info(AwbLocked, false, true, Some(false)),
            info(ColourGains, [1.0 / 32.0; 2], [32.0; 2], None),
            info(ColourTemperature, 100, 100_000, None),
            info(ColourCorrectionMatrix, [-16.0; 9], [16.0; 9], None),
            info(Saturation, 0.0, 4.0, Some(1.0)),
        ]);
    }
    infos.sort_by_key(|info| info.id);
    infos
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infos_of(format: &str) -> Vec<ControlInfo> {
        infos((640, 480).into(), &Timing::new(640, 480), format.parse().unwrap())
    }

    fn all() -> Vec<ControlInfo> {
        infos_of("SRGGB10")
    }

    #[test]
    fn a_list_holds_one_value_of_each() {
        let mut list = ControlList::default();
        assert!(list.is_empty());
        list.set(ExposureTime, 5).set(Contrast, 1.5).set(ExposureTime, 7);
        assert_eq!((list.get(ExposureTime), list.get(Contrast)), (Some(7), Some(1.5)));
        assert_eq!(list.get(Gamma), None);
        let mut other = ControlList::default();
        other.set(Contrast, 2.0).set(AeEnable, false);
        list.merge(&other);
        let set: Vec<_> = list.iter().map(|(id, _)| id.name()).collect();
        assert_eq!(set, ["AeEnable", "ExposureTime", "Contrast"]);
        assert_eq!(list.get(Contrast), Some(2.0));
        assert_eq!(format!("{other:?}"), r#"{"AeEnable": Bool(false), "Contrast": Float(2.0)}"#);
        list.clear();
        assert!(list.is_empty());
    }

    #[test]
    fn defaults_are_within_the_limits_and_nothing_beyond_them_is_taken() {
        for info in all() {
            assert!(info.min.is_between(&info.min, &info.max), "{info:?}");
            assert!(info.max.is_between(&info.min, &info.max), "{info:?}");
            assert!(info.default.is_none_or(|it| it.is_between(&info.min, &info.max)), "{info:?}");
        }
        type Set = fn(&mut ControlList);
        let refused: [Set; 9] = [
            |list| _ = list.set(ExposureTime, 0),
            |list| _ = list.set(AnalogueGain, f32::NAN),
            |list| _ = list.set(AnalogueGain, 17.0),
            |list| _ = list.set(ColourGains, [1.0, 33.0]),
            |list| _ = list.set(FrameDurationLimits, [40_000, 30_000]),
            |list| _ = list.set(ScalerCrop, Crop { x: 1, y: 0, width: 640, height: 480 }),
            |list| _ = list.set(ScalerCrop, Crop { x: u32::MAX, y: 0, width: 2, height: 2 }),
            |list| _ = list.set(ScalerCrop, Crop { x: 0, y: 0, width: 0, height: 4 }),
            |list| _ = list.set(Lux, 5.0),
        ];
        for (index, set) in refused.into_iter().enumerate() {
            let mut list = ControlList::default();
            set(&mut list);
            assert!(list.check(&all()).is_err(), "{index}");
        }
        let mut good = ControlList::default();
        good.set(ScalerCrop, Crop { x: 320, y: 0, width: 320, height: 480 });
        good.set(FrameDurationLimits, [33_333, 33_333]).set(ExposureTime, 10_000);
        assert_eq!(good.check(&all()), Ok(()));
    }

    #[test]
    fn controls_can_be_set_in_words() {
        let mut list = ControlList::default();
        let mut set = |name, value| list.set_by_name(&all(), name, value);
        for (name, value) in [
            ("exposuretime", "5000"),
            ("AeEnable", "false"),
            ("ColourGains", "1.5, 2"),
            ("ScalerCrop", "320x240+16+8"),
            ("FrameDurationLimits", "33333,50000"),
        ] {
            set(name, value).unwrap();
        }
        let error = |result: Result<(), ControlError>| result.unwrap_err().to_string();
        assert_eq!(
            error(set("ScalerCrop", "320x240")),
            "ScalerCrop cannot be '320x240': it is a rectangle, as in 320x240+160+120"
        );
        assert!(error(set("Zoom", "2")).contains("no control 'Zoom'; it has AeEnable, "));
        assert!(set("ColourGains", "1").is_err() && set("AeEnable", "0").is_err());
        assert_eq!(list.get(ExposureTime), Some(5000));
        assert_eq!(list.get(ColourGains), Some([1.5, 2.0]));
        let crop = Crop { x: 16, y: 8, width: 320, height: 240 };
        assert_eq!(list.get(ScalerCrop), Some(crop));
    }

    #[test]
    fn a_camera_has_the_controls_that_it_can_obey() {
        let names = |format| -> Vec<_> { infos_of(format).iter().map(|info| info.id).collect() };
        assert!(names("SRGGB8").is_sorted());
        assert!(!names("Y10").contains(&ControlId::Saturation));
        assert!(names("Y10").contains(&ControlId::Contrast));
        assert!(!names("NV12").contains(&ControlId::Contrast));
    }
}
