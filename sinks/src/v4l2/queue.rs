//! How pictures go into a node's queue and come back, and what becomes of them when the node does
//! not take their memory.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use vcam_allocator::{
    ColourSpace, Dmabuf, Fourcc, Importer, MAX_PLANES, MemoryKind, Refusal, WeakDmabuf,
};
use vcam_uapi::v4l2::{Dequeued, Format, Fraction, Memory, QueuedPlane, Target};

use super::agree::{agree, fits};
use super::error::V4l2Error;
use super::mapped::Mapped;
use super::output::V4l2Sink;
use super::probe::{DEQUEUE, QUEUE, REQUEST, SET, START, STOP};
use super::settings::{Settings, whole};
use crate::pixels::READY_LIMIT;
use crate::sink::Frame;

/// Places for dma-bufs: as many as every kernel has (`VIDEO_MAX_FRAME`). A place alone takes no
/// memory.
const PLACES: u32 = 32;

/// How long a device may take over a picture: one that is slower is stuck.
const LIMIT: Duration = Duration::from_secs(5);

/// What a node's queue consists of.
#[derive(Debug)]
pub(super) enum Queue {
    /// Nothing.
    Closed,
    /// Places for dma-bufs.
    Places(Places),
    /// The driver's own buffers, and why.
    Own(Mapped, Why),
}

/// Why a queue has the driver's own buffers.
#[derive(Debug)]
pub(super) enum Why {
    /// The node does not take ours.
    Refused(Refusal),
    /// No frames come, and readers see a placeholder.
    Paused,
}

/// What the bytes of a placeholder are: grey, in formats of 8 bits for a colour.
const GREY: u8 = 0x80;

/// A buffer that the device has.
#[derive(Debug)]
pub(super) struct Held {
    index: u32,
    /// The timestamp of the picture.
    time: Duration,
    picture: Picture,
}

/// What is in a buffer that the device has.
#[derive(Debug)]
enum Picture {
    Imported(Frame),
    Copied,
    /// One that is counted elsewhere, or a placeholder.
    Again,
}

impl Held {
    fn counts(&self) -> bool {
        !matches!(self.picture, Picture::Again)
    }
}

/// Places for dma-bufs, each for one alone: the kernel imports a buffer anew when another was in
/// its place.
#[derive(Debug)]
pub(super) struct Places {
    set: Format,
    buffers: Vec<Option<Place>>,
}

#[derive(Debug)]
struct Place {
    buffer: WeakDmabuf,
    lengths: [u32; MAX_PLANES],
}

impl Place {
    fn of(buffer: &Dmabuf) -> Result<Self, Errno> {
        let mut lengths = [0; MAX_PLANES];
        for (length, (fd, _)) in lengths.iter_mut().zip(buffer.planes()) {
            *length = u32::try_from(seek(fd, SeekFrom::End(0))?).unwrap_or(u32::MAX);
        }
        Ok(Self { buffer: buffer.downgrade(), lengths })
    }
}

impl Places {
    fn index(&self, buffer: &Dmabuf) -> Option<u32> {
        let is = |place: &Option<Place>| place.as_ref().is_some_and(|one| one.buffer.is(buffer));
        self.buffers.iter().position(is).map(|index| index as u32)
    }

    /// A place that is nobody's.
    fn free(&self, held: &VecDeque<Held>) -> Option<u32> {
        let free = |place: &Option<Place>| place.as_ref().is_none_or(|one| one.buffer.is_gone());
        (0..).zip(&self.buffers).find_map(|(index, place)| {
            let idle = || held.iter().all(|held| held.index != index);
            (free(place) && idle()).then_some(index)
        })
    }

    /// The buffer's memories as they are queued in a place.
    fn memories<'a>(
        &'a self,
        buffer: &'a Dmabuf,
        place: u32,
    ) -> impl Iterator<Item = QueuedPlane<'a>> {
        let lengths = self.buffers.get(place as usize).and_then(Option::as_ref);
        let lengths = lengths.map_or([0; MAX_PLANES], |place| place.lengths);
        let memories = buffer.planes().zip(&self.set.planes).zip(lengths);
        memories.map(|(((fd, _), memory), length)| QueuedPlane {
            fd: Some(fd),
            length,
            bytesused: memory.sizeimage,
        })
    }
}

