//! Cameras in several processes, and processes that are ended in the middle: docs/survival.md.
//!
//! `cargo xtask test --only uml survival_processes`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use vcam_allocator::{CpuAccess, Dmabuf, Method};
use vcam_isp_gpu::GpuIsp;
use vcam_pipeline::sensor::frame_counter;
use vcam_pipeline::{IspChoice, StopHandle};
use vcam_sinks::{Frame, KmsSink, NullSink, Sink};
use vcam_testing::accounting::BufferUsage;
use vcam_testing::command::{Child, Ran, assert_zero_copy, command};
use vcam_testing::display_state;
use vcam_testing::faulty_stages::{self, FaultySink, present_and_look, run};
use vcam_testing::kms_rig::KmsRig;
use vcam_testing::peer_process::{self, Peer};
use vcam_testing::stepped_display;
use vcam_testing::vkms::{Card, Plane};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_signal_ends_a_run_with_its_report_and_the_display_as_it_was() {
    let rig = KmsRig::new("signals");
    let arguments = format!(
        "--heap udmabuf --isp gpu --display --card {} --size 640x480 --strict --json",
        rig.node().display()
    );
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let child = Child::spawn(command(&arguments));
        rig.wait_until_shown();
        std::thread::sleep(Duration::from_millis(500));
        let ran = child.end(signal);
        assert_eq!((ran.code, &*ran.stderr), (0, ""), "{signal:?}: {ran:?}");
        let report = ran.report();
        let completed = report["frames"]["completed"].as_u64().unwrap();
        assert!(completed > 0, "{report:#}");
        // Every frame that was made, and none else.
        assert_zero_copy(&report, completed, "udmabuf");
        assert_eq!(display_state::of_node(rig.node()), rig.state(), "{signal:?}");
    }
    rig.assert_nothing_held();
}

/// The other process of the next test: has the buffers mapped and is writing to them, as far as the
/// kernel knows, for good.
#[test]
#[ignore = "a part of another test"]
fn peer_that_is_writing() {
    let socket = peer_process::socket();
    let mut buffers: Vec<Dmabuf> = Vec::new();
    while let Ok(buffer) = socket.receive(SOON) {
        buffers.push(buffer);
        let buffer = buffers.last().unwrap().clone();
        let mut pixels = buffer.cpu_access(CpuAccess::Write).unwrap();
        // Not the rows that show the frame's number.
        pixels.plane_mut(0).last_mut().unwrap().clone_from(&1);
        // Without `DMA_BUF_SYNC_END`, for ever.
        std::mem::forget(pixels);
        std::mem::forget(buffer);
        peer_process::say("writes");
    }
    peer_process::wait_to_be_killed();
}

#[test]
fn a_peer_that_is_killed_while_it_writes_to_our_buffers_is_not_missed() {
    const FRAMES: u64 = 40;
    drop(GpuIsp::new(None).unwrap());
    let rig = KmsRig::new("peer");
    let mut sink = KmsSink::open(&stepped_display::options(rig.node())).unwrap();
    sink.enable_capture().unwrap();
    let mut other = Some(Peer::spawn("peer_that_is_writing"));
    let shares = FaultySink::new(sink, move |sink: &mut KmsSink, frame: Frame| {
        match (frame.sequence, &mut other) {
            (10..20, Some(peer)) => {
                peer.socket.send(&frame.buffer).unwrap();
                peer.wait_for("writes");
            }
            (20, Some(peer)) => peer.kill(),
            (30, peer) => *peer = None,
            _ => {}
        }
        present_and_look(sink, frame)
    });
    let (outcome, result) = run(IspChoice::Gpu(None), FRAMES, vec![Box::new(shares)]);
    result.unwrap();
    let counted = outcome.frames;
    assert_eq!((counted.completed, counted.displayed), (FRAMES, FRAMES), "{outcome:?}");
    assert_eq!((counted.dropped, counted.errors), (0, 0), "{outcome:?}");
    assert!(outcome.links.iter().all(|link| link.method == Method::Import), "{outcome:?}");
    rig.assert_as_found();
}

