//! Shows a moving pattern on a display and checks everything that can be checked about it.
//!
//! ```text
//! kms_pattern HEAP CARD WIDTHxHEIGHT FRAMES [CYCLES]
//! kms_pattern udmabuf vkms 640x480 60 200
//! ```
//!
//! The pixels of every frame are read back from the display and compared: through a writeback
//! connector where the card has one, else through the monitor of the lab's virtual machine. Then a
//! framebuffer is taken away behind the sink's back, and the frame must be shown all the same, by
//! copy. At the end the display must be as it was found, and opening and closing it `CYCLES` times
//! must leave nothing behind: no descriptor, mapping, framebuffer or dma-buf.
//!
//! Before all that, the example plays the part of somebody who shows something: it turns the
//! display on with a buffer of its own and then gives up control, as a text console would.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

use drm::Device as _;
use drm::buffer::DrmFourcc;
use drm::control::property::ValueType;
use drm::control::{self, Device as _, ResourceHandle, connector, framebuffer};
use rustix::event::{EventfdFlags, eventfd};
use rustix::ioctl;
use vcam_allocator::{
    Alignment, ColourSpace, CpuAccess, Fence, Fourcc, Layout, Method, Pool, heaps,
};
use vcam_sinks::kms::Placement;
use vcam_sinks::{Cards, Frame, KmsError, KmsOptions, KmsSink, Sink, cards, preferred_size};