impl V4l2Sink {
    /// Asks whether the node takes a buffer. Not while streaming; leaves the queue as it was.
    pub(super) fn ask(&mut self, buffer: &Dmabuf) -> Result<Result<(), Refusal>, V4l2Error> {
        if let Some(refusal) = &self.imports_nothing {
            return Ok(Err(refusal.clone()));
        }
        if !matches!(self.queue, Queue::Closed) {
            return Ok(Ok(()));
        }
        let answer = self.open_places(buffer, 1)?.and_then(|()| self.attach(buffer));
        self.close_queue()?;
        answer.map_or_else(|refusal| self.meant(refusal).map(Err), |()| Ok(Ok(())))
    }

    /// Makes the queue, so that the frame of this number, which is the next, finds it ready.
    pub(super) fn open_queue(&mut self, buffers: &[Dmabuf], next: u64) -> Result<(), V4l2Error> {
        let Some(first) = buffers.first() else { return Ok(()) };
        let mut refused = self.imports_nothing.clone();
        for buffer in buffers {
            if refused.is_none() {
                refused = self.try_import(buffer).err();
            }
        }
        if refused.is_none() {
            refused = self.open_places(first, PLACES)?.err();
        }
        if let Some(refusal) = refused {
            self.link.copied(next, &refusal, 0);
            return self.fall_back(refusal);
        }
        for buffer in buffers {
            // It was taken a moment ago; should it not be now, its first frame tells.
            let _ = self.attach(buffer);
        }
        Ok(())
    }

    /// Sets the format of a buffer and makes places.
    fn open_places(
        &mut self,
        first: &Dmabuf,
        count: u32,
    ) -> Result<Result<(), Refusal>, V4l2Error> {
        // The kernel's answer to this is a bare EINVAL.
        if first.kind() == MemoryKind::Memfd {
            let refusal = Refusal::because(&self.name, QUEUE, "a memfd is not a dma-buf");
            return Ok(Err(refusal));
        }
        self.before.get_or_insert_with(|| Settings::of(&self.node));
        let set = match agree(&self.node, &self.listed, first) {
            Ok(set) => set,
            Err(refusal) => return self.meant(refusal).map(Err),
        };
        self.tune();
        let made = match self.node.request(count) {
            Ok(made) => made,
            Err(errno) => {
                let refusal = Refusal::errno(&self.name, REQUEST, errno.raw_os_error());
                return self.meant(refusal).map(Err);
            }
        };
        let buffers = std::iter::repeat_with(|| None).take(made as usize).collect();
        self.queue = Queue::Places(Places { set, buffers });
        Ok(Ok(()))
    }

    /// Hands a buffer to the node and takes it back: the import stays.
    fn attach(&mut self, buffer: &Dmabuf) -> Result<(), Refusal> {
        let (index, queued) = match &mut self.queue {
            Queue::Places(places) => {
                let index = place(&self.name, places, buffer, &self.held)?;
                let memories = places.memories(buffer, index);
                (index, self.node.queue(index, Duration::ZERO, memories))
            }
            _ => return Ok(()),
        };
        tracing::debug!(buffer = buffer.name(), index, ?queued, "handed over");
        let refused = |step| {
            let name = &self.name;
            move |errno: Errno| Refusal::errno(name, step, errno.raw_os_error())
        };
        queued.map_err(refused(QUEUE))?;
        self.node.stop().map_err(refused(STOP))
    }

    /// What a refusal is that is none of the buffer: that the device is gone, or in use.
    fn meant(&self, refusal: Refusal) -> Result<Refusal, V4l2Error> {
        match refusal.errno.map(Errno::from_raw_os_error) {
            Some(errno @ (Errno::NODEV | Errno::BUSY)) => Err(self.failed(refusal.step)(errno)),
            _ => Ok(refusal),
        }
    }

