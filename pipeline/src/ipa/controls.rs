//! Controls of exposure and white balance, in libcamera's words, units and ranges.

/// The way in which an exposure time or a gain is set: libcamera's `ExposureTimeMode` and
/// `AnalogueGainMode`, with the value.
///
/// Back to [`Auto`](Setting::Auto), the algorithm goes on from where it was left.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Setting {
    /// The algorithm.
    #[default]
    Auto,
    /// It stays as it is: libcamera's manual mode without a value.
    Locked,
    /// The user. What the sensor cannot do becomes the nearest that it can.
    Manual(f32),
}

/// Lamps that flicker: libcamera's `AeFlickerMode` and `AeFlickerPeriod`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Flicker {
    /// Any exposure time will do.
    #[default]
    Off,
    /// Exposure times are multiples of this period, in microseconds, wherever they are not shorter
    /// than it: 100 to 1 000 000.
    Manual(f32),
}

impl Flicker {
    /// Mains of 50 Hz, whose lamps flicker 100 times a second.
    pub const HZ_50: Self = Self::Manual(10_000.0);
    /// Mains of 60 Hz, whose lamps flicker 120 times a second.
    pub const HZ_60: Self = Self::Manual(1e6 / 120.0);
}

/// The controls of exposure. `AeEnable` sets both `exposure_time` and `analogue_gain`: to
/// [`Setting::Auto`] if true, else to [`Setting::Locked`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct AeControls {
    /// `ExposureTime`, in microseconds, above 0.
    pub exposure_time: Setting,
    /// `AnalogueGain`, a factor, at least 1.
    pub analogue_gain: Setting,
    /// `ExposureValue`: brighter by this many powers of two, -8 to 8; only where something is
    /// [`Setting::Auto`].
    pub exposure_value: f32,
    /// Lamps that flicker.
    pub flicker: Flicker,
}

/// The way in which white balance is set. `AwbEnable` is [`AwbMode::Auto`] if true, else
/// [`AwbMode::Locked`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum AwbMode {
    /// The algorithm.
    #[default]
    Auto,
    /// It stays as it is.
    Locked,
    /// The user, by `ColourGains`: factors for red and blue, each above 0 to 32; green has 1.
    ColourGains([f32; 2]),
    /// The user, by `ColourTemperature` in kelvin: 100 to 100 000. Beyond the lamps that the camera
    /// was calibrated for, the nearest counts.
    ColourTemperature(f32),
}

/// The controls of exposure and white balance; everything is automatic at first.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct IpaControls {
    /// Of exposure.
    pub ae: AeControls,
    /// Of white balance; a camera without colours has none.
    pub awb: AwbMode,
}

/// A control whose value is out of its range.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum IpaControlError {
    /// Not a time.
    #[error("ExposureTime of {0} µs is not a number above 0")]
    ExposureTime(f32),
    /// Not a gain.
    #[error("AnalogueGain of {0} is not a number from 1 on")]
    AnalogueGain(f32),
    /// Out of range.
    #[error("ExposureValue of {0} EV is not from -8 to 8")]
    ExposureValue(f32),
    /// Out of range.
    #[error("AeFlickerPeriod of {0} µs is not from 100 to 1000000")]
    AeFlickerPeriod(f32),
    /// Out of range.
    #[error("ColourGains of {0:?} are not both above 0 and at most 32")]
    ColourGains([f32; 2]),
    /// Out of range.
    #[error("ColourTemperature of {0} K is not from 100 to 100000")]
    ColourTemperature(f32),
}

impl IpaControls {
    /// Whether every value is in its range.
    pub fn validate(&self) -> Result<(), IpaControlError> {
        let AeControls { exposure_time, analogue_gain, exposure_value, flicker } = self.ae;
        match exposure_time {
            Setting::Manual(time) if !(time > 0.0 && time.is_finite()) => {
                return Err(IpaControlError::ExposureTime(time));
            }
            _ => {}
        }
        match analogue_gain {
            Setting::Manual(gain) if !(gain >= 1.0 && gain.is_finite()) => {
                return Err(IpaControlError::AnalogueGain(gain));
            }
            _ => {}
        }
        if !(-8.0..=8.0).contains(&exposure_value) {
            return Err(IpaControlError::ExposureValue(exposure_value));
        }
        match flicker {
            Flicker::Manual(period) if !(100.0..=1e6).contains(&period) => {
                return Err(IpaControlError::AeFlickerPeriod(period));
            }
            _ => {}
        }
        match self.awb {
            AwbMode::ColourGains(gains)
                if !gains.iter().all(|gain| *gain > 0.0 && *gain <= 32.0) =>
            {
                Err(IpaControlError::ColourGains(gains))
            }
            AwbMode::ColourTemperature(kelvin) if !(100.0..=1e5).contains(&kelvin) => {
                Err(IpaControlError::ColourTemperature(kelvin))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Set = fn(&mut IpaControls, f32);

    #[test]
    fn values_out_of_range_are_refused() {
        let controls: [(Set, &[f32], &[f32]); 7] = [
            (|c, v| c.ae.exposure_time = Setting::Manual(v), &[1.0, 1e9], &[0.0, -1.0]),
            (|c, v| c.ae.analogue_gain = Setting::Manual(v), &[1.0, 99.0], &[0.9, -1.0]),
            (|c, v| c.ae.exposure_value = v, &[-8.0, 0.0, 8.0], &[-8.1, 8.1]),
            (|c, v| c.ae.flicker = Flicker::Manual(v), &[100.0, 1e6], &[0.0, 99.0, 2e6]),
            (|c, v| c.awb = AwbMode::ColourGains([v, 1.0]), &[0.01, 32.0], &[0.0, -1.0, 33.0]),
            (|c, v| c.awb = AwbMode::ColourGains([1.0, v]), &[0.01, 32.0], &[0.0, -1.0, 33.0]),
            (|c, v| c.awb = AwbMode::ColourTemperature(v), &[100.0, 1e5], &[0.0, 2e5]),
        ];
        for (index, (set, good, bad)) in controls.into_iter().enumerate() {
            let validate = |value| {
                let mut controls = IpaControls::default();
                set(&mut controls, value);
                controls.validate()
            };
            for value in good {
                assert_eq!(validate(*value), Ok(()), "{index}: {value}");
            }
            for value in bad.iter().copied().chain([f32::NAN, f32::INFINITY]) {
                assert!(validate(value).is_err(), "{index}: {value}");
            }
        }
    }
}
