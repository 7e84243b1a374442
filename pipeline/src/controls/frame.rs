//! The controls of a frame: the latest value of each.

use vcam_isp_gpu::{Crop, Denoise, IspParams};

use super::*;
use crate::ipa::{AeControls, AwbMode, Flicker, IpaControls, Setting};
use crate::sensor::pattern::TestPattern;

/// Differences that the ISP takes for noise where it is asked to take any, of full scale.
const NOISE: Denoise = Denoise { range: 0.05 };

/// The white balance that the user sets.
#[derive(Debug, Clone, Copy, PartialEq)]
enum White {
    /// It stays as it is.
    Kept,
    Gains([f32; 2]),
    Kelvin(i32),
}

/// All that requests have set, up to and including one frame's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FrameControls {
    exposure_mode: i32,
    exposure_time: Option<i32>,
    gain_mode: i32,
    gain: Option<f32>,
    exposure_value: f32,
    flicker_mode: i32,
    flicker_period: Option<i32>,
    awb: bool,
    awb_locked: bool,
    white: White,
    matrix: Option<[f32; 9]>,
    contrast: Option<f32>,
    saturation: Option<f32>,
    sharpness: Option<f32>,
    gamma: Option<f32>,
    denoise: Option<i32>,
    /// The shortest and the longest that the frame may last, in microseconds.
    pub(crate) durations: Option<[i64; 2]>,
    /// The part of the sensor's frame that is shown.
    pub(crate) crop: Option<Crop>,
    pattern: i32,
}

impl Default for FrameControls {
    fn default() -> Self {
        Self {
            exposure_mode: mode::AUTO,
            exposure_time: None,
            gain_mode: mode::AUTO,
            gain: None,
            exposure_value: 0.0,
            flicker_mode: 0,
            flicker_period: None,
            awb: true,
            awb_locked: false,
            white: White::Kept,
            matrix: None,
            contrast: None,
            saturation: None,
            sharpness: None,
            gamma: None,
            denoise: None,
            durations: None,
            crop: None,
            pattern: 0,
        }
    }
}

impl FrameControls {
    /// Takes over what is set for the next frame.
    pub(crate) fn apply(&mut self, list: &ControlList) {
        if let Some(enable) = list.get(AeEnable) {
            let mode = if enable { mode::AUTO } else { mode::MANUAL };
            (self.exposure_mode, self.gain_mode) = (mode, mode);
        }
        fn take<C: Control>(list: &ControlList, control: C, field: &mut C::Value) {
            if let Some(value) = list.get(control) {
                *field = value;
            }
        }
        take(list, ExposureTimeMode, &mut self.exposure_mode);
        take(list, AnalogueGainMode, &mut self.gain_mode);
        take(list, ExposureValue, &mut self.exposure_value);
        take(list, AeFlickerMode, &mut self.flicker_mode);
        take(list, AwbEnable, &mut self.awb);
        take(list, AwbLocked, &mut self.awb_locked);
        take(list, TestPatternMode, &mut self.pattern);
        self.exposure_time = list.get(ExposureTime).or(self.exposure_time);
        self.gain = list.get(AnalogueGain).or(self.gain);
        self.flicker_period = list.get(AeFlickerPeriod).or(self.flicker_period);
        let gains = list.get(ColourGains).map(White::Gains);
        let kelvin = list.get(ColourTemperature).map(White::Kelvin);
        self.white = gains.or(kelvin).unwrap_or(self.white);
        self.matrix = list.get(ColourCorrectionMatrix).or(self.matrix);
        self.contrast = list.get(Contrast).or(self.contrast);
        self.saturation = list.get(Saturation).or(self.saturation);
        self.sharpness = list.get(Sharpness).or(self.sharpness);
        self.gamma = list.get(Gamma).or(self.gamma);
        self.denoise = list.get(NoiseReductionMode).or(self.denoise);
        self.durations = list.get(FrameDurationLimits).or(self.durations);
        self.crop = list.get(ScalerCrop).or(self.crop);
    }

    /// Returns the exposure time in microseconds and the gain, where the user sets them.
    pub(crate) fn manual(&self) -> (Option<f32>, Option<f32>) {
        let exposure = self.exposure_time.filter(|_| self.exposure_mode == mode::MANUAL);
        let gain = self.gain.filter(|_| self.gain_mode == mode::MANUAL);
        (exposure.map(|time| time as f32), gain)
    }

