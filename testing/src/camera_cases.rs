//! Cases of our camera beyond compliance: states, streams, controls, fences and errors. Each is run
//! with the CPU's ISP on memfds on the host, and with the GPU's on dma-bufs in the lab.

#![allow(missing_docs, reason = "a case is its name")]

use std::collections::BTreeMap;
use std::time::Duration;

use vcam_allocator::constraints::Constraints;
use vcam_allocator::{Alignment, CpuAccess, Fence, Fourcc, Heap, Layout, heaps};
use vcam_isp_gpu::{Crop, Orientation};
use vcam_pipeline::camera::{
    Camera, CameraError, CameraManager, CameraState, DropPolicy, FrameStatus, QueueReason, Request,
    RequestStatus, Resources, ReuseBuffers, Start, Status, StreamId, StreamRole,
};
use vcam_pipeline::controls::*;
use vcam_pipeline::sensor::Source;
use vcam_pipeline::{CameraConfiguration, IspChoice};

use crate::vcam_camera::{burnt_in, resources};

/// Hands the names of all cases to a macro: a case that is written here is run everywhere.
#[macro_export]
macro_rules! with_all_camera_cases {
    ($run:ident) => {
        $run! {
            the_wrong_state_is_a_typed_error
            a_configuration_must_be_valid
            a_raw_stream_and_two_of_pictures_show_the_same_frame
            not_every_request_wants_every_stream
            controls_of_the_isp_count_for_their_frame
            a_crop_and_a_turn_are_seen
            a_test_pattern_takes_the_scene_s_place
            frames_last_as_long_as_is_asked
            a_sensor_of_its_own_pace_drops_what_nobody_asked_for
            buffers_of_the_application_s_own_are_written
            a_sensor_that_sends_pictures_needs_no_isp
            completed_requests_can_be_polled_for
            exposure_and_white_follow_the_light
            two_cameras_run_at_once
            who_lets_go_of_a_running_camera_leaves_nothing_behind
            a_raw_buffer_that_somebody_reads_is_not_written_and_the_picture_is_made
        }
    };
}
const LONG: Duration = Duration::from_secs(60);
const NOBODY: Vec<(StreamId, Constraints)> = Vec::new();

/// The source of the buffers, and the maker of the pictures.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The heap, by its name.
    pub heap: &'static str,
    /// The ISP.
    pub isp: IspChoice,
}

impl Setup {
    fn resources(&self) -> Resources {
        resources(self.heap, self.isp.clone())
    }

    fn camera(&self) -> Camera {
        let camera = CameraManager::new().get("vcam").unwrap();
        camera.acquire(self.resources()).unwrap();
        camera
    }

    /// A camera that shows this instead of the test picture.
    fn sees(&self, scene: &str, format: &str) -> Camera {
        let mut description = CameraManager::new().get("vcam").unwrap().description().clone();
        description.settings.source = scene.parse::<Source>().unwrap();
        description.settings.format = format.parse().unwrap();
        let camera = CameraManager::of(vec![description]).get("vcam").unwrap();
        camera.acquire(self.resources()).unwrap();
        camera
    }
}

const FAST: Start =
    Start { controls: ControlList::NONE, policy: DropPolicy::Block, as_fast_as_possible: true };

fn configure(camera: &Camera, roles: &[StreamRole], buffers: u32) -> CameraConfiguration {
    let mut configuration = camera.generate_configuration(roles);
    configuration.streams.iter_mut().for_each(|stream| stream.buffer_count = buffers);
    assert_eq!(configuration.validate(), Status::Valid);
    camera.configure(&configuration).unwrap();
    camera.allocate(NOBODY).unwrap();
    configuration
}

/// A request with a buffer for each stream.
fn request(camera: &Camera, streams: &CameraConfiguration, cookie: u64) -> Request {
    let mut request = camera.create_request(cookie).unwrap();
    for stream in streams.stream_ids() {
        let buffer = camera.buffers(stream).unwrap().take(LONG).unwrap();
        request.add_buffer(stream, buffer, None).unwrap();
    }
    request
}