    /// The colours that the pictures have; all of the picture, at the camera's rate. Many nodes have
    /// none of these to choose.
    fn tune(&mut self) {
        match self.node.tell_colours(self.colour_space, self.format.is_yuv()) {
            Ok(None) => {}
            Ok(Some(words)) if self.colours_told => tracing::debug!(device = self.name, "{words}"),
            Ok(Some(words)) => {
                let (device, space) = (&self.name, self.colour_space);
                tracing::warn!(device, "takes pictures that are {space} for what has {words}");
                self.colours_told = true;
            }
            Err(errno) => {
                tracing::warn!(%errno, device = self.name, "cannot be told what colours are");
            }
        }
        let corner = whole(self.size);
        if self.node.part(Target::Crop).is_ok_and(|part| part != corner)
            && let Err(errno) = self.node.set_part(Target::Crop, corner)
        {
            tracing::debug!(%errno, device = self.name, "a part of the picture is left out");
        }
        if let Ok(numerator @ 1..) = u32::try_from(self.period.as_micros()) {
            self.node.set_interval(Fraction { numerator, denominator: 1_000_000 });
        }
    }

    pub(super) fn show(&mut self, frame: Frame) -> Result<(), V4l2Error> {
        self.check(&frame)?;
        if let Some(ready) = &frame.ready {
            ready.wait(READY_LIMIT).map_err(V4l2Error::Fence)?;
        }
        if matches!(self.queue, Queue::Own(_, Why::Paused)) {
            self.close_queue()?;
            self.held.clear();
        }
        if matches!(self.queue, Queue::Closed) {
            self.open_queue(std::slice::from_ref(&frame.buffer), frame.sequence)?;
        }
        self.collect()?;
        if matches!(self.queue, Queue::Own(..)) {
            self.show_copy(&frame)?;
        } else if let Some((frame, refusal)) = self.show_imported(frame)? {
            tracing::warn!(%refusal, frame = frame.sequence, "falling back to copies");
            self.imported.poison(&frame.buffer, refusal.clone());
            self.fall_back(refusal)?;
            self.show_copy(&frame)?;
        }
        self.start()?;
        let depth = self.depth as usize;
        self.wait_until(|held| held.len() <= depth)
    }

    fn check(&self, frame: &Frame) -> Result<(), V4l2Error> {
        let layout = frame.buffer.layout();
        let got = ((layout.width(), layout.height()), layout.format(), frame.colour_space);
        let expected = (self.size, self.format, self.colour_space);
        if got == expected {
            return Ok(());
        }
        let text = |((width, height), format, space): ((u32, u32), Fourcc, ColourSpace)| {
            format!("{width}x{height} {format} in {space}")
        };
        Err(V4l2Error::WrongFrame { got: text(got), expected: text(expected) })
    }

    /// Queues a frame where it lies; gives it back, with the reason, if that cannot be.
    fn show_imported(&mut self, frame: Frame) -> Result<Option<(Frame, Refusal)>, V4l2Error> {
        let known = match self.imported.get(&frame.buffer) {
            Some(Err(refusal)) => {
                let refusal = refusal.clone();
                return Ok(Some((frame, refusal)));
            }
            known => known.is_some(),
        };
        let Queue::Places(places) = &mut self.queue else { return Ok(None) };
        let index = match place(&self.name, places, &frame.buffer, &self.held) {
            Ok(index) => index,
            Err(refusal) => return Ok(Some((frame, refusal))),
        };
        let memories = places.memories(&frame.buffer, index);
        if let Err(errno) = self.node.queue(index, frame.timestamp, memories) {
            let refusal = Refusal::errno(&self.name, QUEUE, errno.raw_os_error());
            return self.meant(refusal).map(|refusal| Some((frame, refusal)));
        }
        if !known {
            let _ = self.imported.get_or_import(&frame.buffer, |_| Ok(()));
        }
        let (time, picture) = (frame.timestamp, Picture::Imported(frame));
        self.held.push_back(Held { index, time, picture });
        Ok(None)
    }