    /// Returns the controls of the algorithms.
    pub(crate) fn ipa(&self) -> IpaControls {
        let (exposure, gain) = self.manual();
        let setting = |mode, value: Option<f32>| match (mode, value) {
            (mode::MANUAL, Some(value)) => Setting::Manual(value),
            (mode::MANUAL, None) => Setting::Locked,
            _ => Setting::Auto,
        };
        let flicker = match self.flicker_period {
            Some(period) if self.flicker_mode != 0 => Flicker::Manual(period as f32),
            _ => Flicker::Off,
        };
        let awb = match (self.awb, self.white) {
            (true, _) if self.awb_locked => AwbMode::Locked,
            (true, _) => AwbMode::Auto,
            (false, White::Kept) => AwbMode::Locked,
            (false, White::Gains(gains)) => AwbMode::ColourGains(gains),
            (false, White::Kelvin(kelvin)) => AwbMode::ColourTemperature(kelvin as f32),
        };
        let ae = AeControls {
            exposure_time: setting(self.exposure_mode, exposure),
            analogue_gain: setting(self.gain_mode, gain),
            exposure_value: self.exposure_value,
            flicker,
        };
        IpaControls { ae, awb }
    }

    /// Sets what the user decides of what is done to a frame; the rest stays.
    pub(crate) fn develop(&self, params: &mut IspParams) {
        let or = |field: &mut f32, value: Option<f32>| *field = value.unwrap_or(*field);
        or(&mut params.tone.contrast, self.contrast);
        or(&mut params.tone.gamma, self.gamma);
        or(&mut params.colour.saturation, self.saturation);
        or(&mut params.sharpen, self.sharpness);
        if let Some(mode) = self.denoise {
            params.denoise = (mode != 0).then_some(NOISE);
        }
        if let (false, White::Gains([red, blue])) = (self.awb, self.white) {
            params.gains = [red, 1.0, blue];
        }
        if let (false, Some(matrix)) = (self.awb, self.matrix) {
            for (row, numbers) in params.colour.matrix.iter_mut().zip(matrix.chunks_exact(3)) {
                row.copy_from_slice(numbers);
            }
        }
    }

    /// The same, as [`TestPatternMode`] counts.
    pub(crate) fn pattern_mode(&self) -> i32 {
        self.pattern
    }

    /// Returns the pattern that the sensor shows instead of its scene.
    pub(crate) fn pattern(&self) -> Option<TestPattern> {
        match self.pattern {
            2 => Some(TestPattern::ColourBars),
            3 => Some(TestPattern::FadeToGrey),
            4 => Some(TestPattern::Pn9),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lists: &[&dyn Fn(&mut ControlList)]) -> FrameControls {
        let mut frame = FrameControls::default();
        for set in lists {
            let mut list = ControlList::default();
            set(&mut list);
            frame.apply(&list);
        }
        frame
    }

    #[test]
    fn what_was_set_stays_until_it_is_set_again() {
        let frame = after(&[
            &|list| _ = list.set(AeEnable, false).set(ExposureTime, 5000),
            &|list| _ = list.set(AnalogueGain, 2.0),
            &|_| {},
        ]);
        assert_eq!(frame.manual(), (Some(5000.0), Some(2.0)));
        assert_eq!(frame.ipa().ae.exposure_time, Setting::Manual(5000.0));
        let frame =
            after(&[&|list| _ = list.set(AeEnable, false).set(ExposureTime, 5000), &|list| {
                _ = list.set(ExposureTimeMode, mode::AUTO)
            }]);
        assert_eq!(frame.manual(), (None, None));
        // Manual without a value is a lock.
        assert_eq!(frame.ipa().ae.analogue_gain, Setting::Locked);
        assert_eq!(frame.ipa().ae.exposure_time, Setting::Auto);
    }

    #[test]
    fn the_later_word_on_white_counts_and_only_where_it_is_asked_for() {
        let kelvin: &dyn Fn(&mut ControlList) = &|list| _ = list.set(ColourTemperature, 4000);
        let gains: &dyn Fn(&mut ControlList) = &|list| _ = list.set(ColourGains, [2.0, 1.5]);
        let manual: &dyn Fn(&mut ControlList) = &|list| _ = list.set(AwbEnable, false);
        assert_eq!(after(&[gains, kelvin]).ipa().awb, AwbMode::Auto);
        let awb = |lists: &[_]| after(lists).ipa().awb;
        assert_eq!(awb(&[manual]), AwbMode::Locked);
        assert_eq!(awb(&[manual, gains, kelvin]), AwbMode::ColourTemperature(4000.0));
        assert_eq!(awb(&[kelvin, manual, gains]), AwbMode::ColourGains([2.0, 1.5]));
        assert_eq!(awb(&[&|list| _ = list.set(AwbLocked, true)]), AwbMode::Locked);
    }

    #[test]
    fn what_is_not_set_is_left_as_it_is() {
        let was = IspParams { sharpen: 0.5, ..IspParams::default() };
        let mut params = was;
        after(&[]).develop(&mut params);
        assert_eq!(params, was);
        after(&[&|list| {
            list.set(Contrast, 2.0).set(NoiseReductionMode, 1);
            list.set(ColourCorrectionMatrix, [0.0; 9]);
        }])
        .develop(&mut params);
        assert_eq!((params.tone.contrast, params.sharpen), (2.0, 0.5));
        assert!(params.denoise.is_some());
        // The matrix is the algorithm's as long as the white balance is.
        assert_eq!(params.colour.matrix, was.colour.matrix);
    }
}
