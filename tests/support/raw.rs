//! The kernel's interfaces without the allocator in between, to hear what the kernel itself says.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::OFlags;
use rustix::io::{self, Errno};
use rustix::ioctl::{self, Ioctl, IoctlOutput, Opcode, Setter, Updater, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use vcam_allocator::Dmabuf;
use vcam_allocator::foreign::Claim;

/// An ioctl that reads words and returns a descriptor.
struct Create(Opcode, Vec<u64>);

// SAFETY: the opcode's argument are these words, which the kernel only reads, and its result is a
// new descriptor.
unsafe impl Ioctl for Create {
    type Output = OwnedFd;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        self.0
    }

    fn as_ptr(&mut self) -> *mut std::ffi::c_void {
        self.1.as_mut_ptr().cast()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut std::ffi::c_void) -> io::Result<OwnedFd> {
        // SAFETY: the call succeeded, so this is a descriptor that belongs to nobody else.
        Ok(unsafe { OwnedFd::from_raw_fd(out) })
    }
}

fn word(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// `UDMABUF_CREATE`.
pub fn udmabuf_create(
    node: BorrowedFd<'_>,
    memfd: BorrowedFd<'_>,
    offset: u64,
    size: u64,
) -> io::Result<OwnedFd> {
    let words = vec![word(memfd.as_raw_fd() as u32, 1), offset, size];
    // SAFETY: the words are a `struct udmabuf_create`.
    unsafe { ioctl::ioctl(node, Create(opcode::write::<[u64; 3]>(b'u', 0x42), words)) }
}

/// `UDMABUF_CREATE_LIST`.
pub fn udmabuf_create_list(
    node: BorrowedFd<'_>,
    ranges: &[(BorrowedFd<'_>, u64, u64)],
) -> io::Result<OwnedFd> {
    let mut words = vec![word(1, ranges.len() as u32)];
    for (memfd, offset, size) in ranges {
        words.extend([word(memfd.as_raw_fd() as u32, 0), *offset, *size]);
    }
    // SAFETY: the words are a `struct udmabuf_create_list` and its items.
    unsafe { ioctl::ioctl(node, Create(opcode::write::<[u64; 1]>(b'u', 0x43), words)) }
}

/// What a dma-heap's new descriptor is asked to be.
pub const FD_FLAGS: u32 = OFlags::RDWR.union(OFlags::CLOEXEC).bits();

/// `DMA_HEAP_IOCTL_ALLOC`.
pub fn heap_alloc(
    node: BorrowedFd<'_>,
    len: u64,
    fd_flags: u32,
    heap_flags: u64,
) -> io::Result<OwnedFd> {
    const ALLOC: Opcode = opcode::read_write::<[u64; 3]>(b'H', 0);
    let mut words = [len, word(0, fd_flags), heap_flags];
    // SAFETY: the words are a `struct dma_heap_allocation_data`.
    unsafe { ioctl::ioctl(node, Updater::<ALLOC, _>::new(&mut words))? };
    // SAFETY: the call succeeded, so this is a descriptor that belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(words[1] as u32 as i32) })
}

/// `DMA_BUF_IOCTL_SYNC`.
pub fn sync(fd: BorrowedFd<'_>, flags: u64) -> io::Result<()> {
    const SYNC: Opcode = opcode::write::<u64>(b'b', 0);
    // SAFETY: the argument is a `struct dma_buf_sync`, one word of flags.
    unsafe { ioctl::ioctl(fd, Setter::<SYNC, u64>::new(flags)) }
}

/// A shared mapping of a descriptor's memory, which others may change at any time.
pub struct Shared {
    start: *mut u8,
    len: usize,
}

impl Shared {
    pub fn new(fd: BorrowedFd<'_>, len: u64) -> io::Result<Self> {
        let len = usize::try_from(len).unwrap();
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address of the kernel's choice aliases nothing.
        let start = unsafe { mmap(std::ptr::null_mut(), len, access, MapFlags::SHARED, fd, 0)? };
        Ok(Self { start: start.cast(), len })
    }

    /// Writes a byte all over a range.
    pub fn fill(&self, range: std::ops::Range<u64>, byte: u8) {
        assert!(range.end <= self.len as u64);
        let len = usize::try_from(range.end - range.start).unwrap();
        // SAFETY: the range lies within the mapping, as just checked, of which there are no slices.
        unsafe { self.start.add(range.start as usize).write_bytes(byte, len) }
    }

    pub fn read(&self, at: u64) -> u8 {
        assert!(at < self.len as u64);
        // SAFETY: as in `fill`; volatile, since others write to it.
        unsafe { self.start.add(at as usize).read_volatile() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made.
        unsafe { munmap(self.start.cast(), self.len) }.unwrap();
    }
}

/// A card of this driver, opened anew.
pub fn card(driver: &str) -> File {
    card_and_node(driver).0
}

/// A card of this driver, opened anew, and its node.
pub fn card_and_node(driver: &str) -> (File, PathBuf) {
    for entry in std::fs::read_dir("/dev/dri").unwrap().flatten() {
        if !entry.file_name().to_string_lossy().starts_with("card") {
            continue;
        }
        let card = File::options().read(true).write(true).open(entry.path()).unwrap();
        let mut name = Vec::new();
        drm_ffi::get_version(card.as_fd(), Some(&mut name), None, None).unwrap();
        let name: Vec<u8> = name.iter().map(|byte| *byte as u8).filter(|byte| *byte != 0).collect();
        if name == driver.as_bytes() {
            return (card, entry.path());
        }
    }
    panic!("the lab has a card of {driver}");
}

/// Makes a framebuffer of a buffer, as it is, and removes it.
pub fn add_framebuffer(card: BorrowedFd<'_>, buffer: &Dmabuf) -> Result<(), Errno> {
    add_framebuffer_as(card, buffer, &Claim::of(buffer))
}

/// Makes a framebuffer of a buffer, claiming this of it, and removes it.
pub fn add_framebuffer_as(
    card: BorrowedFd<'_>,
    buffer: &Dmabuf,
    claim: &Claim,
) -> Result<(), Errno> {
    let fields = Fields {
        size: (claim.width, claim.height),
        format: claim.format.0,
        pitches: words(claim.planes.iter().map(|plane| plane.stride)),
        offsets: words(claim.planes.iter().map(|plane| plane.offset)),
        ..Fields::default()
    };
    add_framebuffer_of(card, buffer, fields)
}

/// The fields of a `struct drm_mode_fb_cmd2`. Those of the buffer's planes are put into
/// the first handles.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields {
    pub size: (u32, u32),
    pub format: u32,
    pub handles: [u32; 4],
    pub pitches: [u32; 4],
    pub offsets: [u32; 4],
    pub modifiers: [u64; 4],
    pub flags: u32,
}

impl Fields {
    /// What is true of a buffer, without a modifier.
    pub fn of(buffer: &Dmabuf) -> Self {
        let layout = buffer.layout();
        Self {
            size: (layout.width(), layout.height()),
            format: buffer.format().0,
            pitches: words(layout.planes().iter().map(|plane| plane.stride)),
            offsets: words(layout.planes().iter().map(|plane| plane.offset)),
            ..Self::default()
        }
    }
}

fn words(values: impl Iterator<Item = u64>) -> [u32; 4] {
    let mut words = [0; 4];
    words.iter_mut().zip(values).for_each(|(word, value)| *word = value as u32);
    words
}

/// Makes a framebuffer of a buffer, with exactly these fields, and removes it.
pub fn add_framebuffer_of(
    card: BorrowedFd<'_>,
    buffer: &Dmabuf,
    mut fields: Fields,
) -> Result<(), Errno> {
    let errno = |error: std::io::Error| Errno::from_io_error(&error).unwrap();
    let mut distinct = Vec::new();
    for (slot, (fd, _)) in fields.handles.iter_mut().zip(buffer.planes()) {
        *slot = drm_ffi::gem::fd_to_handle(card, fd).map_err(errno)?.handle;
        if !distinct.contains(slot) {
            distinct.push(*slot);
        }
    }
    let made = drm_ffi::mode::add_fb2(
        card,
        fields.size.0,
        fields.size.1,
        fields.format,
        &fields.handles,
        &fields.pitches,
        &fields.offsets,
        &fields.modifiers,
        fields.flags,
    );
    for handle in distinct {
        drm_ffi::gem::close(card, handle).map_err(errno)?;
    }
    drm_ffi::mode::rm_fb(card, made.map_err(errno)?.fb_id).map_err(errno)
}

static INTERRUPTS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_interrupt(_: libc::c_int) {
    INTERRUPTS.fetch_add(1, Ordering::Relaxed);
}

/// Has `SIGUSR1` interrupt what a thread waits for, without the kernel's taking it up again.
pub fn let_signals_interrupt() {
    // SAFETY: all bytes zero are a `sigaction`: no flags (`SA_RESTART` among them), an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = count_interrupt as extern "C" fn(libc::c_int) as usize;
    // SAFETY: the handler does nothing but add to an atomic number, which any thread may at any
    // time.
    assert_eq!(unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) }, 0);
}

/// The thread that asks, to be interrupted by others.
pub struct Interruptible(libc::pid_t);

impl Interruptible {
    pub fn this_thread() -> Self {
        // SAFETY: the call takes nothing and cannot fail.
        Self(unsafe { libc::gettid() })
    }

    /// Waits until the thread sleeps in the kernel, and sends it a signal; back once it has it.
    pub fn interrupt(&self) {
        let stat = format!("/proc/self/task/{}/stat", self.0);
        let sleeps = || std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains(") S "));
        while !sleeps() {
            std::thread::yield_now();
        }
        let before = INTERRUPTS.load(Ordering::Relaxed);
        // SAFETY: the signal has a handler, and goes to a thread of this process.
        let sent =
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.0, libc::SIGUSR1) };
        assert_eq!(sent, 0, "the thread has ended");
        while INTERRUPTS.load(Ordering::Relaxed) == before {
            std::thread::yield_now();
        }
    }
}

