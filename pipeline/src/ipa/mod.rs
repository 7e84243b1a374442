//! Exposure and white balance: what the next frames are taken with, from what the last one shows.
//!
//! ```text
//!           ┌──── exposure, gain: count some frames later ◀───┐
//!           ▼                                                 │
//!        sensor ──raw──▶ ISP ──picture──▶                     │
//!           │             │ ▲                                 │
//!  metadata │             │ └── colour gains, ccm ◀───────────┤
//!           │             └──── statistics ────▶ [`Ipa`] ─────┘
//!           └────────── what it was taken with ─────▲
//! ```
//!
//! [`Ipa::process`] is a function of its state, a frame's metadata and its statistics: no clock, no
//! thread, no device. Two things make it settle without hunting:
//!
//! - **Delays.** A setting counts some frames after it was decided, so most frames that arrive were
//!   taken with older ones. Exposure is therefore never corrected *from what was asked*: each frame
//!   says, with the exposure that it was *really* taken with, which exposure the scene needs, and
//!   that is the same whether new settings are under way or not. White balance is done after the
//!   measurement and does not come back into it. Nothing is fed back, so nothing can oscillate, and
//!   a limit that is reached does not wind anything up.
//! - **Damping.** Each frame goes a part of the way, counted so that equal steps look equal: powers
//!   of two for exposure, mireds for the lamp. What it starts with is believed at once; what comes
//!   near enough is left alone until it is clearly off.
//!
//! A frame that says nothing (no light at all, everything saturated, nothing that could be grey, no
//! numbers) leaves what it does not speak of as it is.
//!
//! The [`Calibration`] knows what the camera makes of white and of colours under each lamp. It is
//! measured, not typed in: of the sensor's model, or of any other camera that one can ask.

mod ae;
mod awb;
mod calibration;
mod ccm;
mod controls;

pub use ae::{AeState, LIMIT, Limits, TARGET};
pub use calibration::{Calibration, CalibrationError};
pub use controls::{AeControls, AwbMode, ControlError, Flicker, IpaControls, Setting};

use ae::Ae;
use awb::Awb;
use vcam_isp_gpu::Statistics;

use crate::sensor::delay::Controls;

/// What to take and to make the next frames with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// For the sensor.
    pub controls: Controls,
    /// Whether exposure is where it should be.
    pub ae_state: AeState,
    /// For the ISP.
    pub colour: Colour,
}

/// What the ISP does to colours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Colour {
    /// White balance: factors for red, green and blue.
    pub gains: [f32; 3],
    /// The colour correction matrix, from white-balanced camera colours to linear sRGB: rows give
    /// red, green and blue.
    pub ccm: [[f32; 3]; 3],
    /// The lamp's colour temperature, as far as known; `None` for a camera without colours.
    pub kelvin: Option<f32>,
}

impl Colour {
    /// Without colours there is nothing to do.
    const NONE: Self = Self {
        gains: [1.0; 3],
        ccm: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        kelvin: None,
    };
}

/// Decides on exposure and white balance, frame after frame.
#[derive(Debug, Clone)]
pub struct Ipa {
    controls: IpaControls,
    ae: Ae,
    awb: Option<Awb>,
}

impl Ipa {
    /// For a sensor with these limits that is set to `start` now; a camera without colours has no
    /// calibration.
    pub fn new(limits: Limits, start: Controls, calibration: Option<Calibration>) -> Self {
        Self {
            controls: IpaControls::default(),
            ae: Ae::new(limits, start),
            awb: calibration.map(Awb::new),
        }
    }

    /// Changes what is asked, from the next frame's statistics on.
    pub fn set_controls(&mut self, controls: IpaControls) -> Result<(), ControlError> {
        controls.validate()?;
        self.controls = controls;
        Ok(())
    }

    /// Changes what the sensor can do: the longest exposure follows from the frame's duration.
    pub fn set_limits(&mut self, limits: Limits) {
        self.ae.limits = limits;
    }

    /// Takes a frame into account: `taken` is what its metadata say it was taken with.
    pub fn process(&mut self, taken: Controls, statistics: &Statistics) -> Decision {
        self.ae.process(&self.controls.ae, taken, &statistics.histogram);
        if let Some(awb) = &mut self.awb {
            awb.process(self.controls.awb, statistics);
        }
        self.decision()
    }