/// The other process of the next test: a camera whose sink sends its buffers away.
#[test]
#[ignore = "a part of another test"]
fn peer_that_has_the_camera() {
    let socket = peer_process::socket();
    let sends = FaultySink::new(NullSink::new(), move |sink: &mut NullSink, frame: Frame| {
        if frame.sequence < 8 {
            if let Some(ready) = &frame.ready {
                ready.wait(SOON).unwrap();
            }
            socket.send(&frame.buffer).unwrap();
        }
        sink.present(frame)
    });
    run(IspChoice::Gpu(None), u64::MAX, vec![Box::new(sends)]).1.unwrap();
}

#[test]
fn the_buffers_of_a_camera_that_is_killed_stay_with_those_who_have_them() {
    let before = BufferUsage::read();
    let mut camera = Peer::spawn("peer_that_has_the_camera");
    let buffers: Vec<_> = (0..8).map(|_| camera.socket.receive(SOON).unwrap()).collect();
    camera.kill();
    drop(camera);
    for buffer in &buffers {
        let pixels = buffer.cpu_access(CpuAccess::Read).unwrap();
        let row = buffer.layout().planes()[0].stride as usize;
        let green = |x: usize| pixels.plane(0)[row + 4 * x + 1];
        assert!(
            frame_counter::read(stepped_display::SIZE.0 as usize, green).is_some(),
            "{} is a frame",
            buffer.name()
        );
        pixels.end().unwrap();
        // And it can be written.
        buffer.cpu_access(CpuAccess::Write).unwrap().end().unwrap();
    }
    drop(buffers);
    before.assert_unchanged();
}

#[test]
fn runs_of_several_processes_do_not_mind_each_other() {
    let before = BufferUsage::read();
    let cards = ["own-one", "own-two"].map(|name| Card::new(name, &[Plane::Primary]));
    let states = cards.each_ref().map(|card| display_state::of_node(&card.node));
    let with = |output: String| {
        let mut vcam = command(&format!(
            "--heap udmabuf --isp gpu {output} --size 640x480 --frames 40 --strict --json"
        ));
        vcam.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let display = |card: &Card| with(format!("--display --card {}", card.node.display()));
    let null = || with("--output null".to_owned());
    let shown = [display(&cards[0]), display(&cards[1])];
    let unseen = [null(), null()];
    for child in shown {
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_zero_copy(&ran.report(), 40, "udmabuf");
    }
    for child in unseen {
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
        let report = ran.report();
        assert_eq!(report["frames"]["completed"], 40, "{report:#}");
        assert_eq!(report["frames"]["displayed"], 40, "{report:#}");
    }
    for (card, state) in cards.iter().zip(states) {
        assert_eq!(display_state::of_node(&card.node), state);
    }
    drop(cards);
    before.assert_unchanged();
}

#[test]
fn runs_of_one_process_do_not_mind_each_other() {
    drop(GpuIsp::new(None).unwrap());
    let before = BufferUsage::read();
    let cards = ["mine-one", "mine-two"].map(|name| Card::new(name, &[Plane::Primary]));
    let runs = cards.each_ref().map(|card| {
        let mut sink = KmsSink::open(&stepped_display::options(&card.node)).unwrap();
        sink.enable_capture().unwrap();
        let sinks = vec![Box::new(FaultySink::new(sink, present_and_look)) as Box<dyn Sink>];
        let config = faulty_stages::config(IspChoice::Gpu(None), 40, StopHandle::default());
        faulty_stages::prepare(config, sinks).unwrap().start().unwrap()
    });
    for run in runs {
        let (outcome, result) = run.wait();
        result.unwrap();
        let counted = outcome.frames;
        assert_eq!((counted.completed, counted.displayed), (40, 40), "{outcome:?}");
        assert_eq!((counted.dropped, counted.errors), (0, 0), "{outcome:?}");
        assert!(outcome.links.iter().all(|link| link.method == Method::Import), "{outcome:?}");
    }
    drop(cards);
    before.assert_unchanged();
}
