//! What can go wrong with a display.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use vcam_allocator::{AccessError, FenceError, Fourcc, Permission};

use super::modes::{ModeInfo, list};
use super::seat::SeatError;
use super::transform::Transform;

/// Why a display cannot be used, or stopped working.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KmsError {
    /// No card of this name, or none at all.
    #[error("{}; on this machine there are: {}", no_card(asked.as_deref()), or_none(available))]
    NoCard {
        /// The path or driver that was asked for.
        asked: Option<String>,
        /// The cards there are, with their connectors.
        available: Vec<String>,
    },
    /// The card is there, but not for this user, and not by way of a seat either.
    #[error("the display card is not permitted: {permission}{}", no_seat(seat.as_deref()))]
    Permission {
        /// What keeps this user from it.
        permission: Box<Permission>,
        /// Why there is no seat; `None` if nobody asked for one.
        seat: Option<Arc<SeatError>>,
    },
    /// The seat is another session's.
    #[error(transparent)]
    NoSeat(SeatError),
    /// The seat manager does not give this card.
    #[error("the manager of {seat} does not give {}", path.display())]
    Seat {
        /// The device node.
        path: PathBuf,
        /// The seat.
        seat: String,
        /// What the seat manager said.
        source: io::Error,
    },
    /// Another session is on the screen: another virtual terminal, as a rule.
    #[error("{card} is not ours while another session is on the screen of {seat}")]
    Background {
        /// The card.
        card: String,
        /// The seat.
        seat: String,
    },
    /// The card cannot be opened.
    #[error("could not open {}", path.display())]
    Open {
        /// The device node.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The card renders or exports, but drives no display.
    #[error("{card} has no displays")]
    NoKms {
        /// The card.
        card: String,
    },
    /// The driver knows only the old modesetting interface.
    #[error("{card} has no atomic modesetting")]
    NoAtomic {
        /// The card.
        card: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// No connector of this name, or none that is connected.
    #[error("{}; on this machine there are: {}", no_connector(asked.as_deref()), or_none(available))]
    NoConnector {
        /// The connector that was asked for.
        asked: Option<String>,
        /// The cards there are, with their connectors.
        available: Vec<String>,
    },
    /// Another program controls the display.
    #[error(
        "another program controls the displays of {card} (it is the DRM master): a compositor, \
         perhaps; stop it, switch to a text console, or use another card"
    )]
    Master {
        /// The card.
        card: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The card was taken out, or its driver unloaded.
    #[error("{card} is gone")]
    Gone {
        /// The card.
        card: String,
    },
    /// Nothing hangs on the connector any more.
    #[error("no display is connected to {connector} of {card} any more")]
    Unplugged {
        /// The card.
        card: String,
        /// The connector.
        connector: String,
    },
    /// Two outputs of this program are to be shown on one display.
    #[error("{connector} of {card} shows another output of this program already")]
    Taken {
        /// The card.
        card: String,
        /// The connector.
        connector: String,
    },
    /// All CRTCs or primary planes that reach the connector are in use.
    #[error("{card} has no free CRTC with a primary plane for {connector}")]
    NoCrtc {
        /// The card.
        card: String,
        /// The connector.
        connector: String,
    },
    /// No plane takes the pictures' format.
    #[error("{card} does not show {format}; it shows: {}", join(formats))]
    Format {
        /// The card.
        card: String,
        /// The format of the pictures.
        format: Fourcc,
        /// Formats of its planes.
        formats: Vec<Fourcc>,
    },
    /// The pictures are larger than every mode.
    #[error(
        "no mode of {connector} holds a picture of {}x{}; it has: {}", size.0, size.1, list(modes)
    )]
    NoMode {
        /// The connector.
        connector: String,
        /// Width and height of the pictures.
        size: (u32, u32),
        /// The modes of the connector.
        modes: Vec<ModeInfo>,
    },
    /// The card does not take the configuration, even with a buffer of its own.
    #[error("{card} refuses {mode} on {connector}")]
    Configuration {
        /// The card.
        card: String,
        /// The connector.
        connector: String,
        /// The mode.
        mode: ModeInfo,
        /// What the kernel said.
        source: io::Error,
    },
    /// The plane does not turn or mirror pictures like that.
    #[error("{card} does not show pictures with {transform}")]
    Transform {
        /// The card.
        card: String,
        /// What was asked for.
        transform: Transform,
    },
    /// A frame differs in size, format or colour space from what the sink was opened for.
    #[error("a frame is {got}, but the display was set up for {expected}")]
    WrongFrame {
        /// Size, format and colour space of the frame.
        got: String,
        /// Size, format and colour space that were announced.
        expected: String,
    },
    /// The kernel does not answer a question about the card.
    #[error("{card}: could not {step}")]
    Query {
        /// The card.
        card: String,
        /// What was asked, such as `list the planes`.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// An object lacks a property that every atomic driver has.
    #[error("{card}: a {object} has no property {property}")]
    Property {
        /// The card.
        card: String,
        /// The kind of object, such as `plane`.
        object: &'static str,
        /// The property.
        property: &'static str,
    },
    /// A buffer of the card's own could not be made.
    #[error("{card}: could not {step} a dumb buffer of {}x{}", size.0, size.1)]
    Dumb {
        /// The card.
        card: String,
        /// What was attempted, such as `create`.
        step: &'static str,
        /// Width and height.
        size: (u32, u32),
        /// What the kernel said.
        source: io::Error,
    },
    /// A commit failed that had been tested.
    #[error("{card}: the atomic commit that should {step} failed")]
    Commit {
        /// The card.
        card: String,
        /// What the commit was for, such as `show a frame`.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The display does not finish a flip.
    #[error("{card}: a frame was not on the screen after {limit:?}")]
    FlipTimeout {
        /// The card.
        card: String,
        /// How long was waited.
        limit: std::time::Duration,
    },
    /// The device that draws a frame does not finish, or the display's capture does not.
    #[error("{what} was not finished in time")]
    Fence {
        /// What was waited for.
        what: &'static str,
        /// What became of the wait.
        source: FenceError,
    },
    /// A frame that had to be copied cannot be read.
    #[error("could not read the frame that had to be copied")]
    Access(#[source] AccessError),
    /// The card cannot give back what it shows.
    #[error("{card} has no writeback connector for this display, so what it shows cannot be read")]
    NoWriteback {
        /// The card.
        card: String,
    },
    /// A capture was asked for while no frame is on the screen.
    #[error("nothing is on the screen yet that could be captured")]
    NothingShown,
}

impl KmsError {
    /// Whether it keeps frames from being shown until the display is back, or another one is there;
    /// that may be one that does not do.
    pub(super) fn is_for_now(&self) -> bool {
        matches!(
            self,
            Self::Gone { .. }
                | Self::Unplugged { .. }
                | Self::Master { .. }
                | Self::Background { .. }
                | Self::Taken { .. }
                | Self::NoCrtc { .. }
                | Self::NoMode { .. }
                | Self::Configuration { .. }
        )
    }
}

fn no_card(asked: Option<&str>) -> String {
    match asked {
        Some(asked) => format!("there is no display card '{asked}'"),
        None => "there is no display card (for a virtual one, try: sudo modprobe vkms)".to_owned(),
    }
}

fn no_connector(asked: Option<&str>) -> String {
    match asked {
        Some(asked) => format!("there is no display '{asked}'"),
        None => "no display is connected".to_owned(),
    }
}

fn no_seat(error: Option<&SeatError>) -> String {
    error.map_or_else(String::new, |error| format!("; nor is there a seat to get it from: {error}"))
}

fn or_none(available: &[String]) -> String {
    if available.is_empty() { "none".to_owned() } else { available.join("; ") }
}

fn join(formats: &[Fourcc]) -> String {
    formats.iter().map(Fourcc::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_card_or_connector_lists_what_there_is() {
        let available = vec!["/dev/dri/card0 (vkms): Virtual-1 connected".to_owned()];
        let error = KmsError::NoCard { asked: Some("nvidia".into()), available };
        assert_eq!(
            error.to_string(),
            "there is no display card 'nvidia'; on this machine there are: \
             /dev/dri/card0 (vkms): Virtual-1 connected"
        );
        let error = KmsError::NoConnector { asked: None, available: Vec::new() };
        assert_eq!(error.to_string(), "no display is connected; on this machine there are: none");
    }

    #[test]
    fn another_master_is_named_for_what_it_is() {
        let source = io::Error::from_raw_os_error(16);
        let error = KmsError::Master { card: "kms:vkms".into(), source }.to_string();
        assert!(error.contains("DRM master") && error.contains("another card"), "{error}");
    }
}