    /// Makes the queue anew with the driver's own buffers. What the device still has is copied into
    /// them, so that no frame is lost.
    fn fall_back(&mut self, refusal: Refusal) -> Result<(), V4l2Error> {
        self.collect()?;
        self.open_own(Why::Refused(refusal))?;
        for held in std::mem::take(&mut self.held) {
            if let Picture::Imported(frame) = held.picture {
                self.show_copy(&frame)?;
            }
        }
        Ok(())
    }

    /// Makes the queue anew with the driver's own buffers.
    fn open_own(&mut self, why: Why) -> Result<(), V4l2Error> {
        self.close_queue()?;
        self.before.get_or_insert_with(|| Settings::of(&self.node));
        let set = self.node.set_format(&self.natural).map_err(self.failed(SET))?;
        self.tune();
        // One to write while the device has the others.
        let mapped = Mapped::new(&self.node, self.format, set, self.depth + 1)?;
        self.queue = Queue::Own(mapped, why);
        Ok(())
    }

    /// Gives readers a placeholder. A queue of dma-bufs makes room for the driver's own memory: the
    /// camera's is shown elsewhere, too, and is not to be drawn into.
    pub(super) fn rest(&mut self) -> Result<(), V4l2Error> {
        if !matches!(self.queue, Queue::Own(..)) {
            self.drain()?;
            self.open_own(Why::Paused)?;
            self.held.clear();
        }
        self.collect()?;
        while self.held.len() < self.depth as usize {
            let Some(index) = self.free() else { break };
            let Queue::Own(mapped, _) = &mut self.queue else { break };
            mapped.fill(index, GREY);
            // It is of no time; drivers that mind stamp it themselves.
            let time = Duration::ZERO;
            self.node.queue(index, time, mapped.memories()).map_err(self.failed(QUEUE))?;
            self.held.push_back(Held { index, time, picture: Picture::Again });
        }
        self.start()
    }

    fn show_copy(&mut self, frame: &Frame) -> Result<(), V4l2Error> {
        let index = loop {
            match self.free() {
                Some(index) => break index,
                None => {
                    self.start()?;
                    let before = self.held.len();
                    self.wait_until(|held| held.len() < before)?;
                }
            }
        };
        let Queue::Own(mapped, Why::Refused(refusal)) = &mut self.queue else { return Ok(()) };
        mapped.copy(index, &frame.buffer).map_err(V4l2Error::Access)?;
        let queued = self.node.queue(index, frame.timestamp, mapped.memories());
        self.link.copied(frame.sequence, refusal, frame.buffer.layout().payload());
        queued.map_err(self.failed(QUEUE))?;
        self.held.push_back(Held { index, time: frame.timestamp, picture: Picture::Copied });
        Ok(())
    }

    /// A buffer of the queue that the device does not have and that is nobody's.
    fn free(&self) -> Option<u32> {
        match &self.queue {
            Queue::Closed => None,
            Queue::Places(places) => places.free(&self.held),
            Queue::Own(mapped, _) => {
                mapped.oldest(|index| self.held.iter().all(|held| held.index != index))
            }
        }
    }

    fn start(&mut self) -> Result<(), V4l2Error> {
        if !self.streaming && !self.held.is_empty() {
            self.node.start().map_err(self.failed(START))?;
            self.streaming = true;
        }
        Ok(())
    }

    /// Takes back what the device is done with, without waiting.
    fn collect(&mut self) -> Result<(), V4l2Error> {
        // Not on and on: v4l2loopback always has a buffer to give back, though nobody queued it.
        while self.streaming && !self.held.is_empty() {
            let memory = match self.queue {
                Queue::Own(..) => Memory::Mmap,
                _ => Memory::DmaBuf,
            };
            let Dequeued { index, error } = match self.node.try_dequeue(memory) {
                Ok(done) => done,
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(self.failed(DEQUEUE)(errno)),
            };
            let at = self.held.iter().position(|held| held.index == index);
            if let Some(held) = at.and_then(|at| self.held.remove(at))
                && held.counts()
            {
                match error {
                    false => self.counts.displayed += 1,
                    true => self.counts.dropped += 1,
                }
            }
        }
        Ok(())
    }

