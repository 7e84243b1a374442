//! Colour bars, from white over the six pure colours to black.

use super::Scene;
use crate::sensor::model::colour::srgb_to_linear;
use crate::sensor::pattern::BARS;
use crate::size::Size;

/// The level of a lit bar in sRGB: the 75 % of SMPTE's bars (EG 1).
const LIT: f32 = 0.75;

#[derive(Debug)]
struct Bars {
    lit: f32,
}

pub(super) fn make(_: Size) -> Box<dyn Scene> {
    Box::new(Bars { lit: srgb_to_linear(LIT) })
}

/// The same bars at the highest level, as libcamera's virtual camera has them.
pub(super) fn make_full(_: Size) -> Box<dyn Scene> {
    Box::new(Bars { lit: 1.0 })
}

impl Scene for Bars {
    fn row(&self, _: u64, _: usize, row: &mut [[f32; 3]]) {
        let width = row.len();
        for (x, pixel) in row.iter_mut().enumerate() {
            *pixel = BARS[x * BARS.len() / width].map(|on| if on { self.lit } else { 0.0 });
        }
    }
}
