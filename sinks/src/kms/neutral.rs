//! What other programs may have left on a display that would change how pictures look, and its value
//! on an untouched card.
//!
//! The kernel keeps every property until the next program sets it: a lookup table for the night, a
//! plane that is half transparent, a range that was meant for an old television. So whatever
//! differs from neutral is reset when the mode is set, and [`Snapshot`](super::restore::Snapshot)
//! puts it back in the end.
//!
//! Sources: `Documentation/gpu/drm-kms.rst`, "Standard Connector Properties", "Plane Composition
//! Properties" and "Color Management Properties"; the drivers for what only one of them has.

use super::properties::Object;
use super::request::Request;

/// What a property is on an untouched card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Neutral {
    /// Zero: off, or no blob.
    Off,
    /// This value.
    Value(u64),
    /// The first of these choices that the driver has.
    Choice(&'static [&'static str]),
    /// At least as many bits as the pictures have.
    Bits,
}

use Neutral::{Bits, Choice, Off, Value};

/// Of a CRTC.
pub(super) const CRTC: [(&str, Neutral); 8] = [
    ("DEGAMMA_LUT", Off),
    ("CTM", Off),
    ("GAMMA_LUT", Off),
    ("VRR_ENABLED", Off),
    ("SCALING_FILTER", Choice(&["Default"])),
    // Of i915 and xe.
    ("SHARPNESS_STRENGTH", Off),
    // What is around a picture that is smaller than the screen: opaque black.
    ("BACKGROUND_COLOR", Value(0xffff << 48)),
    // Of amdgpu.
    ("AMD_CRTC_REGAMMA_TF", Choice(&["Default"])),
];

/// Of a plane, beside where it is.
pub(super) const PLANE: [(&str, Neutral); 12] = [
    ("alpha", Value(0xffff)),
    // Pictures are opaque, whatever their alpha.
    ("pixel blend mode", Choice(&["None", "Pre-multiplied"])),
    ("SCALING_FILTER", Choice(&["Default"])),
    // Of amdgpu.
    ("AMD_PLANE_DEGAMMA_LUT", Off),
    ("AMD_PLANE_DEGAMMA_TF", Choice(&["Default"])),
    ("AMD_PLANE_HDR_MULT", Value(1 << 32)),
    ("AMD_PLANE_CTM", Off),
    ("AMD_PLANE_SHAPER_LUT", Off),
    ("AMD_PLANE_SHAPER_TF", Choice(&["Default"])),
    ("AMD_PLANE_LUT3D", Off),
    ("AMD_PLANE_BLEND_LUT", Off),
    ("AMD_PLANE_BLEND_TF", Choice(&["Default"])),
];

/// Of a connector.
pub(super) const CONNECTOR: [(&str, Neutral); 9] = [
    ("HDR_OUTPUT_METADATA", Off),
    ("Colorspace", Choice(&["Default"])),
    ("Broadcast RGB", Choice(&["Automatic"])),
    ("max bpc", Bits),
    ("content type", Choice(&["No Data"])),
    ("aspect ratio", Choice(&["Automatic"])),
    // Of nouveau and radeon.
    ("dithering mode", Choice(&["auto"])),
    ("dithering depth", Choice(&["auto"])),
    ("dither", Choice(&["off"])),
];

/// Adds to a commit what makes an object neutral for pictures with so many bits, where it is not.
///
/// A property that is fixed or neutral already is left out, so a driver meets with nothing that was
/// not changed before.
pub(super) fn reset(
    request: &mut Request,
    object: &Object,
    neutrals: &[(&str, Neutral)],
    bits: u8,
) {
    for (name, neutral) in neutrals {
        let Some(property) = object.settable(name) else { continue };
        let value = match neutral {
            Off => Some(0),
            Value(value) => Some(*value),
            Choice(words) => words.iter().find_map(|word| Some(object.choice(name, word)?.1)),
            Bits => {
                let enough = property.most.unwrap_or(u64::MAX).min(bits.into());
                Some(property.value.max(enough))
            }
        };
        if let Some(value) = value.filter(|value| *value != property.value) {
            request.set(object.id, property.id, value);
        }
    }
}

/// Puts a plane above another one, where their order can be chosen.
pub(super) fn stack(request: &mut Request, plane: &Object, below: &Object) {
    let (Some(upper), Some(lower)) = (plane.settable("zpos"), below.property_of("zpos")) else {
        return;
    };
    if upper.value <= lower.value {
        let above = lower.value.saturating_add(1);
        request.set(plane.id, upper.id, upper.most.unwrap_or(above).min(above));
    }
}

#[cfg(test)]
mod tests {
    use super::super::properties::Property;
    use super::*;

    fn object(properties: &[(&str, u64, bool)], choices: &[(&str, &str, u64)]) -> Object {
        let property = |(index, (name, value, mutable)): (usize, &(&str, u64, bool))| {
            let id = index as u32 + 10;
            let most = (*name == "max bpc" || *name == "zpos").then_some(12);
            let property = Property { id, value: *value, mutable: *mutable, is_blob: false, most };
            (name.to_string(), property)
        };
        let choice = |(name, word, value): &(&str, &str, u64)| {
            ((name.to_string(), word.to_string()), *value)
        };
        Object::with(
            7,
            properties.iter().enumerate().map(property).collect(),
            choices.iter().map(choice).collect(),
        )
    }

    #[test]
    fn what_was_left_is_reset_and_nothing_else_is_touched() {
        let crtc =
            object(&[("GAMMA_LUT", 55, true), ("CTM", 0, true), ("DEGAMMA_LUT", 56, false)], &[]);
        let mut request = Request::default();
        reset(&mut request, &crtc, &CRTC, 8);
        assert_eq!(request.properties().collect::<Vec<_>>(), [(7, 10, 0)]);

        let plane = object(
            &[("alpha", 0x8000, true), ("pixel blend mode", 2, true), ("SCALING_FILTER", 1, true)],
            &[
                ("pixel blend mode", "None", 0),
                ("pixel blend mode", "Coverage", 2),
                ("SCALING_FILTER", "Nearest Neighbor", 1),
            ],
        );
        let mut request = Request::default();
        reset(&mut request, &plane, &PLANE, 8);
        // Of the filter there is no neutral choice.
        assert_eq!(request.properties().collect::<Vec<_>>(), [(7, 10, 0xffff), (7, 11, 0)]);
    }

    #[test]
    fn a_connector_has_the_bits_of_the_pictures() {
        for (is, bits, becomes) in
            [(6, 8, Some(8)), (8, 8, None), (8, 10, Some(10)), (12, 8, None), (8, 16, Some(12))]
        {
            let mut request = Request::default();
            reset(&mut request, &object(&[("max bpc", is, true)], &[]), &CONNECTOR, bits);
            assert_eq!(
                request.properties().map(|(.., value)| value).next(),
                becomes,
                "{is} {bits}"
            );
        }
    }

    #[test]
    fn a_plane_that_was_put_below_comes_to_the_top() {
        let plane = |zpos, mutable| object(&[("zpos", zpos, mutable)], &[]);
        for (upper, lower, becomes) in [
            (plane(0, true), plane(3, true), Some(4)),
            (plane(3, true), plane(3, false), Some(4)),
            (plane(4, true), plane(3, true), None),
            (plane(0, false), plane(3, true), None),
        ] {
            let mut request = Request::default();
            stack(&mut request, &upper, &lower);
            assert_eq!(request.properties().map(|(.., value)| value).next(), becomes);
        }
    }
}
