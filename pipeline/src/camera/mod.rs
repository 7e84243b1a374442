//! The camera as libcamera has it: acquired, configured, started, and asked for one frame after the
//! other.
//!
//! ```text
//!            acquire          configure           start
//! Available ────────▶ Acquired ────────▶ Configured ────▶ Running
//!     ▲                │    ▲               │  ▲  │          │ stop
//!     └─── release ────┘    │   configure ──┘  │  │          ▼
//!     └──────────── release ┴──────────────────┼──┘       Stopping
//!                                              └─────────────┘
//! ```
//!
//! An application makes [`Request`]s, adds a buffer for each stream that it wants of a frame, sets
//! [`controls`](crate::controls), and queues them. They come back in the order in which they were
//! queued, with [metadata](Request::metadata) that say what the frame was really made with.
//!
//! **Threads.** A [`Camera`] is a handle that any thread may use and clone. Frames are made on two
//! threads of the camera's own; no code of the application runs there.
//!
//! **Controls count for the frame that they are queued with.** A sensor takes exposure and gain
//! only two frames after they were written ([`delay`](crate::sensor::delay)), so the camera looks
//! at requests before their turn. With three requests that wait, which takes six in flight, no
//! frame is lost to that; with fewer, the frames that the sensor makes until then are lost, and the
//! sequence has a gap.
//!
//! **Buffers** come from the camera's planner ([`Camera::allocate`]), or from the application
//! ([`Camera::adopt`]). An acquire fence is waited for before a buffer is written; a release fence
//! ([`FrameBuffer::release_fence`]) signals when it may be read.

mod completed;
mod configuration;
mod configured;
mod error;
mod manager;

use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::TrySendError;
use vcam_allocator::heaps::{self, memfd};
use vcam_allocator::{Dmabuf, Heap, Knowledge, LinkEnd, Pool};

pub use crate::request::{
    BufferError, DropPolicy, FrameBuffer, FrameStatus, MAX_REQUESTS, Request, RequestStatus,
    ReuseBuffers,
};
pub use crate::stream::{MAX_STREAMS, StreamId};
pub use configuration::{
    Adjustment, CameraConfiguration, Invalid, Status, StreamConfiguration, StreamFormat, StreamRole,
};
pub use error::{CameraError, QueueError, QueueReason};
pub use manager::{CameraManager, Event, ManagerError};

use crate::completions::{Completions, deadline};
use crate::controls::{ControlInfo, ControlList, infos};
use crate::engine::hint::Hint;
use crate::engine::isp_select::IspChoice;
use crate::engine::negotiate::StreamPlan;
use crate::engine::policy::{CopyPolicy, HeapOrder};
use crate::engine::request_queue::RequestQueue;
use crate::engine::stream_alloc::{Consumer, StreamAllocation};
use crate::engine::{EngineStats, save};
use crate::links::Link;
use crate::sensor::config::CameraDescription;
use crate::sensor::timing::Timing;
use crate::stream::Port;

use configured::{Active, Configured};

/// The state of a camera (libcamera's `Camera::State`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CameraState {
    /// It can be acquired.
    Available,
    /// It is acquired, and has no streams yet.
    Acquired,
    /// It has streams.
    Configured,
    /// It makes frames.
    Running,
    /// It makes the last ones.
    Stopping,
}

/// With what a camera works: where buffers may come from, and who makes the pictures.
#[derive(Debug)]
pub struct Resources {
    /// Heaps, in the order of preference.
    pub heaps: Arc<[Box<dyn Heap>]>,
    /// Which ISP.
    pub isp: IspChoice,
    /// Which heap is taken of those that serve.
    pub heap_order: HeapOrder,
    /// When frames may be copied. A copy that is forbidden is an error of [`Camera::allocate`], if
    /// it is known by then, else of the request whose frame would be copied.
    pub copies: CopyPolicy,
    /// Knowledge about this machine from before; what is learned now is added and saved.
    pub knowledge: Knowledge,
}

impl Default for Resources {
    /// Every heap of ordinary memory that this machine has and this user may use, with measured
    /// costs that are kept in the user's cache folder.
    fn default() -> Self {
        let names = heaps::ordinary().into_iter().chain([memfd::NAME.to_owned()]);
        Self {
            heaps: names.filter_map(|name| heaps::open(&name).ok()).collect(),
            isp: IspChoice::Auto,
            heap_order: HeapOrder::ByCost,
            copies: CopyPolicy::ByCost,
            knowledge: Knowledge::file().map(|path| Knowledge::open(&path)).unwrap_or_default(),
        }
    }
}

