//! Faults that the camera of an application survives, and how its requests come back where it
//! cannot go on: docs/survival.md.
//!
//! `cargo xtask test --only uml survival_camera`

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vcam_allocator::constraints::Constraints;
use vcam_allocator::{Alignment, Knowledge, Layout, Method, Pool, heaps};
use vcam_isp_gpu::{GpuIsp, Job};
use vcam_pipeline::camera::{
    Camera, CameraError, CameraManager, CameraState, Event, FrameStatus, QueueReason, Request,
    RequestStatus, Resources, ReuseBuffers, Start, StreamFormat, StreamId, StreamRole,
};
use vcam_pipeline::{CopyPolicy, HeapOrder, IspChoice, Size, StageError};
use vcam_testing::accounting;
use vcam_testing::faulty_stages;
use vcam_testing::panicking_log::PanickingLog;
use vcam_testing::video_file::VideoFile;

const LONG: Duration = Duration::from_secs(60);
const FAST: Start = Start {
    controls: vcam_pipeline::controls::ControlList::NONE,
    policy: vcam_pipeline::camera::DropPolicy::Block,
    as_fast_as_possible: true,
};

fn resources(isp: IspChoice) -> Resources {
    let heaps = [heaps::open("udmabuf").unwrap()].into();
    Resources {
        heaps,
        isp,
        copies: CopyPolicy::Fallback,
        heap_order: HeapOrder::AsGiven,
        knowledge: Knowledge::default(),
    }
}

/// Runs it twice, and asserts that the second time leaves nothing behind.
fn leaves_nothing(run: impl Fn()) {
    let before = accounting::after_warming_up(&run);
    run();
    before.assert_unchanged();
}

/// Configures a camera for a viewfinder, and makes so many requests for it.
fn requests(camera: &Camera, count: u64) -> (StreamId, Vec<Request>) {
    let mut streams = camera.generate_configuration(&[StreamRole::Viewfinder]);
    streams.streams[0].buffer_count = u32::try_from(count).unwrap();
    streams.validate();
    camera.configure(&streams).unwrap();
    camera.allocate(Vec::<(StreamId, Constraints)>::new()).unwrap();
    let stream = streams.stream_ids().next().unwrap();
    let made = (0..count).map(|cookie| {
        let mut request = camera.create_request(cookie).unwrap();
        let buffer = camera.buffers(stream).unwrap().take(LONG).unwrap();
        request.add_buffer(stream, buffer, None).unwrap();
        request
    });
    (stream, made.collect())
}

fn queue_all(camera: &Camera, requests: Vec<Request>) {
    requests.into_iter().for_each(|request| camera.queue_request(request).unwrap());
}

/// Every request that comes back, in the order in which they do.
fn back(camera: &Camera) -> Vec<Request> {
    std::iter::from_fn(|| camera.try_next_completed()).collect()
}

/// Asserts that each request came back once, and that those without a frame are cancelled, with
/// their buffers.
fn assert_all_back(mut back: Vec<Request>, count: u64, stream: StreamId, made: u64) {
    back.sort_by_key(Request::cookie);
    let cookies: Vec<_> = back.iter().map(Request::cookie).collect();
    assert_eq!(cookies, (0..count).collect::<Vec<_>>());
    for request in &back {
        let (status, frame) = match request.cookie() < made {
            true => (RequestStatus::Complete, FrameStatus::Success),
            false => (RequestStatus::Cancelled, FrameStatus::Cancelled),
        };
        let is = (request.status(), request.buffer(stream).unwrap().status());
        assert_eq!(is, (status, frame), "request {}", request.cookie());
    }
}

fn is_readable(manager: &mut CameraManager) -> bool {
    let fd = manager.watch().unwrap().unwrap();
    let limit = Timespec { tv_sec: 60, tv_nsec: 0 };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).unwrap() == 1
}

