//! Shows a moving pattern on a display and checks everything that can be checked about it.
//!
//! ```text
//! kms_pattern HEAP CARD WIDTHxHEIGHT FRAMES [CYCLES]
//! kms_pattern udmabuf vkms 640x480 60 200
//! ```
//!
//! Where the card has a writeback connector, the pixels of every frame are read back from the
//! display and compared. At the end the display must be as it was found, and opening and closing
//! it `CYCLES` times must leave nothing behind: no descriptor, framebuffer or dma-buf.
//!
//! Before all that, the example plays the part of somebody who shows something: it turns the
//! display on with a buffer of its own and then gives up control, as a text console would.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use drm::Device as _;
use drm::buffer::DrmFourcc;
use drm::control::property::ValueType;
use drm::control::{self, Device as _, ResourceHandle, connector, framebuffer};
use rustix::event::{EventfdFlags, eventfd};
use vcam_allocator::{Alignment, CpuAccess, Fence, Fourcc, Layout, Method, Pool, heaps};
use vcam_sinks::kms::Placement;
use vcam_sinks::{Captured, Frame, KmsOptions, KmsSink, Sink, cards};

const FORMAT: Fourcc = Fourcc::XRGB8888;
const LIMIT: Duration = Duration::from_secs(5);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [heap, card, size, frames, rest @ ..] = args.as_slice() else {
        for card in cards() {
            println!("{card}");
        }
        return Err("usage: kms_pattern HEAP CARD WIDTHxHEIGHT FRAMES [CYCLES]".into());
    };
    let (width, height) = size.split_once('x').ok_or("a size is WIDTHxHEIGHT")?;
    let size = (width.parse()?, height.parse()?);
    let frames: u64 = frames.parse()?;
    let cycles: u32 = rest.first().map_or(Ok(0), |cycles| cycles.parse())?;

    let node = cards()
        .into_iter()
        .find(|info| info.driver.as_deref() == Some(card))
        .ok_or("no such card")?
        .path;
    let somebody = Somebody::show_something(&node)?;
    let before = somebody.state()?;

    let layout = Layout::linear(FORMAT, size.0, size.1, Alignment::default())?;
    let pool = Pool::new(heaps::open(heap)?.as_ref(), &layout, "pattern", 4)?;
    let options = KmsOptions { card: Some(card.clone()), connector: None, size, format: FORMAT };
    stream(&options, &pool, frames)?;
    compare(&before, &somebody.state()?)?;
    println!("restored: the display is as it was found");

    // The first cycle may fill caches of the kernel's.
    cycle(&options, &pool)?;
    std::thread::sleep(Duration::from_millis(100));
    let books = Books::read(&node)?;
    for _ in 0..cycles {
        cycle(&options, &pool)?;
    }
    let after = books.settled(&node)?;
    println!("after {cycles} cycles: {after:?}");
    if after != books {
        return Err(format!("leaked; before: {books:?}").into());
    }
    compare(&before, &somebody.state()?)
}

/// Shows `frames` frames, as fast as the display takes them, and looks at each.
fn stream(options: &KmsOptions, pool: &Pool, frames: u64) -> Result<()> {
    let mut sink = KmsSink::open(options).inspect_err(|error| println!("{error}"))?;
    println!("{} on {}, {:?}, {:?}", sink.connector(), sink.name(), sink.mode(), sink.placement());
    let captures = sink.enable_capture();
    if let Err(error) = &captures {
        println!("not looked at: {error}");
    }
    sink.prepare(pool.buffers());
    let start = Instant::now();
    let mut wrong = 0;
    for sequence in 0..frames {
        sink.present(frame(pool, sequence, None)?)?;
        if captures.is_ok() {
            let screen = sink.capture()?;
            wrong += wrong_pixels(&screen, sink.placement(), sequence);
        }
    }
    // A fence that the kernel does not know, but that polls like one: the sink must wait by itself.
    let fence = eventfd(1, EventfdFlags::CLOEXEC)?;
    sink.present(frame(pool, frames, Some(fence))?)?;
    let elapsed = start.elapsed();
    let link = sink.link_end();
    sink.finish()?;
    let counts = sink.counts();
    println!("{link:?}\n{counts:?} in {elapsed:?}, {wrong} wrong pixels");
    if wrong > 0 || counts.displayed != frames + 1 || counts.dropped != 0 {
        return Err("not every frame was shown as it is".into());
    }
    if link.method == Method::Import && link.imports != pool.buffers().len() as u64 {
        return Err("a buffer was not imported exactly once".into());
    }
    Ok(())
}

/// Opens the display, shows two frames, and closes it.
fn cycle(options: &KmsOptions, pool: &Pool) -> Result<()> {
    let mut sink = KmsSink::open(options)?;
    for sequence in 0..2 {
        sink.present(frame(pool, sequence, None)?)?;
    }
    Ok(())
}

fn frame(pool: &Pool, sequence: u64, ready: Option<OwnedFd>) -> Result<Frame> {
    let buffer = pool.take(LIMIT)?;
    let layout = buffer.layout();
    let (width, height) = (layout.width(), layout.height());
    let stride = layout.planes()[0].stride as usize;
    let mut pixels = buffer.cpu_access(CpuAccess::Write)?;
    for (y, row) in (0..height).zip(pixels.plane_mut(0).chunks_mut(stride)) {
        for (x, pixel) in (0..width).zip(row.chunks_exact_mut(4)) {
            let [red, green, blue] = color(x, y, sequence);
            pixel.copy_from_slice(&[blue, green, red, 0]);
        }
    }
    pixels.end()?;
    Ok(Frame { sequence, timestamp: Duration::ZERO, buffer, ready: ready.map(Fence::from) })
}

