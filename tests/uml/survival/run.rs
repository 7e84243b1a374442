//! Faults that a run on a display survives, and how it ends where it cannot go on:
//! docs/survival.md.
//!
//! Faults that cannot be caused in a real device come from `vcam_testing::faulty_stages`; all other
//! parts are real.
//!
//! `cargo xtask test --only uml survival_run`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use vcam_allocator::{Importer, Method, Refusal};
use vcam_isp_gpu::fault::{self, Faults};
use vcam_isp_gpu::{GpuIsp, Isp, Job};
use vcam_pipeline::{IspChoice, RunStats, StageError, StopHandle};
use vcam_sinks::{Frame, KmsSink, Latest, NullSink, Sink};
use vcam_testing::display_state;
use vcam_testing::faulty_stages::{self, FaultySink, config, prepare, present_and_look, run};
use vcam_testing::kms_rig::KmsRig;
use vcam_testing::panicking_log::PanickingLog;
use vcam_testing::stepped_display;
use vcam_testing::video_file::VideoFile;
use vcam_testing::vkms::{Card, Plane};

/// Frames of a run, and the one at which something happens.
const FRAMES: u64 = 40;
const AT: u64 = 10;

/// Runs on a card of its own, and asserts that nothing is left of the run, and that the display is
/// as it was.
fn on_a_card<T>(name: &str, run: impl FnOnce(&Card) -> T) -> T {
    // Mesa is loaded for good.
    drop(GpuIsp::new(None).unwrap());
    let rig = KmsRig::new(name);
    let result = run(&rig.card);
    rig.assert_as_found();
    result
}

fn display(card: &Card) -> KmsSink {
    let mut sink = KmsSink::open(&stepped_display::options(&card.node)).unwrap();
    sink.enable_capture().unwrap();
    sink
}

/// A display that looks at every frame that it shows.
fn looking(card: &Card) -> Box<dyn Sink> {
    Box::new(FaultySink::new(display(card), present_and_look))
}

fn assert_none_lost(outcome: &RunStats, frames: u64) {
    let counted = outcome.frames;
    assert_eq!((counted.completed, counted.displayed), (frames, frames), "{outcome:?}");
    assert_eq!((counted.dropped, counted.errors), (0, 0), "{outcome:?}");
}

/// Asserts that a link copies from that frame on, for this reason.
fn assert_copies(outcome: &RunStats, link: usize, since: u64, says: &str) {
    let link = &outcome.links[link];
    assert_eq!((link.method, link.since_frame), (Method::Copy, since), "{link:?}");
    assert!(link.reason.as_ref().unwrap().contains(says), "{link:?}");
}

fn assert_imports(outcome: &RunStats, link: usize) {
    let link = &outcome.links[link];
    assert_eq!((link.method, link.bytes_copied, link.since_frame), (Method::Import, 0, 0));
}

#[test]
fn a_display_that_stops_to_import_is_shown_copies_of_the_same_frames() {
    let outcome = on_a_card("addfb2", |card| {
        let refuses = FaultySink::new(display(card), |sink: &mut KmsSink, frame: Frame| {
            if frame.sequence >= AT {
                sink.decline(&frame.buffer, Refusal::errno("kms:vkms", "ADDFB2", 22));
            }
            present_and_look(sink, frame)
        });
        let (outcome, result) = run(IspChoice::Gpu(None), FRAMES, vec![Box::new(refuses)]);
        result.unwrap();
        outcome
    });
    assert_none_lost(&outcome, FRAMES);
    assert_imports(&outcome, 0);
    assert_copies(&outcome, 1, AT, "kms:vkms: ADDFB2: EINVAL");
    let (width, height) = stepped_display::SIZE;
    let bytes = u64::from(width) * u64::from(height) * 4;
    assert_eq!(outcome.links[1].bytes_copied, (FRAMES - AT) * bytes);
}

#[test]
fn a_gpu_that_stops_to_import_makes_the_same_frames_by_copy() {
    let refused = || Refusal::because("egl:llvmpipe", "eglCreateImageKHR", "EGL_BAD_ALLOC");
    for (name, link) in [("image-raw", 0), ("image-out", 1)] {
        let isp = faulty_stages::isp(move |isp: &mut GpuIsp, job: &Job<'_>| {
            if job.sequence >= AT {
                let (device, buffer) = match link {
                    0 => (isp.raw_importer(), job.raw),
                    _ => (isp.output_importer(), job.outputs[0].buffer),
                };
                device.unwrap().decline(buffer, refused());
            }
        });
        let outcome = on_a_card(name, |card| {
            let (outcome, result) = run(isp, FRAMES, vec![looking(card)]);
            result.unwrap();
            outcome
        });
        assert_none_lost(&outcome, FRAMES);
        assert_copies(&outcome, link, AT, "eglCreateImageKHR");
        assert_imports(&outcome, 1 - link);
    }
}

