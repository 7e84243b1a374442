//! Tries a card's imports out, with pixels as proof where the card can give them back.
//!
//! Each buffer goes as far as it can: `PRIME_FD_TO_HANDLE`, `ADDFB2`, the question whether the
//! plane would show it (`TEST_ONLY`), and, where there is a writeback connector, onto the plane and
//! back into memory, where it is compared with what the CPU drew.
//!
//! No display that somebody uses is touched. Where another program controls the card, only the
//! steps are taken that need no control; a display that is on is asked and not changed, unless it
//! is a virtual one that nobody controls; and whatever was changed is put back.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use drm::control::{AtomicCommitFlags, Device as _, PlaneType, connector};
use rustix::io::Errno;
use vcam_allocator::probe::pattern::{self, compare};
use vcam_allocator::probe::{self, FORMATS, Finding, ImporterInfo, Prober, Steps};
use vcam_allocator::{Dmabuf, Fourcc, Layout, Refusal};

use super::KmsOptions;
use super::card::{self, Card, ConnectorInfo};
use super::colours;
use super::constraints::Limits;
use super::dumb::Dumb;
use super::error::KmsError;
use super::fit::{Fit, View, place};
use super::import::import;
use super::modes::{self, ModeInfo, Placement};
use super::output::{self, Output};
use super::present::TEST_ONLY;
use super::properties::Object;
use super::request::Request;
use super::restore::Snapshot;
use super::writeback::Writeback;

const COMMIT: &str = "atomic commit";
const WRITEBACK: &str = "writeback";

/// What stands below the plane that is tried.
const BACKDROP: Fourcc = Fourcc::XRGB8888;

/// The nodes of all cards, in the order of their numbers.
pub fn nodes() -> Vec<PathBuf> {
    card::nodes()
}

/// The planes of a card, one of each type: `kms:vkms`, `kms:vkms/overlay`, `kms:vkms/cursor`. None
/// if the card has no displays at all.
pub fn probers(node: &Path) -> Result<Vec<Box<dyn Prober>>, KmsError> {
    let card = Card::open(node)?;
    let screen = match card.enable_atomic() {
        Ok(()) => card.take_master().map_err(|_| {
            "accepted as a framebuffer; another program controls the display, so it was not shown"
        }),
        Err(KmsError::NoKms { .. }) => return Ok(Vec::new()),
        Err(_) => Err("accepted as a framebuffer; the card has no atomic modesetting to ask more"),
    };
    let card = Arc::new(card);
    let screen = match screen {
        Ok(()) => Screen::open(&card)?
            .ok_or("accepted as a framebuffer; no display is connected that could show it"),
        Err(words) => Err(words),
    };
    let planes = planes(&card, screen.as_ref().ok())?;
    let screen = match screen {
        Ok(mut screen) => {
            for Plane { object, kind, .. } in &planes {
                if *kind != PlaneType::Primary {
                    screen.snapshot.add_plane(&card, object)?;
                }
            }
            Ok(RefCell::new(screen))
        }
        Err(words) => Err(words),
    };
    let shared = Rc::new(Shared { screen, card, node: node.display().to_string() });
    let prober = |plane| Box::new(PlaneProber { shared: shared.clone(), plane }) as Box<dyn Prober>;
    Ok(planes.into_iter().map(prober).collect())
}

/// What the planes of a card share.
struct Shared {
    /// The display, or how far the card could be asked without one.
    screen: Result<RefCell<Screen>, &'static str>,
    card: Arc<Card>,
    node: String,
}

/// A plane to be tried.
struct Plane {
    object: Object,
    kind: PlaneType,
    formats: Vec<u32>,
}

/// The first plane of each type that reaches the screen.
fn planes(card: &Card, screen: Option<&Screen>) -> Result<Vec<Plane>, KmsError> {
    let resources = card.resource_handles().map_err(card.failed("list the CRTCs"))?;
    let mut planes: Vec<Plane> = Vec::new();
    for handle in card.plane_handles().map_err(card.failed("list the planes"))? {
        let info = card.get_plane(handle).map_err(card.failed("look at a plane"))?;
        let object = Object::read(card, "plane", handle)?;
        let kind = match object.value("type") {
            value if value == PlaneType::Primary as u64 => PlaneType::Primary,
            value if value == PlaneType::Cursor as u64 => PlaneType::Cursor,
            _ => PlaneType::Overlay,
        };
        let reaches = |screen: &Screen| match kind {
            PlaneType::Primary => object.id == screen.output.plane.id,
            _ => resources
                .filter_crtcs(info.possible_crtcs())
                .iter()
                .any(|crtc| u32::from(*crtc) == screen.output.crtc.id),
        };
        if screen.is_none_or(reaches) && !planes.iter().any(|plane| plane.kind == kind) {
            planes.push(Plane { object, kind, formats: info.formats().to_vec() });
        }
    }
    planes.sort_by_key(|plane| match plane.kind {
        PlaneType::Primary => 0,
        PlaneType::Overlay => 1,
        PlaneType::Cursor => 2,
    });
    Ok(planes)
}

