//! Once streaming, a frame allocates nothing, whatever runs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "a test program is no library")]
#![allow(dead_code, reason = "each test program uses a part of it")]

#[path = "support/command.rs"]
mod command;

use command::vcam;

#[test]
fn frames_on_the_cpu_allocate_nothing() {
    for scene in ["test", "ball"] {
        let run = format!(
            "--isp cpu --scene {scene} --size 192x128 --fps max --frames 80 --output null --json"
        );
        let report = vcam(&run).report();
        let per_frame = report["steady"]["heap_allocs_per_frame"].as_f64().unwrap();
        // What threads keep for themselves when they are first used may come late.
        assert!(per_frame < 0.5, "{scene}: {report:#}");
        assert_eq!(report["steady"]["imports_per_frame"], 0.0, "{scene}: {report:#}");
    }
}
