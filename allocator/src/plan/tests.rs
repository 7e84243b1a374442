//! Plans that hold, and reasons that are true.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::constraints::{CpuUse, Rule};

const FORMATS: [Fourcc; 3] = [Fourcc::XRGB8888, Fourcc::NV12, Fourcc::YUV420];

fn heap(name: &str, capabilities: Capabilities) -> HeapOffer {
    HeapOffer::new(name, capabilities)
}

/// The heaps of most machines.
fn heaps() -> Vec<HeapOffer> {
    let ordinary = Capabilities::DMA_BUF | Capabilities::CPU_MAP | Capabilities::CPU_CACHED;
    vec![
        heap("udmabuf", ordinary),
        heap("dma_heap:system", ordinary),
        heap("dma_heap:cma", ordinary | Capabilities::CONTIGUOUS),
        heap("dumb:card0", Capabilities::DMA_BUF | Capabilities::CPU_MAP),
        heap("memfd", Capabilities::CPU_MAP | Capabilities::CPU_CACHED),
    ]
}

fn says(owner: &str, rules: impl IntoIterator<Item = Rule>) -> Constraints {
    rules.into_iter().map(|rule| Statement::new(owner, "test", rule)).collect()
}

fn not(heaps: &[&str]) -> Rule {
    Rule::NotHeaps(heaps.iter().map(|name| (*name).to_owned()).collect())
}

fn only(heaps: &[&str]) -> Rule {
    Rule::Heaps(heaps.iter().map(|name| (*name).to_owned()).collect())
}

fn stream(parties: &[Constraints]) -> Stream<'_> {
    Stream { name: "output", width: 640, height: 480, formats: &FORMATS, parties }
}

fn plan(parties: &[Constraints]) -> Result<Plan, NoPlan> {
    Planner::new(heaps()).plan(&stream(parties))
}

#[test]
fn the_first_heap_that_everybody_takes_is_chosen() {
    assert_eq!(plan(&[]).unwrap().heap, "udmabuf");
    let parties = [says("kms:vc4", [Rule::DmaBuf, Rule::Contiguous]), says("gpu", [Rule::DmaBuf])];
    let plan = plan(&parties).unwrap();
    assert_eq!(plan.heap, "dma_heap:cma");
    assert_eq!(plan.rejected.len(), 2);
    assert_eq!(plan.rejected[0].by, "kms:vc4");
    assert_eq!(plan.rejected[0].reason, "kms:vc4 needs contiguous memory (test)");
}

#[test]
fn a_conflict_is_the_smallest_one_and_reads_as_a_sentence() {
    let parties = [
        says("kms:virtio_gpu", [only(&["dumb:card0"]), Rule::DmaBuf]),
        says("egl-target:gpu", [not(&["dumb:card0"]), Rule::StrideMultiple(64)]),
        says("sensor", [Rule::Cpu(CpuUse { write: true, ..CpuUse::default() })]),
    ];
    let error = plan(&parties).unwrap_err();
    assert_eq!(error.statements.len(), 2, "{error}");
    let text = error.to_string();
    assert!(
        text.contains("kms:virtio_gpu needs heap dumb:card0 (test)")
            && text.contains("egl-target:gpu needs a heap other than dumb:card0 (test)"),
        "{text}"
    );
    assert_eq!(error.rejected.len(), 5);
}

#[test]
fn a_heap_that_is_too_small_excludes_itself() {
    let small = HeapOffer { max_size: Some(4096), ..heap("small", Capabilities::CPU_MAP) };
    let error = Planner::new(vec![small]).plan(&stream(&[])).unwrap_err();
    assert_eq!(error.rejected[0].by, "small");
    assert!(error.rejected[0].reason.contains("4096"), "{error}");
    // Also if a party makes a statement that the heap would satisfy.
    let small = HeapOffer { max_size: Some(4096), ..heaps().remove(0) };
    let planner = Planner::new(vec![small, heaps().remove(1)]);
    let plan = planner.plan(&stream(&[says("gpu", [Rule::DmaBuf])])).unwrap();
    assert_eq!((&*plan.heap, &*plan.rejected[0].by), ("dma_heap:system", "udmabuf"));
    assert!(plan.rejected[0].reason.contains("4096"), "{:?}", plan.rejected);
    assert!(Planner::default().plan(&stream(&[])).unwrap_err().to_string().contains("none"));
}

