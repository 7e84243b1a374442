//! 3A: what a camera decides by itself, from one frame's statistics for a later frame.
//!
//! ```text
//! Statistics ─┬─▶ exposure ──▶ exposure and gain ─▶ written so that both come together ─▶ sensor
//!             └─▶ white balance ─▶ temperature ─▶ gains and colour matrix ─▶ ISP
//! ```
//!
//! Each is a state and a function of it and of what was measured: no clock, no thread, no device.
//! Exposure compares what a frame got with what *that frame* was taken with, as its [`Metadata`]
//! tells, so that the sensor's delay makes it late and never makes it swing.

use vcam_isp_gpu::stats::Statistics;

pub mod exposure;
pub mod tuning;
pub mod white_balance;

use exposure::{AutoExposure, Limits};
use white_balance::{AutoWhiteBalance, WhiteBalance};

use crate::sensor::Metadata;
use crate::sensor::delay::{Controls, DelayedControls};

/// What follows from one frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// What to write into the sensor's registers, now.
    pub write: Controls,
    /// What the ISP is to do with the next frame.
    pub white_balance: WhiteBalance,
}

/// Exposure and white balance of one camera.
#[derive(Debug)]
pub struct Ipa {
    /// Exposure.
    pub exposure: AutoExposure,
    /// White balance.
    pub white_balance: AutoWhiteBalance,
    delayed: DelayedControls,
}

impl Ipa {
    /// For a sensor that has these controls now.
    pub fn new(controls: Controls) -> Self {
        Self {
            exposure: AutoExposure::new(controls),
            white_balance: AutoWhiteBalance::default(),
            delayed: DelayedControls::new(controls),
        }
    }

    /// Looks at a frame, and decides; call it once for each, in order.
    pub fn process(
        &mut self,
        statistics: &Statistics,
        metadata: &Metadata,
        limits: &Limits,
    ) -> Decision {
        let wanted = self.exposure.process(statistics, metadata.controls, limits);
        Decision {
            write: self.delayed.push(wanted),
            white_balance: self.white_balance.process(statistics),
        }
    }
}

#[cfg(test)]
mod tests;