    /// Waits until enough pictures came back.
    fn wait_until(&mut self, enough: impl Fn(&VecDeque<Held>) -> bool) -> Result<(), V4l2Error> {
        let mut deadline = Instant::now() + LIMIT;
        loop {
            let before = self.held.len();
            self.collect()?;
            if enough(&self.held) {
                return Ok(());
            }
            if self.held.len() < before {
                deadline = Instant::now() + LIMIT;
            }
            self.node.wait(deadline).map_err(|errno| match errno {
                Errno::TIMEDOUT => V4l2Error::Stuck { device: self.name.clone(), limit: LIMIT },
                errno => self.failed("poll")(errno),
            })?;
        }
    }

    /// Waits until every frame was taken, then leaves the node as it was found.
    pub(super) fn close(&mut self) -> Result<(), V4l2Error> {
        let mut result = self.drain();
        self.counts.dropped += self.held.iter().filter(|held| held.counts()).count() as u64;
        result = result.and(self.close_queue());
        self.held.clear();
        if let Some(before) = self.before.take()
            && Settings::of(&self.node) != before
        {
            before.restore(&self.node);
        }
        result
    }

    /// A device may keep a picture until there is a next, or begin only when it has several: so the
    /// last one is queued again until it has as many as it wants.
    fn drain(&mut self) -> Result<(), V4l2Error> {
        self.collect()?;
        let Some(last) = self.held.iter().rposition(Held::counts) else { return Ok(()) };
        let Held { index: last, time, .. } = self.held[last];
        loop {
            self.queue_again(last, time)?;
            if self.held.len() >= self.depth as usize {
                break;
            }
        }
        self.start()?;
        self.wait_until(|held| !held.iter().any(Held::counts))
    }

    fn queue_again(&mut self, last: u32, time: Duration) -> Result<(), V4l2Error> {
        let Some(index) = self.free() else { return Ok(()) };
        let queued = match &mut self.queue {
            Queue::Closed => Ok(()),
            Queue::Places(places) => {
                let is = |held: &&Held| held.index == last;
                match self.held.iter().find(is).map(|held| &held.picture) {
                    Some(Picture::Imported(frame)) => {
                        let memories = places.memories(&frame.buffer, last);
                        self.node.queue(index, time, memories)
                    }
                    _ => Ok(()),
                }
            }
            Queue::Own(mapped, _) => {
                mapped.repeat(last, index);
                self.node.queue(index, time, mapped.memories())
            }
        };
        queued.map_err(self.failed(QUEUE))?;
        self.held.push_back(Held { index, time, picture: Picture::Again });
        Ok(())
    }

    /// Stops, and gives the queue's buffers back.
    fn close_queue(&mut self) -> Result<(), V4l2Error> {
        let stopped = match std::mem::take(&mut self.streaming) {
            true => self.node.stop(),
            false => Ok(()),
        };
        // Mappings go first: a driver keeps buffers that are mapped.
        let given_back = match std::mem::replace(&mut self.queue, Queue::Closed) {
            Queue::Closed => return Ok(()),
            Queue::Places(_) => self.node.request(0),
            Queue::Own(mapped, _) => {
                drop(mapped);
                self.node.request_own(0)
            }
        };
        stopped.map_err(self.failed(STOP))?;
        given_back.map(drop).map_err(self.failed(REQUEST))
    }
}

/// The place of a buffer, or a new one.
fn place(
    device: &str,
    places: &mut Places,
    buffer: &Dmabuf,
    held: &VecDeque<Held>,
) -> Result<u32, Refusal> {
    if let Some(index) = places.index(buffer) {
        return Ok(index);
    }
    fits(&places.set, buffer).map_err(|words| Refusal::because(device, SET, words))?;
    let Some(index) = places.free(held) else {
        let words = format!("there are {} buffers in its queue already", places.buffers.len());
        return Err(Refusal::because(device, QUEUE, words));
    };
    let made = Place::of(buffer);
    let made = made.map_err(|errno| Refusal::errno(device, QUEUE, errno.raw_os_error()))?;
    places.buffers[index as usize] = Some(made);
    Ok(index)
}
