//! Layers without circles: of the modules (or folders of modules) that lie side by side, none
//! imports another that imports it in turn. Parents and children are one thing in Rust and may.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Item, UseTree, Visibility};

use super::source::{Crate, Module};

/// Imports among the modules below one parent, by the parent's path.
type Graph = BTreeMap<Vec<String>, BTreeMap<String, BTreeSet<String>>>;

/// The circles of all crates, as `crate::parent: a b c`.
pub(super) fn find(crates: &[Crate]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for one in crates {
        for (parent, imports) in graph(one) {
            for circle in circles(&imports) {
                let place = [vec![one.name.clone()], parent.clone()].concat().join("::");
                found.insert(format!("{place}: {}", circle.join(" ")));
            }
        }
    }
    found
}

/// Differences from the record.
pub(super) fn compare(circles: &BTreeSet<String>, known: &BTreeSet<String>) -> Vec<String> {
    let new = circles.difference(known);
    let new = new.map(|circle| format!("circles: these modules import each other: {circle}"));
    let gone = known.difference(circles);
    let gone = gone.map(|circle| {
        format!("circles: this one is gone, strike it off xtask/src/check/known.toml: {circle}")
    });
    new.chain(gone).collect()
}

fn graph(one: &Crate) -> Graph {
    let mut graph = Graph::new();
    for module in &one.modules {
        for target in imports(one, module) {
            let common =
                module.path.iter().zip(&target).take_while(|(mine, theirs)| mine == theirs).count();
            // One is the other's parent, or they are the same.
            let (Some(mine), Some(theirs)) = (module.path.get(common), target.get(common)) else {
                continue;
            };
            let level = graph.entry(module.path[..common].to_vec()).or_default();
            level.entry(mine.clone()).or_default().insert(theirs.clone());
        }
    }
    graph
}

/// The modules of the crate that a module imports from.
fn imports(one: &Crate, module: &Module) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for item in &module.items {
        let Item::Use(item) = item else { continue };
        // A parent's re-export of its children is not an import.
        let mut paths = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut paths);
        found.extend(paths.iter().filter_map(|path| resolve(one, &module.path, path, 0)));
    }
    found
}

/// The paths of a `use`, one for each name.
fn flatten(tree: &UseTree, before: &mut Vec<String>, into: &mut Vec<Vec<String>>) {
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, into);
            before.pop();
        }
        UseTree::Name(name) => into.push([before.clone(), vec![name.ident.to_string()]].concat()),
        UseTree::Rename(name) => {
            into.push([before.clone(), vec![name.ident.to_string()]].concat());
        }
        UseTree::Glob(_) => into.push(before.clone()),
        UseTree::Group(group) => {
            for tree in &group.items {
                flatten(tree, before, into);
            }
        }
    }
}

/// The module that has what `path` names, as seen from the module `from`; re-exports are followed.
fn resolve(one: &Crate, from: &[String], path: &[String], depth: u32) -> Option<Vec<String>> {
    const DEEPEST: u32 = 8;
    let mut words = path.iter().peekable();
    let mut place = match words.peek()?.as_str() {
        "crate" => {
            words.next();
            Vec::new()
        }
        "self" | "super" => {
            let mut place = from.to_vec();
            while let Some(word) = words.peek() {
                match word.as_str() {
                    "self" => {}
                    "super" => drop(place.pop()?),
                    _ => break,
                }
                words.next();
            }
            place
        }
        // A child, or another crate.
        first => {
            one.module(&[from, &[first.to_owned()]].concat())?;
            from.to_vec()
        }
    };
    for word in words {
        let next = [place.clone(), vec![word.clone()]].concat();
        if one.module(&next).is_some() {
            place = next;
            continue;
        }
        // Not a module: an item of this one, or something that it shows of another.
        if depth < DEEPEST
            && let Some(shown) = shown(one, &place, word)
        {
            return resolve(one, &place, &shown, depth + 1);
        }
        break;
    }
    Some(place)
}

/// The path by which a module re-exports `name`, if it does.
fn shown(one: &Crate, place: &[String], name: &str) -> Option<Vec<String>> {
    let module = one.module(place)?;
    for item in &module.items {
        let Item::Use(item) = item else { continue };
        if matches!(item.vis, Visibility::Inherited) {
            continue;
        }
        let mut paths = Vec::new();
        flatten(&item.tree, &mut Vec::new(), &mut paths);
        if let Some(path) =
            paths.into_iter().find(|path| path.last().is_some_and(|last| last == name))
        {
            return Some(path);
        }
    }
    None
}

/// The circles of a graph: sets of modules each of which reaches all others.
fn circles(imports: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<Vec<String>> {
    let reach = |from: &String| {
        let mut seen: BTreeSet<&String> = BTreeSet::new();
        let mut next: Vec<&String> = imports.get(from).into_iter().flatten().collect();
        while let Some(module) = next.pop() {
            if seen.insert(module) {
                next.extend(imports.get(module).into_iter().flatten());
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        imports.keys().map(|module| (module, reach(module))).collect();
    reached
        .iter()
        .filter(|(module, targets)| targets.contains(*module))
        .map(|(module, targets)| {
            let both = targets.iter().filter(|other| {
                reached.get(**other).is_some_and(|theirs| theirs.contains(*module))
            });
            both.map(|other| (**other).clone()).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str, text: &str) -> Module {
        Module {
            path: path.split("::").filter(|word| !word.is_empty()).map(str::to_owned).collect(),
            file: path.into(),
            items: syn::parse_file(text).unwrap().items,
        }
    }

    fn crate_of(modules: &[(&str, &str)]) -> Crate {
        let modules = modules.iter().map(|(path, text)| module(path, text)).collect();
        Crate { name: "c".to_owned(), modules }
    }

    fn found(modules: &[(&str, &str)]) -> Vec<String> {
        find(&[crate_of(modules)]).into_iter().collect()
    }

    #[test]
    fn a_circle_is_found_through_folders_and_re_exports() {
        let modules = [
            ("", "pub use a::x::X;"),
            ("a", "mod x;"),
            ("a::x", "use crate::b::Y;"),
            ("b", "mod y; pub use y::Y;"),
            ("b::y", "use crate::X;"),
        ];
        assert_eq!(found(&modules), ["c: a b"]);
    }

    #[test]
    fn layers_parents_and_children_are_none() {
        let modules = [
            ("", ""),
            ("a", "use crate::b::{c::C, B}; pub use self::x::X;"),
            ("a::x", "use super::A; use std::fmt;"),
            ("b", "use crate::Root;"),
            ("b::c", "use super::B;"),
        ];
        assert_eq!(found(&modules), Vec::<String>::new());
    }
}
