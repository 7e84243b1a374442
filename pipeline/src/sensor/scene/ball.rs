//! A ball that bounces between the borders.

use super::{Scene, fraction};
use crate::size::Size;

/// The ball's colour: a basketball's.
const BALL: [f32; 3] = [0.72, 0.22, 0.05];

/// Columns and rows that it moves with each frame. They share no divisor, so that its path is long.
const SPEED: [u64; 2] = [7, 5];

#[derive(Debug)]
struct Ball {
    size: Size,
    radius: f32,
}

pub(super) fn make(size: Size) -> Box<dyn Scene> {
    Box::new(Ball { size, radius: size.columns().min(size.rows()) as f32 / 8.0 })
}

/// Where something is that goes to and fro between 0 and `length`.
fn to_and_fro(way: u64, length: u64) -> f32 {
    let turn = 2 * length.max(1);
    let at = way % turn;
    at.min(turn - at) as f32
}

impl Ball {
    fn middle(&self, frame: u64) -> [f32; 2] {
        let sides = [self.size.columns(), self.size.rows()];
        [0, 1].map(|axis| {
            let room = sides[axis] as f32 - 2.0 * self.radius;
            self.radius + to_and_fro(frame.wrapping_mul(SPEED[axis]), room as u64)
        })
    }
}

impl Scene for Ball {
    fn row(&self, frame: u64, y: usize, row: &mut [[f32; 3]]) {
        let [ball_x, ball_y] = self.middle(frame);
        let dy = y as f32 + 0.5 - ball_y;
        let wall = 0.2 + 0.3 * fraction(y, self.size.rows());
        row.fill([wall; 3]);
        // Half a pixel more, where the border of the ball is mixed with the wall.
        let half = ((self.radius + 0.5).powi(2) - dy * dy).max(0.0).sqrt();
        let (start, end) = ((ball_x - half).floor(), (ball_x + half).ceil());
        let end = (end.max(0.0) as usize).min(row.len());
        let start = (start.max(0.0) as usize).min(end);
        for (x, pixel) in (start..).zip(&mut row[start..end]) {
            let dx = x as f32 + 0.5 - ball_x;
            let part = (self.radius + 0.5 - (dx * dx + dy * dy).sqrt()).clamp(0.0, 1.0);
            *pixel = BALL.map(|light| wall + (light - wall) * part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_in_the_picture() {
        let ball = Ball { size: Size { width: 128, height: 32 }, radius: 4.0 };
        for frame in (0..10_000).chain([u64::MAX]) {
            let [x, y] = ball.middle(frame);
            assert!((4.0..=124.0).contains(&x) && (4.0..=28.0).contains(&y), "{frame}: {x} {y}");
        }
    }
}
