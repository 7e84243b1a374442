//! Lamps on alternating current: their light comes and goes twice in each period.

use std::f64::consts::PI;

/// How much of the light comes and goes: that of a common LED lamp without a good driver.
const DEPTH: f64 = 0.4;

/// The frequency of the power network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mains {
    /// 50 Hz: lamps flicker 100 times a second.
    Hz50,
    /// 60 Hz: lamps flicker 120 times a second.
    Hz60,
}

impl Mains {
    /// Flickers a second.
    pub fn flicker(self) -> f64 {
        match self {
            Self::Hz50 => 100.0,
            Self::Hz60 => 120.0,
        }
    }

    /// The light that falls in during an exposure, to that of a lamp that does not flicker; both
    /// times in seconds.
    pub fn light(self, start: f64, exposure: f64) -> f64 {
        let turns = self.flicker() * exposure;
        let kept = if turns > 0.0 { (PI * turns).sin() / (PI * turns) } else { 1.0 };
        // Only the part of a turn counts, and it is exact for any time since boot.
        let phase = (self.flicker() * (start + exposure / 2.0)).fract();
        1.0 + DEPTH * kept * (2.0 * PI * phase).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_periods_do_not_flicker() {
        for start in [0.0, 0.0013, 0.0077, 86_400.003] {
            for periods in 1..4 {
                let exposure = f64::from(periods) / 100.0;
                assert!((Mains::Hz50.light(start, exposure) - 1.0).abs() < 1e-9);
                assert!((Mains::Hz60.light(start, f64::from(periods) / 120.0) - 1.0).abs() < 1e-9);
            }
        }
        // At the lamp's brightest and darkest.
        assert!((Mains::Hz50.light(0.0, 1e-9) - 1.4).abs() < 1e-6);
        assert!((Mains::Hz50.light(0.005, 1e-9) - 0.6).abs() < 1e-6);
    }
}
