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
mod lux;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use ae::{AeState, LIMIT, Limits, TARGET};
pub use calibration::{Calibration, CalibrationError};
pub use controls::{AeControls, AwbMode, Flicker, IpaControlError, IpaControls, Setting};
pub(crate) use lux::lux;

use ae::Ae;
use awb::Awb;
use vcam_isp_gpu::Statistics;

use crate::sensor::delay::Controls;

/// A decision on how to take and develop the next frames.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// For the sensor.
    pub controls: Controls,
    /// Whether exposure is where it should be.
    pub ae_state: AeState,
    /// For the ISP.
    pub colour: AwbResult,
}

/// The colour correction that the ISP applies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AwbResult {
    /// White balance: factors for red, green and blue.
    pub gains: [f32; 3],
    /// The colour correction matrix, from white-balanced camera colours to linear sRGB: rows give
    /// red, green and blue.
    pub ccm: [[f32; 3]; 3],
    /// The lamp's colour temperature, as far as known; `None` for a camera without colours.
    pub kelvin: Option<f32>,
}

impl AwbResult {
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

    /// Changes what is asked: of white balance at once, if the user decides it, and of all else
    /// from the next frame's statistics on.
    pub fn set_controls(&mut self, controls: IpaControls) -> Result<(), IpaControlError> {
        controls.validate()?;
        self.controls = controls;
        if let Some(awb) = &mut self.awb {
            awb.obey(controls.awb);
        }
        Ok(())
    }

    /// Changes what the sensor can do: the longest exposure follows from the frame's duration.
    pub fn set_limits(&mut self, limits: Limits) {
        self.ae.limits = limits;
    }

    /// Takes a frame into account: `taken` is what the metadata of that same frame, which may be
    /// some frames ago, say it was taken with.
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
        let colour = self.awb.as_ref().map_or(AwbResult::NONE, |awb| AwbResult {
            gains: awb.balance().gains,
            ccm: awb.ccm(),
            kelvin: Some(awb.balance().kelvin),
        });
        Decision { controls, ae_state, colour }
    }
}