/// How frames are made from [`Camera::start`] on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Start {
    /// The controls of the first frame and of all that follow.
    pub controls: ControlList,
    /// The fate of frames that were not asked for.
    pub policy: DropPolicy,
    /// Frames follow each other without a pause, whatever their duration would be; for
    /// measurements.
    pub as_fast_as_possible: bool,
}

/// The account of a camera between start and stop.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Summary {
    /// Frames that were made.
    pub completed: u64,
    /// Frames that were lost when the camera failed. All other failures are in the requests.
    pub errors: u64,
    /// How raw frames reached the ISP, and how it gave pictures; none without an ISP.
    pub isp: Option<(LinkEnd, LinkEnd)>,
}

/// A camera: a handle, which can be cloned.
#[derive(Clone)]
pub struct Camera(Arc<Inner>);

pub(crate) struct Inner {
    description: CameraDescription,
    infos: Vec<ControlInfo>,
    state: Mutex<State>,
    gone: AtomicBool,
    completions: Arc<Completions>,
}

enum State {
    Available,
    Acquired(Box<Resources>),
    Configured(Box<Configured>),
    Running(Box<Configured>, Active),
    Stopping,
}

/// Buffers for all streams, planned and proven.
#[derive(Debug)]
#[non_exhaustive]
pub struct Allocation<C> {
    /// Where each stream's buffers live, and why.
    pub plans: Vec<StreamPlan>,
    /// How frames will cross each link.
    pub links: Vec<Link>,
    /// Hints for the user.
    pub hints: Vec<Hint>,
    /// The consumers, in their order.
    pub consumers: Vec<C>,
}

impl State {
    fn state(&self) -> CameraState {
        match self {
            Self::Available => CameraState::Available,
            Self::Acquired(_) => CameraState::Acquired,
            Self::Configured(_) => CameraState::Configured,
            Self::Running(..) => CameraState::Running,
            Self::Stopping => CameraState::Stopping,
        }
    }

    fn wrong(&self, wanted: &'static str, needed: &'static str) -> CameraError {
        CameraError::State { wanted, state: self.state(), needed }
    }
}

impl Camera {
    fn new(description: CameraDescription) -> Self {
        let size = description.modes.iter().map(|mode| mode.size).max_by_key(|size| size.area());
        let size = size.unwrap_or(description.settings.size);
        let infos = infos(size, &Timing::new(size.width, size.height), description.settings.format);
        Self(Arc::new(Inner {
            description,
            infos,
            state: Mutex::new(State::Available),
            gone: AtomicBool::new(false),
            completions: Arc::new(Completions::new()),
        }))
    }

    /// Its name, which no other camera of its manager has.
    pub fn id(&self) -> &str {
        &self.0.description.name
    }

    /// Returns its description: model, location, modes, and the sensor behind it.
    pub fn description(&self) -> &CameraDescription {
        &self.0.description
    }

    /// The controls that it has, with their limits for the largest of its modes.
    pub fn controls(&self) -> &[ControlInfo] {
        &self.0.infos
    }

