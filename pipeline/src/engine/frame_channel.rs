//! Frames from one stage to the next: a bounded channel with room for one, between two threads.
//!
//! It carries both ways in which frames end: dropping the [`Sender`] is the end of frames, and
//! dropping the [`Receiver`] stops the sensor.
//!
//! A frame crosses two of these, and they are most of a frame's cost besides its pixels. A stage
//! that has nothing to do sleeps at once, and is woken when the lock that it needs is free: two
//! system calls. The channels of crossbeam, which are used elsewhere in this crate, give up the
//! processor four times before they sleep and wake others under their own lock: nine system calls,
//! on a machine of one processor.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::stop::StopHandle;

/// The end where a stage puts its frames.
pub(crate) struct Sender<T>(Arc<Place<T>>);

/// The end where the next one takes them. Dropping it stops the sensor: no frames are made that are
/// not taken.
pub(crate) struct Receiver<T> {
    place: Arc<Place<T>>,
    stop: StopHandle,
}

/// The result of a wait with a limit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received<T> {
    /// The next message.
    Message(T),
    /// None so far.
    Nothing,
    /// There will be no more.
    Closed,
}

struct Place<T> {
    state: Mutex<State<T>>,
    /// The message came, or went, or will do neither. Never do both ends wait.
    changed: Condvar,
}

struct State<T> {
    message: Option<T>,
    /// One of the ends is gone.
    closed: bool,
}

/// Joins two stages of a run that `stop` ends.
pub(crate) fn channel<T>(stop: &StopHandle) -> (Sender<T>, Receiver<T>) {
    let state = Mutex::new(State { message: None, closed: false });
    let place = Arc::new(Place { state, changed: Condvar::new() });
    (Sender(place.clone()), Receiver { place, stop: stop.clone() })
}

impl<T> Sender<T> {
    /// Hands a message over as soon as the one before it was received. Without a receiver it is
    /// dropped: the run is stopped by then.
    pub(crate) fn send(&self, message: T) {
        let mut state = self.0.state.lock();
        while state.message.is_some() && !state.closed {
            self.0.changed.wait(&mut state);
        }
        if !state.closed {
            state.message = Some(message);
            drop(state);
            self.0.changed.notify_one();
        }
    }
}

impl<T> Receiver<T> {
    /// Waits for the next message; `None` when there will be no more.
    pub(crate) fn receive(&self) -> Option<T> {
        let mut state = self.place.state.lock();
        while state.message.is_none() && !state.closed {
            self.place.changed.wait(&mut state);
        }
        let message = state.message.take();
        drop(state);
        self.place.changed.notify_one();
        message
    }

    /// Waits for the next message, for no longer than this.
    pub(crate) fn receive_within(&self, limit: Duration) -> Received<T> {
        let deadline = Instant::now() + limit;
        let mut state = self.place.state.lock();
        while state.message.is_none() && !state.closed {
            if self.place.changed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
        let (message, closed) = (state.message.take(), state.closed);
        drop(state);
        match message {
            Some(message) => {
                self.place.changed.notify_one();
                Received::Message(message)
            }
            None if closed => Received::Closed,
            None => Received::Nothing,
        }
    }
}

impl<T> Drop for Sender<T> {
    /// The last message can still be received.
    fn drop(&mut self) {
        self.0.state.lock().closed = true;
        self.0.changed.notify_one();
    }
}

impl<T> Drop for Receiver<T> {
    /// A message that was not received is dropped here, and not when the sender is.
    fn drop(&mut self) {
        self.stop.stop();
        let mut state = self.place.state.lock();
        state.closed = true;
        let message = state.message.take();
        drop(state);
        self.place.changed.notify_one();
        drop(message);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn messages_arrive_in_their_order_and_then_no_more() {
        let (sender, receiver) = channel(&StopHandle::default());
        let stage = thread::spawn(move || (0..10_000).for_each(|number| sender.send(number)));
        let all: Vec<_> = std::iter::from_fn(|| receiver.receive()).collect();
        assert!(all.into_iter().eq(0..10_000));
        stage.join().unwrap();
        assert_eq!(receiver.receive(), None);
    }

    #[test]
    fn there_is_room_for_one() {
        let (sender, receiver) = channel(&StopHandle::default());
        sender.send(1);
        let stage = thread::spawn(move || sender.send(2));
        thread::sleep(std::time::Duration::from_millis(20));
        assert!(!stage.is_finished());
        assert_eq!(receiver.receive(), Some(1));
        stage.join().unwrap();
        // A message sent before the end is received after it.
        assert_eq!((receiver.receive(), receiver.receive()), (Some(2), None));
    }

    #[test]
    fn a_wait_may_have_an_end() {
        let soon = Duration::from_millis(5);
        let (sender, receiver) = channel(&StopHandle::default());
        assert_eq!(receiver.receive_within(soon), Received::Nothing);
        sender.send(1);
        assert_eq!(receiver.receive_within(soon), Received::Message(1));
        sender.send(2);
        drop(sender);
        assert_eq!(receiver.receive_within(soon), Received::Message(2));
        assert_eq!(receiver.receive_within(soon), Received::Closed);
    }

    #[test]
    fn a_wait_ends_when_the_other_end_is_dropped() {
        let stop = StopHandle::default();
        let (sender, receiver) = channel::<Arc<()>>(&stop);
        let stage = thread::spawn(move || receiver.receive());
        thread::sleep(std::time::Duration::from_millis(20));
        drop(sender);
        assert!(stage.join().unwrap().is_none());

        let stop = StopHandle::default();
        let (sender, receiver) = channel(&stop);
        let message = Arc::new(());
        sender.send(message.clone());
        let another = message.clone();
        let stage = thread::spawn(move || {
            sender.send(another);
            sender
        });
        thread::sleep(std::time::Duration::from_millis(20));
        assert!(!stage.is_finished() && !stop.is_set());
        drop(receiver);
        let _sender = stage.join().unwrap();
        assert!(stop.is_set(), "the sensor makes no more frames");
        assert_eq!(Arc::strong_count(&message), 1, "nothing is kept");
    }
}
