//! The way of a picture to a display: connector, CRTC, plane and mode.

use std::ops::RangeBounds;
use std::sync::Arc;

use drm::control::{
    self, Device as _, ModeFlags, ModeTypeFlags, PlaneType, connector, crtc, plane,
};
use vcam_allocator::Fourcc;

use super::card::{self, Card, ConnectorInfo, mode_info};
use super::error::KmsError;
use super::modes::{self, ModeInfo, Timings};
use super::properties::Object;
use super::share::Cards;
use super::{KmsOptions, PlaneChoice};

/// What was chosen.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) connector: Object,
    pub(crate) connector_name: String,
    /// Whether the connector said that a display hangs on it. Some cannot tell.
    pub(crate) connected: bool,
    pub(crate) crtc: Object,
    pub(crate) plane: Object,
    /// The plane's formats, and the contents of its `IN_FORMATS` with their modifiers; empty where
    /// it has none.
    pub(crate) plane_formats: Vec<u32>,
    pub(crate) in_formats: Vec<u8>,
    /// The primary plane below `plane`, if that is an overlay.
    pub(crate) below: Option<Object>,
    /// Planes that somebody left on the CRTC, which would cover the picture.
    pub(crate) others: Vec<Object>,
    /// The mode to fill with a picture that is scaled, if that is wanted.
    pub(crate) favourite: Option<(control::Mode, ModeInfo)>,
    /// The modes that may do for a picture as it is, the best first.
    pub(crate) modes: Vec<(control::Mode, ModeInfo)>,
    /// The modes that the display lists.
    pub(crate) listed: Vec<ModeInfo>,
}

impl Output {
    /// Chooses a way for such pictures, leaving out what is `taken`.
    pub(crate) fn choose(
        card: &Card,
        connector: &connector::Info,
        options: &KmsOptions,
        taken: &[u32],
    ) -> Result<Self, KmsError> {
        let size = options.transform.turned(options.size);
        let name = connector.to_string();
        let (usable, infos): (Vec<_>, Vec<_>) =
            connector.modes().iter().filter_map(|mode| Some((*mode, mode_info(mode)?))).unzip();
        let chosen = modes::choose(&infos, size).map(|index| (usable[index], infos[index]));
        let mut modes = Vec::from_iter(chosen);
        if connector.interface() == connector::Interface::Virtual
            && modes.iter().all(|(_, info)| info.size() != size)
        {
            let resources = card.resource_handles().map_err(card.failed("ask for its limits"))?;
            let mode = modes::made_to_measure(size)
                .filter(|_| {
                    resources.supported_fb_width().contains(&size.0)
                        && resources.supported_fb_height().contains(&size.1)
                })
                .map(|timings| mode(&timings));
            modes.splice(0..0, mode.and_then(|mode| Some((mode, mode_info(&mode)?))));
        }
        let favourite = modes::preferred(&infos)
            .and_then(|info| infos.iter().position(|other| other == info))
            .filter(|_| options.scale)
            .map(|index| (usable[index], infos[index]));
        if modes.is_empty() && favourite.is_none() {
            return Err(KmsError::NoMode { connector: name, size, modes: infos });
        }
        let object = Object::read(card, "connector", connector.handle())?;
        let Route { crtc, plane, below } = route(card, connector, &object, options, taken)?;
        let mut others = Vec::new();
        for handle in card.plane_handles().map_err(card.failed("list the planes"))? {
            let info = card.get_plane(handle).map_err(card.failed("look at a plane"))?;
            if info.crtc() == Some(crtc) && handle != plane && Some(handle) != below {
                others.push(Object::read(card, "plane", handle)?);
            }
        }
        let plane_info = card.get_plane(plane).map_err(card.failed("look at a plane"))?;
        let plane = Object::read(card, "plane", plane)?;
        let in_formats = match plane.value("IN_FORMATS") {
            0 => Vec::new(),
            blob => {
                card.get_property_blob(blob).map_err(card.failed("read the plane's modifiers"))?
            }
        };
        Ok(Self {
            plane_formats: plane_info.formats().to_vec(),
            in_formats,
            connector: object,
            connector_name: name,
            connected: connector.state() == connector::State::Connected,
            crtc: Object::read(card, "CRTC", crtc)?,
            plane,
            below: below.map(|plane| Object::read(card, "plane", plane)).transpose()?,
            others,
            favourite,
            modes,
            listed: infos,
        })
    }
}