/// A timeline of fences that a test signals (debugfs `sync/sw_sync`).
pub struct Timeline(File);

/// `struct sw_sync_create_fence_data`.
#[repr(C)]
struct CreateFence {
    value: u32,
    name: [u8; 32],
    fence: i32,
}

impl Timeline {
    pub fn new() -> Self {
        let node = "/sys/kernel/debug/sync/sw_sync";
        Self(File::options().read(true).write(true).open(node).expect("the lab has sw_sync"))
    }

    /// A sync file that is signalled when the timeline reaches this value.
    pub fn fence(&self, value: u32) -> OwnedFd {
        const CREATE: Opcode = opcode::read_write::<CreateFence>(b'W', 0);
        let mut args = CreateFence { value, name: [0; 32], fence: -1 };
        // SAFETY: the argument is the opcode's structure.
        unsafe { ioctl::ioctl(&self.0, Updater::<CREATE, _>::new(&mut args)) }.unwrap();
        // SAFETY: the call succeeded, so this is a descriptor that belongs to nobody else.
        unsafe { OwnedFd::from_raw_fd(args.fence) }
    }

    /// Moves on by so many.
    pub fn advance(&self, by: u32) {
        const INC: Opcode = opcode::write::<u32>(b'W', 1);
        // SAFETY: the argument is the opcode's: a word of 32 bits.
        unsafe { ioctl::ioctl(&self.0, Setter::<INC, u32>::new(by)) }.unwrap();
    }
}

