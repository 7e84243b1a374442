//! An atomic commit: properties of objects that change together or not at all.

use std::os::fd::AsFd;

use drm::control::AtomicCommitFlags;
use rustix::io::Errno;
use vcam_uapi::drm::retry;

use super::card::Card;

/// The value of a property, in a [`Request`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot(usize);

/// The properties that a commit sets.
///
/// It is built once and committed many times with other values in its slots, so that a frame costs
/// one system call and no memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    objects: Vec<u32>,
    counts: Vec<u32>,
    properties: Vec<u32>,
    values: Vec<u64>,
}

impl Request {
    /// Adds a property; those of one object are to be added one after the other.
    pub(crate) fn set(&mut self, object: u32, property: u32, value: u64) -> Slot {
        match self.counts.last_mut() {
            Some(count) if self.objects.last() == Some(&object) => *count += 1,
            _ => {
                self.objects.push(object);
                self.counts.push(1);
            }
        }
        self.properties.push(property);
        self.values.push(value);
        Slot(self.values.len() - 1)
    }

    /// Gives a property another value.
    pub(crate) fn put(&mut self, slot: Slot, value: u64) {
        self.values[slot.0] = value;
    }

    /// The value that a property has now.
    pub(crate) fn value(&self, slot: Slot) -> u64 {
        self.values[slot.0]
    }

    /// Object, property and value of each.
    #[cfg(test)]
    pub(crate) fn properties(&self) -> impl Iterator<Item = (u32, u32, u64)> {
        let objects = self.objects.iter().zip(&self.counts);
        let objects = objects.flat_map(|(object, count)| (0..*count).map(|_| *object));
        let rest = self.properties.iter().zip(&self.values);
        objects.zip(rest).map(|(object, (property, value))| (object, *property, *value))
    }

    /// Commits, or asks whether a commit would succeed (`TEST_ONLY`).
    pub(crate) fn commit(&mut self, card: &Card, flags: AtomicCommitFlags) -> Result<(), Errno> {
        retry(|| {
            drm_ffi::mode::atomic_commit(
                card.as_fd(),
                flags.bits(),
                &mut self.objects,
                &mut self.counts,
                &mut self.properties,
                &mut self.values,
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_counted_by_object() {
        let mut request = Request::default();
        request.set(1, 10, 0);
        let slot = request.set(1, 11, 0);
        request.set(2, 10, 7);
        request.put(slot, 5);
        assert_eq!(request.objects, [1, 2]);
        assert_eq!(request.counts, [2, 1]);
        assert_eq!(request.properties, [10, 11, 10]);
        assert_eq!(request.values, [0, 5, 7]);
    }
}
