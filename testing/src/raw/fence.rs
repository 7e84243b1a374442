//! Fences that a test signals: of the kernel's software timelines, and of a driver.

use std::fs::File;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use rustix::ioctl::{self, Opcode, Setter, Updater, opcode};
use vcam_allocator::Dmabuf;

use super::card;

/// A timeline of fences that a test signals (debugfs `sync/sw_sync`).
#[derive(Debug)]
pub struct SwSyncTimeline(File);

/// `struct sw_sync_create_fence_data`.
#[repr(C)]
struct CreateFence {
    value: u32,
    name: [u8; 32],
    fence: i32,
}

impl SwSyncTimeline {
    /// A timeline at 0.
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
        // SAFETY: the call succeeded, so this is a new descriptor without another owner.
        unsafe { OwnedFd::from_raw_fd(args.fence) }
    }

    /// Moves on by so many.
    pub fn advance(&self, by: u32) {
        const INC: Opcode = opcode::write::<u32>(b'W', 1);
        // SAFETY: the argument is the opcode's: a word of 32 bits.
        unsafe { ioctl::ioctl(&self.0, Setter::<INC, u32>::new(by)) }.unwrap();
    }
}

/// A fence of a driver: a program signals fences of vgem, or vgem does so after 10 seconds
/// (`include/uapi/drm/vgem_drm.h`).
#[derive(Debug)]
pub struct VgemFence {
    card: OwnedFd,
    number: u32,
}

impl VgemFence {
    /// Attaches one to a buffer, as a writer has.
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

    /// Signals it.
    pub fn signal(self) {
        const SIGNAL: Opcode = opcode::write::<[u32; 2]>(b'd', 0x42);
        // SAFETY: the words are a `struct drm_vgem_fence_signal`.
        unsafe { ioctl::ioctl(&self.card, Setter::<SIGNAL, _>::new([self.number, 0])) }.unwrap();
    }
}
