//! Display cards: which there are, what hangs on them, and how one is opened.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use drm::control::{self, Device as _, ModeFlags, ModeTypeFlags, connector};
use drm::{ClientCapability, Device as _, DriverCapability};
use rustix::io::Errno;
use vcam_uapi::node::numbered;

use super::error::KmsError;
use super::events::Flips;
use super::modes::ModeInfo;
use super::seat::{Seat, SeatDevice, Turn};
use super::share::Cards;
use crate::device::{self, Closed};

const FOLDER: &str = "/dev/dri";

/// What the kernel gave to no program as its magic (`drm_auth.c` counts from 1).
const NO_MAGIC: u32 = 0;

/// A card's node, opened for the displays of one program ([`Cards`](super::Cards)).
///
/// They must share the open file, because that is what is DRM master. What goes with it is shared
/// by turns: the events, the GEM handles, and the choice of CRTCs and planes.
#[derive(Debug)]
pub(crate) struct Card {
    node: Node,
    path: PathBuf,
    driver: String,
    name: String,
    /// Flips that are done.
    pub(crate) flips: Flips,
    handles: Mutex<()>,
    taken: Mutex<Vec<u32>>,
}

impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.node {
            Node::Own(file) => file.as_fd(),
            Node::Seat(device) => device.as_fd(),
        }
    }
}

/// A card's node, and who has opened it.
#[derive(Debug)]
enum Node {
    Own(File),
    Seat(SeatDevice),
}

impl drm::Device for Card {}
impl control::Device for Card {}

impl Card {
    pub(crate) fn open(path: &Path) -> Result<Self, KmsError> {
        let file = device::open(path).map_err(|closed| match closed {
            Closed::Permission(permission) => KmsError::Permission { permission, seat: None },
            Closed::Other(source) => KmsError::Open { path: path.to_owned(), source },
        })?;
        Self::of(Node::Own(file), path)
    }

    /// As [`Card::open`], by way of the seat.
    pub(crate) fn open_on_seat(seat: &Arc<Seat>, path: &Path) -> Result<Self, KmsError> {
        let device = seat.open_device(path).map_err(|errno| {
            let (path, seat, source) = (path.to_owned(), seat.name().to_owned(), errno.into());
            KmsError::Seat { path, seat, source }
        })?;
        Self::of(Node::Seat(device), path)
    }

