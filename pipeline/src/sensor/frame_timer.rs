//! When the next frame is due.

use std::time::{Duration, Instant};

/// Frame times at a steady rate.
///
/// Each is counted from the start and not from the frame before, so that errors do not add up.
/// If a frame is late by more than one period, the timer restarts from then instead of catching up.
#[derive(Debug)]
pub struct FrameTimer {
    period: Duration,
    start: Instant,
    frame: u32,
}

impl FrameTimer {
    /// A frame every `period`, the first one at `start`; a period of zero means as fast as can be.
    pub fn new(period: Duration, start: Instant) -> Self {
        Self { period, start, frame: 0 }
    }

    /// From one frame to the next.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Another rate, from the next frame on, which comes one such period after the last one.
    pub fn set_period(&mut self, period: Duration, now: Instant) {
        let last = match self.frame {
            0 => None,
            frame => self.period.checked_mul(frame - 1).and_then(|at| self.start.checked_add(at)),
        };
        *self = match last {
            Some(last) => Self { period, start: last, frame: 1 },
            None => Self::new(period, now),
        };
    }

    /// When the next frame is due; moves on to the one after it.
    pub fn next(&mut self, now: Instant) -> Instant {
        let mut due = self.due();
        if now.saturating_duration_since(due) > self.period {
            (self.start, self.frame) = (now, 0);
            due = now;
        }
        self.frame = match self.frame.checked_add(1) {
            Some(next) => next,
            None => {
                self.start = due;
                1
            }
        };
        due
    }

    fn due(&self) -> Instant {
        self.period
            .checked_mul(self.frame)
            .and_then(|offset| self.start.checked_add(offset))
            .unwrap_or(self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_rate_counts_from_the_last_frame() {
        let start = Instant::now();
        let mut timer = FrameTimer::new(Duration::from_millis(10), start);
        timer.set_period(Duration::from_millis(20), start);
        assert_eq!(timer.next(start), start);
        assert_eq!(timer.next(start), start + Duration::from_millis(20));
        timer.set_period(Duration::from_millis(5), start);
        assert_eq!(timer.next(start), start + Duration::from_millis(25));
        assert_eq!(timer.period(), Duration::from_millis(5));
    }

    #[test]
    fn errors_do_not_add_up() {
        let start = Instant::now();
        let period = Duration::from_nanos(16_666_667);
        let mut timer = FrameTimer::new(period, start);
        let mut due = start;
        for _ in 0..36_000 {
            // Every frame is a little late, and none drifts.
            due = timer.next(due + Duration::from_millis(3));
        }
        assert_eq!(due, start + period * 35_999);
    }

    #[test]
    fn who_falls_behind_is_not_chased() {
        let start = Instant::now();
        let mut timer = FrameTimer::new(Duration::from_millis(10), start);
        timer.next(start);
        let late = start + Duration::from_secs(1);
        assert_eq!(timer.next(late), late);
        assert_eq!(timer.next(late), late + Duration::from_millis(10));
    }
}