/// Makes so many frames, each with the controls that `set` sets, and passes each with its number to
/// `look`.
fn frames(
    camera: &Camera,
    streams: &CameraConfiguration,
    count: u64,
    set: impl Fn(u64, &mut ControlList),
    mut look: impl FnMut(u64, &Request),
) {
    let depth = 6.min(count);
    for cookie in 0..depth {
        let mut request = request(camera, streams, cookie);
        set(cookie, request.controls_mut());
        camera.queue_request(request).unwrap();
    }
    for cookie in 0..count {
        let mut request = camera.next_completed(LONG).unwrap();
        assert_eq!((request.cookie(), request.status()), (cookie, RequestStatus::Complete));
        look(cookie, &request);
        let next = cookie + depth;
        if next < count {
            request.reuse(ReuseBuffers::Keep);
            request.set_cookie(next);
            set(next, request.controls_mut());
            camera.queue_request(request).unwrap();
        }
    }
}

/// Red, green and blue of a pixel of an XR24 picture.
fn pixel(request: &Request, stream: StreamId, x: usize, y: usize) -> [u8; 3] {
    let given = request.buffer(stream).unwrap();
    assert_eq!(given.status(), FrameStatus::Success);
    if let Some(fence) = given.release_fence() {
        fence.wait(LONG).unwrap();
    }
    let buffer = given.buffer();
    let pixels = buffer.cpu_access(CpuAccess::Read).unwrap();
    let at = y * buffer.layout().planes()[0].stride as usize + 4 * x;
    let [blue, green, red] = pixels.plane(0)[at..at + 3].try_into().unwrap();
    [red, green, blue]
}

pub fn the_wrong_state_is_a_typed_error(setup: &Setup) {
    let camera = CameraManager::new().get("vcam").unwrap();
    let state = |result: Result<(), CameraError>| match result {
        Err(CameraError::State { state, .. }) => Some(state),
        _ => None,
    };
    assert_eq!(camera.state(), CameraState::Available);
    assert_eq!(state(camera.start(FAST)), Some(CameraState::Available));
    assert_eq!(state(camera.stop().map(|_| ())), Some(CameraState::Available));
    assert_eq!(state(camera.release()), Some(CameraState::Available));
    let streams = camera.generate_configuration(&[StreamRole::Viewfinder]);
    assert_eq!(state(camera.configure(&streams)), Some(CameraState::Available));

    camera.acquire(setup.resources()).unwrap();
    let again = camera.clone().acquire(setup.resources());
    assert!(matches!(again, Err(CameraError::Busy(_))));
    assert_eq!(state(camera.start(FAST)), Some(CameraState::Acquired));
    assert_eq!(state(camera.create_request(0).map(|_| ())), Some(CameraState::Acquired));

    let streams = configure(&camera, &[StreamRole::Viewfinder], 4);
    assert_eq!(camera.state(), CameraState::Configured);
    let refused = camera.queue_request(request(&camera, &streams, 7)).unwrap_err();
    assert_eq!(refused.request.cookie(), 7, "it comes back");
    assert!(matches!(refused.reason, QueueReason::Camera(CameraError::State { .. })));

    camera.start(FAST).unwrap();
    assert_eq!(camera.state(), CameraState::Running);
    assert_eq!(state(camera.release()), Some(CameraState::Running));
    assert_eq!(state(camera.configure(&streams)), Some(CameraState::Running));
    let empty = camera.create_request(0).unwrap();
    assert!(matches!(camera.queue_request(empty).unwrap_err().reason, QueueReason::Empty));
    camera.queue_request(refused.request).unwrap();
    let done = camera.next_completed(LONG).unwrap();
    assert!(matches!(camera.queue_request(done).unwrap_err().reason, QueueReason::Completed));
    let mut wrong = request(&camera, &streams, 0);
    wrong.controls_mut().set(Contrast, 9.0);
    let error = camera.queue_request(wrong).unwrap_err().reason;
    assert_eq!(error.to_string(), "Contrast cannot be 9: it is from 0.25 to 4");
    camera.stop().unwrap();
    assert_eq!(camera.state(), CameraState::Configured);
    let old = request(&camera, &streams, 0);
    configure(&camera, &[StreamRole::Raw], 4);
    camera.start(FAST).unwrap();
    // The number of the stream is the same, its content is not.
    let error = camera.queue_request(old).unwrap_err().reason;
    assert!(matches!(error, QueueReason::Stale), "{error}");
    camera.stop().unwrap();
    camera.release().unwrap();
    assert_eq!(camera.state(), CameraState::Available);
}