    fn of(node: Node, path: &Path) -> Result<Self, KmsError> {
        let (name, path) = (path.display().to_string(), path.to_owned());
        let mut card = Self {
            node,
            path,
            driver: String::new(),
            name,
            flips: Flips::default(),
            handles: Mutex::default(),
            taken: Mutex::default(),
        };
        let driver = card.get_driver().map_err(card.failed("ask for the driver"))?;
        card.driver = driver.name().to_string_lossy().into_owned();
        card.name = format!("kms:{}", card.driver);
        Ok(card)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The card as reports name it, such as `kms:vkms`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn driver(&self) -> &str {
        &self.driver
    }

    /// Whether the device is no more, though its file is still open.
    ///
    /// Drivers that were unplugged answer every ioctl with ENODEV (`drm_dev_unplug`); some are only
    /// unregistered and answer as before, but sysfs has forgotten them. A card of a seat is gone with
    /// the seat's manager, who alone can give it.
    pub(crate) fn is_gone(&self) -> bool {
        if let Node::Seat(device) = &self.node
            && device.seat().is_lost()
        {
            return true;
        }
        if self.get_driver().is_err_and(|error| Errno::from_io_error(&error) == Some(Errno::NODEV))
        {
            return true;
        }
        let Ok(node) = rustix::fs::fstat(self) else { return false };
        let (major, minor) = (rustix::fs::major(node.st_rdev), rustix::fs::minor(node.st_rdev));
        let known = Path::new("/sys/dev/char");
        known.exists() && !known.join(format!("{major}:{minor}")).exists()
    }

    /// Keeps GEM handles to this thread for as long as the guard lives.
    ///
    /// They belong to the open file and are not counted: whoever imports a dma-buf that somebody
    /// else is importing gets the same handle, and could find it closed under their feet.
    pub(crate) fn handles(&self) -> MutexGuard<'_, ()> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connectors, CRTCs and planes that displays of this program have taken; to choose among
    /// the others, and add to them, before the guard is let go.
    pub(crate) fn taken(&self) -> MutexGuard<'_, Vec<u32>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns an error of the kernel into ours.
    pub(crate) fn failed(&self, step: &'static str) -> impl Fn(io::Error) -> KmsError {
        let card = self.name.clone();
        move |source| KmsError::Query { card: card.clone(), step, source }
    }

    /// The error of a commit that had been expected to work.
    pub(crate) fn commit_failed(&self, step: &'static str, errno: Errno) -> KmsError {
        let (card, source) = (self.name.clone(), io::Error::from(errno));
        match errno {
            // Only the master may commit; another one may have taken over while we streamed.
            Errno::ACCESS | Errno::PERM => {
                self.background().unwrap_or(KmsError::Master { card, source })
            }
            Errno::NODEV => KmsError::Gone { card },
            _ => KmsError::Commit { card, step, source },
        }
    }

    /// Asks for atomic modesetting with all planes.
    pub(crate) fn enable_atomic(&self) -> Result<(), KmsError> {
        let card = || self.name.clone();
        // A driver without displays answers neither of these.
        let resources = self.resource_handles().map_err(|_| KmsError::NoKms { card: card() })?;
        if resources.connectors().is_empty() || resources.crtcs().is_empty() {
            return Err(KmsError::NoKms { card: card() });
        }
        self.set_client_capability(ClientCapability::UniversalPlanes, true)
            .and_then(|()| self.set_client_capability(ClientCapability::Atomic, true))
            .map_err(|source| KmsError::NoAtomic { card: card(), source })
    }

    /// Shows writeback connectors from now on; after [`Card::enable_atomic`] only.
    pub(crate) fn enable_writeback(&self) -> Result<(), KmsError> {
        self.set_client_capability(ClientCapability::WritebackConnectors, true)
            .map_err(|_| KmsError::NoWriteback { card: self.name.clone() })
    }

    /// Becomes the one who may change what the displays show.
    ///
    /// Whoever opens a card first is that already; the call asks, and fails if it is somebody else.
    /// On a seat it is the seat's manager that decides, and this only looks.
    pub(crate) fn take_master(&self) -> Result<(), KmsError> {
        let taken = match &self.node {
            Node::Own(_) => self.acquire_master_lock(),
            Node::Seat(device) if !device.seat().turn().is_ours() => {
                return self.background().map_or(Ok(()), Err);
            }
            Node::Seat(_) => self.is_master(),
        };
        taken.map_err(|source| KmsError::Master { card: self.name.clone(), source })
    }

    /// Asks for something that only the master may (`AUTH_MAGIC`), and that means nothing.
    fn is_master(&self) -> io::Result<()> {
        match drm_ffi::auth::auth_magic_token(self.as_fd(), NO_MAGIC) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::ACCESS) => Err(error),
            _ => Ok(()),
        }
    }

    /// When the seat that the card is on was given and taken.
    pub(crate) fn turn(&self) -> Turn {
        match &self.node {
            Node::Own(_) => Turn::ALWAYS,
            Node::Seat(device) => device.seat().turn(),
        }
    }

    /// The error that another session is on the screen; `None` for a card that is on no seat.
    pub(crate) fn background(&self) -> Option<KmsError> {
        match &self.node {
            Node::Own(_) => None,
            Node::Seat(device) => {
                let (card, seat) = (self.name.clone(), device.seat().name().to_owned());
                Some(KmsError::Background { card, seat })
            }
        }
    }

    /// Whether framebuffers may be made with modifiers.
    pub(crate) fn takes_modifiers(&self) -> bool {
        self.get_driver_capability(DriverCapability::AddFB2Modifiers).is_ok_and(|value| value == 1)
    }

    /// The displays of the card, without those that write back to memory.
    ///
    /// The kernel looks at a display anew only for the master; others get what it found last.
    pub(crate) fn connectors(&self, look_anew: bool) -> Result<Vec<connector::Info>, KmsError> {
        let failed = self.failed("list the connectors");
        let resources = self.resource_handles().map_err(&failed)?;
        let mut connectors = Vec::new();
        for handle in resources.connectors() {
            let mut info = self.get_connector(*handle, look_anew).map_err(&failed)?;
            if !look_anew && info.modes().is_empty() {
                // Nobody has looked at it since the machine was started.
                info = self.get_connector(*handle, true).map_err(&failed)?;
            }
            if info.interface() != connector::Interface::Writeback {
                connectors.push(info);
            }
        }
        Ok(connectors)
    }
}