/// A fence of a driver: vgem has some that a program signals, or that vgem does after 10 seconds
/// (`include/uapi/drm/vgem_drm.h`).
pub struct VgemFence {
    card: OwnedFd,
    number: u32,
}

impl VgemFence {
    /// Attaches one to a buffer, as of somebody who writes to it.
    pub fn attach(buffer: &Dmabuf) -> Self {
        const ATTACH: Opcode = opcode::read_write::<[u32; 4]>(b'd', 0x41);
        let card = card("vgem");
        let (fd, _) = buffer.planes().next().unwrap();
        let handle = drm_ffi::gem::fd_to_handle(card.as_fd(), fd).unwrap().handle;
        // Handle, `VGEM_FENCE_WRITE`, and what comes back: the fence's number.
        let mut words = [handle, 1, 0, 0];
        // SAFETY: the words are a `struct drm_vgem_fence_attach`.
        unsafe { ioctl::ioctl(&card, Updater::<ATTACH, _>::new(&mut words)) }.unwrap();
        drm_ffi::gem::close(card.as_fd(), handle).unwrap();
        Self { card: card.into(), number: words[2] }
    }

    pub fn signal(self) {
        const SIGNAL: Opcode = opcode::write::<[u32; 2]>(b'd', 0x42);
        // SAFETY: the words are a `struct drm_vgem_fence_signal`.
        unsafe { ioctl::ioctl(&self.card, Setter::<SIGNAL, _>::new([self.number, 0])) }.unwrap();
    }
}
