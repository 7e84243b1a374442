//! A camera in thirty lines, as a user of libcamera knows it: thirty frames, requested one by one,
//! each with the exposure that it asks for and the metadata of the exposure that it got.
//!
//! `cargo run --example camera`

use std::time::Duration;

use vcam_pipeline::camera::{Resources, ReuseBuffers, Start};
use vcam_pipeline::controls::{AeEnable, ExposureTime, SensorTimestamp};
use vcam_pipeline::{CameraManager, Size, camera::StreamRole};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let camera = CameraManager::new().get("vcam").ok_or("the manager has a camera 'vcam'")?;
    camera.acquire(Resources::default())?;
    let mut configuration = camera.generate_configuration(&[StreamRole::Viewfinder]);
    configuration.streams[0].size = Size { width: 640, height: 480 };
    configuration.streams[0].buffer_count = 6;
    println!("{:?}", configuration.validate());
    camera.configure(&configuration)?;
    camera.start(Start::default())?;

    let stream = configuration.stream_ids().next().ok_or("one stream was asked for")?;
    let buffers = camera.buffers(stream)?;
    for cookie in 0..6 {
        let mut request = camera.create_request(cookie)?;
        request.add_buffer(stream, buffers.take(Duration::ZERO)?, None)?;
        request.controls_mut().set(AeEnable, false).set(ExposureTime, 5000);
        camera.queue_request(request)?;
    }
    for (frame, mut request) in (0..30).zip(camera.completed()) {
        let metadata = request.metadata();
        let (time, exposure) = (metadata.get(SensorTimestamp), metadata.get(ExposureTime));
        println!("frame {:?}: at {time:?} ns, {exposure:?} µs", request.sequence());
        // The picture is in `request.buffer(stream)`, once its release fence has signalled.
        request.reuse(ReuseBuffers::Keep);
        request.controls_mut().set(ExposureTime, 5000 + 100 * frame);
        camera.queue_request(request)?;
    }
    println!("{} frames completed", camera.stop()?.completed);
    Ok(camera.release()?)
}