#[test]
fn measured_costs_come_before_the_order() {
    let mut heaps = heaps();
    heaps[1].frame_cost_us = Some(100);
    heaps[0].frame_cost_us = Some(400);
    let planner = Planner::new(heaps);
    assert_eq!(planner.plan(&stream(&[])).unwrap().heap, "udmabuf");
    let plan = planner.by_cost().plan(&stream(&[])).unwrap();
    assert_eq!(plan.heap, "dma_heap:system");
    assert_eq!((plan.rejected[0].heap.as_str(), plan.rejected[0].by.as_str()), ("udmabuf", "cost"));
    assert!(plan.rejected[0].reason.contains("400 µs"), "{}", plan.rejected[0].reason);
}

#[test]
fn costs_that_differ_little_or_are_unknown_leave_the_order_alone() {
    let chosen = |costs: [Option<u64>; 2]| {
        let mut heaps = heaps();
        (heaps[0].frame_cost_us, heaps[1].frame_cost_us) = (costs[0], costs[1]);
        Planner::new(heaps).by_cost().plan(&stream(&[])).unwrap().heap
    };
    assert_eq!(chosen([Some(100), Some(76)]), "udmabuf");
    assert_eq!(chosen([Some(100), Some(74)]), "dma_heap:system");
    assert_eq!(chosen([None, Some(1)]), "udmabuf");
    assert_eq!(chosen([Some(u64::MAX), None]), "udmabuf");
}

#[test]
fn buffers_are_counted_so_that_no_device_waits() {
    let parties = [
        says("kms", [Rule::Camping(2)]),
        says("encoder", [Rule::Camping(3)]),
        says("user", [Rule::MinBuffers(4)]),
    ];
    assert_eq!(plan(&parties).unwrap().buffers, 6);
}

#[test]
fn the_plan_is_found_in_time() {
    // The size of a large board: 8 devices, 6 heaps, 40 formats. That it takes less than a
    // millisecond is for `cargo xtask bench` to say; here it has to be right.
    let formats: Vec<_> = (0..39).map(|n| Fourcc(0x2000_0000 + n)).chain(FORMATS).collect();
    let all =
        Rule::Formats(formats.iter().map(|f| (*f, BTreeSet::from([Modifier::LINEAR]))).collect());
    let parties: Vec<_> = (0..8)
        .map(|n| says(&format!("device{n}"), [all.clone(), Rule::StrideMultiple(1 << n)]))
        .collect();
    let mut six = heaps();
    six.insert(0, heap("tiny", Capabilities::empty()));
    let stream = Stream { formats: &formats, ..stream(&parties) };
    let plan = Planner::new(six).plan(&stream).unwrap();
    assert_eq!(plan.layout.format(), Fourcc::XRGB8888);
    assert_eq!(plan.layout.planes()[0].stride % 128, 0);
}

/// The layout of NV12 in 640x360, whose luma has no whole pages with strides of 640 or 768.
fn nv12(more: impl IntoIterator<Item = Rule>) -> Result<Layout, NoPlan> {
    let parties = [says("v4l2", [Rule::Adjoining]), says("other", more)];
    let stream = Stream { height: 360, formats: &[Fourcc::NV12], ..stream(&parties) };
    Planner::new(heaps()).plan(&stream).map(|plan| plan.layout)
}

#[test]
fn planes_that_adjoin_have_no_gap_and_still_what_others_need() {
    let planes = |stride: u64| {
        [PlaneLayout { offset: 0, stride }, PlaneLayout { offset: 360 * stride, stride }]
    };
    assert_eq!(nv12([]).unwrap().planes(), planes(768));
    let exactly = Rule::Stride(Bounds { min: 640, max: 640 });
    assert_eq!(nv12([exactly.clone()]).unwrap().planes(), planes(640));
    // The smallest stride that makes whole pages of 360 rows.
    assert_eq!(nv12([Rule::OffsetMultiple(4096)]).unwrap().planes(), planes(1024));
    let error = nv12([exactly, Rule::OffsetMultiple(4096)]).unwrap_err();
    assert_eq!(error.statements.len(), 3, "{error}");
    let text = error.to_string();
    assert!(text.contains("v4l2 needs each plane right below the one before (test)"), "{text}");
}

#[test]
fn the_first_plane_s_stride_is_not_that_of_the_others() {
    let exactly = Rule::Stride(Bounds { min: 640, max: 640 });
    let stated = |rule| Statement::new("v4l2", "test", rule);
    let all = [stated(exactly).on_plane(0), stated(Rule::Adjoining)];
    let parties = [all.into_iter().collect()];
    let stream = Stream { height: 360, formats: &[Fourcc::YUV420], ..stream(&parties) };
    let layout = Planner::new(heaps()).plan(&stream).unwrap().layout;
    let (luma, chroma) = (640 * 360, 320 * 180);
    let plane = |offset, stride| PlaneLayout { offset, stride };
    let planes = [plane(0, 640), plane(luma, 320), plane(luma + chroma, 320)];
    assert_eq!(layout.planes(), planes);
}