    /// Returns its state.
    pub fn state(&self) -> CameraState {
        self.lock().state()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_connected(&self) -> Result<(), CameraError> {
        match self.0.gone.load(Ordering::Relaxed) {
            true => Err(CameraError::Disconnected(self.id().to_owned())),
            false => Ok(()),
        }
    }

    /// Takes the camera for oneself, until [`Camera::release`].
    pub fn acquire(&self, resources: Resources) -> Result<(), CameraError> {
        self.check_connected()?;
        let mut state = self.lock();
        match *state {
            State::Available => {
                *state = State::Acquired(Box::new(resources));
                Ok(())
            }
            _ => Err(CameraError::Busy(self.id().to_owned())),
        }
    }

    /// Gives it back, with all its buffers that are not held elsewhere.
    pub fn release(&self) -> Result<(), CameraError> {
        let mut state = self.lock();
        match *state {
            State::Acquired(_) | State::Configured(_) => {
                let was = std::mem::replace(&mut *state, State::Available);
                drop(state);
                // The ISP's thread ends here.
                drop(was);
                Ok(())
            }
            _ => Err(state.wrong("be released", "Acquired or Configured")),
        }
    }

    /// A configuration with a stream for each role, to be changed and
    /// [validated](CameraConfiguration::validate).
    pub fn generate_configuration(&self, roles: &[StreamRole]) -> CameraConfiguration {
        CameraConfiguration::new(self.0.description.clone(), roles)
    }

    /// Gives the camera its streams; the buffers and requests that it had before are no longer its.
    ///
    /// The sensor and the ISP are made here.
    pub fn configure(&self, configuration: &CameraConfiguration) -> Result<(), CameraError> {
        self.check_connected()?;
        if configuration.camera() != self.description() {
            let of = configuration.camera().name.clone();
            return Err(CameraError::OtherCamera { of, camera: self.id().to_owned() });
        }
        let mut configuration = configuration.clone();
        match configuration.validate() {
            Status::Valid => {}
            status => return Err(CameraError::Configuration(status)),
        }
        let mut state = self.lock();
        let resources = match std::mem::replace(&mut *state, State::Available) {
            State::Acquired(resources) => *resources,
            State::Configured(configured) => configured.resources,
            other => {
                *state = other;
                return Err(state.wrong("be configured", "Acquired or Configured"));
            }
        };
        match Configured::new(configuration, resources) {
            Ok(configured) => {
                *state = State::Configured(Box::new(configured));
                Ok(())
            }
            Err(failed) => {
                let (error, resources) = *failed;
                *state = State::Acquired(Box::new(resources));
                Err(error.into())
            }
        }
    }

    /// Plans where the buffers of all streams live, allocates them, and hands each to every device
    /// that will see it: the ISP, and the consumers that are named here, each with its stream.
    ///
    /// Without consumers, the plan is for a program that asks for nothing.
    pub fn allocate<C: Consumer + 'static>(
        &self,
        consumers: Vec<(StreamId, C)>,
    ) -> Result<Allocation<C>, CameraError> {
        let mut state = self.lock();
        let State::Configured(configured) = &mut *state else {
            return Err(state.wrong("allocate buffers", "Configured"));
        };
        let mut of_ports = Vec::with_capacity(consumers.len());
        for (stream, consumer) in consumers {
            let port = configured.port(stream).ok_or(CameraError::NoBuffers(stream))?;
            of_ports.push((port, consumer));
        }
        let StreamAllocation { raw, outputs, consumers, plans, links, hints, .. } =
            configured.allocate(of_ports)?;
        let isp_hint = configured.engine.isp().and_then(|isp| isp.hint.clone());
        let hints = isp_hint.into_iter().chain(hints).collect();
        configured.raw = raw.map(Arc::new);
        for (place, pool) in configured.outputs.iter_mut().zip(outputs) {
            *place = Some(Arc::new(pool));
        }
        let consumers = consumers.into_iter().map(|(_, consumer)| consumer).collect();
        Ok(Allocation { plans, links, hints, consumers })
    }

    /// Hands the camera buffers for a stream, instead of those that it would allocate itself.
    ///
    /// Each must have the stream's format and size; that a device refuses one makes its link a
    /// copy.
    pub fn adopt(&self, stream: StreamId, buffers: Vec<Dmabuf>) -> Result<(), CameraError> {
        let mut state = self.lock();
        let State::Configured(configured) = &mut *state else {
            return Err(state.wrong("take buffers", "Configured"));
        };
        let port = configured.port(stream).ok_or(CameraError::NoBuffers(stream))?;
        buffers.iter().try_for_each(|buffer| configured.check(stream, buffer))?;
        let (raw, outputs) = match port {
            Port::Raw => (buffers.clone(), Vec::new()),
            Port::Output(_) => (Vec::new(), buffers.clone()),
        };
        configured.engine.prepare(raw, outputs)?;
        let pool = Some(Arc::new(Pool::of(buffers)));
        match port {
            Port::Raw => configured.raw = pool,
            Port::Output(index) => configured.outputs[index] = pool,
        }
        Ok(())
    }

    /// The buffers of a stream: take one for each request.
    pub fn buffers(&self, stream: StreamId) -> Result<Arc<Pool>, CameraError> {
        let state = self.lock();
        let (State::Configured(configured) | State::Running(configured, _)) = &*state else {
            return Err(state.wrong("have buffers", "Configured or Running"));
        };
        let pool = match configured.port(stream) {
            Some(Port::Raw) => configured.raw.as_ref(),
            Some(Port::Output(index)) => configured.outputs[index].as_ref(),
            None => None,
        };
        pool.cloned().ok_or(CameraError::NoBuffers(stream))
    }

    /// A request for a frame of the present configuration.
    pub fn create_request(&self, cookie: u64) -> Result<Request, CameraError> {
        let state = self.lock();
        match &*state {
            State::Configured(configured) | State::Running(configured, _) => {
                Ok(Request::new(cookie, configured.ports))
            }
            other => Err(other.wrong("make requests", "Configured or Running")),
        }
    }

    /// Lets the sensor run. The first frame is taken with `start.controls`.
    ///
    /// Streams without buffers get them now, as [`Camera::allocate`] does without consumers.
    pub fn start(&self, start: Start) -> Result<(), CameraError> {
        self.check_connected()?;
        start.controls.check(&self.0.infos)?;
        let mut state = self.lock();
        let mut configured = match std::mem::replace(&mut *state, State::Stopping) {
            State::Configured(configured) => configured,
            other => {
                *state = other;
                return Err(state.wrong("start", "Configured"));
            }
        };
        match configured.start(start, &self.0) {
            Ok(active) => {
                *state = State::Running(configured, active);
                Ok(())
            }
            Err(error) => {
                *state = State::Configured(configured);
                Err(error)
            }
        }
    }

