//! Once streaming, no kind of run allocates for a frame.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use vcam_testing::command::vcam;

#[test]
fn frames_on_the_cpu_allocate_nothing() {
    for scene in ["test", "ball"] {
        let run = format!(
            "--isp cpu --scene {scene} --size 192x128 --fps max --frames 160 --output null --json"
        );
        let report = vcam(&run).report();
        let steady = &report["steady"];
        // A queue makes room for a waiting thread when one first waits, which may be late.
        let allocations = steady["heap_allocs_per_frame"].as_f64().unwrap() * 160.0;
        assert!(allocations < 5.0, "{scene}: {report:#}");
        assert_eq!(steady["imports_per_frame"], 0.0, "{scene}: {report:#}");
    }
}

#[test]
fn the_machinery_says_what_it_costs() {
    let run = "--isp cpu --size 128x32 --fps max --output null --json --frames";
    let machinery = |frames: u32| {
        let report = vcam(&format!("{run} {frames}")).report();
        report["steady"]["machinery_us_per_frame"].as_f64()
    };
    assert_eq!(machinery(100), None, "too few to tell");
    let measured = machinery(1000).unwrap();
    assert!(measured > 0.0, "{measured} µs");
}
