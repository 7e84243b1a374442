//! The heap and layout of a buffer for several devices, planned with the allocator alone: three
//! devices state their constraints, and the planner answers, or names the devices that conflict.
//!
//! `cargo run --example plan`

use vcam_allocator::constraints::{Bounds, Constraints, Rule, Statement};
use vcam_allocator::plan::{HeapOffer, Planner, Stream};
use vcam_allocator::{Capabilities, Fourcc};

fn main() {
    let dma_buf = Capabilities::DMA_BUF | Capabilities::CPU_MAP | Capabilities::CPU_CACHED;
    // On a real machine: `HeapOffer::from(&*heaps::open("udmabuf")?)`.
    let heaps = vec![
        HeapOffer::new("udmabuf", dma_buf),
        HeapOffer::new("dma_heap:default_cma_region", dma_buf | Capabilities::CONTIGUOUS),
    ];
    let says = |owner: &str, source: &str, rules: Vec<Rule>| -> Constraints {
        rules.into_iter().map(|rule| Statement::new(owner, source, rule)).collect()
    };
    let gpu = says("egl-target:lima", "driver", vec![Rule::DmaBuf, Rule::OffsetMultiple(64)]);
    let display = says("kms:sun4i-drm", "no IOMMU", vec![Rule::DmaBuf, Rule::Contiguous]);
    let encoder = says("v4l2-output:cedrus", "TRY_FMT", vec![Rule::StrideMultiple(32)]);

    let parties = [gpu, display.clone(), encoder];
    let formats = [Fourcc::NV12, Fourcc::XRGB8888];
    let stream =
        Stream { name: "video", width: 1280, height: 720, formats: &formats, parties: &parties };
    match Planner::new(heaps.clone()).plan(&stream) {
        Ok(plan) => {
            println!("{} in {}: {:?}", plan.layout.format(), plan.heap, plan.layout.planes());
            for no in plan.rejected {
                println!("not {}: {}", no.heap, no.reason);
            }
        }
        Err(no_plan) => println!("{no_plan}"),
    }

    // A display whose only stride is no multiple of 32.
    let fixed = Rule::Stride(Bounds { min: 1288, max: 1290 });
    let odd = says("kms:odd", "hardware", vec![fixed]);
    let parties = [parties[2].clone(), odd, display];
    let stream = Stream { parties: &parties, ..stream };
    match Planner::new(heaps).plan(&stream) {
        Ok(plan) => println!("unexpected: {plan:?}"),
        Err(no_plan) => println!("{no_plan}"),
    }
}
