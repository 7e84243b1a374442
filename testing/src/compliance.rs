//! The demands on any camera: those that libcamera's `lc-compliance` makes, and some on pixels,
//! sequence, timestamps and controls.
//!
//! To examine another camera, implement [`Device`] for it; this module knows a camera by that trait
//! alone.

use std::collections::BTreeSet;

/// The use of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The frames as the sensor sends them.
    Raw,
    /// Single pictures.
    Still,
    /// Frames to keep.
    Video,
    /// Frames to look at.
    Viewfinder,
}

impl Role {
    /// Each role once.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Still, Self::Video, Self::Viewfinder];
}

/// A request that came back.
#[derive(Debug, Clone, PartialEq)]
pub struct Completed {
    /// The cookie that it was queued with.
    pub cookie: u64,
    /// True if the camera stopped before its frame.
    pub cancelled: bool,
    /// The number of its frame, if it has one.
    pub sequence: Option<u64>,
    /// The time at which the frame was taken, in nanoseconds.
    pub timestamp: Option<i64>,
    /// The exposure time of the frame, in microseconds.
    pub exposure_us: Option<i32>,
    /// The number that the camera burnt into the frame, if it does that and the format shows it.
    pub burnt_in: Option<u64>,
}

/// A camera under examination. A call that fails is to panic.
pub trait Device {
    /// Takes the camera and gives it one stream with so many buffers, each with its request.
    /// Returns `false` if it has no such stream.
    fn configure(&mut self, role: Role, buffers: u64) -> bool;

    /// Begins to make frames.
    fn start(&mut self);

    /// Asks for a frame in a buffer that is free, with this exposure time in microseconds if
    /// there is one. There is always a free buffer when this is called.
    fn queue(&mut self, cookie: u64, exposure_us: Option<i32>);

    /// Waits for the next request to come back; `None` if none can come.
    fn next(&mut self) -> Option<Completed>;

    /// Ends it; all requests have come back then, or come back next.
    fn stop(&mut self);

    /// Gives the camera back.
    fn release(&mut self);

    /// Returns the number of queued requests with which no exposure comes late.
    fn depth(&self) -> u64;

    /// Returns true if streams of this role must have [`Completed::burnt_in`].
    fn burns_in(&self, role: Role) -> bool;
}

/// The numbers of requests that each test is run with, as in `lc-compliance`.
const COUNTS: [u64; 6] = [1, 2, 3, 5, 8, 89];

/// Buffers of a stream.
const BUFFERS: u64 = 5;

/// Everything there is to examine.
pub fn examine(device: &mut impl Device) {
    for role in Role::ALL {
        for count in COUNTS {
            println!("{role:?}, {count} requests");
            if !device.configure(role, BUFFERS) {
                println!("  it has no such stream");
                break;
            }
            for _ in 0..3 {
                capture_balanced(device, role, count);
            }
            stop_with_requests_queued(device, role, count);
            device.release();
        }
    }
    assert!(device.configure(Role::Viewfinder, device.depth() + 3));
    controls_count_for_their_frame(device);
    device.release();
}

/// Queues exactly so many requests, and exactly so many come back, each with its frame, in order.
fn capture_balanced(device: &mut impl Device, role: Role, count: u64) {
    device.start();
    let mut queued = 0;
    while queued < count.min(BUFFERS) {
        device.queue(queued, None);
        queued += 1;
    }
    let mut last: Option<Completed> = None;
    for cookie in 0..count {
        let completed = device.next().expect("a frame for every request");
        check(&completed, cookie, last.as_ref(), device.burns_in(role));
        last = Some(completed);
        if queued < count {
            device.queue(queued, None);
            queued += 1;
        }
    }
    device.stop();
    assert_eq!(device.next(), None, "nothing comes back that was not queued");
}

/// Stops in the middle: each request comes back once, completed or cancelled, none completed after
/// one that was cancelled.
fn stop_with_requests_queued(device: &mut impl Device, role: Role, count: u64) {
    device.start();
    let queued = BUFFERS + count.saturating_sub(1);
    let (mut next_cookie, mut back, mut last) = (0, BTreeSet::new(), None::<Completed>);
    while next_cookie < BUFFERS {
        device.queue(next_cookie, None);
        next_cookie += 1;
    }
    while next_cookie < queued {
        let completed = device.next().expect("a frame for every request");
        check(&completed, completed.cookie, last.as_ref(), device.burns_in(role));
        assert!(back.insert(completed.cookie));
        last = Some(completed);
        device.queue(next_cookie, None);
        next_cookie += 1;
    }
    device.stop();
    let mut cancelled = false;
    while let Some(completed) = device.next() {
        assert!(back.insert(completed.cookie), "{completed:?} came back twice");
        if completed.cancelled {
            assert_eq!(completed.sequence, None, "{completed:?}");
            cancelled = true;
        } else {
            assert!(!cancelled, "{completed:?} was completed after one that was cancelled");
            check(&completed, completed.cookie, last.as_ref(), device.burns_in(role));
            last = Some(completed);
        }
    }
    assert!(back.into_iter().eq(0..queued), "every request comes back");
}

/// Asserts that a request came back as it should, after another one.
fn check(completed: &Completed, cookie: u64, last: Option<&Completed>, burns_in: bool) {
    assert_eq!((completed.cookie, completed.cancelled), (cookie, false), "{completed:?}");
    let sequence = completed.sequence.expect("a frame has a number");
    let timestamp = completed.timestamp.expect("a frame has a time");
    if let Some(last) = last {
        assert!(Some(sequence) > last.sequence, "{completed:?} after {last:?}");
        assert!(Some(timestamp) > last.timestamp, "{completed:?} after {last:?}");
    }
    if burns_in {
        assert_eq!(completed.burnt_in, Some(sequence), "the pixels are another frame's");
    }
}

/// Each request asks for another exposure, and gets it: in that very frame, and without a gap as
/// long as enough of them wait.
fn controls_count_for_their_frame(device: &mut impl Device) {
    let exposure = |cookie: u64| 2000 + 500 * (cookie as i32 % 7);
    device.start();
    let depth = device.depth() + 3;
    (0..depth).for_each(|cookie| device.queue(cookie, Some(exposure(cookie))));
    for cookie in 0..60 {
        let completed = device.next().expect("a frame for every request");
        check(&completed, cookie, None, false);
        let taken = completed.exposure_us.expect("a frame has an exposure");
        // Sensors expose whole rows.
        assert!((taken - exposure(cookie)).abs() <= 50, "{completed:?}: not {}", exposure(cookie));
        device.queue(cookie + depth, Some(exposure(cookie + depth)));
    }
    device.stop();
    while device.next().is_some() {}
}
