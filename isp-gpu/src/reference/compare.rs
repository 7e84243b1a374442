//! How far a picture is off.

use vcam_allocator::{AccessError, CpuAccess, Fourcc};

use super::{RawImage, reference};
use crate::frame::Output;
use crate::params::IspParams;
use crate::stats::{Statistics, Zone};

/// By how many levels, at most, an output differs from the reference anywhere: in steps of as many
/// bits as the format has, of every channel of every pixel, alpha included.
///
/// # Errors
///
/// When the CPU cannot read the output's buffer.
///
/// # Panics
///
/// As [`reference()`].
pub fn off_by(
    raw: &RawImage<'_>,
    params: &IspParams,
    output: &Output<'_>,
) -> Result<u32, AccessError> {
    let (layout, format) = (output.buffer.layout(), output.buffer.format());
    let size = (layout.width(), layout.height());
    let planes = reference(raw, params, &output.view, format, size);
    let guard = output.buffer.cpu_access(CpuAccess::Read)?;
    let mut most = 0;
    for (plane, should) in planes.iter().enumerate() {
        let stride = usize::try_from(layout.planes()[plane].stride).unwrap_or(usize::MAX);
        let row = layout.row_bytes(plane) as usize;
        for (is, should) in guard.plane(plane).chunks(stride).zip(should.chunks(row)) {
            let pairs = levels(format, &is[..row]).zip(levels(format, should));
            most = pairs.map(|(is, should)| is.abs_diff(should)).fold(most, u32::max);
        }
    }
    guard.end()?;
    Ok(most)
}

/// The levels in a row of bytes.
fn levels(format: Fourcc, row: &[u8]) -> Box<dyn Iterator<Item = u32> + '_> {
    match format {
        Fourcc::RGB565 => Box::new(row.as_chunks().0.iter().flat_map(|pixel| {
            let word = u32::from(u16::from_le_bytes(*pixel));
            [word >> 11, word >> 5 & 63, word & 31]
        })),
        Fourcc::XRGB2101010 => Box::new(row.as_chunks().0.iter().flat_map(|pixel| {
            let word = u32::from_le_bytes(*pixel);
            // The two bits of no colour may have any value.
            [word >> 20 & 1023, word >> 10 & 1023, word & 1023]
        })),
        _ => Box::new(row.iter().map(|byte| u32::from(*byte))),
    }
}

/// Whether statistics are those of the reference, but for rounding: the light of a sample may be
/// one step of 65535 off, and so a few quads in the next bin or on the other side of saturation.
///
/// # Errors
///
/// What differs, in words.
pub fn alike(is: &Statistics, should: &Statistics) -> Result<(), String> {
    let near = |a: f32, b: f32, by: f32| (a - b).abs() <= by * (1.0 + b);
    for (index, (is, should)) in is.zones.iter().zip(&should.zones).enumerate() {
        let all = |zone: &Zone| zone.quads + zone.saturated;
        let few = 1 + all(should) / 50;
        let moved = is.quads.abs_diff(should.quads);
        // A quad that moved takes its light along.
        let by = 1e-3 + if moved > 0 { 1.0 } else { 0.0 } * few as f32;
        let sums = is.sum.iter().zip(should.sum).all(|(is, should)| near(*is, should, by));
        if all(is) != all(should) || moved > few || !sums {
            return Err(format!("zone {index} is {is:?} and should be {should:?}"));
        }
    }
    let (mut ahead, mut moved) = (0i64, 0);
    for (is, should) in is.histogram.iter().zip(should.histogram) {
        ahead += i64::from(*is) - i64::from(should);
        moved += ahead.abs();
    }
    let quads = i64::from(should.histogram.iter().sum::<u32>());
    if ahead != 0 || moved > 1 + quads / 50 {
        return Err(format!("{moved} of {quads} quads are in another bin of the histogram"));
    }
    if !near(is.focus, should.focus, 1e-4) {
        return Err(format!("focus is {} and should be {}", is.focus, should.focus));
    }
    Ok(())
}
