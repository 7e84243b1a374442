//! Sees what an output device reads, where its pictures come back through a capture device.
//!
//! The inputs of vivid can be connected to its outputs as by a cable: the control "HDMI 000-0 Is
//! Connected To" of the capture node has an item "Output HDMI 000-0". While both stream in the same
//! format, what the output reads is copied to what the capture writes, without a change where
//! neither scales and no text is written over it.
//!
//! Source: "Video, Sliced VBI and HDMI CEC Looping" in
//! `Documentation/admin-guide/media/vivid.rst`, Linux 6.11 and later.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use vcam_allocator::heaps::memfd::Memfd;
use vcam_allocator::heaps::v4l2::{self as heap, V4l2};
use vcam_allocator::probe::{Finding, Steps, pattern};
use vcam_allocator::{AccessError, Alignment, CpuAccess, Dmabuf, Heap, Layout, Refusal};
use vcam_uapi::v4l2::{self, Control, ControlKind, Format, Target};

use super::agree::memories;
use super::node::{Direction, Node};
use super::probe::{DEQUEUE, LIMIT, QUEUE, REQUEST, START, STOP};
use super::settings::{Settings, whole};

/// Enough for a picture to come in while another is looked at.
const BUFFERS: u32 = 2;

/// How many pictures may come back before the one that was sent must be among them: those that were
/// under way when it was, and some for a device that is late.
const PICTURES: usize = 8;

/// A capture node that sees what an output node reads.
pub(super) struct Loop {
    capture: Node,
    before: Settings,
    /// The buffers that pictures come back in, and for which format.
    back: Option<(Format, Vec<Dmabuf>)>,
}

impl Loop {
    /// Connects the output to a capture node of the same device; `None` where that is impossible, or
    /// where somebody uses either. The output is left to its owner to be put back.
    pub(super) fn close(output: &Node) -> Option<Self> {
        if output.direction != Direction::Output {
            return None;
        }
        let (capture, cable) = heap::names().iter().find_map(|name| {
            let path = Path::new("/dev").join(name.strip_prefix(heap::PREFIX)?);
            let capture = Node::open(&path).ok().flatten()?;
            let is_other_end = capture.direction == Direction::Capture
                && (&capture.driver, &capture.bus) == (&output.driver, &output.bus)
                && capture.kind.is_mplane() == output.kind.is_mplane();
            let cable = is_other_end.then(|| Cable::find(output, &capture)).flatten()?;
            Some((capture, cable))
        })?;
        // Whoever has buffers is not disturbed; choosing a connector fails for them as well.
        (capture.memory_kinds().is_ok() && output.memory_kinds().is_ok()).then_some(())?;
        let before = Settings::of(&capture);
        output.set_connector(cable.output).ok()?;
        capture.set_connector(cable.input).ok()?;
        // From here on it is put back when it is dropped.
        let looped = Self { capture, before, back: None };
        for (control, value) in cable.controls {
            looped.capture.set_control(control, value).ok()?;
        }
        Some(looped)
    }

    /// Sets the format of the output on this end, without scaling on either, and makes buffers for
    /// it. Before the output has buffers: afterwards it may not be changed. `false` if the two do
    /// not agree, so that nothing can be seen.
    pub(super) fn agree(&mut self, output: &Node, set: &Format, buffers: &[Dmabuf]) -> bool {
        let Some(first) = buffers.first() else { return false };
        if self.back.as_ref().is_none_or(|(format, _)| format != set) {
            self.back = None;
            let node = self.capture.path.file_name().unwrap_or_default().to_string_lossy();
            let split = if set.planes.len() > 1 { heap::SPLIT } else { "" };
            let allocated = V4l2::open(&format!("{node}{split}")).ok().map(|heap| {
                (0..BUFFERS)
                    .map(|_| heap.allocate(first.layout(), "probe-loop"))
                    .collect::<Result<Vec<_>, _>>()
            });
            let Some(Ok(back)) = allocated else { return false };
            self.back = Some((set.clone(), back));
        }
        // Allocating sets a format of its own.
        if self.capture.set_format(set).as_ref() != Ok(set) {
            return false;
        }
        let corner = whole((set.width, set.height));
        // The part of the buffer first: it bounds the other.
        [
            (output, Target::Crop),
            (output, Target::Compose),
            (&self.capture, Target::Compose),
            (&self.capture, Target::Crop),
        ]
        .into_iter()
        .all(|(node, part)| node.set_part(part, corner) == Ok(corner))
    }

