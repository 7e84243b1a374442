//! Heaps, memory and descriptors that come to an end, before a run and in the middle of one:
//! docs/survival.md.
//!
//! `cargo xtask test --only uml survival_memory`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit, setrlimit};
use vcam_allocator::heaps::udmabuf::{MemfdRange, Udmabuf};
use vcam_allocator::{
    Alignment, AllocError, Budget, BudgetOf, CpuAccess, Fourcc, Heap, Layout, Pool, RangeError,
    Shortage, heaps,
};
use vcam_isp_gpu::GpuIsp;
use vcam_pipeline::{IspChoice, RunStats};
use vcam_sinks::{Frame, KmsSink, NullSink, Sink};
use vcam_testing::accounting::BufferUsage;
use vcam_testing::cgroup::Cgroup;
use vcam_testing::command::{Ran, command};
use vcam_testing::display_state;
use vcam_testing::faulty_stages::{FaultySink, present_and_look, run};
use vcam_testing::kms_rig::KmsRig;
use vcam_testing::peer_process;
use vcam_testing::stepped_display;

const MIB: u64 = 1 << 20;

/// Frames of a run, and the one at which something happens.
const FRAMES: u64 = 40;
const AT: u64 = 10;

/// A limit of descriptors below which all are taken. With less, poll(2) itself is EINVAL.
const NO_MORE: Option<u64> = Some(3);

/// A parameter of the udmabuf module; it gets its value back when dropped.
struct Parameter {
    path: PathBuf,
    before: String,
}

impl Parameter {
    fn set(name: &str, value: u64) -> Self {
        let path = PathBuf::from("/sys/module/udmabuf/parameters").join(name);
        let before = fs::read_to_string(&path).unwrap();
        fs::write(&path, value.to_string()).unwrap();
        Self { path, before }
    }
}

impl Drop for Parameter {
    fn drop(&mut self) {
        let written = fs::write(&self.path, self.before.trim());
        // A second panic would hide the message of the first.
        assert!(written.is_ok() || std::thread::panicking(), "{written:?}");
    }
}

fn layout(bytes: u64) -> Layout {
    let height = u32::try_from(bytes / 4096).unwrap();
    Layout::linear(Fourcc::XRGB8888, 1024, height, Alignment::default()).unwrap()
}

/// Runs the command on a card of its own; asserts that the display is as it was afterwards, and
/// that nothing is left.
fn on_a_card(name: &str, run: impl FnOnce(&str)) {
    let rig = KmsRig::new(name);
    run(&format!("--display --card {}", rig.node().display()));
    rig.assert_as_found();
}

fn ran(mut command: Command) -> Ran {
    command.output().unwrap().into()
}

fn assert_none_lost(outcome: &RunStats) {
    let counted = outcome.frames;
    assert_eq!((counted.completed, counted.displayed), (FRAMES, FRAMES), "{outcome:?}");
    assert_eq!((counted.dropped, counted.errors), (0, 0), "{outcome:?}");
}

#[test]
fn udmabuf_s_limit_is_named_or_another_heap_is_taken() {
    let _limit = Parameter::set("size_limit_mb", 1);
    on_a_card("size-limit", |display| {
        let arguments = format!("{display} --size 640x480 --frames 20 --json");
        let failed = ran(command(&format!("--heap udmabuf {arguments}")));
        failed.failed_with(4, &["udmabuf", "1228800 bytes", "1048576", "size_limit_mb"]);
        for heap in ["auto", "udmabuf,system"] {
            let ran = ran(command(&format!("--heap {heap} {arguments}")));
            assert_eq!(ran.code, 0, "{ran:?}");
            let report = ran.report();
            assert_eq!(report["frames"]["displayed"], 20, "{report:#}");
            assert_eq!(report["frames"]["dropped"], 0, "{report:#}");
            assert_eq!(report["heaps"]["output"], "dma_heap:system", "{report:#}");
            let rejected = report["plan"]["rejected"].to_string();
            assert!(rejected.contains("at most 1048576 bytes"), "{rejected}");
        }
    });
}

/// Runs on a display with this done at that frame, by a program that has buffers of its own.
fn run_with(name: &str, mut at_frame: impl FnMut(u64) + Send + 'static) {
    // Mesa is loaded for good.
    drop(GpuIsp::new(None).unwrap());
    let rig = KmsRig::new(name);
    let mut sink = KmsSink::open(&stepped_display::options(rig.node())).unwrap();
    sink.enable_capture().unwrap();
    let looks = FaultySink::new(sink, move |sink: &mut KmsSink, frame: Frame| {
        at_frame(frame.sequence);
        // To look takes a descriptor, for the fence of the writeback.
        match getrlimit(Resource::Nofile).current {
            NO_MORE => sink.present(frame),
            _ => present_and_look(sink, frame),
        }
    });
    let (outcome, result) = run(IspChoice::Gpu(None), FRAMES, vec![Box::new(looks)]);
    result.unwrap();
    assert_none_lost(&outcome);
    rig.assert_as_found();
}

