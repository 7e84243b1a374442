//! Every pixel of another colour: the hardest picture to compress or interpolate.

use super::Scene;
use crate::sensor::model::random;
use crate::size::Size;

#[derive(Debug)]
struct Noise;

pub(super) fn make(_: Size) -> Box<dyn Scene> {
    Box::new(Noise)
}

impl Scene for Noise {
    fn row(&self, frame: u64, y: usize, row: &mut [[f32; 3]]) {
        let key = random::key(0, frame, y as u64)[0];
        for (x, pixel) in row.iter_mut().enumerate() {
            let bits = random::mix(key ^ x as u32);
            *pixel = [bits, bits >> 8, bits >> 16].map(|bits| (bits & 0xff) as f32 / 255.0);
        }
    }
}
