//! Opens what the settings of a run name: heaps, displays, files and nodes.

mod capture;
pub(crate) mod environment;
mod heaps;
mod sinks;

use vcam_allocator::Heap;
use vcam_sinks::{Cards, Sink};

use crate::exit::Error;
use crate::settings::RunSettings;
use crate::signals::RunControl;

pub(crate) use capture::DisplayCapture;
pub(crate) use heaps::Unusable;

/// Everything that a run uses, opened.
pub(crate) struct Opened {
    pub(crate) sinks: Vec<Box<dyn Sink>>,
    /// Each sink in words, for the report.
    pub(crate) descriptions: Vec<String>,
    /// The first display's last picture, if it is to be saved.
    pub(crate) capture: Option<DisplayCapture>,
    /// The heaps that can be used, in order of preference.
    pub(crate) heaps: Vec<Box<dyn Heap>>,
    /// The heaps that cannot.
    pub(crate) unusable: Vec<Unusable>,
}

/// Opens all of it.
///
/// Heaps with a name come first, so that a misspelt one is reported before a display is opened;
/// which heaps `auto` stands for depends on the display.
pub(crate) fn open(
    settings: &RunSettings,
    cards: &Cards,
    control: &RunControl,
) -> Result<Opened, Error> {
    let named = heaps::open_named(&settings.heaps)?;
    let sinks = sinks::open(settings, cards, control)?;
    let (heaps, unusable) = heaps::with_auto(named, sinks.card.as_deref())?;
    let sinks::Sinks { sinks, descriptions, capture, .. } = sinks;
    Ok(Opened { sinks, descriptions, capture, heaps, unusable })
}
