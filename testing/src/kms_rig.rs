//! A card for one test, and the proof that the test leaves nothing behind.

use std::path::Path;

use crate::accounting::BufferUsage;
use crate::display_state;
use crate::stepped_display::SteppedDisplay;
use crate::vkms::{Card, Plane};

/// A card of vkms, and the resources and the picture that it had before the test.
///
/// A test ends with [`KmsRig::assert_as_found`], or with [`KmsRig::assert_nothing_held`] if its
/// display is another one by then. Dropped without them, nothing is asserted.
pub struct KmsRig {
    before: BufferUsage,
    /// The card.
    pub card: Card,
    state: String,
}

impl KmsRig {
    /// A card with one display that has a primary plane.
    pub fn new(name: &str) -> Self {
        Self::with(|| Card::new(name, &[Plane::Primary]))
    }

    /// A card with one display that has these planes.
    pub fn with_planes(name: &str, planes: &[Plane]) -> Self {
        Self::with(|| Card::new(name, planes))
    }

    /// A card with two displays that have a primary plane each.
    pub fn with_two_displays(name: &str) -> Self {
        Self::with(|| Card::with_displays(name, 2, &[Plane::Primary]))
    }

    fn with(card: impl FnOnce() -> Card) -> Self {
        let before = BufferUsage::read();
        let card = card();
        let state = display_state::of_node(&card.node);
        Self { before, card, state }
    }

    /// The card's node, as long as it is plugged in.
    pub fn node(&self) -> &Path {
        &self.card.node
    }

    /// The card's only display, to be stepped by hand.
    pub fn display(&self) -> SteppedDisplay {
        SteppedDisplay::new(&self.card.node)
    }

    /// The state of the displays before anything was shown.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// Waits until the displays do something else than before anything was shown.
    pub fn wait_until_shown(&self) {
        display_state::wait_for_node(&self.card.node, &self.state);
    }

    /// Asserts that the displays do what they did before anything was shown.
    pub fn assert_state_restored(&self) {
        assert_eq!(display_state::of_node(&self.card.node), self.state);
    }

    /// Takes the card out, and asserts that nothing is held of it, of its buffers and of its
    /// framebuffers.
    pub fn assert_nothing_held(self) {
        drop(self.card);
        self.before.assert_unchanged();
    }

    /// Asserts [that the displays do what they did](Self::assert_state_restored), and [that nothing
    /// is held](Self::assert_nothing_held).
    pub fn assert_as_found(self) {
        self.assert_state_restored();
        self.assert_nothing_held();
    }
}