/// Runs with this fault of the GPU at that frame.
fn faulty_at(faults: Faults) -> IspChoice {
    faulty_stages::isp(move |_: &mut GpuIsp, job: &Job<'_>| {
        if job.sequence == AT {
            fault::set(faults);
        }
    })
}

#[test]
fn after_a_reset_of_the_gpu_the_same_frame_is_rendered_in_another_context() {
    let faults = Faults { lost_contexts: 1, ..Faults::default() };
    let outcome = on_a_card("lost", |card| {
        let (outcome, result) = run(faulty_at(faults), FRAMES, vec![looking(card)]);
        result.unwrap();
        outcome
    });
    assert_none_lost(&outcome, FRAMES);
    (0..2).for_each(|link| assert_imports(&outcome, link));
}

#[test]
fn a_context_that_imports_no_more_after_a_reset_gets_copies() {
    let faults = Faults { lost_contexts: 1, no_images: true, ..Faults::default() };
    let outcome = on_a_card("lost-images", |card| {
        let (outcome, result) = run(faulty_at(faults), FRAMES, vec![looking(card)]);
        result.unwrap();
        outcome
    });
    assert_none_lost(&outcome, FRAMES);
    (0..2).for_each(|link| assert_copies(&outcome, link, AT, "eglCreateImageKHR"));
}

#[test]
fn a_gpu_that_does_not_come_back_leaves_the_same_frame_to_the_cpu() {
    let faults = Faults { lost_contexts: 1, no_contexts: true, ..Faults::default() };
    let outcome = on_a_card("lost-gpu", |card| {
        let (outcome, result) = run(faulty_at(faults), FRAMES, vec![looking(card)]);
        result.unwrap();
        outcome
    });
    assert_none_lost(&outcome, FRAMES);
    (0..2).for_each(|link| assert_copies(&outcome, link, AT, "does not come back"));
}

/// Asserts how a run ended in which a stage panicked.
fn assert_panicked(result: Result<(), StageError>, stage: &str) {
    let error = result.unwrap_err();
    let StageError::Panic { stage: said, message } = &error else { panic!("{error}") };
    assert_eq!((said.as_str(), message.as_str()), (stage, "a test's"));
    assert_eq!(error.to_string(), format!("{stage} stopped: a test's"));
}

#[test]
fn a_panic_in_the_isp_is_named_and_the_others_end_well() {
    let isp = faulty_stages::isp(|_: &mut GpuIsp, job: &Job<'_>| {
        assert!(job.sequence < AT, "a test's");
    });
    on_a_card("panic-isp", |card| {
        let (outcome, result) = run(isp, u64::MAX, vec![looking(card), Box::new(NullSink::new())]);
        assert_panicked(result, "isp");
        assert_eq!(outcome.frames.displayed, AT, "all that were made were shown: {outcome:?}");
    });
}

#[test]
fn a_panic_in_a_display_s_thread_is_named_and_the_others_end_well() {
    on_a_card("panic-sink", |card| {
        let other = Card::new("panic-other", &[Plane::Primary]);
        let state = display_state::of_node(&other.node);
        let panics = FaultySink::new(display(card), |sink: &mut KmsSink, frame: Frame| {
            assert!(frame.sequence < AT, "a test's");
            sink.present(frame)
        });
        let sinks = vec![Box::new(panics) as Box<dyn Sink>, looking(&other)];
        let (outcome, result) = run(IspChoice::Gpu(None), u64::MAX, sinks);
        assert_panicked(result, "kms:vkms");
        // Those that were on their way when it happened are shown as well.
        assert_eq!(outcome.frames.displayed, outcome.frames.completed, "{outcome:?}");
        assert!(outcome.frames.displayed > AT, "{outcome:?}");
        assert_eq!(display_state::of_node(&other.node), state);
    });
}

/// Runs on a display and cuts the sensor's film off in the middle.
fn run_with_a_video_that_ends(card: &Card, frames: u64) -> (RunStats, Result<(), StageError>) {
    let film = VideoFile::new(stepped_display::SIZE);
    let path = film.path();
    let cuts = FaultySink::new(display(card), move |sink: &mut KmsSink, frame: Frame| {
        if frame.sequence == AT {
            VideoFile::cut_off(&path);
        }
        sink.present(frame)
    });
    let config = config(IspChoice::Gpu(None), frames, StopHandle::default());
    let config = config.sensor(film.settings());
    prepare(config, vec![Box::new(cuts)]).unwrap().start().unwrap().wait()
}

