//! Auto white balance: the grey world, as far as it could be grey under a lamp that there is.
//!
//! The plain grey world takes the mean of a frame for grey, and is led astray by every lawn. Here
//! each zone of the frame has a vote: for a lamp under which it would be grey. A zone that would be
//! far from grey counts no more than one that is merely off, so that colours do not outvote the
//! greys, and lamps are those on the Planckian locus alone. Only where nothing could be grey does
//! the mean of all decide.

use vcam_isp_gpu::stats::{COLUMNS, ROWS, Statistics};

use super::tuning::{Lamp, Tuning};
use crate::sensor::model::colour::KELVIN;

/// Zones darker than this, in linear light of green, are noise.
const DARK: f32 = 0.005;

/// How far from grey a zone may be and still say something, as a logarithm of ratios to green.
const REACH: f32 = 0.08;

/// How far white may be from the locus itself, in the same measure: fluorescent lamps are a little
/// greener or pinker than a black body.
const OFF_LOCUS: f32 = 0.02;

/// What the mean of all zones weighs beside the votes.
const MEAN_WEIGHT: f32 = 0.002;

/// The part of the way to what is seen that is gone with each frame.
const SPEED: f32 = 0.3;

/// Lamps that are tried, evenly spaced by reciprocal temperature.
const TRIES: usize = 128;

/// Who decides.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Mode {
    /// What is seen.
    #[default]
    Auto,
    /// Nobody: what is, stays.
    Locked,
    /// The user, by the lamp's temperature in kelvin.
    Kelvin(f32),
    /// The user, by factors for red and blue, each above 0; green's is 1.
    Gains([f32; 2]),
}

/// What the ISP is to do about colour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WhiteBalance {
    /// The lamp's temperature, as estimated or given.
    pub kelvin: f32,
    /// Factors for red, green and blue.
    pub gains: [f32; 3],
    /// White-balanced colours to linear sRGB.
    pub matrix: [[f32; 3]; 3],
}

/// What is believed of the lamp, in measures that can be averaged.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Belief {
    /// The reciprocal of the temperature in kelvin.
    reciprocal: f32,
    /// How far white is from the locus: logarithms of the ratios of red and blue.
    offset: [f32; 2],
}

/// A lamp that is tried.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// The reciprocal of its temperature.
    reciprocal: f32,
    /// Its white, as logarithms of red and blue to green.
    white: [f32; 2],
}

impl Candidate {
    fn new(tuning: &Tuning, reciprocal: f32) -> Self {
        Self { reciprocal, white: tuning.at(1.0 / reciprocal).white.map(f32::ln) }
    }

    /// How far from grey something would be under this lamp.
    fn away(&self, point: [f32; 2]) -> [f32; 2] {
        [point[0] - self.white[0], point[1] - self.white[1]]
    }
}

/// Auto white balance.
#[derive(Debug, Clone)]
pub struct AutoWhiteBalance {
    /// Who decides.
    pub mode: Mode,
    tuning: Tuning,
    /// The lamps that are tried.
    locus: Vec<Candidate>,
    belief: Belief,
    /// Whether anything was seen yet: the first frame is believed at once.
    seen: bool,
    settled: bool,
}

impl Default for AutoWhiteBalance {
    /// For vcam's sensor, in daylight until something is seen.
    fn default() -> Self {
        let tuning = Tuning::default();
        let [first, last] = [1.0 / KELVIN.end(), 1.0 / KELVIN.start()];
        let step = (last - first) / TRIES as f32;
        let candidate = |at| Candidate::new(&tuning, first + step * at as f32);
        Self {
            mode: Mode::Auto,
            locus: (0..=TRIES).map(candidate).collect(),
            tuning,
            belief: Belief { reciprocal: 1.0 / 5000.0, offset: [0.0; 2] },
            seen: false,
            settled: false,
        }
    }
}

