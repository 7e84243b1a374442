//! A camera with streams: its engine, its buffers, and the threads that make frames.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use vcam_allocator::constraints::Constraints;
use vcam_allocator::{Dmabuf, Fourcc, Pool};
use vcam_isp_gpu::View;

use super::completed::ToApplication;
use super::configuration::{CameraConfiguration, StreamFormat};
use super::error::CameraError;
use super::{Inner, Resources, Start};
use crate::controls::FrameControls;
use crate::engine::error::StartError;
use crate::engine::pause::PauseHandle;
use crate::engine::request_queue::{PendingRequests, RequestQueue};
use crate::engine::stop::StopHandle;
use crate::engine::stream_alloc::{Consumer, RAW_IN_FLIGHT, StreamAllocation};
use crate::engine::{Engine, EngineConfig, Running, Streaming};
use crate::request::{MAX_REQUESTS, Request};
use crate::sensor::FRAME_DURATION;
use crate::sensor::format::Format;
use crate::size::Size;
use crate::stream::{MAX_STREAMS, Port, StreamId, StreamSpec};

/// A camera with streams.
pub(super) struct Configured {
    pub(super) engine: Engine,
    pub(super) configuration: CameraConfiguration,
    pub(super) ports: [Option<Port>; MAX_STREAMS],
    pub(super) resources: Resources,
    /// Raw buffers, for the sensor and for the application.
    pub(super) raw: Option<Arc<Pool>>,
    pub(super) outputs: [Option<Arc<Pool>>; MAX_STREAMS - 1],
}

/// A camera that makes frames.
pub(super) struct Active {
    pub(super) requests: Sender<Request>,
    pub(super) running: Running,
    pub(super) stop: StopHandle,
}

impl Configured {
    pub(super) fn new(
        configuration: CameraConfiguration,
        mut resources: Resources,
    ) -> Result<Self, Box<(StartError, Resources)>> {
        let mut sensor = configuration.camera().settings.clone();
        sensor.size = configuration.sensor_size();
        let mut ports = [None; MAX_STREAMS];
        let (mut outputs, mut min_raw) = (Vec::new(), 0);
        for (port, stream) in ports.iter_mut().zip(&configuration.streams) {
            let min_buffers = u64::from(stream.buffer_count);
            *port = Some(match stream.pixel_format {
                StreamFormat::Raw(_) => {
                    min_raw = RAW_IN_FLIGHT + min_buffers;
                    Port::Raw
                }
                StreamFormat::Picture(format) => {
                    let view = View {
                        crop: None,
                        orientation: configuration.orientation,
                        colour_space: stream.colour_space,
                    };
                    let (port, size) = (Port::Output(outputs.len()), stream.size);
                    outputs.push(StreamSpec { port, format, size, view, min_buffers });
                    port
                }
            });
        }
        let config = EngineConfig {
            raw: StreamSpec::raw(&sensor, min_raw),
            sensor,
            outputs,
            isp: resources.isp.clone(),
            heaps: resources.heaps.clone(),
            heap_order: resources.heap_order,
            copies: resources.copies,
        };
        let (raw, outputs) = (None, [None, None]);
        match Engine::new(config, &mut resources.knowledge) {
            Ok(engine) => Ok(Self { engine, configuration, ports, resources, raw, outputs }),
            Err(error) => Err(Box::new((error, resources))),
        }
    }

    pub(super) fn port(&self, stream: StreamId) -> Option<Port> {
        self.ports.get(stream.index()).copied().flatten()
    }

    /// Checks that a buffer has a stream's format and size.
    pub(super) fn check(&self, stream: StreamId, buffer: &Dmabuf) -> Result<(), CameraError> {
        let (format, size) = match self.configuration.streams.get(stream.index()) {
            Some(stream) => stream.carrier(),
            None => return Err(CameraError::NoBuffers(stream)),
        };
        let is = Size { width: buffer.layout().width(), height: buffer.layout().height() };
        if (buffer.format(), is) == (format, size) {
            return Ok(());
        }
        let words = |format: Fourcc, size: Size| format!("{size} of {format}");
        Err(CameraError::Buffer {
            buffer: buffer.name().to_owned(),
            is: words(buffer.format(), is),
            stream,
            should: words(format, size),
        })
    }

    pub(super) fn start(
        &mut self,
        start: Start,
        inner: &Arc<Inner>,
    ) -> Result<Active, CameraError> {
        let needs_raw = matches!(inner.description.settings.format, Format::Raw(_));
        let has_all = |port: &Option<Port>| match port {
            Some(Port::Output(index)) => self.outputs[*index].is_some(),
            Some(Port::Raw) | None => true,
        };
        if !self.ports.iter().all(has_all) || needs_raw && self.raw.is_none() {
            self.allocate_rest()?;
        }
        let mut controls = FrameControls::default();
        controls.apply(&start.controls);
        let (requests, queue) = bounded(MAX_REQUESTS);
        let stop = StopHandle::default();
        let mode = inner
            .description
            .modes
            .iter()
            .find(|mode| mode.size == self.configuration.sensor_size());
        let period = match (start.as_fast_as_possible, mode) {
            (true, _) => Duration::ZERO,
            (false, Some(mode)) => mode.frame_durations()[1],
            (false, None) => FRAME_DURATION,
        };
        let streaming = Streaming {
            period,
            requests: RequestQueue::Requests(Box::new(PendingRequests::new(
                queue,
                start.policy,
                controls,
            ))),
            raw: self.raw.clone(),
            outputs: self.outputs.iter().flatten().cloned().collect(),
            stop: stop.clone(),
            // It pauses while no frames are asked for.
            pause: PauseHandle::default(),
        };
        inner.completions.open();
        let running = self.engine.start(streaming, ToApplication(inner.completions.clone()))?;
        Ok(Active { requests, running, stop })
    }

    /// Allocates all streams; under [`CopyPolicy::Forbid`](crate::CopyPolicy::Forbid), a link that
    /// copies is an error.
    pub(super) fn allocate<C: Consumer + 'static>(
        &mut self,
        consumers: Vec<(Port, C)>,
    ) -> Result<StreamAllocation<C>, StartError> {
        let allocated = self.engine.allocate(consumers, &mut self.resources.knowledge)?;
        self.engine.config().copies.check_links(&allocated.links)?;
        Ok(allocated)
    }

    /// Buffers for the streams that have none.
    fn allocate_rest(&mut self) -> Result<(), CameraError> {
        let no_consumers = Vec::<(Port, Constraints)>::new();
        let StreamAllocation { raw, outputs, .. } = self.allocate(no_consumers)?;
        self.raw = self.raw.take().or(raw.map(Arc::new));
        for (place, pool) in self.outputs.iter_mut().zip(outputs) {
            place.get_or_insert(Arc::new(pool));
        }
        Ok(())
    }
}