impl Output {
    /// Tries the same mode with four times as many refreshes a second first: a virtual display may
    /// take it, and commits wait for a refresh.
    pub(crate) fn hurry(&mut self) {
        let Some((mode, info)) = self.modes.first() else { return };
        let mut faster = drm_ffi::drm_mode_modeinfo::from(*mode);
        faster.clock = faster.clock.saturating_mul(4);
        faster.vrefresh = faster.vrefresh.saturating_mul(4);
        let info = ModeInfo { refresh: faster.vrefresh, ..*info };
        self.modes.insert(0, (faster.into(), info));
    }
}

/// The mode that these timings make.
fn mode(timings: &Timings) -> control::Mode {
    let Timings { width, height, horizontal, vertical, clock } = *timings;
    let [hsync_start, hsync_end, htotal] = horizontal;
    let [vsync_start, vsync_end, vtotal] = vertical;
    let mut mode = drm_ffi::drm_mode_modeinfo {
        clock,
        hdisplay: width,
        hsync_start,
        hsync_end,
        htotal,
        vdisplay: height,
        vsync_start,
        vsync_end,
        vtotal,
        vrefresh: 60,
        flags: (ModeFlags::PHSYNC | ModeFlags::NVSYNC).bits(),
        type_: ModeTypeFlags::USERDEF.bits(),
        ..Default::default()
    };
    // The last byte stays zero, the end of the string.
    let last = mode.name.len() - 1;
    for (to, from) in mode.name[..last].iter_mut().zip(format!("{width}x{height}").bytes()) {
        *to = from as _;
    }
    mode.into()
}

/// The connector that the user means, or the first one that has a display.
///
/// A connector that is asked for by name need not say that it is connected: some cannot tell. But
/// it must have modes. The error does not tell which others there are; [`first_card`] does.
pub(crate) fn connector(
    card: &Card,
    asked: Option<&str>,
    look_anew: bool,
) -> Result<connector::Info, KmsError> {
    let taken = |info: &connector::Info| card.taken().contains(&info.handle().into());
    let found = card.connectors(look_anew)?.into_iter().find(|info| match asked {
        Some(asked) => is_connector(asked, &info.to_string()) && !info.modes().is_empty(),
        None => {
            info.state() == connector::State::Connected && !info.modes().is_empty() && !taken(info)
        }
    });
    if let (Some(found), Some(_)) = (&found, asked)
        && taken(found)
    {
        let (card, connector) = (card.name().to_owned(), found.to_string());
        return Err(KmsError::Taken { card, connector });
    }
    found.ok_or_else(|| no_connector(asked))
}

fn no_connector(asked: Option<&str>) -> KmsError {
    KmsError::NoConnector { asked: asked.map(str::to_owned), available: Vec::new() }
}

/// Whether the user's name for a connector is the kernel's, in whatever case.
fn is_connector(asked: &str, name: &str) -> bool {
    asked.trim().eq_ignore_ascii_case(name)
}

/// A CRTC, a plane of it, and the primary plane if that is another.
struct Route {
    crtc: crtc::Handle,
    plane: plane::Handle,
    below: Option<plane::Handle>,
}

