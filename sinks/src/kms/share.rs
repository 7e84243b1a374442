//! Several displays in one program, and the way to their cards.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::card::Card;
use super::error::KmsError;
use super::seat::{Seat, SeatError};

/// How long a seat manager may take to make the session the one on the screen.
const ENABLE_LIMIT: Duration = Duration::from_secs(5);

/// How long a seat manager that has refused is not asked again ([`Seat::open`] says why).
const REFUSED: Duration = Duration::from_secs(60);

/// The cards that the displays of a program have open; a clone is the same ones.
///
/// A card has one master, and that is an open file. So displays of one card share the file, and
/// [`KmsSink::open_beside`](super::KmsSink::open_beside) is told of those that are open already.
///
/// By default a card is opened as any file is.
#[derive(Debug, Clone, Default)]
pub struct Cards(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    open: Vec<Weak<Card>>,
    way: Way,
}

/// How cards are opened.
#[derive(Debug, Default)]
enum Way {
    #[default]
    Direct,
    /// Through the seat, which nobody has asked for yet.
    ToAsk,
    Seat(Arc<Seat>),
    /// Directly, because there is no seat.
    NoSeat {
        why: Arc<SeatError>,
        /// When to look again, if there was one before.
        again: Option<Instant>,
    },
}

impl Cards {
    /// Opens cards through the session's seat, and directly if there is none.
    ///
    /// A seat manager (seatd, logind) gives cards to users who could not open them, and takes them
    /// back while another virtual terminal is on the screen. It is the one that the variable
    /// `LIBSEAT_BACKEND` names, as [`seat_manager`](super::seat_manager) finds it; nobody if it is
    /// empty or not set. The seat is opened with the first card and closed with the last clone of
    /// this and the last display.
    pub fn through_seat() -> Self {
        Self(Arc::new(Mutex::new(Inner { open: Vec::new(), way: Way::ToAsk })))
    }

    /// The card of this node, opened if no display has it open.
    pub(crate) fn open(&self, path: &Path) -> Result<Arc<Card>, KmsError> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { open, way } = &mut *inner;
        open.retain(|card| card.strong_count() > 0);
        // Another card may have the node of one that is gone.
        let known = open.iter().filter_map(Weak::upgrade);
        if let Some(card) = known.into_iter().find(|card| card.path() == path && !card.is_gone()) {
            return Ok(card);
        }
        let card = Arc::new(way.open(path)?);
        open.push(Arc::downgrade(&card));
        Ok(card)
    }
}

impl Way {
    fn open(&mut self, path: &Path) -> Result<Card, KmsError> {
        self.ask();
        match self {
            // Whoever is on the screen has the display, also where we could open the card.
            Self::Seat(seat) if !seat.turn().is_ours() => {
                let seat = seat.name().to_owned();
                Err(KmsError::NoSeat(SeatError::Background { seat }))
            }
            Self::Seat(seat) => Card::open_on_seat(seat, path),
            Self::NoSeat { why, .. } => directly(path, why),
            Self::Direct | Self::ToAsk => Card::open(path),
        }
    }

    /// Opens the seat if that is due: at first, and once its manager, which has ended, may have been
    /// started again. Then frames wait for this, and so nothing else is waited for.
    fn ask(&mut self) {
        let now = Instant::now();
        let first = matches!(self, Self::ToAsk);
        let lost = match self {
            Self::Seat(seat) => seat.is_lost(),
            Self::NoSeat { again, .. } => again.is_some_and(|again| again <= now),
            Self::Direct | Self::ToAsk => false,
        };
        if !first && !lost {
            return;
        }
        *self = match Seat::open(if first { ENABLE_LIMIT } else { Duration::ZERO }) {
            Ok(seat) => {
                tracing::info!(seat = seat.name(), "cards are opened through the seat");
                Self::Seat(Arc::new(seat))
            }
            Err(error) => {
                let pause = match error {
                    SeatError::Unreachable { .. } => Duration::ZERO,
                    _ => REFUSED,
                };
                if first {
                    tracing::info!(%error, "cards are opened directly");
                } else {
                    tracing::debug!(%error, "the seat is not back");
                }
                Self::NoSeat { why: Arc::new(error), again: lost.then(|| now + pause) }
            }
        };
    }
}

/// Opens a card that there is no seat for, for this reason.
fn directly(path: &Path, why: &Arc<SeatError>) -> Result<Card, KmsError> {
    Card::open(path).map_err(|error| match error {
        KmsError::Permission { permission, .. } => {
            KmsError::Permission { permission, seat: Some(why.clone()) }
        }
        other => other,
    })
}

/// Connectors, CRTCs and planes that a display has taken of its card; free again when dropped.
#[derive(Debug)]
pub(crate) struct Taken {
    card: Arc<Card>,
    ids: Vec<u32>,
}

impl Taken {
    /// Notes in the card's list, whose guard the caller still has, that these are taken.
    pub(crate) fn note(card: &Arc<Card>, list: &mut Vec<u32>, ids: Vec<u32>) -> Self {
        list.extend(&ids);
        Self { card: card.clone(), ids }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.card.taken().retain(|id| !self.ids.contains(id));
    }
}