#[test]
fn a_camera_that_goes_while_it_runs_cancels_what_waits() {
    leaves_nothing(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cameras.toml");
        std::fs::write(&path, "[[camera]]\nname = \"porch\"\n").unwrap();
        let mut manager = CameraManager::from_file(&path).unwrap();
        manager.watch().unwrap().unwrap();
        let camera = manager.get("porch").unwrap();
        camera.acquire(resources(IspChoice::Gpu(None))).unwrap();
        let (stream, mut waiting) = requests(&camera, 8);
        // At its own pace, so that some have to wait.
        camera.start(Start::default()).unwrap();
        let late = waiting.pop().unwrap();
        queue_all(&camera, waiting);
        let first = camera.next_completed(LONG).unwrap();
        assert_eq!((first.cookie(), first.status()), (0, RequestStatus::Complete));

        std::fs::remove_file(&path).unwrap();
        assert!(is_readable(&mut manager));
        assert_eq!(manager.events().unwrap(), [Event::Removed(camera.clone())]);
        let refused = camera.queue_request(late).unwrap_err();
        let QueueReason::Camera(CameraError::Disconnected(name)) = &refused.reason else {
            panic!("{:?}", refused.reason)
        };
        assert_eq!(name, "porch");
        // It comes to its end by itself, and says so to a caller that waits.
        let mut made: Vec<_> = camera.completed().collect();
        made.insert(0, first);
        let completed = camera.stop().unwrap().completed;
        assert_eq!(completed, made.len() as u64);
        assert!(completed < 7, "{completed}: the file was gone before the last");
        made.extend(back(&camera));
        assert_all_back(made, 7, stream, completed);
        assert!(matches!(camera.start(FAST), Err(CameraError::Disconnected(_))));
        camera.release().unwrap();
        let again = camera.acquire(resources(IspChoice::Cpu));
        assert!(matches!(again, Err(CameraError::Disconnected(_))), "{again:?}");
        // It may come back, as another one.
        std::fs::write(&path, "[[camera]]\nname = \"porch\"\n").unwrap();
        assert!(is_readable(&mut manager));
        assert_eq!(manager.events().unwrap().len(), 1);
        let other = manager.get("porch").unwrap();
        other.acquire(resources(IspChoice::Cpu)).unwrap();
        other.release().unwrap();
    });
}

/// The error that a camera returns when it is stopped.
fn panic_of(camera: &Camera) -> (String, String) {
    let error = camera.stop().unwrap_err();
    assert_eq!(camera.state(), CameraState::Configured);
    match error {
        CameraError::Stage(stage) => match *stage {
            StageError::Panic { stage, message } => (stage, message),
            other => panic!("{other}"),
        },
        other => panic!("{other}"),
    }
}

/// Makes a frame for each request with a camera that was stopped before.
fn goes_on(camera: &Camera, stream: StreamId, requests: Vec<Request>) {
    let count = requests.len() as u64;
    camera.start(FAST).unwrap();
    for mut request in requests {
        request.reuse(ReuseBuffers::Keep);
        camera.queue_request(request).unwrap();
    }
    let made = (0..count).map(|_| camera.next_completed(LONG).unwrap()).collect();
    assert_eq!(camera.stop().unwrap().completed, count);
    assert_all_back(made, count, stream, count);
}

#[test]
fn a_panic_in_the_isp_cancels_what_waits() {
    leaves_nothing(|| {
        let isp = faulty_stages::isp(|_: &mut GpuIsp, job: &Job<'_>| {
            assert!(job.sequence != 3, "a test's");
        });
        let camera = CameraManager::new().get("vcam").unwrap();
        camera.acquire(resources(isp)).unwrap();
        let (stream, waiting) = requests(&camera, 12);
        camera.start(FAST).unwrap();
        queue_all(&camera, waiting);
        let mut all: Vec<_> = camera.completed().collect();
        assert_eq!(panic_of(&camera), ("isp".to_owned(), "a test's".to_owned()));
        all.extend(back(&camera));
        assert_all_back(all, 12, stream, 3);
        // The thread is gone, and with it the ISP; another configuration has others.
        let (stream, again) = requests(&camera, 3);
        goes_on(&camera, stream, again);
        camera.release().unwrap();
    });
}

