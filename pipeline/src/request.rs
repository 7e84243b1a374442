//! A request: what an application wants of one frame, and what it gets.

use std::fmt;
use std::sync::Arc;

use vcam_allocator::{Dmabuf, Fence, PooledBuffer};

use crate::controls::ControlList;
use crate::stream::{MAX_STREAMS, Port, StreamId};

/// The most requests that can be queued at once.
pub const MAX_REQUESTS: usize = 256;

/// Takes back a request that is lost while the camera has it.
pub(crate) trait Owner: Send + Sync {
    /// Gives the request, which is cancelled, back to the application.
    fn take_back(&self, lost: Request);
}

/// The fate of a frame that was not asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DropPolicy {
    /// The sensor waits for a request, so that no frame is lost.
    #[default]
    Block,
    /// The sensor keeps its pace, as real ones do: a frame without a request is lost, and leaves a
    /// gap in the sequence.
    DropFrames,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestStatus {
    /// Not completed yet.
    Pending,
    /// The frame was made; each buffer says how well.
    Complete,
    /// The camera stopped before.
    Cancelled,
}

/// The state of one buffer of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameStatus {
    /// Not completed yet.
    Pending,
    /// It holds the frame, once its release fence has signalled.
    Success,
    /// It does not hold the frame: it could not be made, or the acquire fence did not signal.
    Error,
    /// The camera stopped before.
    Cancelled,
}

/// A buffer in a request.
#[derive(Debug, Clone)]
pub struct FrameBuffer {
    buffer: PooledBuffer,
    acquire: Option<Fence>,
    release: Option<Fence>,
    status: FrameStatus,
}

impl FrameBuffer {
    /// The buffer.
    pub fn buffer(&self) -> &PooledBuffer {
        &self.buffer
    }

    /// Returns its state.
    pub fn status(&self) -> FrameStatus {
        self.status
    }

    /// Signals when the frame is in the buffer: wait for it before reading, or hand it to the
    /// device that reads. `None` if the frame is there. libcamera has no such fence: its requests
    /// complete when the hardware is done.
    pub fn release_fence(&self) -> Option<&Fence> {
        self.release.as_ref()
    }

    pub(crate) fn take_acquire(&mut self) -> Option<Fence> {
        self.acquire.take()
    }

    pub(crate) fn fail(&mut self, status: FrameStatus) {
        self.status = status;
    }
}

/// A request for one frame: buffers, at most one for each stream, and controls. Once it is
/// completed, it has the frame's metadata, and the state of each buffer.
///
/// It allocates when it is made and never again: [`reuse`](Request::reuse) it for frame after
/// frame. Any thread may have it; queueing gives it to the camera, and completion gives it back.
pub struct Request(Box<Inner>);

struct Inner {
    cookie: u64,
    ports: [Option<Port>; MAX_STREAMS],
    buffers: [Option<FrameBuffer>; MAX_STREAMS],
    controls: ControlList,
    metadata: ControlList,
    sequence: Option<u64>,
    status: RequestStatus,
    /// Gets it back if it is lost, while the camera has it.
    owner: Option<Arc<dyn Owner>>,
}

/// Why a buffer is not taken into a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BufferError {
    /// The request is for another configuration.
    #[error("the request's camera has no stream {}", .0.0)]
    NoStream(StreamId),
    /// There is one already.
    #[error("the request has a buffer for stream {} already", .0.0)]
    Taken(StreamId),
}

impl Request {
    pub(crate) fn new(cookie: u64, ports: [Option<Port>; MAX_STREAMS]) -> Self {
        Self(Box::new(Inner {
            cookie,
            ports,
            buffers: Default::default(),
            controls: ControlList::default(),
            metadata: ControlList::default(),
            sequence: None,
            status: RequestStatus::Pending,
            owner: None,
        }))
    }

    /// Hands the request to the camera. If a worker thread panics before completing it, it is
    /// returned as cancelled.
    pub(crate) fn leaves(&mut self, owner: Arc<dyn Owner>) {
        self.0.owner = Some(owner);
    }

    /// Hands the request back to the application.
    pub(crate) fn returns(&mut self) {
        self.0.owner = None;
    }

    /// Returns the number that the application gave it.
    pub fn cookie(&self) -> u64 {
        self.0.cookie
    }

    /// Replaces the request's cookie.
    pub fn set_cookie(&mut self, cookie: u64) {
        self.0.cookie = cookie;
    }

    /// Wants a stream's frame in a buffer, which the camera writes once `acquire` has signalled.
    ///
    /// The buffer must be of those that the camera allocated for this stream, or was handed
    /// ([`Camera::allocate`](crate::Camera::allocate), [`Camera::adopt`](crate::Camera::adopt));
    /// the camera checks that when the request is queued.
    pub fn add_buffer(
        &mut self,
        stream: StreamId,
        buffer: PooledBuffer,
        acquire: Option<Fence>,
    ) -> Result<(), BufferError> {
        if self.0.ports.get(stream.0).copied().flatten().is_none() {
            return Err(BufferError::NoStream(stream));
        }
        let place = &mut self.0.buffers[stream.0];
        if place.is_some() {
            return Err(BufferError::Taken(stream));
        }
        let status = FrameStatus::Pending;
        *place = Some(FrameBuffer { buffer, acquire, release: None, status });
        Ok(())
    }

