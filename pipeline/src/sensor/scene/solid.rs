//! A grey card.

use super::Scene;
use crate::size::Size;

/// The reflectance of photographers' grey cards.
const GREY: f32 = 0.18;

#[derive(Debug)]
struct Solid;

pub(super) fn make(_: Size) -> Box<dyn Scene> {
    Box::new(Solid)
}

impl Scene for Solid {
    fn row(&self, _: u64, _: usize, row: &mut [[f32; 3]]) {
        row.fill([GREY; 3]);
    }
}