#[test]
fn udmabuf_s_limits_may_change_while_frames_are_made() {
    let heap: Arc<dyn Heap> = heaps::open("udmabuf").unwrap().into();
    // It outlives the run.
    let _kept = heap.clone();
    let mut limits = Vec::new();
    run_with("limits", move |frame| {
        let allocated = Pool::new(&*heap, &layout(2 * MIB), "test-own", 2);
        match frame {
            AT => {
                let set = [("size_limit_mb", 1), ("list_limit", 2)];
                limits.extend(set.map(|(name, value)| Parameter::set(name, value)));
            }
            11..20 => {
                let error = allocated.unwrap_err();
                let AllocError::TooLarge { heap, limit: MIB, .. } = &error else {
                    panic!("{error}")
                };
                assert_eq!(heap, "udmabuf");
                let error = of_three_ranges().unwrap_err();
                let AllocError::Ranges { source, .. } = error else { panic!("{error}") };
                assert_eq!(source, RangeError::Count { count: 3, limit: 2 });
            }
            20 => limits.clear(),
            _ => assert!(allocated.is_ok() && of_three_ranges().is_ok(), "frame {frame}"),
        }
    });
}

/// A buffer of three pages, joined.
fn of_three_ranges() -> Result<(), AllocError> {
    let memfd = memfd_create("test", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&memfd, 4096).unwrap();
    fcntl_add_seals(&memfd, SealFlags::SHRINK).unwrap();
    let page = MemfdRange { memfd: memfd.as_fd(), offset: 0, size: 4096 };
    let layout = Layout::linear(Fourcc::R8, 64, 16, Alignment::default()).unwrap();
    Udmabuf::open().unwrap().of_ranges(&layout, "test-list", &[page; 3]).map(|_| ())
}

#[test]
fn a_program_without_descriptors_is_told_and_its_run_goes_on() {
    /// As before, when dropped.
    struct Limit(Rlimit);
    impl Drop for Limit {
        fn drop(&mut self) {
            let set = setrlimit(Resource::Nofile, self.0);
            assert!(set.is_ok() || std::thread::panicking(), "{set:?}");
        }
    }
    let heap: Arc<dyn Heap> = heaps::open("udmabuf").unwrap().into();
    // It outlives the run.
    let _kept = heap.clone();
    let mut limits = Vec::new();
    run_with("descriptors", move |frame| {
        match frame {
            AT => {
                let before = getrlimit(Resource::Nofile);
                setrlimit(Resource::Nofile, Rlimit { current: NO_MORE, ..before }).unwrap();
                limits.push(Limit(before));
            }
            20 => limits.clear(),
            _ => {}
        }
        let pool = Pool::new(&*heap, &layout(MIB), "test-own", 2);
        if (AT..20).contains(&frame) {
            let error = pool.unwrap_err();
            assert!(matches!(error, AllocError::Descriptors { of_process: true, .. }), "{error:?}");
            assert_eq!(error.shortage(), Some(Shortage::ProcessDescriptors), "{error}");
        } else {
            pool.unwrap();
        }
    });
}

#[test]
fn a_run_on_a_display_with_too_few_descriptors_says_so() {
    on_a_card("few", |display| {
        for descriptors in (8..=64).step_by(4) {
            let arguments =
                format!("--heap udmabuf --isp gpu {display} --size 640x480 --frames 3 --json");
            let vcam = command(&arguments);
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(format!("ulimit -n {descriptors} && exec \"$0\" \"$@\""));
            shell.arg(vcam.get_program()).args(vcam.get_args());
            let ran = ran(shell);
            println!("{descriptors}: {} {}", ran.code, ran.stderr.trim());
            match ran.code {
                0 => assert_eq!(ran.report()["frames"]["displayed"], 3, "{ran:?}"),
                1 | 4 => {
                    let lines = ran.stderr.trim_end().lines();
                    let errors = lines.filter(|line| !line.trim_start().starts_with("WARN"));
                    assert_eq!(errors.count(), 1, "{ran:?}");
                }
                _ => panic!("{descriptors}: {ran:?}"),
            }
        }
    });
}

