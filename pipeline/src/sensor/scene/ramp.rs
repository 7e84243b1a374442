//! A grey ramp, even in linear light.

use super::{Scene, fraction};
use crate::size::Size;

#[derive(Debug)]
struct Ramp;

pub(super) fn make(_: Size) -> Box<dyn Scene> {
    Box::new(Ramp)
}

impl Scene for Ramp {
    fn row(&self, _: u64, _: usize, row: &mut [[f32; 3]]) {
        let width = row.len();
        for (x, pixel) in row.iter_mut().enumerate() {
            *pixel = [fraction(x, width); 3];
        }
    }
}