/// A display that may be asked, and perhaps shown on.
struct Screen {
    card: Arc<Card>,
    output: Output,
    fit: Fit,
    size: (u32, u32),
    backdrop: Dumb,
    snapshot: Snapshot,
    writeback: Option<Writeback>,
    /// Whether something of ours is on it.
    changed: bool,
}

impl Screen {
    /// The first display that is connected, in a mode in which a small picture may be shown.
    fn open(card: &Arc<Card>) -> Result<Option<Self>, KmsError> {
        let connector = match output::connector(card, None, true) {
            Ok(connector) => connector,
            Err(KmsError::NoConnector { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let preferred =
            modes::preferred(&ConnectorInfo::from(&connector).modes).map(ModeInfo::size);
        for size in std::iter::once(probe::SIZE).chain(preferred) {
            let options = KmsOptions {
                colour_space: pattern::COLOUR_SPACE,
                ..KmsOptions::new(size, BACKDROP)
            };
            let output = match Output::choose(card, &connector, &options, &[]) {
                Ok(mut output) => {
                    if connector.interface() == connector::Interface::Virtual {
                        output.hurry();
                    }
                    output
                }
                Err(KmsError::NoMode { .. } | KmsError::NoCrtc { .. }) => continue,
                Err(error) => return Err(error),
            };
            match Fit::find(card, &output, &options) {
                Ok(fit) if fit.must_cover.is_none() => {
                    return Self::with(card, &connector, output, fit, size).map(Some);
                }
                Ok(_) | Err(KmsError::Configuration { .. } | KmsError::NoMode { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn with(
        card: &Arc<Card>,
        connector: &connector::Info,
        output: Output,
        fit: Fit,
        size: (u32, u32),
    ) -> Result<Self, KmsError> {
        let mut snapshot = Snapshot::take(card, &output)?;
        let seen = output.crtc.value("ACTIVE") != 0
            && connector.interface() != connector::Interface::Virtual;
        let writeback = match Writeback::open(card, &output, fit.mode.size()) {
            Ok(writeback) if !seen => {
                snapshot.add_connector(card, &writeback.connector)?;
                Some(writeback)
            }
            Ok(_) | Err(KmsError::NoWriteback { .. }) => None,
            Err(error) => return Err(error),
        };
        let backdrop = Dumb::new(card, BACKDROP, size)?;
        let card = card.clone();
        Ok(Self { card, output, fit, size, backdrop, snapshot, writeback, changed: false })
    }

    /// The commit that shows a framebuffer on a plane.
    fn request(
        &self,
        plane: &Plane,
        framebuffer: u32,
        size: (u32, u32),
    ) -> Result<Request, KmsError> {
        let mut request = self.fit.setup.clone();
        match plane.kind {
            PlaneType::Primary => request.put(self.fit.setup_shown, framebuffer.into()),
            _ => {
                request.put(self.fit.setup_shown, self.backdrop.framebuffer().id.into());
                let Placement { x, y, .. } = self.fit.placement;
                let placement = Placement { x, y, width: size.0, height: size.1 };
                let crtc = self.output.crtc.id;
                let shown = place(
                    &mut request,
                    &plane.object,
                    crtc,
                    &View::plain(placement, pattern::COLOUR_SPACE),
                )?;
                request.put(shown, framebuffer.into());
            }
        }
        Ok(request)
    }

    /// Takes a framebuffer off the plane again, so that it can be given back.
    fn clear(&mut self, plane: &Plane) -> Result<(), KmsError> {
        if !self.changed {
            return Ok(());
        }
        let mut request = self.fit.setup.clone();
        request.put(self.fit.setup_shown, self.backdrop.framebuffer().id.into());
        if plane.kind != PlaneType::Primary {
            let object = &plane.object;
            request.set(object.id, object.property("FB_ID")?, 0);
            request.set(object.id, object.property("CRTC_ID")?, 0);
        }
        request
            .commit(&self.card, AtomicCommitFlags::ALLOW_MODESET)
            .map_err(|errno| self.card.commit_failed("take a buffer off the screen", errno))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.changed
            && let Err(error) = self.snapshot.restore(&self.card)
        {
            tracing::error!(%error, card = self.card.name(), "the display was not put back");
        }
    }
}

/// A plane of a card, as an importer.
struct PlaneProber {
    shared: Rc<Shared>,
    plane: Plane,
}

impl PlaneProber {
    fn one(
        &self,
        seed: u32,
        buffer: &Dmabuf,
        kept: &mut Vec<super::import::Framebuffer>,
        steps: &mut Steps<'_>,
    ) -> Result<Finding, Refusal> {
        let Shared { screen, card, .. } = &*self.shared;
        let because = |step, words: String| Refusal::because(card.name(), step, words);
        pattern::fill(buffer, seed)
            .map_err(|error| because("DMA_BUF_IOCTL_SYNC", error.to_string()))?;
        steps("PRIME_FD_TO_HANDLE");
        let begun = Instant::now();
        let framebuffer = match import(card, buffer) {
            Ok(framebuffer) => framebuffer,
            Err(refusal) => return Ok(refusal.into()),
        };
        let time = begun.elapsed();
        let screen = match screen {
            Ok(screen) => &mut *screen.borrow_mut(),
            Err(words) => return Ok(Finding::Accepted(time, words)),
        };
        let layout = buffer.layout();
        let size = (layout.width(), layout.height());
        let failed = |step, error: KmsError| because(step, error.to_string());
        let mut request = screen
            .request(&self.plane, framebuffer.id, size)
            .map_err(|error| failed(TEST_ONLY, error))?;
        steps(TEST_ONLY);
        let flags = AtomicCommitFlags::TEST_ONLY | AtomicCommitFlags::ALLOW_MODESET;
        if let Err(errno) = request.commit(card, flags) {
            return Ok(said(Refusal::errno(card.name(), TEST_ONLY, errno.raw_os_error()), errno));
        }
        let Some(writeback) = &mut screen.writeback else {
            return Ok(Finding::Accepted(time, "accepted; pixels not provable here"));
        };
        writeback.arm(&mut request).map_err(|error| failed(WRITEBACK, error))?;
        steps(COMMIT);
        let committed = request.commit(card, AtomicCommitFlags::ALLOW_MODESET);
        // It may be on the screen from here on.
        kept.push(framebuffer);
        if let Err(errno) = committed {
            return Ok(said(Refusal::errno(card.name(), COMMIT, errno.raw_os_error()), errno));
        }
        screen.changed = true;
        steps(WRITEBACK);
        let captured = writeback.collect().map_err(|error| failed(WRITEBACK, error))?;
        let Placement { x: left, y: top, .. } = screen.fit.placement;
        let understood = colours::understood(&self.plane.object, pattern::COLOUR_SPACE);
        let to_rgb = understood.to_rgb();
        let should = |seed, x, y| match buffer.format() {
            Fourcc::NV12 => pattern::nv12_rgb(&to_rgb, seed, x, y),
            _ => pattern::value(seed, x, y),
        };
        let is = |x, y| captured.pixel(left + x, top + y).unwrap_or_default();
        Ok(match compare(buffer.format(), size, seed, should, is) {
            Ok(()) => Finding::Proven(time),
            Err(how) => Finding::WrongPixels(time, how),
        })
    }
}

/// Somebody else's being in the way says nothing about the buffer.
fn said(refusal: Refusal, errno: Errno) -> Finding {
    match errno {
        Errno::BUSY | Errno::ACCESS | Errno::PERM | Errno::NODEV => Finding::Unknown(refusal),
        _ => Finding::Refused(refusal),
    }
}

impl Prober for PlaneProber {
    fn info(&self) -> ImporterInfo {
        let Shared { card, node, .. } = &*self.shared;
        let name = match self.plane.kind {
            PlaneType::Primary => card.name().to_owned(),
            PlaneType::Overlay => format!("{}/overlay", card.name()),
            PlaneType::Cursor => format!("{}/cursor", card.name()),
        };
        ImporterInfo::of_node(name, card.driver(), Path::new(node))
    }

    fn formats(&self) -> Vec<Fourcc> {
        FORMATS.into_iter().filter(|format| self.plane.formats.contains(&format.0)).collect()
    }

    fn layout(&mut self, format: Fourcc) -> Result<Layout, Refusal> {
        let size = match (self.plane.kind, &self.shared.screen) {
            (PlaneType::Cursor, screen) => {
                let card = &self.shared.card;
                let limits = Limits::of(card).map_err(|error| {
                    Refusal::because(card.name(), "DRM_IOCTL_GET_CAP", error.to_string())
                })?;
                limits.cursor(screen.as_ref().map_or(probe::SIZE, |screen| screen.borrow().size))
            }
            (_, Ok(screen)) => screen.borrow().size,
            (_, Err(_)) => probe::SIZE,
        };
        probe::layout(self.shared.card.name(), format, size)
    }

    fn prove(&mut self, buffers: &[Dmabuf], steps: &mut Steps<'_>) -> Vec<Finding> {
        // Removing a framebuffer that is on the screen would turn the screen off.
        let mut kept = Vec::new();
        let mut findings = Vec::new();
        for (seed, buffer) in (1..).zip(buffers) {
            match self.one(seed, buffer, &mut kept, steps) {
                Ok(finding) => findings.push(finding),
                Err(refusal) => {
                    // Each further attempt would cost the time that it takes to give up.
                    findings.push(Finding::Unknown(refusal));
                    break;
                }
            }
        }
        if let Ok(screen) = &self.shared.screen
            && let Err(error) = screen.borrow_mut().clear(&self.plane)
        {
            tracing::warn!(%error, "a probed buffer stayed on the screen");
        }
        findings
    }
}
