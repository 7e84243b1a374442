//! A modesetting object and its properties, by name.

use std::collections::HashMap;
use std::sync::Arc;

use drm::control::property::ValueType;
use drm::control::{Device as _, ResourceHandle};
use rustix::io::Errno;
use vcam_uapi::drm::retry;

use super::card::Card;
use super::error::KmsError;

/// A property, as it was when its object was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Property {
    pub(crate) id: u32,
    pub(crate) value: u64,
    /// Whether a program may set it.
    pub(crate) mutable: bool,
    /// Whether the value stands for bytes that the kernel keeps.
    pub(crate) is_blob: bool,
    /// The highest value, if there is a range.
    pub(crate) most: Option<u64>,
}

/// A connector, CRTC or plane.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) id: u32,
    kind: &'static str,
    card: String,
    properties: HashMap<String, Property>,
    /// What can be chosen, by property and by the choice's name.
    choices: HashMap<(String, String), u64>,
}

impl Object {
    /// Asks the kernel for all properties of an object.
    pub(crate) fn read<H: ResourceHandle>(
        card: &Card,
        kind: &'static str,
        handle: H,
    ) -> Result<Self, KmsError> {
        let failed = card.failed("read the properties of an object");
        let (mut properties, mut choices) = (HashMap::new(), HashMap::new());
        for (property, value) in card.get_properties(handle).map_err(&failed)? {
            let info = card.get_property(property).map_err(&failed)?;
            let name = info.name().to_string_lossy().into_owned();
            if let ValueType::Enum(values) = info.value_type() {
                for choice in values.values().1 {
                    let word = choice.name().to_string_lossy().into_owned();
                    choices.insert((name.clone(), word), choice.value());
                }
            }
            let property = Property {
                id: property.into(),
                value,
                mutable: info.mutable(),
                is_blob: matches!(info.value_type(), ValueType::Blob),
                most: match info.value_type() {
                    ValueType::UnsignedRange(_, most) => Some(*most),
                    _ => None,
                },
            };
            properties.insert(name, property);
        }
        Ok(Self { id: handle.into(), kind, card: card.name().to_owned(), properties, choices })
    }

    /// An object that no kernel has.
    #[cfg(test)]
    pub(crate) fn with(
        id: u32,
        properties: HashMap<String, Property>,
        choices: HashMap<(String, String), u64>,
    ) -> Self {
        Self { id, kind: "object", card: "test".to_owned(), properties, choices }
    }

    /// The card that it belongs to, as reports name it.
    pub(crate) fn card(&self) -> &str {
        &self.card
    }

    /// The number of a property that every driver has.
    pub(crate) fn property(&self, name: &'static str) -> Result<u32, KmsError> {
        self.optional(name).ok_or_else(|| KmsError::Property {
            card: self.card.clone(),
            object: self.kind,
            property: name,
        })
    }

    /// The number of a property that only some have.
    pub(crate) fn optional(&self, name: &str) -> Option<u32> {
        self.property_of(name).map(|property| property.id)
    }

    /// A property that only some have.
    pub(crate) fn property_of(&self, name: &str) -> Option<Property> {
        self.properties.get(name).copied()
    }

    /// A property that only some have, if it may be set.
    pub(crate) fn settable(&self, name: &str) -> Option<Property> {
        self.property_of(name).filter(|property| property.mutable)
    }

    /// The number of a property and the value of one of its choices, if there is such a choice.
    pub(crate) fn choice(&self, name: &str, choice: &str) -> Option<(u32, u64)> {
        let value = self.choices.get(&(name.to_owned(), choice.to_owned()))?;
        Some((self.optional(name)?, *value))
    }

    /// The value that a property had when this was read; 0 if there is none.
    pub(crate) fn value(&self, name: &str) -> u64 {
        self.property_of(name).map_or(0, |property| property.value)
    }
}

/// A blob property's contents in the kernel, given back when dropped.
#[derive(Debug)]
pub(crate) struct Blob {
    card: Arc<Card>,
    id: u64,
}

impl Blob {
    /// Stores a mode, or the bytes of any property.
    pub(crate) fn new<T: ?Sized>(card: &Arc<Card>, mode: &T) -> Result<Self, KmsError> {
        let value = card.create_property_blob(mode).map_err(card.failed("store a mode"))?;
        Ok(Self { card: card.clone(), id: value.into() })
    }

    /// The value that refers to it.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        match retry(|| self.card.destroy_property_blob(self.id)) {
            // It went with the card.
            Ok(()) | Err(Errno::NODEV) => {}
            Err(error) => tracing::error!(%error, "a mode could not be given back"),
        }
    }
}