/// A CRTC for the connector, and a plane for the CRTC that takes the format: the primary one before
/// an overlay.
///
/// The CRTC that drives the connector already comes first, then those that are off. One that
/// drives another display is left alone.
fn route(
    card: &Card,
    connector: &connector::Info,
    object: &Object,
    options: &KmsOptions,
    taken: &[u32],
) -> Result<Route, KmsError> {
    let format = options.format;
    let resources = card.resource_handles().map_err(card.failed("list the CRTCs"))?;
    let routed = control::from_u32::<crtc::Handle>(object.value("CRTC_ID") as u32);
    let mut reached = Vec::new();
    for encoder in connector.encoders() {
        let encoder = card.get_encoder(*encoder).map_err(card.failed("look at an encoder"))?;
        for crtc in resources.filter_crtcs(encoder.possible_crtcs()) {
            let busy = || card.get_crtc(crtc).is_ok_and(|info| info.mode().is_some());
            let taken = taken.contains(&crtc.into());
            if !reached.contains(&crtc) && !taken && (Some(crtc) == routed || !busy()) {
                reached.push(crtc);
            }
        }
    }
    reached.sort_by_key(|crtc| Some(*crtc) != routed);

    let (mut primaries, mut overlays) = (Vec::new(), Vec::new());
    for handle in card.plane_handles().map_err(card.failed("list the planes"))? {
        let info = card.get_plane(handle).map_err(card.failed("look at a plane"))?;
        match Object::read(card, "plane", handle)?.value("type") {
            kind if kind == PlaneType::Primary as u64 => primaries.push(info),
            kind if kind == PlaneType::Overlay as u64 => overlays.push(info),
            _ => {}
        }
    }
    let mut formats = Vec::new();
    for crtc in &reached {
        let of_crtc = |planes: &[plane::Info]| -> Vec<Candidate> {
            let fits = |info: &&plane::Info| {
                resources.filter_crtcs(info.possible_crtcs()).contains(crtc)
                    && (info.crtc().is_none() || info.crtc() == Some(*crtc))
                    && !taken.contains(&info.handle().into())
            };
            // The plane that is on this CRTC already, before those that could be.
            let mut planes: Vec<_> = planes.iter().filter(fits).collect();
            planes.sort_by_key(|info| info.crtc().is_none());
            planes.into_iter().map(|info| (info.handle(), info.formats().to_vec())).collect()
        };
        let (primaries, overlays) = (of_crtc(&primaries), of_crtc(&overlays));
        if let Some((plane, below)) = pick(&primaries, &overlays, options) {
            return Ok(Route { crtc: *crtc, plane, below });
        }
        let primaries = primaries.iter().filter(|_| options.plane == PlaneChoice::Any);
        let all = primaries.chain(&overlays).flat_map(|(_, formats)| formats);
        formats.extend(all.copied().map(Fourcc));
    }
    let card = card.name().to_owned();
    if formats.is_empty() {
        return Err(KmsError::NoCrtc { card, connector: connector.to_string() });
    }
    formats.sort();
    formats.dedup();
    Err(KmsError::Format { card, format, formats })
}

/// A plane and its formats.
type Candidate = (plane::Handle, Vec<u32>);

/// The plane that is to show frames, and the primary one where that is another.
fn pick(
    primaries: &[Candidate],
    overlays: &[Candidate],
    options: &KmsOptions,
) -> Option<(plane::Handle, Option<plane::Handle>)> {
    let takes = |(_, formats): &&Candidate| formats.contains(&options.format.0);
    let primary = primaries.iter().find(takes).filter(|_| options.plane == PlaneChoice::Any);
    match primary {
        Some((plane, _)) => Some((*plane, None)),
        None => {
            let (plane, _) = overlays.iter().find(takes)?;
            Some((*plane, primaries.first().map(|(plane, _)| *plane)))
        }
    }
}

/// Goes through the cards that the user may mean and takes the first for which `open` works.
///
/// If none does, the error is that of the card that came closest.
pub(crate) fn first_card<T>(
    asked: Option<&str>,
    cards: &Cards,
    mut open: impl FnMut(Arc<Card>) -> Result<T, KmsError>,
) -> Result<T, KmsError> {
    let mut closest: Option<KmsError> = None;
    for node in card::nodes() {
        let by_path = asked.is_some_and(|asked| card::is_node(asked, &node));
        if !by_path && asked.is_some_and(|asked| asked.contains('/')) {
            continue;
        }
        let by_driver = |card: &Card| asked.is_none_or(|asked| is_driver(asked, card.driver()));
        let result = match cards.open(&node) {
            Ok(card) if by_path || by_driver(&card) => open(card),
            Ok(_) => continue,
            // Of a card that does not open we do not know whether it is the one that is meant.
            Err(error) => Err(error),
        };
        match result {
            Ok(made) => return Ok(made),
            Err(error) => {
                if closest.as_ref().is_none_or(|other| closeness(&error) > closeness(other)) {
                    closest = Some(error);
                }
            }
        }
    }
    let no_card = || KmsError::NoCard { asked: asked.map(str::to_owned), available: Vec::new() };
    let mut error = closest.unwrap_or_else(no_card);
    if let KmsError::NoCard { available, .. } | KmsError::NoConnector { available, .. } = &mut error
    {
        *available = card::available(cards);
    }
    Err(error)
}

