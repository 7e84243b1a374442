//! How a plane is told what the numbers of pictures in YUV stand for.
//!
//! Source: `drm_plane_create_color_properties` in `drivers/gpu/drm/drm_color_mgmt.c`.

use vcam_allocator::{ColourSpace, Range, YcbcrEncoding};

use super::properties::Object;
use super::request::Request;

const ENCODING: &str = "COLOR_ENCODING";
const RANGE: &str = "COLOR_RANGE";

/// The encodings by the kernel's names, in the order of their numbers (`enum drm_color_encoding`).
const ENCODINGS: [(YcbcrEncoding, &str); 3] = [
    (YcbcrEncoding::Rec601, "ITU-R BT.601 YCbCr"),
    (YcbcrEncoding::Rec709, "ITU-R BT.709 YCbCr"),
    (YcbcrEncoding::Rec2020, "ITU-R BT.2020 YCbCr"),
];

/// The same of the ranges (`enum drm_color_range`).
const RANGES: [(Range, &str); 2] =
    [(Range::Limited, "YCbCr limited range"), (Range::Full, "YCbCr full range")];

/// A property, and the choice that says what this colour space is; nothing for RGB, to which the
/// properties mean nothing.
fn choices(space: ColourSpace) -> impl Iterator<Item = (&'static str, &'static str)> {
    let encoding = ENCODINGS.into_iter().find(|(encoding, _)| *encoding == space.encoding);
    let range = RANGES.into_iter().find(|(range, _)| *range == space.range);
    encoding
        .zip(range)
        .into_iter()
        .flat_map(|((_, encoding), (_, range))| [(ENCODING, encoding), (RANGE, range)])
}

/// Sets what a plane has of these choices.
pub(super) fn set(request: &mut Request, plane: &Object, space: ColourSpace) {
    for (property, choice) in choices(space) {
        if let Some((property, value)) = plane.choice(property, choice) {
            request.set(plane.id, property, value);
        }
    }
}

/// What a plane cannot be told, in words.
pub(super) fn unheard(plane: &Object, space: ColourSpace) -> Option<String> {
    let missing: Vec<_> = choices(space)
        .filter(|(property, choice)| plane.choice(property, choice).is_none())
        .map(|(property, choice)| format!("{property} has no '{choice}'"))
        .collect();
    (!missing.is_empty()).then(|| missing.join(", and "))
}

/// How a plane understands YUV after [`set`]: as it was told, or, where it has no such choice, as it
/// always does.
pub(super) fn understood(plane: &Object, space: ColourSpace) -> ColourSpace {
    if choices(space).next().is_none() {
        return space;
    }
    let is_told = |name| {
        choices(space)
            .any(|(property, choice)| property == name && plane.choice(property, choice).is_some())
    };
    let number = |name| usize::try_from(plane.value(name)).unwrap_or(usize::MAX);
    let encoding = ENCODINGS.get(number(ENCODING)).filter(|_| !is_told(ENCODING));
    let range = RANGES.get(number(RANGE)).filter(|_| !is_told(RANGE));
    ColourSpace {
        encoding: encoding.map_or(space.encoding, |(encoding, _)| *encoding),
        range: range.map_or(space.range, |(range, _)| *range),
        ..space
    }
}

#[cfg(test)]
mod tests {
    use super::super::properties::Property;
    use super::*;

    fn plane(choices: &[(&str, &str, u64)]) -> Object {
        let property = |name: &str, id| {
            let property = Property { id, value: 1, mutable: true, is_blob: false, most: None };
            (name.to_owned(), property)
        };
        let choice = |(name, word, value): &(&str, &str, u64)| {
            ((name.to_string(), word.to_string()), *value)
        };
        Object::with(
            3,
            [property(ENCODING, 20), property(RANGE, 21)].into(),
            choices.iter().map(choice).collect(),
        )
    }

    #[test]
    fn a_plane_is_told_by_the_kernel_s_names() {
        let all = plane(&[
            (ENCODING, "ITU-R BT.601 YCbCr", 0),
            (ENCODING, "ITU-R BT.709 YCbCr", 1),
            (RANGE, "YCbCr limited range", 0),
            (RANGE, "YCbCr full range", 1),
        ]);
        for (space, values) in [
            (ColourSpace::SMPTE170M, vec![(3, 20, 0), (3, 21, 0)]),
            (ColourSpace::REC709, vec![(3, 20, 1), (3, 21, 0)]),
            (ColourSpace::SYCC, vec![(3, 20, 0), (3, 21, 1)]),
            (ColourSpace::SRGB, vec![]),
        ] {
            let mut request = Request::default();
            set(&mut request, &all, space);
            assert_eq!(request.properties().collect::<Vec<_>>(), values, "{space}");
            assert_eq!(unheard(&all, space), None);
            assert_eq!(understood(&all, space), space);
        }
        let words = unheard(&all, ColourSpace::REC2020);
        assert_eq!(words.as_deref(), Some("COLOR_ENCODING has no 'ITU-R BT.2020 YCbCr'"));
    }

    #[test]
    fn a_plane_without_a_choice_keeps_its_own() {
        let mute = plane(&[]);
        let space = understood(&mute, ColourSpace::SMPTE170M);
        assert_eq!((space.encoding, space.range), (YcbcrEncoding::Rec709, Range::Full));
        assert!(unheard(&mute, ColourSpace::SMPTE170M).is_some());
    }
}
