//! The loop from a frame's statistics back to the sensor and the ISP.
//!
//! Statistics may come some frames late, and settings count some frames later still; what each
//! frame was taken with is remembered until its statistics are there.

use crossbeam_channel::Sender;
use vcam_isp_gpu::{IspParams, Statistics};

use crate::ipa::Ipa;
use crate::sensor::delay::Controls;

/// Frames whose statistics may still be on their way.
const UNDERWAY: usize = 32;

/// Exposure and white balance, between an ISP that measures and a sensor that obeys.
#[derive(Debug)]
pub(crate) struct Feedback {
    ipa: Ipa,
    to_sensor: Sender<Controls>,
    /// What the latest frames were taken with, each at its number modulo the length.
    taken: [Option<(u64, Controls)>; UNDERWAY],
    /// The frame whose statistics came last.
    seen: Option<u64>,
}

impl Feedback {
    pub(crate) fn new(ipa: Ipa, to_sensor: Sender<Controls>) -> Self {
        Self { ipa, to_sensor, taken: [None; UNDERWAY], seen: None }
    }

    /// Notes what a frame was taken with, and sets what it is to be made with.
    pub(crate) fn prepare(&mut self, frame: u64, taken: Controls, params: &mut IspParams) {
        self.taken[frame as usize % UNDERWAY] = Some((frame, taken));
        let colour = self.ipa.decision().colour;
        params.gains = colour.gains;
        params.colour.matrix = colour.ccm;
    }

    /// Takes the latest statistics into account, if they are new.
    pub(crate) fn look(&mut self, measured: Option<(u64, &Statistics)>) {
        let Some((frame, statistics)) = measured else { return };
        if self.seen.is_some_and(|seen| frame <= seen) {
            return;
        }
        self.seen = Some(frame);
        let Some((_, taken)) = self.taken[frame as usize % UNDERWAY].filter(|(of, _)| *of == frame)
        else {
            return;
        };
        let decision = self.ipa.process(taken, statistics);
        // A sensor that does not listen has ended; one that is slow gets the next decision.
        let _ = self.to_sensor.try_send(decision.controls);
    }
}