/// Whether the user's name for a driver is the kernel's: `bochs` will do for `bochs-drm`,
/// `virtio-gpu` for `virtio_gpu`, and `kms:vkms`, as reports have it, for `vkms`.
fn is_driver(asked: &str, driver: &str) -> bool {
    fn plain(name: &str) -> String {
        let name = name.strip_prefix("kms:").unwrap_or(name);
        name.strip_suffix("-drm").unwrap_or(name).replace('-', "_")
    }
    plain(asked) == plain(driver)
}

/// How close a card came to being used: what failed late says more than what failed early.
fn closeness(error: &KmsError) -> u8 {
    match error {
        KmsError::NoKms { .. } => 0,
        KmsError::NoAtomic { .. } => 1,
        KmsError::NoConnector { .. } => 2,
        KmsError::Open { .. } | KmsError::Permission { .. } | KmsError::Seat { .. } => 3,
        _ => 4,
    }
}

/// The size that a display likes best, for pictures whose size nobody named.
///
/// `card` is a path or a driver, `connector` a name such as `Virtual-1`; without them it is the
/// first display that is connected. `cards` are those of the displays that will be opened.
pub fn preferred_size(
    cards: &Cards,
    card: Option<&str>,
    connector: Option<&str>,
) -> Result<(u32, u32), KmsError> {
    first_card(card, cards, |card| {
        card.enable_atomic()?;
        let info = ConnectorInfo::from(&self::connector(&card, connector, false)?);
        modes::preferred(&info.modes).map(ModeInfo::size).ok_or_else(|| no_connector(connector))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connector_is_known_in_whatever_case() {
        assert!(is_connector("virtual-1", "Virtual-1"));
        assert!(is_connector(" HDMI-A-2", "HDMI-A-2"));
        assert!(!is_connector("Virtual", "Virtual-1"));
        assert!(!is_connector("", "Virtual-1"));
    }

    #[test]
    fn an_overlay_is_for_what_the_primary_plane_does_not_take() {
        let plane = |id, formats: &[Fourcc]| {
            let handle: plane::Handle = control::from_u32(id).unwrap();
            (handle, formats.iter().map(|format| format.0).collect())
        };
        let primaries = [plane(1, &[Fourcc::XRGB8888])];
        let overlays = [plane(2, &[Fourcc::R8]), plane(3, &[Fourcc::XRGB8888, Fourcc::NV12])];
        let pick = |format, choice| {
            let options = KmsOptions { plane: choice, ..KmsOptions::new((64, 64), format) };
            let (plane, below) = pick(&primaries, &overlays, &options)?;
            Some((u32::from(plane), below.map(u32::from)))
        };
        let any = PlaneChoice::Any;
        assert_eq!(pick(Fourcc::XRGB8888, any), Some((1, None)));
        assert_eq!(pick(Fourcc::NV12, any), Some((3, Some(1))));
        assert_eq!(pick(Fourcc::XRGB8888, PlaneChoice::Overlay), Some((3, Some(1))));
        assert_eq!(pick(Fourcc::ARGB8888, any), None);
    }

    #[test]
    fn a_driver_is_known_by_what_people_call_it() {
        for asked in ["bochs", "bochs-drm", "kms:bochs-drm"] {
            assert!(is_driver(asked, "bochs-drm"), "{asked}");
        }
        assert!(is_driver("virtio-gpu", "virtio_gpu"));
        assert!(!is_driver("", "vkms") && !is_driver("vk", "vkms"));
    }

    #[test]
    fn what_failed_last_is_told() {
        let kms = || KmsError::NoKms { card: "kms:vgem".into() };
        let connector = KmsError::NoConnector { asked: None, available: Vec::new() };
        assert!(closeness(&connector) > closeness(&kms()));
        assert!(closeness(&KmsError::NothingShown) > closeness(&connector));
    }
}