const FORMAT: Fourcc = Fourcc::XRGB8888;
const LIMIT: Duration = Duration::from_secs(5);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [heap, card, size, frames, rest @ ..] = args.as_slice() else {
        for card in cards() {
            println!("{card}; free: {}", card.free);
        }
        println!("a display would like {:?}", preferred_size(&Cards::default(), None, None));
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
    let options = KmsOptions { card: Some(card.clone()), ..KmsOptions::new(size, FORMAT) };
    let layout = Layout::linear(FORMAT, size.0, size.1, Alignment::default())?;
    let pool = Pool::new(heaps::open(heap)?.as_ref(), &layout, "pattern", 4)?;
    // As the machine was started, which may be with the display off.
    let somebody = Somebody::open(&node)?;
    let before = somebody.state()?;
    cycle(&options, &pool)?;
    compare(&before, &somebody.state()?)?;
    somebody.show_something()?;
    let before = somebody.state()?;
    match KmsSink::open(&options) {
        Err(error @ KmsError::Master { .. }) => println!("while somebody is in control: {error}"),
        other => return Err(format!("somebody is in control, but: {other:?}").into()),
    }
    somebody.release_master_lock()?;
    let nowhere = KmsOptions { connector: Some("HDMI-A-77".into()), ..options.clone() };
    match KmsSink::open(&nowhere) {
        Err(error @ KmsError::NoConnector { .. }) => println!("elsewhere: {error}"),
        other => return Err(format!("no such connector, but: {other:?}").into()),
    }

    stream(&options, &pool, frames, &somebody)?;
    compare(&before, &somebody.state()?)?;
    let panicked = catch_unwind(|| -> std::result::Result<(), String> {
        let mut sink = KmsSink::open(&options).map_err(|error| error.to_string())?;
        let frame = frame(&pool, 0, None).map_err(|error| error.to_string())?;
        sink.present(frame).map_err(|error| error.to_string())?;
        panic!("on purpose")
    });
    if let Ok(result) = panicked {
        return Err(format!("no panic, but {result:?}").into());
    }
    compare(&before, &somebody.state()?)?;
    println!("restored: the display is as it was found, after a panic too");

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
fn stream(options: &KmsOptions, pool: &Pool, frames: u64, somebody: &Somebody) -> Result<()> {
    let mut sink = KmsSink::open(options).inspect_err(|error| println!("{error}"))?;
    println!("{} on {}, {:?}, {:?}", sink.connector(), sink.name(), sink.mode(), sink.placement());
    let mut eye = Eye::open(&mut sink)?;
    sink.prepare(pool.buffers());
    let start = Instant::now();
    let mut wrong = 0;
    let mut framebuffers = HashMap::new();
    for sequence in 0..frames {
        let frame = frame(pool, sequence, None)?;
        let buffer = frame.buffer.id();
        sink.present(frame)?;
        wrong += eye.wrong_pixels(&mut sink, sequence)?;
        framebuffers.insert(buffer, somebody.shown_framebuffer()?);
    }
    fence_is_waited_for(&mut sink, pool)?;
    // A fence that the kernel does not know, but that polls like one: the sink must wait by itself.
    let fence = eventfd(1, EventfdFlags::CLOEXEC)?;
    sink.present(frame(pool, frames, Some(fence))?)?;
    wrong += eye.wrong_pixels(&mut sink, frames)?;
    let elapsed = start.elapsed();
    sink.wait_flip()?;
    let link = sink.link_end();
    println!("{link:?} in {elapsed:?}");
    if link.method == Method::Import && link.imports != pool.buffers().len() as u64 {
        return Err("a buffer was not imported exactly once".into());
    }

    let mut shown = sink.counts().displayed;
    if link.method == Method::Import {
        for _ in 0..4 {
            let frame = frame(pool, shown, None)?;
            if sink.link_end().method == Method::Import
                && let Some(framebuffer) = framebuffers.get(&frame.buffer.id())
            {
                println!("framebuffer {framebuffer} is about to be shown: taking it away");
                somebody.sabotage(*framebuffer)?;
            }
            sink.present(frame)?;
            wrong += eye.wrong_pixels(&mut sink, shown)?;
            shown += 1;
        }
        let link = sink.link_end();
        println!("{link:?} after the sabotage");
        if link.method != Method::Copy {
            return Err("the copy after a failure is missing".into());
        }
    }
    sink.finish()?;
    let counts = sink.counts();
    println!("{counts:?}, {wrong} wrong pixels");
    if wrong > 0 || counts.displayed != shown || counts.dropped != 0 {
        return Err("not every frame was shown as it is".into());
    }
    Ok(())
}

/// Presents a frame that is not finished yet: it must not be on the screen before it is.
fn fence_is_waited_for(sink: &mut KmsSink, pool: &Pool) -> Result<()> {
    let Some(timeline) = Timeline::new()? else {
        println!("no sw_sync in this kernel, so no test of fences");
        return Ok(());
    };
    let delay = Duration::from_millis(200);
    let before = sink.counts().displayed;
    let start = Instant::now();
    std::thread::scope(|scope| {
        let frame = frame(pool, 0, Some(timeline.fence()?))?;
        let drawing = scope.spawn(|| {
            std::thread::sleep(delay);
            timeline.signal().map_err(|error| error.to_string())
        });
        sink.present(frame)?;
        let presented = start.elapsed();
        sink.wait_flip()?;
        println!(
            "finished after {delay:?}: presented in {presented:?}, shown in {:?}",
            start.elapsed()
        );
        drawing.join().map_err(|_| "the thread panicked")??;
        Ok::<_, Box<dyn Error>>(())
    })?;
    if start.elapsed() < delay || sink.counts().displayed != before + 1 {
        return Err("the frame was shown before it was finished".into());
    }
    Ok(())
}

/// Fences that the CPU signals (`CONFIG_SW_SYNC`, for tests).
struct Timeline(File);

/// `struct sw_sync_create_fence_data` of `drivers/dma-buf/sw_sync.c`.
#[repr(C)]
struct CreateFence {
    value: u32,
    name: [u8; 32],
    fence: i32,
}

impl Timeline {
    fn new() -> Result<Option<Self>> {
        let path = "/sys/kernel/debug/sync/sw_sync";
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => Ok(Some(Self(file))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn fence(&self) -> Result<OwnedFd> {
        const CREATE: ioctl::Opcode = ioctl::opcode::read_write::<CreateFence>(b'W', 0);
        let mut data = CreateFence { value: 1, name: [0; 32], fence: -1 };
        // SAFETY: the opcode's argument is this structure, which the kernel reads and writes; the
        // descriptor that it puts there is new and belongs to nobody else.
        unsafe {
            ioctl::ioctl(&self.0, ioctl::Updater::<CREATE, _>::new(&mut data))?;
            Ok(OwnedFd::from_raw_fd(data.fence))
        }
    }

    fn signal(&self) -> rustix::io::Result<()> {
        const INC: ioctl::Opcode = ioctl::opcode::write::<u32>(b'W', 1);
        // SAFETY: the opcode's argument is a number that the kernel only reads.
        unsafe { ioctl::ioctl(&self.0, ioctl::Setter::<INC, u32>::new(1)) }
    }
}

/// A way to see what the display shows.
enum Eye {
    Writeback,
    /// The monitor of the virtual machine, and the device whose screen to look at.
    Monitor(File, &'static str),
    Blind,
}

impl Eye {
    fn open(sink: &mut KmsSink) -> Result<Self> {
        match sink.enable_capture() {
            Ok(()) => return Ok(Self::Writeback),
            Err(error) => println!("{error}"),
        }
        let device = match sink.name().as_str() {
            "kms:bochs-drm" => "bochs",
            "kms:virtio_gpu" => "virtio-gpu",
            _ => return Ok(Self::Blind),
        };
        let Ok(path) = std::env::var("VCAM_LAB_QMP") else { return Ok(Self::Blind) };
        let mut monitor = OpenOptions::new().read(true).write(true).open(path)?;
        ask(&mut monitor, r#"{"execute":"qmp_capabilities"}"#)?;
        Ok(Self::Monitor(monitor, device))
    }

    fn wrong_pixels(&mut self, sink: &mut KmsSink, sequence: u64) -> Result<usize> {
        let (size, rgb) = match self {
            Self::Writeback => {
                let screen = sink.capture()?;
                ((screen.width, screen.height), screen.rgb)
            }
            Self::Monitor(monitor, device) => {
                sink.wait_flip()?;
                let path = format!("{}/screen.png", std::env::var("VCAM_LAB_OUT")?);
                let command = format!(
                    r#"{{"execute":"screendump","arguments":{{"device":"{device}","format":"png","filename":"{path}"}}}}"#
                );
                ask(monitor, &command)?;
                let screen = image::open(&path)?.into_rgb8();
                (screen.dimensions(), screen.into_raw())
            }
            Self::Blind => return Ok(0),
        };
        Ok(compare_pixels(size, &rgb, sink.placement(), sequence))
    }
}

/// Sends one line to the monitor and reads lines until the answer.
fn ask(monitor: &mut File, command: &str) -> Result<()> {
    monitor.write_all(command.as_bytes())?;
    monitor.write_all(b"\n")?;
    loop {
        let mut line = Vec::new();
        let mut byte = [0];
        while line.last() != Some(&b'\n') {
            monitor.read_exact(&mut byte)?;
            line.push(byte[0]);
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        // The second time somebody introduces himself, the monitor calls it an error.
        if line.contains("\"return\"") || line.contains("CommandNotFound") {
            return Ok(());
        }
        if line.contains("\"error\"") {
            return Err(line.into());
        }
    }
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
    Ok(Frame {
        sequence,
        timestamp: Duration::ZERO,
        buffer,
        colour_space: ColourSpace::SRGB,
        ready: ready.map(Fence::from),
        taken: None,
    })
}

/// A different color for each pixel of each frame, more or less.
fn color(x: u32, y: u32, sequence: u64) -> [u8; 3] {
    let n = sequence as u32;
    [(x + 3 * n) as u8, (y + 7 * n) as u8, (x ^ y ^ (16 * n)) as u8]
}

fn compare_pixels(size: (u32, u32), rgb: &[u8], at: Placement, sequence: u64) -> usize {
    let mut wrong = 0;
    for (y, row) in (0..).zip(rgb.chunks_exact(3 * size.0 as usize)) {
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
    fn open(node: &Path) -> Result<Self> {
        let card = Self(OpenOptions::new().read(true).write(true).open(node)?);
        card.set_client_capability(drm::ClientCapability::UniversalPlanes, true)?;
        card.set_client_capability(drm::ClientCapability::Atomic, true)?;
        card.release_master_lock()?;
        Ok(card)
    }

    fn show_something(&self) -> Result<()> {
        self.acquire_master_lock()?;
        let resources = self.resource_handles()?;
        let handle = *resources.connectors().first().ok_or("no connector")?;
        let connector: connector::Info = self.get_connector(handle, true)?;
        let mode = *connector.modes().first().ok_or("no mode")?;
        let size = (u32::from(mode.size().0), u32::from(mode.size().1));
        let buffer = self.create_dumb_buffer(size, DrmFourcc::Xrgb8888, 32)?;
        let shown: framebuffer::Handle = self.add_framebuffer(&buffer, 24, 32)?;
        let crtc = *resources.crtcs().first().ok_or("no CRTC")?;
        self.set_crtc(crtc, Some(shown), (0, 0), &[handle], Some(mode))?;
        Ok(())
    }

    /// The framebuffer that is on the screen.
    fn shown_framebuffer(&self) -> Result<u32> {
        for plane in self.plane_handles()? {
            if let Some(shown) = self.get_plane(plane)?.framebuffer() {
                return Ok(shown.into());
            }
        }
        Err("nothing is on the screen".into())
    }

    /// Removes a framebuffer of the sink's, through the sink's own descriptor.
    fn sabotage(&self, framebuffer: u32) -> Result<()> {
        let path = |number: &str| fs::read_link(format!("/proc/self/fd/{number}"));
        let ours = self.0.as_raw_fd().to_string();
        for entry in fs::read_dir("/proc/self/fd")? {
            let number = entry?.file_name().to_string_lossy().into_owned();
            if number != ours && path(&number).ok() == path(&ours).ok() {
                // SAFETY: nobody closes a descriptor of the card during this function.
                let card = unsafe { BorrowedFd::borrow_raw(number.parse()?) };
                drm_ffi::mode::rm_fb(card, framebuffer)?;
            }
        }
        Ok(())
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
        // The one is a legacy view of the CRTC's ACTIVE, in which a display that was never used
        // counts as on; the other belongs to a commit, such as one of a console's blinking cursor.
        if ["DPMS", "FB_DAMAGE_CLIPS"].contains(&property.2.as_str()) {
            continue;
        }
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
    fn settled(&self, node: &Path) -> Result<Self> {
        for _ in 0..20 {
            if Self::read(node)? == *self {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Self::read(node)
    }

    fn read(node: &Path) -> Result<Self> {
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