    /// Sends each buffer and looks for it among what comes back: a finding of a buffer that was
    /// accepted becomes what was seen of it.
    pub(super) fn prove(
        &self,
        output: &Node,
        set: &Format,
        buffers: &[Dmabuf],
        findings: &mut [Finding],
        steps: &mut Steps<'_>,
    ) -> Result<(), Refusal> {
        let seen = self.see(output, set, buffers, findings, steps);
        for done in [self.capture.stop(), self.capture.request(0).map(drop)] {
            if let Err(errno) = done {
                tracing::warn!(%errno, device = self.capture.name(), "kept its buffers");
            }
        }
        seen
    }

    fn see(
        &self,
        output: &Node,
        set: &Format,
        buffers: &[Dmabuf],
        findings: &mut [Finding],
        steps: &mut Steps<'_>,
    ) -> Result<(), Refusal> {
        let name = self.capture.name();
        let failed = |step: &'static str| {
            let name = &name;
            move |errno: Errno| Refusal::errno(name, step, errno.raw_os_error())
        };
        let Some((_, back)) = &self.back else { return Ok(()) };
        steps(REQUEST);
        self.capture.request(BUFFERS).map_err(failed(REQUEST))?;
        let catch = |(index, buffer)| {
            let queued = memories(buffer, set);
            queued
                .and_then(|memories| self.capture.queue(index, Duration::ZERO, memories))
                .map_err(failed(QUEUE))
        };
        (0..).zip(back).try_for_each(catch)?;
        steps(START);
        self.capture.start().map_err(failed(START))?;
        for ((seed, buffer), finding) in (1..).zip(buffers).zip(findings) {
            // Alone in the queue it is what the output reads, from the start and until the end.
            // One that follows another has to wait for the output to be done with that.
            let should = Expected::new(buffer, seed)
                .map_err(|error| Refusal::because(&name, "compare", error))?;
            steps(QUEUE);
            memories(buffer, set)
                .and_then(|memories| output.queue(seed - 1, Duration::ZERO, memories))
                .map_err(failed(QUEUE))?;
            steps(START);
            output.start().map_err(failed(START))?;
            steps(DEQUEUE);
            let mut seen = Err("nothing comes back".to_owned());
            for _ in 0..PICTURES {
                let back_by = Instant::now() + LIMIT;
                let index = self.capture.dequeue(back_by).map_err(failed(DEQUEUE))?.index;
                let Some(picture) = back.get(index as usize) else { continue };
                seen = compare(picture, &should).map_err(|error| {
                    Refusal::because(&name, "DMA_BUF_IOCTL_SYNC", error.to_string())
                })?;
                catch((index, picture))?;
                if seen.is_ok() {
                    break;
                }
            }
            output.stop().map_err(failed(STOP))?;
            if let Finding::Accepted(time, _) = finding {
                *finding = match seen {
                    Ok(()) => Finding::Proven(*time),
                    Err(how) => Finding::WrongPixels(*time, how),
                };
            }
        }
        Ok(())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // Buffers of the node would keep its format from being set.
        self.back = None;
        self.before.restore(&self.capture);
    }
}

/// The picture that should come back.
struct Expected {
    seed: u32,
    /// The same in memory, where it has more planes than the pattern is compared with.
    whole: Option<Dmabuf>,
}

impl Expected {
    fn new(sent: &Dmabuf, seed: u32) -> Result<Self, String> {
        let layout = sent.layout();
        if layout.planes().len() < 2 {
            return Ok(Self { seed, whole: None });
        }
        let size = (layout.width(), layout.height());
        let layout = Layout::linear(sent.format(), size.0, size.1, Alignment::default())
            .map_err(|error| error.to_string())?;
        let whole =
            Memfd::new().allocate(&layout, "probe-expected").map_err(|error| error.to_string())?;
        pattern::fill(&whole, seed).map_err(|error| error.to_string())?;
        Ok(Self { seed, whole: Some(whole) })
    }
}