impl AutoWhiteBalance {
    /// Whether the last frame's lamp was the one that is believed in.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// What to do with the next frame, from the statistics of one.
    pub fn process(&mut self, statistics: &Statistics) -> WhiteBalance {
        if let (Some(seen), Mode::Auto) = (self.estimate(statistics), self.mode) {
            let way = seen.reciprocal - self.belief.reciprocal;
            // A millionth of a reciprocal kelvin, a mired, is less than anybody sees.
            self.settled = way.abs() < 2e-6;
            let speed = if self.seen { SPEED } else { 1.0 };
            self.belief.reciprocal += way * speed;
            for (belief, seen) in self.belief.offset.iter_mut().zip(seen.offset) {
                *belief += (seen - *belief) * speed;
            }
            self.seen = true;
        }
        match self.mode {
            Mode::Auto | Mode::Locked => {
                let lamp = self.tuning.at(1.0 / self.belief.reciprocal);
                let offset = self.belief.offset;
                let white = [0, 1].map(|at| lamp.white[at] * offset[at].exp());
                balance(lamp, white)
            }
            Mode::Kelvin(kelvin) => {
                let lamp = self.tuning.at(kelvin);
                balance(lamp, lamp.white)
            }
            Mode::Gains(gains) => {
                let white = gains.map(|gain| 1.0 / gain.max(f32::MIN_POSITIVE));
                balance(self.tuning.at(1.0 / self.nearest(white)), white)
            }
        }
    }

    /// The reciprocal temperature of the lamp whose white is nearest to this one.
    fn nearest(&self, white: [f32; 2]) -> f32 {
        let point = white.map(f32::ln);
        self.best(|lamp| square(lamp.away(point)))
    }

    /// The reciprocal temperature at which a cost is lowest.
    fn best(&self, cost: impl Fn(&Candidate) -> f32) -> f32 {
        let mut costs = [0.0; TRIES + 1];
        for (cost_here, lamp) in costs.iter_mut().zip(&self.locus) {
            *cost_here = cost(lamp);
        }
        let best = (0..=TRIES).fold(0, |a, b| if costs[b] < costs[a] { b } else { a });
        let here = self.locus[best].reciprocal;
        if best == 0 || best == TRIES {
            return here;
        }
        // The lowest point of the parabola through it and its neighbours.
        let [low, middle, high] = [costs[best - 1], costs[best], costs[best + 1]];
        let bend = low - 2.0 * middle + high;
        let step = self.locus[best + 1].reciprocal - here;
        if bend > 0.0 { here + step * ((low - high) / (2.0 * bend)).clamp(-1.0, 1.0) } else { here }
    }

    /// The lamp, from what zones look like; `None` where it is too dark or too bright to tell.
    fn estimate(&self, statistics: &Statistics) -> Option<Belief> {
        // Each zone as logarithms of red and blue to green, and its weight.
        let mut points = [([0.0; 2], 0.0); COLUMNS * ROWS];
        let mut count = 0;
        let mut sum = [0.0; 3];
        for zone in &statistics.zones {
            let [red, green, blue] = zone.sum.map(|sum| sum / zone.quads.max(1) as f32);
            if green < DARK || red <= 0.0 || blue <= 0.0 {
                continue;
            }
            points[count] = ([(red / green).ln(), (blue / green).ln()], zone.quads as f32);
            count += 1;
            for (sum, zone) in sum.iter_mut().zip(zone.sum) {
                *sum += zone;
            }
        }
        if count == 0 {
            return None;
        }
        let points = &points[..count];
        let total: f32 = points.iter().map(|(_, weight)| weight).sum();
        let mean = [(sum[0] / sum[1]).ln(), (sum[2] / sum[1]).ln()];
        let reciprocal = self.best(|lamp| {
            let vote = |(point, weight): &([f32; 2], f32)| {
                weight * square(lamp.away(*point)).min(REACH * REACH)
            };
            let votes: f32 = points.iter().map(vote).sum();
            votes / total + MEAN_WEIGHT * square(lamp.away(mean))
        });
        let lamp = Candidate::new(&self.tuning, reciprocal);
        Some(Belief { reciprocal, offset: off_locus(points, &lamp) })
    }
}

fn balance(lamp: Lamp, [red, blue]: [f32; 2]) -> WhiteBalance {
    let gains = [1.0 / red, 1.0, 1.0 / blue];
    WhiteBalance { kelvin: lamp.kelvin, gains, matrix: lamp.matrix }
}

fn square([red, blue]: [f32; 2]) -> f32 {
    red * red + blue * blue
}