pub fn a_configuration_must_be_valid(setup: &Setup) {
    let camera = setup.camera();
    let mut streams = camera.generate_configuration(&[StreamRole::Viewfinder]);
    streams.streams[0].size = (9999, 480).into();
    let error = camera.configure(&streams).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the configuration is not valid: stream 0: size 9999x480 became 1920x480"
    );
    let empty = camera.generate_configuration(&[]);
    assert!(matches!(camera.configure(&empty), Err(CameraError::Configuration(_))));
    let other = setup.sees("bars", "SRGGB8");
    let streams = other.generate_configuration(&[StreamRole::Viewfinder]);
    assert!(matches!(camera.configure(&streams), Err(CameraError::OtherCamera { .. })));
}

pub fn a_raw_stream_and_two_of_pictures_show_the_same_frame(setup: &Setup) {
    let camera = setup.camera();
    let roles = [StreamRole::Raw, StreamRole::VideoRecording, StreamRole::Viewfinder];
    let mut streams = camera.generate_configuration(&roles);
    streams.streams.iter_mut().for_each(|stream| stream.buffer_count = 6);
    // The viewfinder is smaller.
    streams.streams[2].size = (320, 240).into();
    assert_eq!(streams.validate(), Status::Valid);
    camera.configure(&streams).unwrap();
    let plans = camera.allocate(NOBODY).unwrap().plans;
    let names: Vec<_> = plans.iter().map(|plan| (plan.stream, plan.format.as_str())).collect();
    assert_eq!(names, [("raw", "R8"), ("output", "NV12"), ("output-2", "XR24")]);
    camera.start(FAST).unwrap();
    let mut seen = 0;
    frames(
        &camera,
        &streams,
        20,
        |_, _| {},
        |_, request| {
            for stream in streams.stream_ids() {
                let format = streams.streams[stream.index()].pixel_format;
                assert_eq!(burnt_in(request, stream, format), request.sequence(), "{stream:?}");
                seen += 1;
            }
        },
    );
    assert_eq!(seen, 60);
    assert_eq!(camera.stop().unwrap().completed, 20);
}

pub fn not_every_request_wants_every_stream(setup: &Setup) {
    let camera = setup.camera();
    let streams = configure(&camera, &[StreamRole::Raw, StreamRole::Viewfinder], 6);
    camera.start(FAST).unwrap();
    let ids: Vec<_> = streams.stream_ids().collect();
    for cookie in 0..12_u64 {
        let mut request = camera.create_request(cookie).unwrap();
        for (index, stream) in ids.iter().enumerate() {
            if cookie % 3 != index as u64 {
                let buffer = camera.buffers(*stream).unwrap().take(LONG).unwrap();
                request.add_buffer(*stream, buffer, None).unwrap();
            }
        }
        camera.queue_request(request).unwrap();
        let done = camera.next_completed(LONG).unwrap();
        for (index, stream) in ids.iter().enumerate() {
            let format = streams.streams[index].pixel_format;
            let number = burnt_in(&done, *stream, format);
            let should = (cookie % 3 != index as u64).then(|| done.sequence().unwrap());
            assert_eq!(number, should, "{cookie} {index}");
        }
    }
    camera.stop().unwrap();
}

pub fn controls_of_the_isp_count_for_their_frame(setup: &Setup) {
    let camera = setup.sees("solid", "SRGGB10");
    let streams = configure(&camera, &[StreamRole::Viewfinder], 8);
    let stream = streams.stream_ids().next().unwrap();
    camera.start(FAST).unwrap();
    // Every third frame is grey, every third has its colours as gains make them.
    let set = |cookie: u64, list: &mut ControlList| {
        list.set(AwbEnable, false).set(AeEnable, false).set(ExposureTime, 8000);
        list.set(AnalogueGain, 1.0);
        list.set(ColourGains, [[1.0, 1.0], [3.0, 1.0], [1.0, 3.0]][cookie as usize % 3]);
        list.set(Gamma, [1.0, 2.2][cookie as usize % 2]);
    };
    let mut levels = BTreeMap::new();
    frames(&camera, &streams, 24, set, |cookie, request| {
        let gains = request.metadata().get(ColourGains).unwrap();
        assert_eq!(gains, [[1.0, 1.0], [3.0, 1.0], [1.0, 3.0]][cookie as usize % 3]);
        assert_eq!(request.metadata().get(Gamma), Some([1.0, 2.2][cookie as usize % 2]));
        assert_eq!(request.metadata().get(AnalogueGain), Some(1.0));
        let seen = pixel(request, stream, 400, 300);
        let same = levels.entry(cookie % 6).or_insert(seen);
        let near = seen.iter().zip(&*same).all(|(a, b)| a.abs_diff(*b) <= 12);
        assert!(near, "{cookie}: {seen:?} and {same:?}");
    });
    // The pixels prove the metadata.
    let [plain, red, blue] = [0, 4, 2].map(|at| levels[&at]);
    assert!(red[0] > plain[0] + 20 && blue[2] > plain[2] + 20, "{levels:?}");
    assert!(levels[&3][1] > plain[1] + 20, "gamma: {levels:?}");
    camera.stop().unwrap();
}

