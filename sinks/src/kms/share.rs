//! Several displays in one program.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::card::Card;
use super::error::KmsError;

/// The cards that the displays of a program have open; a clone is the same ones.
///
/// A card has one master, and that is an open file. So displays of one card share the file, and
/// [`KmsSink::open_beside`](super::KmsSink::open_beside) is told of those that are open already.
#[derive(Debug, Clone, Default)]
pub struct Cards(Arc<Mutex<Vec<Weak<Card>>>>);

impl Cards {
    /// The card of this node, opened if no display has it open.
    pub(crate) fn open(&self, path: &Path) -> Result<Arc<Card>, KmsError> {
        let mut cards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cards.retain(|card| card.strong_count() > 0);
        // Another card may have the node of one that is gone.
        let known = cards.iter().filter_map(Weak::upgrade);
        if let Some(card) = known.into_iter().find(|card| card.path() == path && !card.is_gone()) {
            return Ok(card);
        }
        let card = Arc::new(Card::open(path)?);
        cards.push(Arc::downgrade(&card));
        Ok(card)
    }
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