#[test]
fn a_scene_whose_file_is_cut_off_stands_still() {
    on_a_card("film", |card| {
        let (outcome, result) = run_with_a_video_that_ends(card, FRAMES);
        result.unwrap();
        assert_none_lost(&outcome, FRAMES);
    });
}

#[test]
fn a_panic_in_the_sensor_s_thread_is_named_and_the_others_end_well() {
    on_a_card("panic-sensor", |card| {
        let _panics = PanickingLog::panics();
        let (outcome, result) = run_with_a_video_that_ends(card, u64::MAX);
        assert_panicked(result, "sensor");
        let counted = outcome.frames;
        assert!(counted.completed > AT, "{outcome:?}");
        assert_eq!(counted.displayed, counted.completed, "{outcome:?}");
    });
}

#[test]
fn a_panic_in_the_thread_that_has_the_run_puts_the_display_back() {
    on_a_card("panic-run", |card| {
        let prepared = prepare(
            config(IspChoice::Gpu(None), u64::MAX, StopHandle::default()),
            vec![looking(card)],
        );
        let run = prepared.unwrap().start().unwrap();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            while run.progress().completed() < AT {
                std::thread::sleep(Duration::from_millis(1));
            }
            let _run = run;
            panic!("a test's");
        }));
        assert!(panicked.is_err());
    });
}

/// A display that takes longer for a frame than the sensor does.
fn slow(card: &Card, shown: &Arc<AtomicU64>) -> Box<dyn Sink> {
    let shown = shown.clone();
    Box::new(FaultySink::new(display(card), move |sink: &mut KmsSink, frame: Frame| {
        std::thread::sleep(Duration::from_millis(60));
        shown.fetch_add(1, Ordering::Relaxed);
        present_and_look(sink, frame)
    }))
}

#[test]
fn a_slow_display_makes_the_sensor_wait() {
    on_a_card("slow", |card| {
        let shown = Arc::default();
        let (outcome, result) = run(IspChoice::Cpu, FRAMES, vec![slow(card, &shown)]);
        result.unwrap();
        assert_none_lost(&outcome, FRAMES);
        assert_eq!(shown.load(Ordering::Relaxed), FRAMES);
    });
}

#[test]
fn a_slow_display_of_the_latest_frame_makes_nobody_wait() {
    on_a_card("slow-latest", |card| {
        let shown = Arc::default();
        let latest = Latest::new(slow(card, &shown));
        let sinks = vec![Box::new(latest) as Box<dyn Sink>, Box::new(NullSink::new())];
        let (outcome, result) = run(IspChoice::Cpu, 4 * FRAMES, sinks);
        result.unwrap();
        // The other sink got every frame, and the display a part of them.
        assert_none_lost(&outcome, 4 * FRAMES);
        let shown = shown.load(Ordering::Relaxed);
        assert!(shown > 0 && shown < 4 * FRAMES, "{shown}");
        (0..3).for_each(|link| assert_ne!(outcome.links[link].method, Method::Copy));
    });
}

#[test]
fn a_consumer_that_keeps_its_buffers_is_named_and_the_display_ends_well() {
    on_a_card("keeps", |card| {
        let stop = StopHandle::default();
        let mut kept = Vec::new();
        let hoards = FaultySink::new(NullSink::new(), move |_: &mut NullSink, frame: Frame| {
            kept.push(frame);
            Ok(())
        });
        let prepared = prepare(
            config(IspChoice::Gpu(None), u64::MAX, stop.clone()),
            vec![Box::new(hoards), looking(card)],
        );
        let running = prepared.unwrap().start().unwrap();
        let progress = running.progress();
        // Once all buffers are gone and nothing moves any more, the user has enough.
        let (mut before, mut still) = (0, 0);
        while before == 0 || still < 20 {
            std::thread::sleep(Duration::from_millis(100));
            let now = progress.completed();
            still = if now == before { still + 1 } else { 0 };
            before = now;
        }
        stop.stop();
        let (outcome, result) = running.wait();
        let error = result.unwrap_err();
        let StageError::NoBuffer { stage: "isp", .. } = error else { panic!("{error}") };
        // Every frame that was made was shown.
        let counted = outcome.frames;
        assert_eq!((counted.displayed, counted.dropped), (counted.completed, 0), "{outcome:?}");
    });
}
