//! `cargo xtask check`: checks that the compiler does not make. It finds names that two public
//! types share, modules that import each other in a circle, tests that would not run, and words
//! that make a reader stop.
//!
//! Today's findings are on record in `known.toml`, next to this file. No finding may be added, and
//! one that is mended is struck off.

mod circles;
mod names;
mod prose;
mod source;
pub(crate) mod stanzas;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;

use self::source::Crate;
use crate::workspace::Workspace;

/// The findings on record.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    /// Names that several public types share.
    #[serde(default)]
    names: BTreeSet<String>,
    /// Modules that import each other in a circle: `crate::parent: a b c`.
    #[serde(default)]
    circles: BTreeSet<String>,
    /// The number of occurrences of each phrase.
    #[serde(default)]
    prose: BTreeMap<String, usize>,
}

/// Looks at the whole workspace; the exit status.
pub(crate) fn check(workspace: &Workspace) -> Result<i32> {
    let path = workspace.root.join("xtask/src/check/known.toml");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let known: Known =
        toml::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
    let crates = Crate::all(workspace)?;

    let mut findings = names::compare(&names::shared(&crates), &known.names);
    findings.extend(circles::compare(&circles::find(&crates), &known.circles));
    findings.extend(stanzas::findings(&workspace.root)?);
    findings.extend(prose::compare(&prose::count(workspace)?, &known.prose));
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!(
            "structure: {} public types and {} modules looked at; on record: {} shared names, {} \
             circles",
            names::count(&crates),
            crates.iter().map(|one| one.modules.len()).sum::<usize>(),
            known.names.len(),
            known.circles.len(),
        );
    }
    Ok(i32::from(!findings.is_empty()))
}
