//! Opens heaps: those with a name, and those that `auto` stands for.

use std::path::Path;

use vcam_allocator::{Heap, OpenError, heaps};

use crate::settings::HeapChoice;

/// A heap that cannot be used.
pub(crate) struct Unusable {
    pub(crate) name: String,
    pub(crate) error: OpenError,
}

/// Heaps that opened, in the order in which they are tried.
pub(super) type Heaps = Vec<Box<dyn Heap>>;

/// A heap that the user chose.
pub(super) enum Chosen {
    /// By its name, opened or not.
    Named(String, Result<Box<dyn Heap>, OpenError>),
    /// Those that `auto` stands for, which are not opened yet.
    Auto,
}

/// Opens the heaps that have a name. An unknown name is an error, even if others open.
pub(super) fn open_named(choices: &[HeapChoice]) -> Result<Vec<Chosen>, OpenError> {
    let open = |choice: &HeapChoice| match choice {
        HeapChoice::Auto => Ok(Chosen::Auto),
        HeapChoice::Named(name) => match heaps::open(name) {
            Err(error @ OpenError::Unknown { .. }) => Err(error),
            opened => Ok(Chosen::Named(name.clone(), opened)),
        },
    };
    choices.iter().map(open).collect()
}

/// Opens what `auto` stands for if pictures are shown on this card; returns the heaps that opened,
/// in order, and those that did not.
///
/// If none opens, that is an error: the first one.
pub(super) fn with_auto(
    chosen: Vec<Chosen>,
    card: Option<&Path>,
) -> Result<(Heaps, Vec<Unusable>), OpenError> {
    let candidates = chosen.into_iter().flat_map(|choice| match choice {
        Chosen::Named(name, opened) => vec![(name, opened)],
        Chosen::Auto => {
            let open = |name: String| (name.clone(), heaps::open(&name));
            auto(card).into_iter().map(open).collect()
        }
    });
    let (mut opened, mut unusable) = (Vec::new(), Vec::new());
    for (name, heap) in candidates {
        match heap {
            Ok(heap) => opened.push(heap),
            Err(error) => unusable.push(Unusable { name, error }),
        }
    }
    if opened.is_empty() && !unusable.is_empty() {
        return Err(unusable.swap_remove(0).error);
    }
    Ok((opened, unusable))
}

/// The heaps that `auto` stands for: ordinary memory first, then the display's own, which a display that
/// takes nothing else still takes, and last memory that only the CPU can use.
fn auto(card: Option<&Path>) -> Vec<String> {
    let mut names = heaps::ordinary();
    names.extend(card.and_then(heaps::dumb::name_of));
    names.push(heaps::memfd::NAME.to_owned());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> HeapChoice {
        HeapChoice::Named(name.to_owned())
    }

    #[test]
    fn a_heap_that_does_not_open_is_passed_over_if_another_does() {
        let gone = "dma_heap:gone";
        let chosen = open_named(&[named(gone), named("memfd")]).unwrap();
        let (opened, unusable) = with_auto(chosen, None).unwrap();
        assert_eq!(opened.iter().map(|heap| heap.name()).collect::<Vec<_>>(), ["memfd"]);
        assert_eq!(unusable.iter().map(|heap| &*heap.name).collect::<Vec<_>>(), [gone]);
        let alone = with_auto(open_named(&[named(gone)]).unwrap(), None);
        assert!(matches!(alone, Err(OpenError::Missing { .. })));
    }

    #[test]
    fn an_unknown_name_is_an_error_even_if_another_heap_opens() {
        let error = open_named(&[named("memfd"), named("memdf")]);
        assert!(matches!(error, Err(OpenError::Unknown { name, .. }) if name == "memdf"));
    }

    #[test]
    fn the_last_resort_of_auto_is_memory_that_only_the_cpu_uses() {
        let (opened, _) = with_auto(vec![Chosen::Auto], None).unwrap();
        assert_eq!(opened.last().map(|heap| heap.name()), Some("memfd"));
    }
}