/// A different color for each pixel of each frame, more or less.
fn color(x: u32, y: u32, sequence: u64) -> [u8; 3] {
    let n = sequence as u32;
    [(x + 3 * n) as u8, (y + 7 * n) as u8, (x ^ y ^ (16 * n)) as u8]
}

fn wrong_pixels(screen: &Captured, at: Placement, sequence: u64) -> usize {
    let mut wrong = 0;
    for (y, row) in (0..).zip(screen.rgb.chunks_exact(3 * screen.width as usize)) {
        for (x, pixel) in (0..).zip(row.chunks_exact(3)) {
            let inside =
                (at.x..at.x + at.width).contains(&x) && (at.y..at.y + at.height).contains(&y);
            let expected = if inside { color(x - at.x, y - at.y, sequence) } else { [0; 3] };
            wrong += usize::from(pixel != expected);
        }
    }
    wrong
}

/// Another owner of the display.
struct Somebody(File);

impl AsFd for Somebody {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl drm::Device for Somebody {}
impl control::Device for Somebody {}

/// Each property of each object, by kind, number and name; blobs by their contents.
type State = BTreeMap<(&'static str, u32, String), Vec<u8>>;

impl Somebody {
    fn show_something(node: &std::path::Path) -> Result<Self> {
        let card = Self(OpenOptions::new().read(true).write(true).open(node)?);
        card.acquire_master_lock()?;
        card.set_client_capability(drm::ClientCapability::UniversalPlanes, true)?;
        card.set_client_capability(drm::ClientCapability::Atomic, true)?;
        let resources = card.resource_handles()?;
        let handle = *resources.connectors().first().ok_or("no connector")?;
        let connector: connector::Info = card.get_connector(handle, true)?;
        let mode = *connector.modes().first().ok_or("no mode")?;
        let size = (u32::from(mode.size().0), u32::from(mode.size().1));
        let buffer = card.create_dumb_buffer(size, DrmFourcc::Xrgb8888, 32)?;
        let shown: framebuffer::Handle = card.add_framebuffer(&buffer, 24, 32)?;
        let crtc = *resources.crtcs().first().ok_or("no CRTC")?;
        card.set_crtc(crtc, Some(shown), (0, 0), &[handle], Some(mode))?;
        card.release_master_lock()?;
        Ok(card)
    }

    fn state(&self) -> Result<State> {
        let mut state = State::new();
        let resources = self.resource_handles()?;
        for handle in resources.connectors() {
            self.add("connector", *handle, &mut state)?;
        }
        for handle in resources.crtcs() {
            self.add("CRTC", *handle, &mut state)?;
        }
        for handle in self.plane_handles()? {
            self.add("plane", handle, &mut state)?;
        }
        Ok(state)
    }

    fn add<H: ResourceHandle>(&self, kind: &'static str, handle: H, to: &mut State) -> Result<()> {
        for (property, value) in self.get_properties(handle)? {
            let info = self.get_property(property)?;
            let name = info.name().to_string_lossy().into_owned();
            let value = match info.value_type() {
                ValueType::Blob if value != 0 => self.get_property_blob(value)?,
                _ => value.to_ne_bytes().to_vec(),
            };
            to.insert((kind, handle.into(), name), value);
        }
        Ok(())
    }
}

fn compare(before: &State, after: &State) -> Result<()> {
    for (property, value) in before {
        let now = after.get(property);
        if now != Some(value) {
            return Err(format!("{property:?} was {value:?} and is {now:?}").into());
        }
    }
    Ok(())
}

/// What the kernel's books say that this process, or anybody, holds.
#[derive(Debug, PartialEq, Eq)]
struct Books {
    descriptors: usize,
    mappings: usize,
    framebuffers: usize,
    gem_handles: String,
    dma_bufs: Option<usize>,
}

impl Books {
    /// The books once they are equal to these, or what they are after a second: the kernel cleans
    /// up after a flip when it has time.
    fn settled(&self, node: &std::path::Path) -> Result<Self> {
        for _ in 0..20 {
            if Self::read(node)? == *self {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Self::read(node)
    }

    fn read(node: &std::path::Path) -> Result<Self> {
        let number = node.to_string_lossy().replace("/dev/dri/card", "");
        let debug = format!("/sys/kernel/debug/dri/{number}");
        let framebuffers = fs::read_to_string(format!("{debug}/framebuffer"))?;
        let bufinfo = fs::read_to_string("/sys/kernel/debug/dma_buf/bufinfo").ok();
        Ok(Self {
            descriptors: fs::read_dir("/proc/self/fd")?.count(),
            mappings: fs::read_to_string("/proc/self/maps")?.lines().count(),
            framebuffers: framebuffers.matches("framebuffer[").count(),
            gem_handles: fs::read_to_string(format!("{debug}/gem_names")).unwrap_or_default(),
            dma_bufs: bufinfo
                .map(|text| text.matches("exp_name").count().max(text.lines().count())),
        })
    }
}