/// A mode, or `None` if vcam does not use it: cameras do not make half-frames.
pub(crate) fn mode_info(mode: &control::Mode) -> Option<ModeInfo> {
    if mode.flags().intersects(ModeFlags::INTERLACE | ModeFlags::DBLSCAN) {
        return None;
    }
    let (width, height) = mode.size();
    Some(ModeInfo {
        width: width.into(),
        height: height.into(),
        refresh: mode.vrefresh(),
        preferred: mode.mode_type().contains(ModeTypeFlags::PREFERRED),
    })
}

/// The nodes of all cards, in the order of their numbers.
pub(crate) fn nodes() -> Vec<PathBuf> {
    numbered(Path::new(FOLDER), "card")
}

/// Whether the user means this node: by its path, or by that of a link to it.
pub(crate) fn is_node(asked: &str, node: &Path) -> bool {
    Path::new(asked) == node || fs::canonicalize(asked).is_ok_and(|asked| asked == node)
}

/// A display card, for lists.
#[derive(Debug)]
#[non_exhaustive]
pub struct CardInfo {
    /// The device node.
    pub path: PathBuf,
    /// The driver; `None` if the node did not open.
    pub driver: Option<String>,
    /// The displays.
    pub connectors: Vec<ConnectorInfo>,
    /// Whether vcam could take control of the displays now.
    pub free: bool,
    /// Why vcam cannot use it.
    pub error: Option<KmsError>,
}

/// A display's connector, for lists.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConnectorInfo {
    /// Its name, such as `Virtual-1`.
    pub name: String,
    /// Whether a display hangs on it; `None` if the card cannot tell.
    pub connected: Option<bool>,
    /// The modes of the display.
    pub modes: Vec<ModeInfo>,
}

impl From<&connector::Info> for ConnectorInfo {
    fn from(info: &connector::Info) -> Self {
        Self {
            name: info.to_string(),
            connected: match info.state() {
                connector::State::Connected => Some(true),
                connector::State::Disconnected => Some(false),
                connector::State::Unknown => None,
            },
            modes: info.modes().iter().filter_map(mode_info).collect(),
        }
    }
}

impl fmt::Display for ConnectorInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.connected {
            Some(true) => "connected",
            Some(false) => "disconnected",
            None => "unknown",
        };
        write!(f, "{} {state}", self.name)
    }
}

impl fmt::Display for CardInfo {
    /// As in `/dev/dri/card0 (vkms): Virtual-1 connected`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(driver) = &self.driver {
            write!(f, " ({driver})")?;
        }
        match &self.error {
            Some(KmsError::NoKms { .. }) => write!(f, ": no displays"),
            Some(KmsError::Permission { .. }) => write!(f, ": not permitted"),
            Some(error) => write!(f, ": {error}"),
            None => {
                let connectors: Vec<_> = self.connectors.iter().map(ToString::to_string).collect();
                write!(f, ": {}", connectors.join(", "))
            }
        }
    }
}

/// Every display card of this machine, usable or not, opened directly and not through the seat: what
/// a seat manager gives is only known once it has, and then the virtual terminal is ours.
///
/// To find out whether a card is free, this takes control of it for a moment; nothing is changed.
pub fn cards() -> Vec<CardInfo> {
    describe_all(&Cards::default())
}

fn describe_all(cards: &Cards) -> Vec<CardInfo> {
    nodes().into_iter().map(|node| describe(cards, node)).collect()
}

fn describe(cards: &Cards, path: PathBuf) -> CardInfo {
    let mut info =
        CardInfo { path, driver: None, connectors: Vec::new(), free: false, error: None };
    let card = match cards.open(&info.path) {
        Ok(card) => card,
        Err(error) => {
            info.error = Some(error);
            return info;
        }
    };
    info.driver = Some(card.driver().to_owned());
    info.free = card.take_master().is_ok();
    let connectors = card.enable_atomic().and_then(|()| card.connectors(false));
    match connectors {
        Ok(connectors) => info.connectors = connectors.iter().map(ConnectorInfo::from).collect(),
        Err(error) => info.error = Some(error),
    }
    info
}

/// The cards and connectors there are, for an error that says that none of them will do.
pub(crate) fn available(cards: &Cards) -> Vec<String> {
    describe_all(cards).iter().map(ToString::to_string).collect()
}
