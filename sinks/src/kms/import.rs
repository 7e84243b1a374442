//! Framebuffers of buffers that somebody else allocated: PRIME, then `ADDFB2`.

use std::os::fd::AsFd;
use std::sync::Arc;

use drm::control::FbCmd2Flags;
use rustix::io::Errno;
use vcam_allocator::{Dmabuf, Fourcc, MAX_PLANES, MemoryKind, Modifier, Refusal};
use vcam_uapi::drm::retry;

use super::card::Card;

const PRIME: &str = "PRIME_FD_TO_HANDLE";
const ADDFB2: &str = "ADDFB2";

/// A framebuffer of the card. It keeps its buffers' memory alive; dropping it takes it off the
/// screen if it is still there, so drop it later.
#[derive(Debug)]
pub(crate) struct Framebuffer {
    card: Arc<Card>,
    pub(crate) id: u32,
}

impl Drop for Framebuffer {
    fn drop(&mut self) {
        match retry(|| drm_ffi::mode::rm_fb(self.card.as_fd(), self.id)) {
            // It went with the card.
            Ok(()) | Err(Errno::NODEV) => {}
            Err(error) => tracing::error!(%error, "a framebuffer could not be removed"),
        }
    }
}

/// What a framebuffer is made of.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    pub(crate) format: Option<Fourcc>,
    pub(crate) size: (u32, u32),
    pub(crate) handles: [u32; MAX_PLANES],
    pub(crate) strides: [u32; MAX_PLANES],
    pub(crate) offsets: [u32; MAX_PLANES],
    /// `None` leaves the arrangement to the driver, which means linear for a foreign buffer.
    pub(crate) modifier: Option<Modifier>,
}

impl Framebuffer {
    pub(crate) fn add(card: &Arc<Card>, picture: &Picture) -> Result<Self, Errno> {
        let mut modifiers = [0; MAX_PLANES];
        let mut flags = FbCmd2Flags::empty();
        if let Some(modifier) = picture.modifier {
            flags = FbCmd2Flags::MODIFIERS;
            // The kernel wants the same one for each plane that is used, and 0 for the others.
            for (slot, handle) in modifiers.iter_mut().zip(picture.handles) {
                *slot = if handle == 0 { 0 } else { modifier.0 };
            }
        }
        let added = retry(|| {
            drm_ffi::mode::add_fb2(
                card.as_fd(),
                picture.size.0,
                picture.size.1,
                picture.format.map_or(0, |format| format.0),
                &picture.handles,
                &picture.strides,
                &picture.offsets,
                &modifiers,
                flags.bits(),
            )
        })?;
        Ok(Self { card: card.clone(), id: added.fb_id })
    }
}

/// Makes a framebuffer of a foreign buffer, or says at which step the card refuses it.
pub(crate) fn import(card: &Arc<Card>, buffer: &Dmabuf) -> Result<Framebuffer, Refusal> {
    // The kernel's answer to this is a bare EINVAL.
    if buffer.kind() == MemoryKind::Memfd {
        return Err(Refusal::because(card.name(), PRIME, "a memfd is not a dma-buf"));
    }
    let layout = buffer.layout();
    let mut picture = Picture {
        format: Some(buffer.format()),
        size: (layout.width(), layout.height()),
        ..Picture::default()
    };
    let _alone = card.handles();
    let mut handles = Handles { card, handles: [0; MAX_PLANES] };
    for (index, (fd, plane)) in buffer.planes().enumerate() {
        let word = |value: u64| {
            u32::try_from(value).map_err(|_| {
                Refusal::because(card.name(), ADDFB2, format!("{value} does not fit 32 bits"))
            })
        };
        picture.strides[index] = word(plane.stride)?;
        picture.offsets[index] = word(plane.offset)?;
        let prime = retry(|| drm_ffi::gem::fd_to_handle(card.as_fd(), fd))
            .map_err(|errno| Refusal::errno(card.name(), PRIME, errno.raw_os_error()))?;
        handles.handles[index] = prime.handle;
    }
    picture.handles = handles.handles;
    picture.modifier = Some(buffer.modifier())
        .filter(|modifier| *modifier != Modifier::INVALID && card.takes_modifiers());
    let added = match Framebuffer::add(card, &picture) {
        // Some announce modifiers and take none, or not this one for this format; linear is what
        // they take a buffer for when nothing is said.
        Err(Errno::INVAL) if picture.modifier == Some(Modifier::LINEAR) => {
            picture.modifier = None;
            Framebuffer::add(card, &picture)
        }
        other => other,
    };
    added.map_err(|errno| {
        let mut refusal = Refusal::errno(card.name(), ADDFB2, errno.raw_os_error());
        if !matches!(buffer.modifier(), Modifier::LINEAR | Modifier::INVALID)
            && picture.modifier.is_none()
        {
            refusal.detail = format!("the card takes no modifiers, here {}", buffer.modifier());
        }
        refusal
    })
}

/// The GEM handles of one buffer, closed when dropped: a framebuffer holds references of its own.
///
/// Two descriptors of one dma-buf give the same handle, which is not counted: it is closed once.
struct Handles<'a> {
    card: &'a Card,
    handles: [u32; MAX_PLANES],
}

impl Drop for Handles<'_> {
    fn drop(&mut self) {
        for (index, handle) in self.handles.iter().enumerate() {
            if *handle == 0 || self.handles[..index].contains(handle) {
                continue;
            }
            match retry(|| drm_ffi::gem::close(self.card.as_fd(), *handle)) {
                Ok(_) | Err(Errno::NODEV) => {}
                Err(error) => tracing::error!(%error, "a GEM handle could not be closed"),
            }
        }
    }
}
