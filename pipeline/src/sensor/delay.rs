//! Settings that take effect frames later, as a real sensor's do.
//!
//! A register that is written while a frame is read counts for a later one: exposure for the second
//! frame after, since the next one's rows are being reset already; gain for the next.
//! Both written at once give one frame with the new gain and the old exposure: a flash of light.
//! [`DelayedControls`] writes each in its time, so that both come together.

use std::collections::VecDeque;

/// Exposure and gain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Controls {
    /// How long a row collects light, in microseconds.
    pub exposure_us: f32,
    /// The factor of the signal before it is converted; 1 is none.
    pub gain: f32,
}

impl Default for Controls {
    /// A hundredth of a second without gain.
    fn default() -> Self {
        Self { exposure_us: 10_000.0, gain: 1.0 }
    }
}

/// Frames from the one during which exposure is written to the first that it counts for.
pub const EXPOSURE_DELAY: usize = 2;

/// The same for gain.
pub const GAIN_DELAY: usize = 1;

/// A register whose value counts some frames later.
#[derive(Debug)]
struct Register {
    written: f32,
    /// The controls written during the frames before, the oldest first.
    underway: VecDeque<f32>,
}

impl Register {
    fn new(value: f32, delay: usize) -> Self {
        Self { written: value, underway: std::iter::repeat_n(value, delay - 1).collect() }
    }

    /// A frame begins; the value that counts for it.
    fn latch(&mut self) -> f32 {
        self.underway.push_back(self.written);
        self.underway.pop_front().unwrap_or(self.written)
    }
}

/// The registers of a sensor.
#[derive(Debug)]
pub(super) struct Registers {
    exposure: Register,
    gain: Register,
}

impl Registers {
    pub(super) fn new(controls: Controls) -> Self {
        Self {
            exposure: Register::new(controls.exposure_us, EXPOSURE_DELAY),
            gain: Register::new(controls.gain, GAIN_DELAY),
        }
    }

    /// Writes both, each with its own delay.
    pub(super) fn write(&mut self, controls: Controls) {
        self.exposure.written = controls.exposure_us;
        self.gain.written = controls.gain;
    }

    /// A frame begins; what counts for it.
    pub(super) fn latch(&mut self) -> Controls {
        Controls { exposure_us: self.exposure.latch(), gain: self.gain.latch() }
    }
}

/// Writes exposure and gain so that they take effect in the same frame.
///
/// Once a frame: [`push`](DelayedControls::push) what is wanted, and write what it returns. It
/// counts for the frame [`EXPOSURE_DELAY`] later.
#[derive(Debug)]
pub struct DelayedControls {
    /// Gains that wait until exposure is nearly there.
    gains: VecDeque<f32>,
}

impl DelayedControls {
    /// For a sensor that has these controls now.
    pub fn new(controls: Controls) -> Self {
        let wait = EXPOSURE_DELAY - GAIN_DELAY;
        Self { gains: std::iter::repeat_n(controls.gain, wait).collect() }
    }

    /// Returns the controls to write into the sensor during this frame.
    pub fn push(&mut self, wanted: Controls) -> Controls {
        self.gains.push_back(wanted.gain);
        let gain = self.gains.pop_front().unwrap_or(wanted.gain);
        Controls { exposure_us: wanted.exposure_us, gain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Controls = Controls { exposure_us: 100.0, gain: 1.0 };
    const NEW: Controls = Controls { exposure_us: 200.0, gain: 2.0 };

    #[test]
    fn each_register_has_its_delay() {
        let mut registers = Registers::new(OLD);
        assert_eq!(registers.latch(), OLD);
        registers.write(NEW);
        assert_eq!(registers.latch(), Controls { exposure_us: 100.0, gain: 2.0 });
        assert_eq!(registers.latch(), NEW);
        assert_eq!(registers.latch(), NEW);
    }

    #[test]
    fn delayed_controls_come_together() {
        let (mut registers, mut delayed) = (Registers::new(OLD), DelayedControls::new(OLD));
        let mut seen = Vec::new();
        for frame in 0..6 {
            seen.push(registers.latch());
            let wanted = if frame == 1 { NEW } else { OLD };
            registers.write(delayed.push(wanted));
        }
        assert_eq!(seen, [OLD, OLD, OLD, NEW, OLD, OLD]);
    }
}
