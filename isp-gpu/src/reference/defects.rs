//! Defect correction: a sample that sticks out of its eight neighbours of the same colour.
//!
//! Where it exceeds their largest by more than the threshold it becomes that, and where it is below
//! their least by more it becomes that one. Whole numbers, so that all ISPs agree on every sample.

use super::Mosaic;
use crate::params::IspParams;
use crate::raw::RawFormat;

pub(super) fn correct(samples: Mosaic, format: RawFormat, params: &IspParams) -> Mosaic {
    let Some(defects) = params.defects else { return samples };
    let threshold = defects.steps(format);
    let period = samples.period();
    samples.map(|x, y| {
        let (x, y) = (x as isize, y as isize);
        let value = samples.at(x, y);
        let around = [(-1, -1), (0, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (0, 1), (1, 1)]
            .map(|(dx, dy)| samples.at(x + dx * period, y + dy * period));
        let (mut least, mut most) = (u16::MAX, 0);
        for neighbour in around {
            (least, most) = (least.min(neighbour), most.max(neighbour));
        }
        if u32::from(value) > u32::from(most) + threshold {
            most
        } else if u32::from(value) + threshold < u32::from(least) {
            least
        } else {
            value
        }
    })
}
