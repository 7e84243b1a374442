//! Cards, and `DRM_IOCTL_MODE_ADDFB2` with fields that a test chooses.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use vcam_allocator::Dmabuf;
use vcam_allocator::foreign::Claim;

/// A card of this driver, opened once more.
pub fn card(driver: &str) -> File {
    card_and_node(driver).0
}

/// A card of this driver, opened once more, and its node.
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
    /// `width` and `height`.
    pub size: (u32, u32),
    /// `pixel_format`.
    pub format: u32,
    /// `handles`.
    pub handles: [u32; 4],
    /// `pitches`.
    pub pitches: [u32; 4],
    /// `offsets`.
    pub offsets: [u32; 4],
    /// `modifier`.
    pub modifiers: [u64; 4],
    /// `flags`: `DRM_MODE_FB_…`.
    pub flags: u32,
}

impl Fields {
    /// The fields that are true of a buffer, without a modifier.
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
