//! `vcam probe` where a card refuses: virtio-gpu next to bochs, which takes foreign buffers.
//!
//! `cargo xtask test --only qemu probe`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use vcam_testing::command::{Ran, command};

#[test]
fn a_refusal_names_step_errno_and_meaning() {
    let begun = std::time::Instant::now();
    let ran = Ran::from(command("probe --json --limit 60").output().unwrap());
    println!("vcam probe took {:?}", begun.elapsed());
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.report();
    let cell = |heap: &str, importer: &str| {
        let cells = report["cells"].as_array().unwrap();
        let found = cells.iter().find(|cell| {
            cell["importer"] == importer && cell["heap"] == heap && cell["format"] == "XR24"
        });
        found.unwrap_or_else(|| panic!("no {heap} x {importer} in {report:#}"))
    };
    for heap in ["udmabuf", "dma_heap:system", "dma_heap:default_cma_region"] {
        let refused = cell(heap, "kms:virtio_gpu");
        assert_eq!(refused["result"], "refused", "{refused:#}");
        assert_eq!(refused["step"], "PRIME_FD_TO_HANDLE", "{refused:#}");
        assert_eq!(refused["errno"], "ENODEV", "{refused:#}");
        assert_eq!(refused["reason"], "the driver imports no memory but its own", "{refused:#}");
        for importer in ["kms:bochs-drm", "kms:vkms", "egl-texture:llvmpipe", "egl-target:llvmpipe"]
        {
            let taken = cell(heap, importer);
            assert_eq!(taken["result"], "ok", "{taken:#}");
        }
    }
}
