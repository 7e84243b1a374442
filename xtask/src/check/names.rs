//! One name, one thing: no two public types of the workspace have the same name.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Item, Visibility};

use super::source::Crate;

/// The public types of a crate's modules, each with the module that has it.
fn types(one: &Crate) -> impl Iterator<Item = (String, String)> {
    let items =
        one.modules.iter().flat_map(|module| module.items.iter().map(move |item| (module, item)));
    items.filter_map(|(module, item)| {
        let (visibility, name) = match item {
            Item::Struct(item) => (&item.vis, &item.ident),
            Item::Enum(item) => (&item.vis, &item.ident),
            Item::Union(item) => (&item.vis, &item.ident),
            Item::Trait(item) => (&item.vis, &item.ident),
            Item::Type(item) => (&item.vis, &item.ident),
            _ => return None,
        };
        matches!(visibility, Visibility::Public(_))
            .then(|| (name.to_string(), module.file.display().to_string()))
    })
}

/// The number of public types.
pub(super) fn count(crates: &[Crate]) -> usize {
    crates.iter().flat_map(types).count()
}

/// Names that several public types share, with where they are.
pub(super) fn shared(crates: &[Crate]) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, place) in crates.iter().flat_map(types) {
        all.entry(name).or_default().push(place);
    }
    // Two in one file are one, for machines with a feature and without.
    all.values_mut().for_each(Vec::dedup);
    all.retain(|_, places| places.len() > 1);
    all
}

/// Differences from the record.
pub(super) fn compare(
    shared: &BTreeMap<String, Vec<String>>,
    known: &BTreeSet<String>,
) -> Vec<String> {
    let new = shared.iter().filter(|(name, _)| !known.contains(*name));
    let new = new.map(|(name, places)| {
        format!("names: `{name}` is the name of several public types: {}", places.join(", "))
    });
    let gone = known.iter().filter(|name| !shared.contains_key(*name));
    let gone = gone.map(|name| {
        format!("names: `{name}` names one thing now: strike it off xtask/src/check/known.toml")
    });
    new.chain(gone).collect()
}
