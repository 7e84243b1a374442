//! A run of which one part goes wrong: the others come to an orderly end, every frame is accounted
//! for, and the error names the part.
//!
//! The parts that fail here are fakes, and their names say so. Real devices fail in the lab.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use vcam_allocator::constraints::{Constraints, Rule, Statement};
use vcam_allocator::{Dmabuf, Fourcc, LinkEnd, heaps};
use vcam_pipeline::sensor::Settings;
use vcam_pipeline::{Config, IspChoice, Prepared, RunStats, StageError, StopHandle};
use vcam_sinks::{FileError, Frame, NullSink, Sink, SinkCounts, SinkError};

/// The behaviour of a fake at a frame.
type Act = Box<dyn FnMut(Frame) -> Result<(), SinkError> + Send>;

/// A sink that misbehaves as a test chooses.
struct FakeSink {
    act: Act,
    shown: u64,
    finished: Arc<AtomicU64>,
    /// Buffers that it keeps.
    keeps: u32,
}

impl std::fmt::Debug for FakeSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FakeSink")
    }
}

impl FakeSink {
    fn new(act: impl FnMut(Frame) -> Result<(), SinkError> + Send + 'static) -> Self {
        Self { act: Box::new(act), shown: 0, finished: Arc::default(), keeps: 0 }
    }
}

impl Sink for FakeSink {
    fn name(&self) -> String {
        "fake".to_owned()
    }

    fn constraints(&self) -> Constraints {
        [Statement::new("fake", "frames that it keeps", Rule::Camping(self.keeps))]
            .into_iter()
            .collect()
    }

    fn prepare(&mut self, _: &[Dmabuf]) {}

    fn present(&mut self, frame: Frame) -> Result<(), SinkError> {
        (self.act)(frame)?;
        self.shown += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.finished.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn link_end(&self) -> LinkEnd {
        LinkEnd::native("it is a fake")
    }

    fn counts(&self) -> SinkCounts {
        SinkCounts { displayed: self.shown, dropped: 0 }
    }
}

/// Runs so many small frames, as fast as can be.
fn run(
    frames: u64,
    stop: StopHandle,
    sinks: Vec<Box<dyn Sink>>,
) -> (RunStats, Result<(), StageError>) {
    let config = Config::new(Fourcc::XRGB8888)
        .sensor(Settings { size: (128, 64).into(), ..Settings::default() })
        .period(Duration::ZERO)
        .frames(frames)
        .stop(stop)
        .isp(IspChoice::Cpu);
    let heap = heaps::open("memfd").unwrap();
    Prepared::new(config, vec![heap], sinks).unwrap().start().unwrap().wait()
}

#[test]
fn a_slow_sink_makes_the_others_wait_and_loses_nothing() {
    let slow = FakeSink::new(|_| {
        std::thread::sleep(Duration::from_millis(5));
        Ok(())
    });
    let (outcome, result) =
        run(100, StopHandle::default(), vec![Box::new(NullSink::new()), Box::new(slow)]);
    result.unwrap();
    let frames = outcome.frames;
    assert_eq!((frames.completed, frames.displayed), (100, 100));
    assert_eq!((frames.dropped, frames.errors), (0, 0));
}

#[test]
fn a_panic_in_a_sink_is_named_and_the_other_sink_ends_well() {
    let mut left = 20;
    let panics = FakeSink::new(move |_| {
        left -= 1;
        assert!(left > 0, "out of order");
        Ok(())
    });
    let other = FakeSink::new(|_| Ok(()));
    let finished = other.finished.clone();
    let (_, result) =
        run(1_000_000, StopHandle::default(), vec![Box::new(panics), Box::new(other)]);
    let error = result.unwrap_err();
    assert!(matches!(&error, StageError::Panic { stage, .. } if stage == "fake"), "{error}");
    assert_eq!(error.to_string(), "fake stopped: out of order");
    assert_eq!(finished.load(Ordering::Relaxed), 1, "the other one was finished");
}

#[test]
fn a_sink_that_fails_ends_the_run_and_its_frames_are_counted() {
    let mut left = 20;
    let fails = FakeSink::new(move |_| {
        left -= 1;
        match left {
            0 => Err(FileError::Raw("it is a fake").into()),
            _ => Ok(()),
        }
    });
    let (outcome, result) =
        run(1_000_000, StopHandle::default(), vec![Box::new(fails), Box::new(NullSink::new())]);
    let error = result.unwrap_err();
    assert!(matches!(error, StageError::Sink { sequence: 19, .. }), "{error:?}");
    let frames = outcome.frames;
    assert_eq!(frames.errors, 1);
    // The other sink got every frame that was made, or all but those that were on their way.
    assert!(frames.completed <= frames.displayed + 2, "{frames:?}");
}

#[test]
fn a_sink_that_never_gives_buffers_back_does_not_keep_the_run_from_ending() {
    let mut kept = Vec::new();
    let stop = StopHandle::default();
    let end = stop.clone();
    let hoards = FakeSink::new(move |frame| {
        kept.push(frame);
        if kept.len() == 1 {
            let end = end.clone();
            // Once all buffers are gone, the user has enough.
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(500));
                end.stop();
            });
        }
        Ok(())
    });
    let (outcome, result) = run(1_000_000, stop, vec![Box::new(hoards)]);
    let error = result.unwrap_err();
    assert!(matches!(error, StageError::NoBuffer { stage: "isp", .. }), "{error}");
    assert_eq!(outcome.frames.completed, outcome.frames.displayed);
}

#[test]
fn a_run_that_may_open_too_few_files_says_so() {
    let vcam = env!("CARGO_BIN_EXE_vcam");
    for descriptors in [8, 12, 16, 20, 24] {
        let script = format!(
            "ulimit -n {descriptors}; exec {vcam} --heap memfd --isp cpu --size 128x64 --frames 3 \
             --output null --output null"
        );
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code();
        match code {
            Some(0) => {}
            Some(1 | 4) => assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}"),
            _ => panic!("{descriptors}: {code:?}, {stderr}"),
        }
    }
}