/// Compares what came back with what should; says how they differ.
fn compare(back: &Dmabuf, should: &Expected) -> Result<Result<(), String>, AccessError> {
    let first = pattern::check(back, should.seed)?;
    let (Ok(()), Some(whole)) = (&first, &should.whole) else { return Ok(first) };
    let (is, should) = (back.cpu_access(CpuAccess::Read)?, whole.cpu_access(CpuAccess::Read)?);
    let stride = |buffer: &Dmabuf, plane: usize| {
        let stride = buffer.layout().planes().get(plane).map_or(0, |plane| plane.stride);
        usize::try_from(stride).unwrap_or(usize::MAX).max(1)
    };
    let mut compared = first;
    for plane in 1..whole.layout().planes().len() {
        let row = usize::try_from(whole.layout().row_bytes(plane)).unwrap_or(usize::MAX);
        let rows = whole.layout().rows(plane) as usize;
        let is = is.plane(plane).chunks(stride(back, plane));
        let should = should.plane(plane).chunks(stride(whole, plane)).take(rows);
        let same = |(is, should): (&[u8], &[u8])| is.get(..row) == should.get(..row);
        let right = is.zip(should).filter(|pair| same(*pair)).count();
        if right < rows {
            compared = Err(format!("{} of {rows} rows of plane {plane} are wrong", rows - right));
        }
    }
    is.end()?;
    should.end()?;
    Ok(compared)
}

/// What follows an input's name in the control that connects it.
const CONNECTED: &str = " Is Connected To";

/// The control of the text over the picture.
const TEXT: &str = "OSD Text Mode";

/// How an output is connected to a capture node.
#[derive(Debug, PartialEq, Eq)]
struct Cable {
    output: u32,
    input: u32,
    /// Controls of the capture node, and what to set them to.
    controls: Vec<(u32, i32)>,
}

impl Cable {
    fn find(output: &Node, capture: &Node) -> Option<Self> {
        let menus = menus(capture);
        let inputs = connectors(capture);
        connectors(output).iter().filter(|end| end.digital).find_map(|end| {
            inputs.iter().find_map(|input| {
                let name = format!("{}{CONNECTED}", input.name);
                let (cable, item) = chosen(&menus, &name, &format!("Output {}", end.name))?;
                // Text over the picture would not be what the output read.
                let text = chosen(&menus, TEXT, "None");
                let controls = text.into_iter().chain([(cable, item)]).collect();
                Some(Self { output: end.index, input: input.index, controls })
            })
        })
    }
}

/// An input or output of a device.
struct Connector {
    index: u32,
    name: String,
    /// Its pictures have all their rows at once, and as many as they have pixels for.
    digital: bool,
}

fn connectors(node: &Node) -> Vec<Connector> {
    // More than any device has.
    (0..64)
        .map_while(|index| {
            let found = match node.direction {
                Direction::Capture => v4l2::enuminput(node.as_fd(), index),
                Direction::Output => v4l2::enumoutput(node.as_fd(), index),
            };
            let v4l2::Connector { name, dv_timings: digital } = found.ok()?;
            Some(Connector { index, name, digital })
        })
        .collect()
}

/// A control with named values.
struct Menu {
    control: u32,
    name: String,
    items: Vec<(i32, String)>,
}

/// The control of this name, and the value that is called so.
fn chosen(menus: &[Menu], name: &str, item: &str) -> Option<(u32, i32)> {
    let menu = menus.iter().find(|menu| menu.name == name)?;
    let (value, _) = menu.items.iter().find(|(_, text)| text == item)?;
    Some((menu.control, *value))
}

/// The menus that matter here; others may be long.
fn menus(node: &Node) -> Vec<Menu> {
    let is_menu = |control: &Control| {
        control.kind == ControlKind::Menu
            && (control.name.ends_with(CONNECTED) || control.name == TEXT)
    };
    let item = |control: u32, value: i32| {
        let index = u32::try_from(value).ok()?;
        Some((value, v4l2::querymenu(node.as_fd(), control, index).ok()?))
    };
    let menu = |Control { id, name, minimum, maximum, .. }: Control| Menu {
        control: id,
        name,
        items: (minimum..=maximum).filter_map(|value| item(id, value)).collect(),
    };
    node.each_control().filter(is_menu).map(menu).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_menu_is_found_by_its_name_and_item() {
        let menus = [Menu {
            control: 7,
            name: "HDMI 000-0 Is Connected To".to_owned(),
            items: vec![(0, "None".to_owned()), (2, "Output HDMI 000-0".to_owned())],
        }];
        let found = |name, item| chosen(&menus, name, item);
        assert_eq!(found("HDMI 000-0 Is Connected To", "Output HDMI 000-0"), Some((7, 2)));
        assert_eq!(found("HDMI 000-0 Is Connected To", "Output HDMI 001-0"), None);
        assert_eq!(found("OSD Text Mode", "None"), None);
    }
}
