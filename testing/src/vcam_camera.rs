//! Our camera, as the compliance suite examines it.

use std::collections::VecDeque;
use std::time::Duration;

use vcam_allocator::{CpuAccess, Fourcc, Heap, Knowledge, heaps};
use vcam_pipeline::camera::{
    Camera, CameraManager, FrameStatus, Request, RequestStatus, Resources, ReuseBuffers, Start,
    StreamFormat, StreamId, StreamRole,
};
use vcam_pipeline::controls::{AeEnable, ExposureTime, SensorTimestamp};
use vcam_pipeline::sensor::config::Mode;
use vcam_pipeline::sensor::frame_counter;
use vcam_pipeline::{CameraConfiguration, CopyPolicy, HeapOrder, IspChoice};

use crate::compliance::{Completed, Device, Role};

/// The time limit of a wait, longer than any request takes.
const LONG: Duration = Duration::from_secs(60);

/// The built-in camera, with buffers of one heap.
pub struct VcamCamera {
    camera: Camera,
    heap: &'static str,
    isp: IspChoice,
    stream: Option<(StreamId, StreamFormat)>,
    free: VecDeque<Request>,
}

impl VcamCamera {
    /// With buffers of this heap and pictures of this ISP.
    pub fn new(heap: &'static str, isp: IspChoice) -> Self {
        let mut description =
            CameraManager::new().get("vcam").expect("the built-in camera").description().clone();
        // Small frames, since there are thousands.
        description.modes = vec![Mode { size: (160, 120).into(), rates: [1.0, 30.0] }];
        let camera = CameraManager::of(vec![description]).get("vcam").expect("the same, smaller");
        Self { camera, heap, isp, stream: None, free: VecDeque::new() }
    }
}

/// The resources of a test's camera: one heap and one ISP.
pub fn resources(heap: &str, isp: IspChoice) -> Resources {
    let heap: Box<dyn Heap> = heaps::open(heap).expect("the heap is there");
    let (heaps, knowledge) = ([heap].into(), Knowledge::default());
    Resources {
        heaps,
        isp,
        copies: CopyPolicy::Fallback,
        heap_order: HeapOrder::AsGiven,
        knowledge,
    }
}

/// The frame's number, if the frame is there and shows it.
pub fn burnt_in(request: &Request, stream: StreamId, format: StreamFormat) -> Option<u64> {
    let given = request.buffer(stream)?;
    assert_eq!(given.status(), FrameStatus::Success);
    if let Some(fence) = given.release_fence() {
        fence.wait(LONG).expect("the release fence signals");
    }
    let buffer = given.buffer();
    let pixels = buffer.cpu_access(CpuAccess::Read).expect("the buffer can be read");
    let width = buffer.layout().width() as usize;
    let row = &pixels.plane(0)[2 * buffer.layout().planes()[0].stride as usize..];
    let number = match format {
        StreamFormat::Raw(_) | StreamFormat::Picture(Fourcc::NV12) => {
            frame_counter::read(width, |x| row[x])
        }
        StreamFormat::Picture(_) => frame_counter::read(width, |x| row[4 * x + 1]),
    };
    number.map(u64::from)
}

impl Device for VcamCamera {
    fn configure(&mut self, role: Role, buffers: u64) -> bool {
        let role = match role {
            Role::Raw => StreamRole::Raw,
            Role::Still => StreamRole::StillCapture,
            Role::Video => StreamRole::VideoRecording,
            Role::Viewfinder => StreamRole::Viewfinder,
        };
        let heap = self.heap;
        self.camera.acquire(resources(heap, self.isp.clone())).expect("nobody has it");
        let mut configuration: CameraConfiguration = self.camera.generate_configuration(&[role]);
        configuration.streams[0].buffer_count = buffers as u32;
        self.camera.configure(&configuration).expect("what it generates is valid");
        let stream = configuration.stream_ids().next().expect("there is one");
        self.stream = Some((stream, configuration.streams[0].pixel_format));
        self.camera.allocate::<vcam_allocator::constraints::Constraints>(vec![]).expect("memory");
        let pool = self.camera.buffers(stream).expect("just allocated");
        self.free = (0..buffers)
            .map(|cookie| {
                let mut request = self.camera.create_request(cookie).expect("configured");
                let buffer = pool.take(Duration::ZERO).expect("as many as asked for");
                request.add_buffer(stream, buffer, None).expect("the first one");
                request
            })
            .collect();
        true
    }

    fn start(&mut self) {
        let start = Start { as_fast_as_possible: true, ..Start::default() };
        self.camera.start(start).expect("it is configured");
    }

    fn queue(&mut self, cookie: u64, exposure_us: Option<i32>) {
        let mut request = self.free.pop_front().expect("a free request");
        request.reuse(ReuseBuffers::Keep);
        request.set_cookie(cookie);
        if let Some(exposure) = exposure_us {
            request.controls_mut().set(AeEnable, false).set(ExposureTime, exposure);
        }
        self.camera.queue_request(request).expect("it is running");
    }

    fn next(&mut self) -> Option<Completed> {
        let (stream, format) = self.stream?;
        let request = self.camera.next_completed(LONG)?;
        let cancelled = request.status() == RequestStatus::Cancelled;
        let completed = Completed {
            cookie: request.cookie(),
            cancelled,
            sequence: request.sequence(),
            timestamp: request.metadata().get(SensorTimestamp),
            exposure_us: request.metadata().get(ExposureTime),
            burnt_in: if cancelled { None } else { burnt_in(&request, stream, format) },
        };
        self.free.push_back(request);
        Some(completed)
    }

    fn stop(&mut self) {
        self.camera.stop().expect("it stops well");
    }

    fn release(&mut self) {
        self.free.clear();
        self.camera.release().expect("it is stopped");
    }

    fn depth(&self) -> u64 {
        // Being filled, waiting, being rendered; and those that the test looks at.
        6
    }

    fn burns_in(&self, _: Role) -> bool {
        true
    }
}