    /// The last decision; at first, what to begin with.
    pub fn decision(&self) -> Decision {
        let (controls, ae_state) = self.ae.decided();
        let colour = self.awb.as_ref().map_or(Colour::NONE, |awb| Colour {
            gains: awb.balance().gains,
            ccm: awb.ccm(),
            kelvin: Some(awb.balance().kelvin),
        });
        Decision { controls, ae_state, colour }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vcam_isp_gpu::Zone;

    use super::*;

    const LIMITS: Limits = Limits { exposure_us: 20.0..=33_000.0, gain: 1.0..=16.0 };

    fn any_zone() -> impl Strategy<Value = Zone> {
        let sum = prop_oneof![any::<[f32; 3]>(), proptest::array::uniform3(0.0_f32..1e6)];
        (sum, any::<u32>(), any::<u32>()).prop_map(|(sum, quads, saturated)| Zone {
            sum,
            quads,
            saturated,
        })
    }

    fn any_statistics() -> impl Strategy<Value = Statistics> {
        let zones = proptest::collection::vec(any_zone(), 4);
        let bins = proptest::collection::vec((0_usize..256, any::<u32>()), 0..4);
        (zones, bins).prop_map(|(zones, bins)| {
            let mut statistics = Statistics::default();
            for (zone, any) in statistics.zones.iter_mut().zip(zones.iter().cycle()) {
                *zone = *any;
            }
            bins.into_iter().for_each(|(bin, count)| statistics.histogram[bin] = count);
            statistics
        })
    }

    fn any_controls() -> impl Strategy<Value = Controls> {
        let exposure = prop_oneof![any::<f32>(), 20.0_f32..33_000.0];
        (exposure, 1.0_f32..16.0).prop_map(|(exposure_us, gain)| Controls { exposure_us, gain })
    }

    fn any_asked() -> impl Strategy<Value = IpaControls> {
        let setting = || {
            prop_oneof![
                3 => Just(Setting::Auto),
                1 => Just(Setting::Locked),
                1 => (1.0_f32..1e6).prop_map(Setting::Manual),
            ]
        };
        let flicker = prop_oneof![Just(Flicker::Off), (100.0_f32..1e6).prop_map(Flicker::Manual)];
        let awb = prop_oneof![
            3 => Just(AwbMode::Auto),
            1 => Just(AwbMode::Locked),
            1 => (100.0_f32..1e5).prop_map(AwbMode::ColourTemperature),
        ];
        (setting(), setting(), -8.0_f32..8.0, flicker, awb).prop_map(
            |(exposure_time, analogue_gain, exposure_value, flicker, awb)| {
                let ae = AeControls { exposure_time, analogue_gain, exposure_value, flicker };
                IpaControls { ae, awb }
            },
        )
    }

    proptest! {
        #[test]
        fn whatever_frames_say_decisions_are_within_limits(
            frames in proptest::collection::vec((any_asked(), any_controls(), any_statistics()), 1..12)
        ) {
            let calibration = Calibration::of_sensor().unwrap();
            let mut ipa = Ipa::new(LIMITS, Controls::default(), Some(calibration));
            for (asked, taken, statistics) in frames {
                ipa.set_controls(asked).unwrap();
                let Decision { controls, colour, .. } = ipa.process(taken, &statistics);
                prop_assert!(LIMITS.exposure_us.contains(&controls.exposure_us));
                prop_assert!(LIMITS.gain.contains(&controls.gain));
                prop_assert!(colour.gains.iter().all(|gain| (1.0..32.0).contains(gain)));
                prop_assert!(colour.kelvin.is_some_and(|kelvin| (1999.0..12_001.0).contains(&kelvin)));
                for row in colour.ccm {
                    prop_assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn a_camera_without_colours_has_exposure_alone() {
        let mut ipa = Ipa::new(LIMITS, Controls::default(), None);
        let mut statistics = Statistics::default();
        statistics.histogram[11] = 100;
        let decision = ipa.process(Controls::default(), &statistics);
        assert_eq!(decision.colour, Colour::NONE);
        assert!(decision.controls.exposure_us > Controls::default().exposure_us);
    }

    #[test]
    fn bad_controls_change_nothing() {
        let mut ipa = Ipa::new(LIMITS, Controls::default(), None);
        let awb = AwbMode::ColourTemperature(f32::NAN);
        assert!(ipa.set_controls(IpaControls { awb, ..IpaControls::default() }).is_err());
        assert_eq!(ipa.controls, IpaControls::default());
    }
}