pub fn a_crop_and_a_turn_are_seen(setup: &Setup) {
    let camera = setup.sees("test:bars", "SRGGB8");
    let upright = configure(&camera, &[StreamRole::Viewfinder], 6);
    let stream = upright.stream_ids().next().unwrap();
    let corners = |request: &Request, (width, height): (usize, usize)| {
        [(4, 4), (width - 5, 4), (4, height - 5)].map(|(x, y)| pixel(request, stream, x, y))
    };
    camera.start(FAST).unwrap();
    let mut whole = Vec::new();
    // From the second frame on, only the right half.
    let half = Crop { x: 320, y: 0, width: 320, height: 480 };
    let set = |cookie, list: &mut ControlList| {
        if cookie > 0 {
            list.set(ScalerCrop, half);
        }
    };
    frames(&camera, &upright, 3, set, |cookie, request| {
        assert_eq!(request.metadata().get(ScalerCrop), (cookie > 0).then_some(half));
        whole.push((corners(request, (640, 480)), pixel(request, stream, 330, 100)));
    });
    camera.stop().unwrap();
    let ([left, right, _], middle) = whole[0];
    let ([cropped_left, cropped_right, _], _) = whole[1];
    assert_ne!(left, right);
    let near = |a: [u8; 3], b: [u8; 3]| a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= 8);
    assert!(near(cropped_left, middle) && near(cropped_right, right), "{whole:?}");

    let mut turned = camera.generate_configuration(&[StreamRole::Viewfinder]);
    turned.orientation = Orientation::ROTATE_90;
    turned.streams[0].size = (480, 640).into();
    turned.streams[0].buffer_count = 6;
    assert_eq!(turned.validate(), Status::Valid);
    camera.configure(&turned).unwrap();
    camera.allocate(NOBODY).unwrap();
    camera.start(FAST).unwrap();
    frames(
        &camera,
        &turned,
        1,
        |_, _| {},
        |_, request| {
            let [top_left, top_right, bottom_left] = corners(request, (480, 640));
            // The left side is at the top.
            assert_eq!((top_left, top_right, bottom_left), (left, left, right));
        },
    );
    camera.stop().unwrap();
}

pub fn a_test_pattern_takes_the_scene_s_place(setup: &Setup) {
    let camera = setup.sees("solid", "SRGGB8");
    let streams = configure(&camera, &[StreamRole::Viewfinder], 6);
    let stream = streams.stream_ids().next().unwrap();
    camera.start(FAST).unwrap();
    let is_bars = |cookie: u64| (3..6).contains(&cookie);
    let set = |cookie, list: &mut ControlList| {
        list.set(TestPatternMode, if is_bars(cookie) { 2 } else { 0 });
        list.set(AwbEnable, false);
    };
    frames(&camera, &streams, 9, set, |cookie, request| {
        let mode = if is_bars(cookie) { 2 } else { 0 };
        assert_eq!(request.metadata().get(TestPatternMode), Some(mode));
        let seen = [100, 200, 300, 400, 500].map(|x| pixel(request, stream, x, 240));
        let spread = |[r, g, b]: [u8; 3]| r.max(g).max(b) - r.min(g).min(b);
        let colourful = seen.into_iter().map(spread).max().unwrap() > 100;
        assert_eq!(colourful, is_bars(cookie), "{cookie}: {seen:?}");
    });
    camera.stop().unwrap();
}

pub fn frames_last_as_long_as_is_asked(setup: &Setup) {
    let camera = setup.camera();
    let streams = configure(&camera, &[StreamRole::Viewfinder], 6);
    camera.start(Start::default()).unwrap();
    // A millisecond longer than by default, so that no machine is too slow.
    let set = |cookie: u64, list: &mut ControlList| {
        let limit = if cookie < 5 { 50_000 } else { 80_000 };
        list.set(FrameDurationLimits, [limit; 2]);
    };
    let (mut durations, mut times) = (Vec::new(), Vec::new());
    frames(&camera, &streams, 10, set, |_, request| {
        durations.push(request.metadata().get(FrameDuration).unwrap());
        times.push(request.metadata().get(SensorTimestamp).unwrap());
    });
    assert!(durations[..5].iter().all(|it| (49_990..=50_010).contains(it)), "{durations:?}");
    assert!(durations[5..].iter().all(|it| (79_990..=80_010).contains(it)), "{durations:?}");
    // Never sooner; the delay depends on the machine.
    assert!(times[9] - times[5] >= 4 * 70_000_000, "{times:?}");
    camera.stop().unwrap();
}