/// How far white is from the locus, by what is nearly grey under a lamp.
fn off_locus(points: &[([f32; 2], f32)], lamp: &Candidate) -> [f32; 2] {
    let mut offset = [0.0; 2];
    let mut near = 0.0;
    for (point, weight) in points {
        let away = lamp.away(*point);
        if square(away) < REACH * REACH / 4.0 {
            near += weight;
            for (offset, away) in offset.iter_mut().zip(away) {
                *offset += away * weight;
            }
        }
    }
    if near <= 0.0 {
        return [0.0; 2];
    }
    let offset = offset.map(|sum| sum / near);
    let length = square(offset).sqrt();
    if length > OFF_LOCUS { offset.map(|part| part * OFF_LOCUS / length) } else { offset }
}

#[cfg(test)]
mod tests {
    use vcam_isp_gpu::stats::Zone;

    use super::*;

    /// Zones that show surfaces of these ratios to white, in turn, under a lamp.
    fn zones(kelvin: f32, surfaces: &[[f32; 2]]) -> Statistics {
        let white = Tuning::default().at(kelvin).white;
        let mut statistics = Statistics::default();
        for (index, zone) in statistics.zones.iter_mut().enumerate() {
            let surface = surfaces[index % surfaces.len()];
            let light = [0.3 * white[0] * surface[0], 0.3, 0.3 * white[1] * surface[1]];
            *zone = Zone { sum: light.map(|light| light * 30.0), quads: 30, saturated: 0 };
        }
        statistics
    }

    #[test]
    fn a_lamp_is_known_by_its_grey() {
        for kelvin in [2100.0, 2800.0, 3500.0, 5000.0, 6500.0, 9000.0] {
            let balance = AutoWhiteBalance::default().process(&zones(kelvin, &[[1.0, 1.0]]));
            assert!((balance.kelvin / kelvin - 1.0).abs() < 0.01, "{kelvin}: {balance:?}");
            let white = Tuning::default().at(kelvin).white;
            assert!((balance.gains[0] * white[0] - 1.0).abs() < 0.005, "{balance:?}");
            assert!((balance.gains[2] * white[1] - 1.0).abs() < 0.005, "{balance:?}");
        }
    }

    #[test]
    fn a_lawn_is_not_taken_for_grey() {
        // Three quarters of the frame are green, and a mean would be far off.
        let lawn = [[0.6, 0.3], [0.55, 0.35], [0.6, 0.3], [1.0, 1.0]];
        let balance = AutoWhiteBalance::default().process(&zones(5000.0, &lawn));
        assert!((balance.kelvin / 5000.0 - 1.0).abs() < 0.02, "{balance:?}");
    }

    #[test]
    fn white_keeps_near_the_locus() {
        let white = Tuning::default().at(4200.0).white;
        let off = |shift: f32| {
            let green = [(-shift).exp(); 2];
            let balance = AutoWhiteBalance::default().process(&zones(4200.0, &[green]));
            let seen = white.map(|white| (white * green[0]).ln());
            // What is left of the shift.
            square([seen[0] + balance.gains[0].ln(), seen[1] + balance.gains[2].ln()]).sqrt()
        };
        assert!(off(0.01) < 0.002, "{}", off(0.01));
        assert!(off(0.05) > 0.03, "{}", off(0.05));
    }

    #[test]
    fn too_dark_to_tell_changes_nothing() {
        let mut auto = AutoWhiteBalance::default();
        let before = auto.process(&zones(2800.0, &[[1.0; 2]]));
        assert_eq!(auto.process(&Statistics::default()), before);
        let mut saturated = Statistics::default();
        saturated.zones.iter_mut().for_each(|zone| zone.saturated = 30);
        assert_eq!(auto.process(&saturated), before);
    }

    #[test]
    fn the_user_decides_where_asked() {
        let mut auto = AutoWhiteBalance { mode: Mode::Kelvin(3200.0), ..Default::default() };
        let daylight = zones(6500.0, &[[1.0; 2]]);
        let warm = auto.process(&daylight);
        assert_eq!(warm.kelvin, 3200.0);
        auto.mode = Mode::Gains([1.0 / warm.gains[0], 2.0]);
        assert_eq!(auto.process(&daylight).gains[2], 2.0);
        auto.mode = Mode::Gains([warm.gains[0], warm.gains[2]]);
        assert!((auto.process(&daylight).kelvin / 3200.0 - 1.0).abs() < 0.02);
        auto.mode = Mode::Auto;
        let seen = auto.process(&daylight);
        assert!((seen.kelvin / 6500.0 - 1.0).abs() < 0.02);
        auto.mode = Mode::Locked;
        assert_eq!(auto.process(&zones(2800.0, &[[1.0; 2]])), seen);
    }
}