    /// The buffer of a stream.
    pub fn buffer(&self, stream: StreamId) -> Option<&FrameBuffer> {
        self.0.buffers.get(stream.0)?.as_ref()
    }

    /// Takes the buffer of a stream out, to keep it longer than the request.
    pub fn take_buffer(&mut self, stream: StreamId) -> Option<FrameBuffer> {
        self.0.buffers.get_mut(stream.0)?.take()
    }

    /// Returns the controls of this frame and of all that follow.
    pub fn controls(&self) -> &ControlList {
        &self.0.controls
    }

    /// The same, to be changed.
    pub fn controls_mut(&mut self) -> &mut ControlList {
        &mut self.0.controls
    }

    /// Returns the values that the frame was really made with. Empty before completion.
    pub fn metadata(&self) -> &ControlList {
        &self.0.metadata
    }

    /// Returns the frame's number. It counts up with each frame of the sensor since the start, so
    /// that a gap stands for frames that were lost. `None` of a request that was not completed with
    /// a frame.
    pub fn sequence(&self) -> Option<u64> {
        self.0.sequence
    }

    /// How far it has come.
    pub fn status(&self) -> RequestStatus {
        self.0.status
    }

    /// Makes it ready to be queued once more, without controls, and with its buffers or without.
    pub fn reuse(&mut self, buffers: ReuseBuffers) {
        let Inner { buffers: held, controls, metadata, sequence, status, .. } = &mut *self.0;
        for place in held {
            match (place.take(), buffers) {
                (Some(FrameBuffer { buffer, release, .. }), ReuseBuffers::Keep) => {
                    // The camera's last writing must be over before it writes again.
                    let status = FrameStatus::Pending;
                    *place = Some(FrameBuffer { buffer, acquire: release, release: None, status });
                }
                (_, ReuseBuffers::Drop) | (None, _) => {}
            }
        }
        controls.clear();
        metadata.clear();
        *sequence = None;
        *status = RequestStatus::Pending;
    }

    /// All its buffers, with their streams.
    pub fn buffers(&self) -> impl Iterator<Item = (StreamId, &FrameBuffer)> {
        let all = self.0.buffers.iter().enumerate();
        all.filter_map(|(index, buffer)| Some((StreamId(index), buffer.as_ref()?)))
    }

    /// Its buffers' ports, for the camera to check.
    pub(crate) fn given(&self) -> impl Iterator<Item = (Port, &Dmabuf)> {
        let places = self.0.ports.iter().zip(&self.0.buffers);
        places.filter_map(|(port, buffer)| Some(((*port)?, &**buffer.as_ref()?.buffer())))
    }

    pub(crate) fn ports(&self) -> &[Option<Port>; MAX_STREAMS] {
        &self.0.ports
    }

    pub(crate) fn has(&self, port: Port) -> bool {
        self.place(port).is_some_and(|place| self.0.buffers[place].is_some())
    }

    pub(crate) fn buffer_for(&mut self, port: Port) -> Option<&mut FrameBuffer> {
        let place = self.place(port)?;
        self.0.buffers[place].as_mut()
    }

    fn place(&self, port: Port) -> Option<usize> {
        self.0.ports.iter().position(|of| *of == Some(port))
    }

    /// Completes it with a frame. `ready` is when the pictures, and whatever reads the raw frame,
    /// are done; `made` whether they are made at all.
    pub(crate) fn complete(
        &mut self,
        sequence: u64,
        metadata: ControlList,
        ready: Option<&Fence>,
        made: bool,
    ) {
        for buffer in self.0.buffers.iter_mut().flatten() {
            if buffer.status == FrameStatus::Pending {
                buffer.status = if made { FrameStatus::Success } else { FrameStatus::Error };
                buffer.release = ready.cloned();
            }
        }
        self.0.metadata = metadata;
        self.0.sequence = Some(sequence);
        self.0.status = RequestStatus::Complete;
    }

    pub(crate) fn cancel(&mut self) {
        for buffer in self.0.buffers.iter_mut().flatten() {
            buffer.status = FrameStatus::Cancelled;
        }
        self.0.status = RequestStatus::Cancelled;
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Some(owner) = self.0.owner.take() {
            let mut lost = std::mem::replace(self, Self::new(0, [None; MAX_STREAMS]));
            lost.cancel();
            owner.take_back(lost);
        }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("cookie", &self.0.cookie)
            .field("sequence", &self.0.sequence)
            .field("status", &self.0.status)
            .finish_non_exhaustive()
    }
}

/// The fate of the buffers at [`Request::reuse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReuseBuffers {
    /// They are written again.
    Keep,
    /// They go back to where they came from, unless they are held elsewhere.
    Drop,
}