pub fn a_sensor_of_its_own_pace_drops_what_nobody_asked_for(setup: &Setup) {
    let camera = setup.camera();
    let streams = configure(&camera, &[StreamRole::Viewfinder], 4);
    camera.start(Start { policy: DropPolicy::DropFrames, ..FAST }).unwrap();
    let mut sequences = Vec::new();
    for cookie in 0..4 {
        camera.queue_request(request(&camera, &streams, cookie)).unwrap();
        sequences.push(camera.next_completed(LONG).unwrap().sequence().unwrap());
        // Frames go by.
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(sequences[3] > 3, "{sequences:?}");
    assert_eq!(camera.stop().unwrap().completed, 4);
}

pub fn buffers_of_the_application_s_own_are_written(setup: &Setup) {
    let camera = setup.camera();
    let mut streams = camera.generate_configuration(&[StreamRole::Viewfinder]);
    streams.streams[0].size = (320, 240).into();
    streams.validate();
    camera.configure(&streams).unwrap();
    let stream = streams.stream_ids().next().unwrap();
    let heap: Box<dyn Heap> = heaps::open(setup.heap).unwrap();
    let allocate = |size: (u32, u32)| {
        // A stride that the camera would not have chosen.
        let wide = Alignment { stride: 512, ..Alignment::default() };
        let layout = Layout::linear(Fourcc::XRGB8888, size.0, size.1, wide).unwrap();
        heap.allocate(&layout, "application").unwrap()
    };
    let error = camera.adopt(stream, vec![allocate((320, 200))]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "buffer 'application' is 320x200 of XR24, and stream 0 has 320x240 of XR24"
    );
    let mine: Vec<_> = (0..6).map(|_| allocate((320, 240))).collect();
    camera.adopt(stream, mine.clone()).unwrap();
    camera.start(FAST).unwrap();
    frames(
        &camera,
        &streams,
        12,
        |_, _| {},
        |_, request| {
            let format = streams.streams[0].pixel_format;
            assert_eq!(burnt_in(request, stream, format), request.sequence());
            let used = request.buffer(stream).unwrap().buffer().id();
            assert!(mine.iter().any(|buffer| buffer.id() == used));
        },
    );
    camera.stop().unwrap();
}

pub fn a_sensor_that_sends_pictures_needs_no_isp(setup: &Setup) {
    for format in ["NV12", "YUYV", "XR24"] {
        let camera = setup.sees("bars", format);
        let streams = configure(&camera, &[StreamRole::Viewfinder], 6);
        camera.start(FAST).unwrap();
        frames(
            &camera,
            &streams,
            10,
            |_, _| {},
            |_, request| {
                assert!(request.metadata().get(ExposureTime).is_some());
                let buffer = request.buffers().next().unwrap().1;
                let pixels = buffer.buffer().cpu_access(CpuAccess::Read).unwrap();
                let first = pixels.plane(0)[0];
                assert!(pixels.plane(0).iter().any(|byte| *byte != first), "{format} is blank");
            },
        );
        let summary = camera.stop().unwrap();
        assert_eq!((summary.completed, summary.isp.is_none()), (10, true));
    }
}

pub fn completed_requests_can_be_polled_for(setup: &Setup) {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let camera = setup.camera();
    let streams = configure(&camera, &[StreamRole::Viewfinder], 4);
    let fd = camera.completed_fd().unwrap();
    let ready = |seconds| {
        let limit = Timespec { tv_sec: seconds, tv_nsec: 0 };
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).unwrap()
    };
    camera.start(FAST).unwrap();
    assert_eq!(ready(0), 0);
    for cookie in 0..3 {
        camera.queue_request(request(&camera, &streams, cookie)).unwrap();
    }
    for cookie in 0..3 {
        assert_eq!(ready(60), 1);
        assert_eq!(camera.try_next_completed().unwrap().cookie(), cookie);
    }
    assert_eq!((ready(0), camera.try_next_completed().is_none()), (0, true));
    camera.stop().unwrap();
}

