//! Frames that the sensor is to make: without end, or one for each request.

use std::collections::VecDeque;

use crossbeam_channel::{Receiver, select};

use super::stop::StopHandle;
use crate::controls::FrameControls;
use crate::request::{DropPolicy, Request};
use crate::sensor::delay::EXPOSURE_DELAY;
use crate::stream::Port;

/// Requests that are looked at before their turn: what they want of the sensor has to be written
/// some frames earlier.
const AHEAD: usize = EXPOSURE_DELAY + 1;

/// The queue of frames to make.
pub(crate) enum RequestQueue {
    /// As many as this, all with the same controls.
    FreeRunning { left: u64, controls: FrameControls },
    /// One for each request.
    Requests(Box<PendingRequests>),
}

/// A frame that is to be made.
pub(crate) struct FrameRequest {
    pub(crate) controls: FrameControls,
    pub(crate) request: Option<Request>,
}

impl RequestQueue {
    /// Waits for the next request, or for the end; under [`DropPolicy::DropFrames`], for nothing.
    /// Returns `false` if there will be no more.
    pub(crate) fn wait(&mut self, stop: &StopHandle) -> bool {
        match self {
            Self::FreeRunning { left, .. } => *left > 0,
            Self::Requests(queue) => queue.wait(stop),
        }
    }

    /// Returns the controls of the frame after so many others.
    pub(crate) fn controls(&self, ahead: usize) -> Option<&FrameControls> {
        match self {
            Self::FreeRunning { controls, .. } => Some(controls),
            Self::Requests(queue) => queue.window.get(ahead).map(|frame| &frame.controls),
        }
    }

    /// Returns the latest value of every control.
    pub(crate) fn latest(&self) -> FrameControls {
        match self {
            Self::FreeRunning { controls, .. } => *controls,
            Self::Requests(queue) => queue.controls,
        }
    }

    /// Returns whether a frame is asked for now.
    pub(crate) fn is_due(&self) -> bool {
        match self {
            Self::FreeRunning { left, .. } => *left > 0,
            Self::Requests(queue) => !queue.window.is_empty(),
        }
    }

    /// Whether the next frame comes without a buffer for the sensor to fill. A request for pictures
    /// that brings none wants none; raw frames are needed all the same.
    pub(crate) fn needs_buffer(&self, port: Port) -> bool {
        match self {
            Self::FreeRunning { .. } => true,
            Self::Requests(queue) => {
                let request = queue.window.front().and_then(|frame| frame.request.as_ref());
                port == Port::Raw && !request.is_some_and(|request| request.has(port))
            }
        }
    }

    /// Takes the next one.
    pub(crate) fn take(&mut self) -> Option<FrameRequest> {
        match self {
            Self::FreeRunning { left, controls } => {
                *left = left.checked_sub(1)?;
                Some(FrameRequest { controls: *controls, request: None })
            }
            Self::Requests(queue) => queue.window.pop_front(),
        }
    }

    /// Returns the requests that are left, in their order.
    pub(crate) fn into_unfulfilled(self) -> Vec<Request> {
        match self {
            Self::FreeRunning { .. } => Vec::new(),
            Self::Requests(requests) => {
                let PendingRequests { window, queue, .. } = *requests;
                let waiting = window.into_iter().filter_map(|frame| frame.request);
                waiting.chain(queue.try_iter()).collect()
            }
        }
    }
}

/// Requests that wait.
pub(crate) struct PendingRequests {
    queue: Receiver<Request>,
    policy: DropPolicy,
    /// Those that are looked at already, each with the last word on every control.
    window: VecDeque<FrameRequest>,
    controls: FrameControls,
}

impl PendingRequests {
    pub(crate) fn new(
        queue: Receiver<Request>,
        policy: DropPolicy,
        controls: FrameControls,
    ) -> Self {
        Self { queue, policy, window: VecDeque::with_capacity(AHEAD), controls }
    }

    fn wait(&mut self, stop: &StopHandle) -> bool {
        while self.window.len() < AHEAD {
            let Ok(request) = self.queue.try_recv() else { break };
            self.look_at(request);
        }
        // The word may have been heard already, and is said once.
        if self.window.is_empty() && self.policy == DropPolicy::Block && !stop.is_set() {
            let woken = stop.woken();
            select! {
                recv(self.queue) -> request => match request {
                    Ok(request) => self.look_at(request),
                    Err(_) => return false,
                },
                recv(woken) -> _ => {}
            }
        }
        true
    }

    fn look_at(&mut self, request: Request) {
        self.controls.apply(request.controls());
        self.window.push_back(FrameRequest { controls: self.controls, request: Some(request) });
    }
}
