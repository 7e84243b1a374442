//! What the display really shows, given back by the card.
//!
//! A writeback connector is a display that is memory: the card writes what its CRTC scans out into
//! a framebuffer. vkms has one, and so have some of the display controllers of phones and boards.

use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use drm::control::{AtomicCommitFlags, Device as _, connector};
use vcam_allocator::{Fence, Fourcc};

use super::card::Card;
use super::dumb::Dumb;
use super::error::KmsError;
use super::output::Output;
use super::properties::Object;
use super::request::{Request, Slot};
use crate::pixels::{Order, READY_LIMIT, to_rgb};

/// Formats that a capture can be read in, best first.
const FORMATS: [Fourcc; 4] =
    [Fourcc::XRGB8888, Fourcc::ARGB8888, Fourcc::XBGR8888, Fourcc::ABGR8888];

/// What the display showed, all of its screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Red, green and blue of each pixel, row after row without padding.
    pub rgb: Vec<u8>,
}

impl Captured {
    /// Writes it as a PNG; see [`write_png`](crate::write_png).
    #[cfg(feature = "file")]
    pub fn write_png(&self, path: &std::path::Path) -> Result<(), crate::FileError> {
        crate::write_png(path, (self.width, self.height), &self.rgb)
    }

    /// Red, green and blue of a pixel, if it is on the screen.
    pub fn pixel(&self, x: u32, y: u32) -> Option<[u8; 3]> {
        if x >= self.width || y >= self.height {
            return None;
        }
        let at = (y as usize * self.width as usize + x as usize) * 3;
        self.rgb.get(at..at + 3)?.try_into().ok()
    }
}

/// A writeback connector, and the buffer it writes to.
#[derive(Debug)]
pub(crate) struct Writeback {
    pub(crate) connector: Object,
    buffer: Dumb,
    order: Order,
    size: (u32, u32),
    request: Request,
    routed: Slot,
    shown: Slot,
    /// Where the kernel puts the descriptor of the fence; it keeps the address during a commit.
    fence: Box<AtomicI32>,
}

/// How long a card may take to forget a capture that is done.
///
/// vkms signals that it is written, and a worker of the kernel then turns the composer off; if the
/// next capture was begun in between, nobody writes it, and from then on each comes one too late
/// (`vkms_wb_cleanup_job` in `vkms_writeback.c`, Linux 7.2). On a busy machine 5 ms were too few.
const CLEANUP: Duration = Duration::from_millis(20);

impl Writeback {
    /// Finds a writeback connector for the output's CRTC.
    pub(crate) fn open(
        card: &Arc<Card>,
        output: &Output,
        size: (u32, u32),
    ) -> Result<Self, KmsError> {
        card.enable_writeback()?;
        let missing = || KmsError::NoWriteback { card: card.name().to_owned() };
        let connector = find(card, output.crtc.id)?.ok_or_else(missing)?;
        let connector = Object::read(card, "writeback connector", connector)?;
        let formats = card
            .get_property_blob(connector.value("WRITEBACK_PIXEL_FORMATS"))
            .map_err(card.failed("list the formats of a writeback connector"))?;
        let offered =
            |format: &Fourcc| formats.chunks_exact(4).any(|code| code == format.0.to_ne_bytes());
        let format = FORMATS.into_iter().find(offered).ok_or_else(missing)?;
        let order = Order::of(format).ok_or_else(missing)?;
        let buffer = Dumb::new(card, format, size)?;

        let fence = Box::new(AtomicI32::new(-1));
        let mut request = Request::default();
        let mut set = |name, value| Ok(request.set(connector.id, connector.property(name)?, value));
        let routed = set("CRTC_ID", output.crtc.id.into())?;
        set("WRITEBACK_FB_ID", buffer.framebuffer().id.into())?;
        set("WRITEBACK_OUT_FENCE_PTR", fence.as_ptr().expose_provenance() as u64)?;
        let shown = request.set(output.plane.id, output.plane.property("FB_ID")?, 0);
        Ok(Self { connector, buffer, order, size, request, routed, shown, fence })
    }

    /// Has the card write what it shows while `framebuffer` is on its plane.
    pub(crate) fn capture(&mut self, card: &Card, framebuffer: u32) -> Result<Captured, KmsError> {
        self.request.put(self.shown, framebuffer.into());
        self.fence.store(-1, Ordering::SeqCst);
        self.request
            .commit(card, AtomicCommitFlags::ALLOW_MODESET)
            .map_err(|errno| card.commit_failed("capture the screen", errno))?;
        self.collect()
    }

    /// Has the commit of another request write what it shows; [`Writeback::collect`] gets it.
    pub(crate) fn arm(&mut self, request: &mut Request) -> Result<(), KmsError> {
        self.fence.store(-1, Ordering::SeqCst);
        let connector = &self.connector;
        let crtc = self.request.value(self.routed);
        let fence = self.fence.as_ptr().expose_provenance() as u64;
        request.set(connector.id, connector.property("CRTC_ID")?, crtc);
        let buffer = self.buffer.framebuffer().id.into();
        request.set(connector.id, connector.property("WRITEBACK_FB_ID")?, buffer);
        request.set(connector.id, connector.property("WRITEBACK_OUT_FENCE_PTR")?, fence);
        Ok(())
    }

    /// What the last commit showed, once it is written.
    pub(crate) fn collect(&mut self) -> Result<Captured, KmsError> {
        let fd = self.fence.swap(-1, Ordering::SeqCst);
        if fd >= 0 {
            // SAFETY: the commit succeeded and put a new descriptor there, which belongs to nobody
            // else.
            let fence = Fence::from(unsafe { OwnedFd::from_raw_fd(fd) });
            fence
                .wait(READY_LIMIT)
                .map_err(|source| KmsError::Fence { what: "the capture of the screen", source })?;
            std::thread::sleep(CLEANUP);
        }
        let (rows, stride) = self.buffer.plane(0);
        let mut rgb = Vec::new();
        to_rgb(rows, stride, self.order, self.size, &mut rgb);
        Ok(Captured { width: self.size.0, height: self.size.1, rgb })
    }
}

fn find(card: &Card, crtc: u32) -> Result<Option<connector::Handle>, KmsError> {
    let failed = card.failed("list the writeback connectors");
    let resources = card.resource_handles().map_err(&failed)?;
    for handle in resources.connectors() {
        let info = card.get_connector(*handle, false).map_err(&failed)?;
        if info.interface() != connector::Interface::Writeback {
            continue;
        }
        for encoder in info.encoders() {
            let reached = card.get_encoder(*encoder).map_err(&failed)?.possible_crtcs();
            if resources.filter_crtcs(reached).iter().any(|reached| u32::from(*reached) == crtc) {
                return Ok(Some(*handle));
            }
        }
    }
    Ok(None)
}