pub fn exposure_and_white_follow_the_light(setup: &Setup) {
    let camera = setup.sees("colorchecker", "SRGGB10P");
    let streams = configure(&camera, &[StreamRole::Viewfinder], 8);
    camera.start(FAST).unwrap();
    let mut last = ControlList::default();
    frames(&camera, &streams, 40, |_, _| {}, |_, request| last = *request.metadata());
    assert_eq!(last.get(AeState), Some(ae_state::CONVERGED), "{last:?}");
    let kelvin = last.get(ColourTemperature).unwrap();
    assert!((6000..7000).contains(&kelvin), "the lamp has 6500 K: {last:?}");
    let lux = last.get(Lux).unwrap();
    assert!((250.0..1000.0).contains(&lux), "the lamp has 500 lux: {last:?}");
    assert!(last.get(FocusFoM).unwrap() > 0, "{last:?}");
    camera.stop().unwrap();
    camera.release().unwrap();
}

pub fn two_cameras_run_at_once(setup: &Setup) {
    let (one, two) = (setup.camera(), setup.camera());
    let run = |camera: &Camera| {
        let streams = configure(camera, &[StreamRole::Viewfinder], 6);
        camera.start(FAST).unwrap();
        frames(camera, &streams, 30, |_, _| {}, |_, _| {});
        camera.stop().unwrap().completed
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| run(&one));
        assert_eq!((run(&two), other.join().unwrap()), (30, 30));
    });
}

pub fn who_lets_go_of_a_running_camera_leaves_nothing_behind(setup: &Setup) {
    let camera = setup.camera();
    let streams = configure(&camera, &[StreamRole::Viewfinder], 6);
    camera.start(FAST).unwrap();
    for cookie in 0..6 {
        camera.queue_request(request(&camera, &streams, cookie)).unwrap();
    }
    drop(camera);
}

pub fn a_raw_buffer_that_somebody_reads_is_not_written_and_the_picture_is_made(setup: &Setup) {
    let camera = setup.camera();
    let streams = configure(&camera, &[StreamRole::Raw, StreamRole::Viewfinder], 4);
    let [raw, picture] = streams.stream_ids().collect::<Vec<_>>()[..] else { panic!("two") };
    camera.start(FAST).unwrap();
    for cookie in 0..3 {
        let request = request(&camera, &streams, cookie);
        let held = request.buffer(raw).unwrap().buffer().clone();
        let reads = (cookie == 1).then(|| held.cpu_access(CpuAccess::Read).unwrap());
        camera.queue_request(request).unwrap();
        let request = camera.next_completed(LONG).unwrap();
        drop(reads);
        assert_eq!((request.cookie(), request.status()), (cookie, RequestStatus::Complete));
        let status = |stream| request.buffer(stream).unwrap().status();
        let written = if cookie == 1 { FrameStatus::Error } else { FrameStatus::Success };
        assert_eq!((status(raw), status(picture)), (written, FrameStatus::Success), "{cookie}");
        let shown = burnt_in(&request, picture, streams.streams[1].pixel_format);
        assert_eq!(shown, request.sequence(), "it is this frame's picture");
    }
    assert_eq!(camera.stop().unwrap().completed, 3);
    camera.release().unwrap();
}

/// An acquire fence before one of two streams, counted from 0.
pub fn one_fence_never_signals(setup: &Setup, fence: Fence, of: usize) {
    let camera = setup.camera();
    let streams = configure(&camera, &[StreamRole::Raw, StreamRole::Viewfinder], 4);
    let ids: Vec<_> = streams.stream_ids().collect();
    camera.start(FAST).unwrap();
    for cookie in 0..3 {
        let mut request = camera.create_request(cookie).unwrap();
        for (index, stream) in ids.iter().enumerate() {
            let buffer = camera.buffers(*stream).unwrap().take(LONG).unwrap();
            let acquire = (cookie == 1 && index == of).then(|| fence.clone());
            request.add_buffer(*stream, buffer, acquire).unwrap();
        }
        camera.queue_request(request).unwrap();
    }
    for cookie in 0..3 {
        let request = camera.next_completed(LONG).unwrap();
        assert_eq!((request.cookie(), request.status()), (cookie, RequestStatus::Complete));
        for (index, stream) in ids.iter().enumerate() {
            let waits = cookie == 1 && index == of;
            let should = if waits { FrameStatus::Error } else { FrameStatus::Success };
            assert_eq!(request.buffer(*stream).unwrap().status(), should, "{cookie} {index}");
        }
    }
    assert_eq!(camera.stop().unwrap().completed, 3);
    camera.release().unwrap();
}
