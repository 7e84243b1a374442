//! The laws of merging, for any statements at all.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;

fn bounds() -> impl Strategy<Value = Bounds> {
    (0u64..5000, prop_oneof![0u64..5000, Just(u64::MAX)]).prop_map(|(min, max)| Bounds { min, max })
}

fn names() -> impl Strategy<Value = BTreeSet<String>> {
    btree_set("[a-d]".prop_map(String::from), 0..4)
}

fn formats() -> impl Strategy<Value = FormatSet> {
    let format = prop_oneof![Just(Fourcc::XRGB8888), Just(Fourcc::NV12), Just(Fourcc::R8)];
    let modifiers = btree_set((0u64..3).prop_map(Modifier), 0..3);
    proptest::collection::btree_map(format, modifiers, 0..3)
}

/// Multiples near zero, ordinary ones, and ones whose product overflows.
fn multiple() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..3, 1u64..600, Just(1 << 63), Just((1 << 63) - 1), Just(u64::MAX)]
}

fn rule() -> impl Strategy<Value = Rule> {
    prop_oneof![
        formats().prop_map(Rule::Formats),
        names().prop_map(Rule::Heaps),
        names().prop_map(Rule::NotHeaps),
        multiple().prop_map(Rule::StrideMultiple),
        multiple().prop_map(Rule::OffsetMultiple),
        multiple().prop_map(Rule::SizeMultiple),
        any::<u64>().prop_map(Rule::SizePadding),
        bounds().prop_map(Rule::Stride),
        bounds().prop_map(Rule::Size),
        bounds().prop_map(Rule::Width),
        bounds().prop_map(Rule::Height),
        Just(Rule::Adjoining),
        Just(Rule::DmaBuf),
        Just(Rule::Contiguous),
        Just(Rule::Protected),
        (0u8..65).prop_map(Rule::AddressBits),
        (any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(read, write, cached)| Rule::Cpu(CpuUse { read, write, cached })),
        names().prop_map(Rule::Locality),
        btree_set(0u32..3, 0..3).prop_map(Rule::Numa),
        any::<u32>().prop_map(Rule::MinBuffers),
        any::<u32>().prop_map(Rule::Camping),
        vec(0u64..3, 0..2).prop_map(|value| Rule::Vendor { key: "vendor".into(), value }),
    ]
}

fn statement() -> impl Strategy<Value = Statement> {
    let plane = prop_oneof![3 => Just(None), 1 => any::<u8>().prop_map(Some)];
    ("[a-c]", plane, rule()).prop_map(|(owner, plane, rule)| Statement {
        plane,
        ..Statement::new(&owner, "test", rule)
    })
}

fn constraints() -> impl Strategy<Value = Constraints> {
    prop_oneof![
        vec(statement(), 0..5).prop_map(Constraints::from_iter),
        ("[a-c]", vec(vec(statement(), 0..3), 0..3))
            .prop_map(|(owner, ways)| Constraints::any_of(&owner, ways)),
    ]
}

/// The requirement of each alternative that has one.
fn requirements(constraints: &Constraints) -> Vec<Requirement> {
    let vendors = VendorRules::default();
    constraints.alternatives().iter().filter_map(|one| one.resolve(&vendors).ok()).collect()
}

/// Returns `true` if `tight` allows nothing that `loose` forbids.
fn within(tight: &Requirement, loose: &Requirement) -> bool {
    fn subset<T: Ord>(tight: &Option<BTreeSet<T>>, loose: &Option<BTreeSet<T>>) -> bool {
        loose.as_ref().is_none_or(|loose| tight.as_ref().is_some_and(|t| t.is_subset(loose)))
    }
    let inside = |tight: Bounds, loose: Bounds| tight.min >= loose.min && tight.max <= loose.max;
    let formats = loose.formats.as_ref().is_none_or(|loose| {
        tight.formats.as_ref().is_some_and(|tight| {
            tight.iter().all(|(format, modifiers)| {
                loose.get(format).is_some_and(|set| modifiers.is_subset(set))
            })
        })
    });
    formats
        && subset(&tight.heaps, &loose.heaps)
        && subset(&tight.locality, &loose.locality)
        && subset(&tight.numa, &loose.numa)
        && tight.not_heaps.is_superset(&loose.not_heaps)
        && tight.planes.iter().zip(&loose.planes).all(|(tight, loose)| {
            tight.stride_multiple.is_multiple_of(loose.stride_multiple)
                && tight.offset_multiple.is_multiple_of(loose.offset_multiple)
                && inside(tight.stride, loose.stride)
        })
        && tight.size_multiple.is_multiple_of(loose.size_multiple)
        && tight.size_padding >= loose.size_padding
        && inside(tight.size, loose.size)
        && inside(tight.width, loose.width)
        && inside(tight.height, loose.height)
        && tight.adjoining >= loose.adjoining
        && tight.dma_buf >= loose.dma_buf
        && tight.contiguous >= loose.contiguous
        && tight.protected >= loose.protected
        && loose.address_bits.is_none_or(|bits| tight.address_bits.is_some_and(|t| t <= bits))
        && tight.cpu.read >= loose.cpu.read
        && tight.cpu.write >= loose.cpu.write
        && tight.cpu.cached >= loose.cpu.cached
        && tight.buffers >= loose.buffers
}