#[test]
fn a_run_may_lose_its_descriptors_while_a_display_comes_and_goes() {
    let mut rig = KmsRig::new("lost");
    let arguments = format!(
        "--heap udmabuf --isp gpu --display --card {} --size 640x480 --output null --json",
        rig.node().display()
    );
    let mut child =
        command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    rig.wait_until_shown();
    let pid = Pid::from_child(&child);
    let limit = |most: Option<u64>| {
        let limit = getrlimit(Resource::Nofile);
        let current = most.or(limit.current);
        prlimit(Some(pid), Resource::Nofile, Rlimit { current, ..limit }).unwrap();
    };
    limit(NO_MORE);
    // Some seconds without, in which the card goes, too, and another one comes that it cannot open.
    std::thread::sleep(Duration::from_secs(1));
    rig.card.take_out();
    std::thread::sleep(Duration::from_secs(2));
    rig.card.plug_in();
    let off = display_state::of_node(rig.node());
    std::thread::sleep(Duration::from_secs(2));
    assert!(child.try_wait().unwrap().is_none(), "it goes on");
    assert_eq!(display_state::of_node(rig.node()), off, "it cannot be shown on");
    limit(None);
    display_state::wait_for_node(rig.node(), &off);
    std::thread::sleep(Duration::from_millis(500));
    kill_process(pid, Signal::INT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.report();
    let count = |name: &str| report["frames"][name].as_u64().unwrap();
    assert!(count("dropped") > 0, "{report:#}");
    // The other output got every frame.
    assert_eq!(count("displayed"), count("completed"), "{report:#}");
    assert_eq!(count("errors"), 0, "{report:#}");
    assert_eq!(display_state::of_node(rig.node()), off);
    rig.assert_nothing_held();
}

#[test]
fn the_limit_of_a_group_is_told_before_anybody_is_killed() {
    let group = Cgroup::new("small", 96 * MIB);
    on_a_card("group", |display| {
        for heap in ["udmabuf", "system", "memfd", "auto"] {
            let arguments =
                format!("--heap {heap} --isp cpu {display} --size 3840x2160 --frames 3 --json");
            let failed = ran(group.around(&command(&arguments)));
            println!("{heap}: {}", failed.stderr.trim());
            failed.failed_with(4, &["buffers of", "bytes", "memory.max", "--size"]);
        }
        // The frames that fit are shown.
        let arguments =
            format!("--heap udmabuf --isp cpu {display} --size 640x480 --frames 20 --json");
        let ran = ran(group.around(&command(&arguments)));
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.report()["frames"]["displayed"], 20, "{ran:?}");
    });
    assert_eq!(group.kills(), 0);
}

/// The other process of the next test: a run whose program takes buffers of its own as well, as
/// many as it may.
#[test]
#[ignore = "a part of another test"]
fn peer_that_takes_all_it_may() {
    let heap = heaps::open("udmabuf").unwrap();
    let mut own = Vec::new();
    let mut full = false;
    let takes = FaultySink::new(NullSink::new(), move |sink: &mut NullSink, frame: Frame| {
        let budget = Budget::of_free_memory();
        match Pool::with_budget(&*heap, &layout(8 * MIB), "test-own", 1, budget) {
            Ok(pool) => own.push(pool),
            Err(error) => {
                full = true;
                let told = matches!(
                    &error,
                    AllocError::OverBudget { heap, of: BudgetOf::Group, .. } if heap == "udmabuf"
                );
                assert!(told, "{error:?}");
            }
        }
        if frame.sequence == FRAMES - 1 {
            assert!(full && !own.is_empty(), "{} buffers", own.len());
            own.clear();
        }
        sink.present(frame)
    });
    let (outcome, result) = run(IspChoice::Cpu, FRAMES, vec![Box::new(takes)]);
    result.unwrap();
    assert_none_lost(&outcome);
}

#[test]
fn a_program_that_asks_first_takes_what_its_group_has_and_its_run_goes_on() {
    let before = BufferUsage::read();
    let group = Cgroup::new("asks", 128 * MIB);
    let output =
        group.around(&peer_process::command("peer_that_takes_all_it_may")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(group.kills(), 0);
    before.assert_unchanged();
}

/// The other process of the next test: takes more than its group may, from the heap in `TEST_HEAP`.
#[test]
#[ignore = "a part of another test"]
fn peer_that_takes_more_than_it_may() {
    let heap: Box<dyn Heap> = heaps::open(&std::env::var("TEST_HEAP").unwrap()).unwrap();
    let pool = Pool::new(&*heap, &layout(8 * MIB), "test-own", 32).unwrap();
    for buffer in pool.buffers() {
        let mut pixels = buffer.cpu_access(CpuAccess::Write).unwrap();
        pixels.plane_mut(0).fill(1);
        pixels.end().unwrap();
    }
}

/// The program gets no error then. The findings are in docs/devices.md.
#[test]
fn a_program_that_does_not_ask_is_killed_and_leaves_nothing() {
    let before = BufferUsage::read();
    for (heap, is_charged) in [("udmabuf", true), ("memfd", true), ("dma_heap:system", false)] {
        let group = Cgroup::new("does-not-ask", 96 * MIB);
        let mut inside = group.around(&peer_process::command("peer_that_takes_more_than_it_may"));
        let output = inside.env("TEST_HEAP", heap).output().unwrap();
        println!("{heap}: {:?}, {} kills", output.status, group.kills());
        let expected = if is_charged { (Some(9), 1) } else { (None, 0) };
        assert_eq!((output.status.signal(), group.kills()), expected, "{heap}: {output:?}");
        before.assert_unchanged();
    }
}
