//! What a display needs of the buffers it scans out.

use std::collections::BTreeSet;

use vcam_allocator::constraints::{Bounds, Constraints, FormatSet, Rule, Statement};
use vcam_allocator::{Fourcc, Modifier};

use super::output::Output;

/// The frame on the screen, and the one that replaces it at the next vertical blank.
const KEPT: u32 = 2;

/// The statements of the card that was asked.
pub(super) fn of(card: &str, output: &Output, size: (u32, u32)) -> Constraints {
    let says = |source: &str, rule| Statement::new(card, source, rule);
    let exactly = |pixels: u32| Bounds { min: pixels.into(), max: pixels.into() };
    let (source, formats) = match in_formats(&output.in_formats) {
        Some(formats) => ("IN_FORMATS", formats),
        None => {
            let linear = |format: &u32| (Fourcc(*format), BTreeSet::from([Modifier::LINEAR]));
            ("the plane's formats", output.plane_formats.iter().map(linear).collect())
        }
    };
    [
        says("PRIME_FD_TO_HANDLE", Rule::DmaBuf),
        says(source, Rule::Formats(formats)),
        says("the mode", Rule::Width(exactly(size.0))),
        says("the mode", Rule::Height(exactly(size.1))),
        says("page flips", Rule::Camping(KEPT)),
    ]
    .into_iter()
    .collect()
}

/// Reads the blob of `IN_FORMATS`; `None` for one that contradicts itself.
///
/// `struct drm_format_modifier_blob` of `include/uapi/drm/drm_mode.h`: a header, then formats of 32
/// bits each, then for each modifier the 64 formats from `offset` on that may have it, as bits.
fn in_formats(blob: &[u8]) -> Option<FormatSet> {
    let word =
        |at: usize| Some(u32::from_ne_bytes(blob.get(at..at.checked_add(4)?)?.try_into().ok()?));
    let long =
        |at: usize| Some(u64::from_ne_bytes(blob.get(at..at.checked_add(8)?)?.try_into().ok()?));
    let at = |offset: u32, index: u32, size: usize| {
        (offset as usize).checked_add((index as usize).checked_mul(size)?)
    };
    let [_, _, formats, formats_at, modifiers, modifiers_at] =
        [word(0)?, word(4)?, word(8)?, word(12)?, word(16)?, word(20)?];
    let mut set = FormatSet::new();
    for index in 0..modifiers {
        let entry = at(modifiers_at, index, 24)?;
        let (mask, first, modifier) = (long(entry)?, word(entry + 8)?, long(entry + 16)?);
        for bit in (0..64).filter(|bit| mask >> bit & 1 == 1) {
            let index = first.checked_add(bit).filter(|index| *index < formats)?;
            let format = Fourcc(word(at(formats_at, index, 4)?)?);
            set.entry(format).or_default().insert(Modifier(modifier));
        }
    }
    (!set.is_empty()).then_some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two formats; the first is linear or modifier 7, the second modifier 7 alone.
    fn blob() -> Vec<u8> {
        let mut blob = Vec::new();
        for word in [1u32, 0, 2, 24, 2, 32] {
            blob.extend(word.to_ne_bytes());
        }
        for format in [Fourcc::XRGB8888, Fourcc::NV12] {
            blob.extend(format.0.to_ne_bytes());
        }
        for (mask, modifier) in [(1u64, 0u64), (3, 7)] {
            blob.extend(mask.to_ne_bytes());
            blob.extend([0; 8]);
            blob.extend(modifier.to_ne_bytes());
        }
        blob
    }

    #[test]
    fn formats_and_modifiers_are_read() {
        let set = in_formats(&blob()).unwrap();
        assert_eq!(set[&Fourcc::XRGB8888], [Modifier::LINEAR, Modifier(7)].into());
        assert_eq!(set[&Fourcc::NV12], [Modifier(7)].into());
    }

    #[test]
    fn a_blob_that_is_cut_or_lies_is_not_believed() {
        let whole = blob();
        for len in 0..whole.len() {
            assert_eq!(in_formats(&whole[..len]), None, "{len}");
        }
        let mut lies = whole;
        lies[8..12].copy_from_slice(&1u32.to_ne_bytes());
        assert_eq!(in_formats(&lies), None);
    }
}