    /// Asks for a frame. The request comes back by [`Camera::next_completed`] and its like.
    pub fn queue_request(&self, mut request: Request) -> Result<(), QueueError> {
        let state = self.lock();
        let refuse = |request, reason| Err(QueueError { request, reason });
        let (configured, active) = match &*state {
            State::Running(configured, active) => (configured, active),
            other => {
                let error = other.wrong("take requests", "Running");
                return refuse(request, error.into());
            }
        };
        if let Err(reason) = self.check(configured, &request) {
            return refuse(request, reason);
        }
        request.leaves(self.0.completions.clone());
        match active.requests.try_send(request) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(mut request)) => {
                request.returns();
                refuse(request, QueueReason::Full)
            }
            // The sensor has failed; `stop` returns why.
            Err(TrySendError::Disconnected(mut request)) => {
                request.returns();
                let wanted = "take requests, since it failed: stop it, and see why";
                let error = other_state(CameraState::Stopping, wanted);
                refuse(request, error.into())
            }
        }
    }

    fn check(&self, configured: &Configured, request: &Request) -> Result<(), QueueReason> {
        self.check_connected()?;
        if request.status() != RequestStatus::Pending {
            return Err(QueueReason::Completed);
        }
        if *request.ports() != configured.ports {
            return Err(QueueReason::Stale);
        }
        if request.given().next().is_none() {
            return Err(QueueReason::Empty);
        }
        for (stream, buffer) in request.buffers() {
            configured.check(stream, buffer.buffer())?;
        }
        request.controls().check(&self.0.infos).map_err(CameraError::from)?;
        Ok(())
    }

    /// Waits for the next request that is completed, or cancelled; none if none comes within
    /// `limit`, or if the camera was stopped and all have come.
    pub fn next_completed(&self, limit: Duration) -> Option<Request> {
        self.0.completions.pop(deadline(limit))
    }

    /// The next completed request, if there is one already.
    pub fn try_next_completed(&self) -> Option<Request> {
        self.next_completed(Duration::ZERO)
    }

    /// Completed requests as they come, for as long as the camera runs.
    pub fn completed(&self) -> impl Iterator<Item = Request> + '_ {
        std::iter::from_fn(|| self.0.completions.pop(None))
    }

    /// A descriptor that `poll` and its like call readable as long as a completed request waits.
    /// Never read from it.
    pub fn completed_fd(&self) -> Result<BorrowedFd<'_>, CameraError> {
        self.0.completions.fd().map_err(CameraError::Poll)
    }

    /// Stops the sensor. Frames that are on their way are completed, and all requests that are
    /// queued behind them are cancelled; when this returns, every request has come back.
    pub fn stop(&self) -> Result<Summary, CameraError> {
        let mut state = self.lock();
        let (mut configured, active) = match std::mem::replace(&mut *state, State::Stopping) {
            State::Running(configured, active) => (configured, active),
            other => {
                *state = other;
                return Err(state.wrong("stop", "Running"));
            }
        };
        drop(state);
        let Active { requests, running, stop } = active;
        self.0.completions.expect_cancelled();
        stop.stop();
        let EngineStats { requests: left, isp, errors, result, .. } =
            configured.engine.join(running);
        drop(requests);
        for mut request in left.map(RequestQueue::into_unfulfilled).unwrap_or_default() {
            request.cancel();
            self.0.completions.push(request);
        }
        self.0.completions.close();
        save(&mut configured.resources.knowledge);
        let ends = configured.engine.isp().map(|_| (isp.raw_end, isp.output_end));
        *self.lock() = State::Configured(configured);
        result?;
        Ok(Summary { completed: isp.completed, errors, isp: ends })
    }

    /// The camera is gone: whatever it does comes to an end, and it does nothing any more.
    fn disconnect(&self) {
        self.0.gone.store(true, Ordering::Relaxed);
        if let State::Running(_, active) = &*self.lock() {
            active.stop.stop();
        }
    }
}

fn other_state(state: CameraState, wanted: &'static str) -> CameraError {
    CameraError::State { wanted, state, needed: "Running" }
}

impl fmt::Debug for Camera {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Camera").field("id", &self.id()).field("state", &self.state()).finish()
    }
}

impl PartialEq for Camera {
    /// Whether both are handles of the same camera.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Drop for Inner {
    /// Dropping the last handle stops a running camera.
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let State::Running(mut configured, active) = std::mem::replace(state, State::Available) {
            active.stop.stop();
            let _ = configured.engine.join(active.running);
        }
    }
}
