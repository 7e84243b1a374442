//! The loop from a frame's statistics back to the sensor and the ISP.
//!
//! Statistics may come some frames late, and settings count some frames later still; what each
//! frame was taken with is remembered until its statistics are there.

use crossbeam_channel::Sender;
use vcam_isp_gpu::{IspParams, Statistics};

use super::frame_context::FrameContext;
use crate::controls::{FrameControls, ae_state};
use crate::ipa::{AeState, AwbResult, Ipa, Limits};
use crate::sensor::delay::Controls;
use crate::sensor::timing::Timing;

/// Frames whose statistics may still be on their way.
const UNDERWAY: usize = 32;

/// Exposure and white balance, between an ISP that measures and a sensor that obeys.
#[derive(Debug)]
pub(crate) struct IpaLoop {
    ipa: Ipa,
    to_sensor: Sender<Controls>,
    controls: FrameControls,
    timing: Timing,
    /// The controls of the latest frames, each at its number modulo the length.
    taken: [Option<(u64, Controls)>; UNDERWAY],
    /// The frame whose statistics came last.
    seen: Option<u64>,
}

impl IpaLoop {
    pub(crate) fn new(ipa: Ipa, timing: Timing, to_sensor: Sender<Controls>) -> Self {
        let controls = FrameControls::default();
        Self { ipa, to_sensor, controls, timing, taken: [None; UNDERWAY], seen: None }
    }

    /// Notes what a frame was taken with, and sets what it is to be made with.
    pub(crate) fn prepare(&mut self, frame: &FrameContext, params: &mut IspParams) {
        let FrameContext { sequence, taken, controls, timing, .. } = frame;
        self.taken[*sequence as usize % UNDERWAY] = Some((*sequence, taken.controls));
        if *timing != self.timing {
            self.timing = *timing;
            self.ipa.set_limits(Limits::from(timing));
        }
        if *controls != self.controls {
            self.controls = *controls;
            // They were checked when they were asked for.
            if let Err(error) = self.ipa.set_controls(controls.ipa()) {
                tracing::warn!(%error, "exposure and white balance stay as they are");
            }
        }
        let colour = self.colour();
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
        let Some(taken) = self.taken(frame) else { return };
        let decision = self.ipa.process(taken, statistics);
        // A sensor that does not listen has ended; one that is slow gets the next decision.
        let _ = self.to_sensor.try_send(decision.controls);
    }

    /// Returns the controls that a frame was taken with, if it was not long ago.
    pub(crate) fn taken(&self, frame: u64) -> Option<Controls> {
        let (of, controls) = self.taken[frame as usize % UNDERWAY]?;
        (of == frame).then_some(controls)
    }

    /// Returns the present colour correction.
    pub(crate) fn colour(&self) -> AwbResult {
        self.ipa.decision().colour
    }

    /// Whether exposure is where it should be, as [`AeState`](crate::controls::AeState) has it.
    pub(crate) fn ae_state(&self) -> i32 {
        match self.ipa.decision().ae_state {
            AeState::Idle => ae_state::IDLE,
            AeState::Searching => ae_state::SEARCHING,
            AeState::Converged => ae_state::CONVERGED,
        }
    }
}