fn rule() -> impl Strategy<Value = Rule> {
    let multiple = prop_oneof![1u64..700, Just(1 << 40), Just(u64::MAX)];
    let bounds = (0u64..6000, 0u64..2_000_000)
        .prop_map(|(min, span)| Bounds { min, max: min.saturating_add(span) });
    prop_oneof![
        multiple.clone().prop_map(Rule::StrideMultiple),
        multiple.clone().prop_map(Rule::OffsetMultiple),
        multiple.prop_map(Rule::SizeMultiple),
        (0u64..100_000).prop_map(Rule::SizePadding),
        bounds.clone().prop_map(Rule::Stride),
        bounds.prop_map(Rule::Size),
        Just(Rule::Adjoining),
        Just(Rule::DmaBuf),
        Just(Rule::Contiguous),
        Just(only(&["udmabuf", "dma_heap:cma"])),
        Just(not(&["udmabuf"])),
        Just(Rule::Cpu(CpuUse { read: true, write: true, cached: true })),
        Just(Rule::Formats([(Fourcc::NV12, [Modifier::LINEAR].into())].into())),
        Just(Rule::Formats([(Fourcc::YUV420, [Modifier::LINEAR].into())].into())),
    ]
}

/// Checks a statement against a plan directly, without the planner's own arithmetic.
fn holds(rule: &Rule, plan: &Plan, heap: &HeapOffer) -> bool {
    let layout = &plan.layout;
    let planes = layout.planes();
    let has = |capability| heap.capabilities.contains(capability);
    match rule {
        Rule::StrideMultiple(n) => planes.iter().all(|plane| plane.stride.is_multiple_of(*n)),
        Rule::OffsetMultiple(n) => planes.iter().all(|plane| plane.offset.is_multiple_of(*n)),
        Rule::SizeMultiple(n) => layout.size().is_multiple_of(*n),
        Rule::SizePadding(n) => {
            let last = planes.len() - 1;
            let rows = u64::from(layout.rows(last)) - 1;
            let end = planes[last].offset + planes[last].stride * rows + layout.row_bytes(last);
            layout.size() >= end + n
        }
        Rule::Stride(bounds) => planes.iter().all(|plane| bounds.contains(plane.stride)),
        Rule::Size(bounds) => bounds.contains(layout.size()),
        Rule::Adjoining => {
            let first = (planes[0].stride, layout.row_bytes(0));
            planes.windows(2).zip(0..).all(|(pair, index)| {
                let rows = u64::from(layout.rows(index));
                pair[1].offset == pair[0].offset + rows * pair[0].stride
            }) && (0..planes.len()).all(|index| {
                // An odd width makes the rows of the chroma one sample longer.
                layout.width() % 2 == 1
                    || planes[index].stride * first.1 == first.0 * layout.row_bytes(index)
            })
        }
        Rule::DmaBuf => has(Capabilities::DMA_BUF),
        Rule::Contiguous => has(Capabilities::CONTIGUOUS),
        Rule::Heaps(heaps) => heaps.contains(&heap.name),
        Rule::NotHeaps(heaps) => !heaps.contains(&heap.name),
        Rule::Cpu(_) => has(Capabilities::CPU_MAP) && has(Capabilities::CPU_CACHED),
        Rule::Formats(formats) => formats.contains_key(&layout.format()),
        other => panic!("the test does not make {other}"),
    }
}

proptest! {
    #[test]
    fn a_plan_satisfies_every_statement_of_every_device(
        rules in proptest::collection::vec(("[a-c]", rule()), 0..6),
        width in 1u32..3000, height in 1u32..3000,
    ) {
        let parties: Vec<_> =
            rules.iter().map(|(owner, rule)| says(owner, [rule.clone()])).collect();
        let stream = Stream { width, height, ..stream(&parties) };
        let planner = Planner::new(heaps());
        match planner.plan(&stream) {
            Ok(plan) => {
                let heap = heaps().into_iter().find(|heap| heap.name == plan.heap).unwrap();
                for (_, rule) in &rules {
                    prop_assert!(holds(rule, &plan, &heap), "{rule} of {plan:?}");
                }
            }
            Err(error) => {
                // Without any one of the statements, there is a plan.
                for left_out in 0..error.statements.len() {
                    let mut rest = error.statements.clone();
                    rest.remove(left_out);
                    let parties = [rest.into_iter().collect()];
                    let rest = Stream { parties: &parties, ..stream };
                    prop_assert!(planner.plan(&rest).is_ok());
                }
            }
        }
        prop_assert_eq!(planner.plan(&stream), planner.plan(&stream), "not deterministic");
    }
}