proptest! {
    #[test]
    fn merging_is_commutative(a in constraints(), b in constraints()) {
        prop_assert_eq!(a.merge(&b), b.merge(&a));
    }

    #[test]
    fn merging_is_associative(a in constraints(), b in constraints(), c in constraints()) {
        prop_assert_eq!(a.merge(&b).merge(&c), a.merge(&b.merge(&c)));
    }

    #[test]
    fn merging_is_idempotent(a in constraints()) {
        prop_assert_eq!(a.merge(&a), a);
    }

    #[test]
    fn nothing_merges_into_everything(a in constraints()) {
        prop_assert_eq!(a.merge(&Constraints::default()), a);
    }

    #[test]
    fn merging_never_allows_more(a in constraints(), b in constraints()) {
        let (of_a, of_b) = (requirements(&a), requirements(&b));
        for merged in requirements(&a.merge(&b)) {
            prop_assert!(of_a.iter().any(|loose| within(&merged, loose)));
            prop_assert!(of_b.iter().any(|loose| within(&merged, loose)));
        }
    }

    #[test]
    fn a_contradiction_is_irreducible(all in vec(statement(), 1..8)) {
        let vendors = VendorRules::default();
        let constraints: Constraints = all.into_iter().collect();
        if let Err(contradiction) = constraints.alternatives()[0].resolve(&vendors) {
            let resolves = |statements: &[Statement]| {
                let some: Constraints = statements.iter().cloned().collect();
                some.alternatives()[0].resolve(&vendors).is_ok()
            };
            prop_assert!(!resolves(&contradiction.statements));
            for left_out in 0..contradiction.statements.len() {
                let mut rest = contradiction.statements.clone();
                rest.remove(left_out);
                prop_assert!(resolves(&rest), "{contradiction}");
            }
        }
    }

    #[test]
    fn constraints_survive_the_wire(a in constraints()) {
        let wire = serde_json::to_string(&a).unwrap();
        prop_assert_eq!(serde_json::from_str::<Constraints>(&wire).unwrap(), a);
    }

    #[test]
    fn the_least_common_multiple_is_one(a: u64, b: u64) {
        if let Some(lcm) = resolve::lcm(a, b) {
            prop_assert!(lcm.is_multiple_of(a) && lcm.is_multiple_of(b));
            prop_assert!(u128::from(lcm) <= u128::from(a) * u128::from(b));
        }
    }
}

#[test]
fn a_contradiction_names_both_sides() {
    let xr24 = FormatSet::from([(Fourcc::XRGB8888, BTreeSet::from([Modifier::LINEAR]))]);
    let nv12 = FormatSet::from([(Fourcc::NV12, BTreeSet::from([Modifier::LINEAR]))]);
    let all: Constraints = [
        Statement::new("kms:a", "IN_FORMATS", Rule::Formats(xr24)),
        Statement::new("egl-target:b", "measured", Rule::StrideMultiple(64)),
        Statement::new("v4l2-output:c", "TRY_FMT", Rule::Formats(nv12)),
    ]
    .into_iter()
    .collect();
    let error = all.alternatives()[0].resolve(&VendorRules::default()).unwrap_err();
    assert_eq!(error.about, "format");
    assert_eq!(
        error.to_string(),
        "kms:a needs format XR24 (IN_FORMATS), but v4l2-output:c needs format NV12 (TRY_FMT)"
    );
}

#[test]
fn alternatives_are_tried_in_the_order_of_their_owners() {
    let stride = |n| vec![Statement::new("gpu", "driver", Rule::StrideMultiple(n))];
    let ways = Constraints::any_of("gpu", [stride(256), stride(64)]);
    let other: Constraints =
        [Statement::new("kms", "driver", Rule::Stride(Bounds { min: 0, max: 192 }))]
            .into_iter()
            .collect();
    let found: Vec<_> = requirements(&ways.merge(&other))
        .iter()
        .map(|need| need.planes[0].stride_multiple)
        .collect();
    assert_eq!(found, [64]);
}

#[test]
fn a_vendor_decides_how_its_rule_merges() {
    let say = |value| Statement::new("gpu", "driver", Rule::Vendor { key: "k".into(), value });
    let both: Constraints = [say(vec![6]), say(vec![3])].into_iter().collect();
    assert!(both.alternatives()[0].resolve(&VendorRules::default()).is_err());
    let mut vendors = VendorRules::default();
    vendors.register("k", |a, b| Some(vec![a[0] & b[0]]));
    let need = both.alternatives()[0].resolve(&vendors).unwrap();
    assert_eq!(need.vendor["k"], [2]);
}

#[test]
fn a_peer_cannot_send_what_we_would_not() {
    let refused = [
        r#"{"version":2,"alternatives":[]}"#,
        r#"{"version":1}"#,
        r#"{"version":1,"alternatives":[],"more":1}"#,
        r#"{"version":1,"alternatives":[{"ranks":{},"statements":[{"owner":"a"}]}]}"#,
    ];
    for text in refused {
        assert!(serde_json::from_str::<Constraints>(text).is_err(), "{text}");
    }
    let many = vec![r#"{"ranks":{},"statements":[]}"#; MAX_ALTERNATIVES + 1].join(",");
    let text = format!(r#"{{"version":1,"alternatives":[{many}]}}"#);
    assert!(serde_json::from_str::<Constraints>(&text).is_err());
    // No way to meet them is not the same as nothing to meet.
    let none = r#"{"version":1,"alternatives":[]}"#;
    assert!(serde_json::from_str::<Constraints>(none).is_err());
    let mixed = r#"{"version":1,"alternatives":[{"ranks":{"a":0},"statements":[]},
                    {"ranks":{},"statements":[]}]}"#;
    assert_eq!(serde_json::from_str::<Constraints>(mixed).unwrap(), Constraints::default());
}