#[test]
fn a_panic_in_the_sensor_cancels_what_waits() {
    leaves_nothing(|| {
        let film = VideoFile::new((640, 480));
        let mut description = CameraManager::new().get("vcam").unwrap().description().clone();
        description.settings.source = film.settings().source;
        description.modes.truncate(1);
        let camera = CameraManager::of(vec![description]).get("vcam").unwrap();
        camera.acquire(resources(IspChoice::Gpu(None))).unwrap();
        let (stream, mut waiting) = requests(&camera, 12);
        let late = waiting.split_off(3);
        camera.start(FAST).unwrap();
        queue_all(&camera, waiting);
        let mut all: Vec<_> = (0..3).map(|_| camera.next_completed(LONG).unwrap()).collect();
        let panics = PanickingLog::panics();
        VideoFile::cut_off(&film.path());
        let mut refused = Vec::new();
        for request in late {
            // From some moment on the camera says that it failed.
            refused.extend(camera.queue_request(request).err().map(|error| error.request));
        }
        all.extend(camera.completed());
        assert_eq!(panic_of(&camera), ("sensor".to_owned(), "a test's".to_owned()));
        drop(panics);
        all.extend(back(&camera));
        let made = all.iter().filter(|request| request.status() == RequestStatus::Complete).count();
        assert!((3..12).contains(&made), "{made}");
        let mut cookies: Vec<_> = all.iter().chain(&refused).map(Request::cookie).collect();
        cookies.sort_unstable();
        assert_eq!(cookies, (0..12).collect::<Vec<_>>(), "each came back once");
        assert!(refused.iter().all(|request| request.status() == RequestStatus::Pending));
        all.iter().for_each(|request| {
            let complete = request.status() == RequestStatus::Complete;
            let frame = request.buffer(stream).unwrap().status();
            let should = if complete { FrameStatus::Success } else { FrameStatus::Cancelled };
            assert_eq!(frame, should, "request {}", request.cookie());
        });
        drop((all, refused));
        // Another sensor is made for the next start.
        let film = VideoFile::new((640, 480));
        let mut description = camera.description().clone();
        camera.release().unwrap();
        description.settings.source = film.settings().source;
        let camera = CameraManager::of(vec![description]).get("vcam").unwrap();
        camera.acquire(resources(IspChoice::Gpu(None))).unwrap();
        let (stream, again) = requests(&camera, 3);
        goes_on(&camera, stream, again);
        camera.release().unwrap();
    });
}

/// Buffers that were not announced: the GPU imports those that it takes at their first frame, and
/// copies the others, which are memfds.
#[test]
fn buffers_that_come_in_the_middle_are_imported_or_copied_for_the_same_frame() {
    leaves_nothing(|| {
        let camera = CameraManager::new().get("vcam").unwrap();
        camera.acquire(resources(IspChoice::Gpu(None))).unwrap();
        let (stream, waiting) = requests(&camera, 4);
        let streams = camera.generate_configuration(&[StreamRole::Viewfinder]);
        let configured = &streams.streams[0];
        let StreamFormat::Picture(format) = configured.pixel_format else { panic!("a picture") };
        let Size { width, height } = configured.size;
        let layout = Layout::linear(format, width, height, Alignment::default()).unwrap();
        let pool = |heap| Pool::new(&*heaps::open(heap).unwrap(), &layout, "test-own", 4).unwrap();
        let pools = ["dma_heap:system", "memfd"].map(pool);
        camera.start(FAST).unwrap();
        queue_all(&camera, waiting);
        let mut made: Vec<_> = (0..4).map(|_| camera.next_completed(LONG).unwrap()).collect();
        for (round, pool) in (1..).zip(&pools) {
            for index in 0..4 {
                let mut request = camera.create_request(4 * round + index).unwrap();
                request.add_buffer(stream, pool.take(LONG).unwrap(), None).unwrap();
                camera.queue_request(request).unwrap();
            }
            made.extend((0..4).map(|_| camera.next_completed(LONG).unwrap()));
        }
        let summary = camera.stop().unwrap();
        assert_eq!((summary.completed, summary.errors), (12, 0), "{summary:?}");
        let first = made[8].sequence().unwrap();
        assert_all_back(made, 12, stream, 12);
        let (raw, output) = summary.isp.unwrap();
        assert_eq!((raw.method, output.method), (Method::Import, Method::Copy), "{output:?}");
        assert_eq!((output.since_frame, output.imports), (first, 8), "{output:?}");
        assert_eq!(output.bytes_copied, 4 * layout.payload());
        camera.release().unwrap();
    });
}
