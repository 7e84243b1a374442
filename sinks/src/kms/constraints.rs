//! What a display needs of the buffers it scans out.

use std::collections::BTreeSet;
use std::ops::{Bound, RangeBounds};

use drm::control::Device as _;
use drm::{Device as _, DriverCapability};
use vcam_allocator::constraints::{
    Bounds, Constraints, FormatSet, Rule, Statement, Usage, exceptions,
};
use vcam_allocator::heaps::dumb;
use vcam_allocator::{Fourcc, Modifier, sysfs};

use super::card::Card;
use super::error::KmsError;
use super::output::Output;

/// The frame on the screen, and the one that replaces it at the next vertical blank.
const KEPT: u32 = 2;

/// What a card says of itself, whatever it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Limits {
    /// Whether it imports other devices' buffers at all.
    imports: bool,
    /// Widths and heights of framebuffers.
    widths: Bounds,
    heights: Bounds,
    /// A cursor that it takes (`DRM_CAP_CURSOR_WIDTH`, `DRM_CAP_CURSOR_HEIGHT`).
    cursor: (u32, u32),
}

impl Limits {
    /// Asks the card (`DRM_IOCTL_GET_CAP`, `DRM_IOCTL_MODE_GETRESOURCES`).
    pub(super) fn of(card: &Card) -> Result<Self, KmsError> {
        let capability = |which| card.get_driver_capability(which).ok();
        let side = |which| capability(which).and_then(|value| u32::try_from(value).ok());
        let resources = card.resource_handles().map_err(card.failed("ask for its limits"))?;
        Ok(Self {
            imports: capability(DriverCapability::Prime)
                .is_none_or(|bits| bits & u64::from(drm_ffi::DRM_PRIME_CAP_IMPORT) != 0),
            widths: bounds(resources.supported_fb_width()),
            heights: bounds(resources.supported_fb_height()),
            cursor: (
                side(DriverCapability::CursorWidth).unwrap_or(CURSOR),
                side(DriverCapability::CursorHeight).unwrap_or(CURSOR),
            ),
        })
    }

    /// The statements of a card, whose own heap, if it has one, is `dumb`.
    fn statements(&self, card: &str, dumb: impl FnOnce() -> Option<String>) -> Vec<Statement> {
        let says = |source: &str, rule| Statement::new(card, source, rule);
        let mut statements = vec![
            says("PRIME_FD_TO_HANDLE", Rule::DmaBuf),
            says("MODE_GETRESOURCES", Rule::Width(self.widths)),
            says("MODE_GETRESOURCES", Rule::Height(self.heights)),
        ];
        if !self.imports {
            statements.push(says("DRM_CAP_PRIME", Rule::Heaps(dumb().into_iter().collect())));
        }
        statements
    }

    /// A size that a cursor plane takes: the one that the card gives, which some have as the
    /// largest and some as the only one; where that is more than the screen, a usual one.
    pub(super) fn cursor(&self, screen: (u32, u32)) -> (u32, u32) {
        match self.cursor {
            (width, height) if width <= screen.0 && height <= screen.1 => self.cursor,
            _ => (CURSOR, CURSOR),
        }
    }
}

fn bounds(range: impl RangeBounds<u32>) -> Bounds {
    let min = match range.start_bound() {
        Bound::Included(first) => u64::from(*first),
        Bound::Excluded(before) => u64::from(*before) + 1,
        Bound::Unbounded => 0,
    };
    let max = match range.end_bound() {
        Bound::Included(last) => u64::from(*last),
        Bound::Excluded(after) => u64::from(*after).saturating_sub(1),
        Bound::Unbounded => u64::MAX,
    };
    Bounds { min, max }
}

/// The size of a cursor where a card does not tell (`drm_getcap` in `drm_ioctl.c`).
const CURSOR: u32 = 64;

/// The statements of the card that was asked, of its bus, and of who found out what it hides.
pub(super) fn of(card: &Card, limits: &Limits, output: &Output, size: (u32, u32)) -> Constraints {
    let (name, path) = (card.name(), card.path());
    let mut statements = limits.statements(name, || dumb::name_of(path));
    statements.extend(exceptions(name, card.driver(), Usage::Source));
    statements.extend(of_output(name, output, size));
    let constraints: Constraints = statements.into_iter().collect();
    match sysfs::device(path) {
        Some(device) => constraints.merge(&sysfs::constraints(name, &device)),
        None => constraints,
    }
}

/// The statements of the plane and the mode.
fn of_output(card: &str, output: &Output, size: (u32, u32)) -> Vec<Statement> {
    let says = |source: &str, rule| Statement::new(card, source, rule);
    let exactly = |pixels: u32| Bounds { min: pixels.into(), max: pixels.into() };
    let (source, formats) = match in_formats(&output.in_formats) {
        Some(formats) => ("IN_FORMATS", formats),
        None => {
            let linear = |format: &u32| (Fourcc(*format), BTreeSet::from([Modifier::LINEAR]));
            ("the plane's formats", output.plane_formats.iter().map(linear).collect())
        }
    };
    vec![
        says(source, Rule::Formats(formats)),
        says("the mode", Rule::Width(exactly(size.0))),
        says("the mode", Rule::Height(exactly(size.1))),
        says("page flips", Rule::Camping(KEPT)),
    ]
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
    fn a_card_that_imports_nothing_takes_its_own_memory() {
        let bounds = Bounds { min: 1, max: 4096 };
        let limits = Limits { imports: true, widths: bounds, heights: bounds, cursor: (64, 64) };
        let words = |limits: &Limits| {
            let statements = limits.statements("kms:test", || Some("dumb:test".to_owned()));
            statements.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(
            words(&limits),
            "kms:test needs a dma-buf (PRIME_FD_TO_HANDLE), kms:test needs a width of 1 to 4096 \
             (MODE_GETRESOURCES), kms:test needs a height of 1 to 4096 (MODE_GETRESOURCES)"
        );
        assert_eq!(limits.cursor((256, 128)), (64, 64));
        let large = Limits { cursor: (512, 512), ..limits.clone() };
        assert_eq!(large.cursor((256, 128)), (64, 64));
        let alone = words(&Limits { imports: false, ..limits });
        assert!(alone.ends_with("kms:test needs heap dumb:test (DRM_CAP_PRIME)"), "{alone}");
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
