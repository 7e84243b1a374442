//! The test programs of the root package, as its `Cargo.toml` has them, and how a user names them.
//!
//! A program's file is `tests/PLACE/…/FILE.rs`, and its name is that path with `_` for `/`. So
//! `tests/uml/kms/view.rs` is `uml_kms_view`: the program `kms_view` of the uml machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::test::Place;

/// The root package's manifest, as far as it is about tests.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) package: Package,
    /// Its programs, in the order of their stanzas.
    #[serde(default, rename = "test")]
    pub(crate) programs: Vec<Program>,
}

/// The package's own stanza.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// True if cargo looks for tests itself, which it does in `tests/*.rs` alone.
    #[serde(default = "yes")]
    pub(crate) autotests: bool,
}

fn yes() -> bool {
    true
}

/// A test program: a stanza `[[test]]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Program {
    /// Its name to cargo.
    pub(crate) name: String,
    /// Its file, from the package's folder.
    #[serde(default)]
    pub(crate) path: PathBuf,
    /// The features without which cargo does not build it.
    #[serde(default)]
    pub(crate) required_features: Vec<String>,
}

impl Manifest {
    /// Reads the manifest of the package in this folder.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let path = root.join("Cargo.toml");
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("cannot read {}", path.display()))
    }
}

/// The names from `tests/` on, without the file's ending: `uml`, `kms`, `view`.
pub(crate) fn names(path: &Path) -> Vec<String> {
    let inner = path.strip_prefix("tests").unwrap_or(path).with_extension("");
    inner.iter().map(|name| name.to_string_lossy().into_owned()).collect()
}

impl Program {
    /// Its place: the first folder below `tests/`.
    pub(crate) fn place(&self) -> Option<Place> {
        names(&self.path).first().and_then(|folder| Place::of(folder))
    }

    /// Its name without the place.
    pub(crate) fn short(&self) -> String {
        names(&self.path).get(1..).unwrap_or_default().join("_")
    }

    /// Returns true if this is its name, or that of a folder it is in, with or without the place.
    pub(crate) fn is(&self, name: &str) -> bool {
        let names = names(&self.path);
        let is = |names: &[String]| (1..=names.len()).any(|most| names[..most].join("_") == name);
        is(&names) || is(names.get(1..).unwrap_or_default())
    }

    /// The file with arguments for its machine's kernel, if it has one.
    pub(crate) fn cmdline(&self) -> PathBuf {
        self.path.with_extension("cmdline")
    }

    /// Returns true if its tests run the package's examples.
    pub(crate) fn runs_examples(&self) -> bool {
        self.path.file_stem().is_some_and(|name| name == "examples")
    }
}

/// A program that is to be run, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selected {
    pub(crate) program: Program,
    /// Parts of names of tests; without one, every test is meant.
    pub(crate) filters: Vec<String>,
}

/// The programs of these places that are meant by these names, `PROGRAM` or `PROGRAM::TEST`; all if
/// there is no name.
pub(crate) fn select(
    programs: &[Program],
    places: &[Place],
    names: &[String],
) -> Result<Vec<Selected>> {
    let there = |program: &&Program| program.place().is_some_and(|place| places.contains(&place));
    let all = || programs.iter().filter(there);
    if names.is_empty() {
        let whole = |program: &Program| Selected { program: program.clone(), filters: Vec::new() };
        return Ok(all().map(whole).collect());
    }
    // By program: parts of names, or `None` for all of it.
    let mut selected: BTreeMap<&str, (&Program, Option<Vec<String>>)> = BTreeMap::new();
    for name in names {
        let (wanted, test) = match name.split_once("::") {
            Some((wanted, test)) => (wanted, Some(test)),
            None => (name.as_str(), None),
        };
        let mut found = all().filter(|program| program.is(wanted)).peekable();
        if found.peek().is_none() {
            if let Some(elsewhere) = programs.iter().find(|program| program.is(wanted)) {
                bail!("`{wanted}` is not there: its file is {}", elsewhere.path.display());
            }
            let known: Vec<_> = all().map(Program::short).collect();
            bail!("no test program is named `{wanted}`{}", nearest(wanted, &known));
        }
        for program in found {
            let (_, filters) = selected.entry(&program.name).or_insert((program, Some(Vec::new())));
            match (test, &mut *filters) {
                (Some(test), Some(filters)) => filters.push(test.to_owned()),
                _ => *filters = None,
            }
        }
    }
    let chosen = selected.into_values().map(|(program, filters)| Selected {
        program: program.clone(),
        filters: filters.unwrap_or_default(),
    });
    Ok(chosen.collect())
}

/// The number of names proposed in place of one that is not there.
const PROPOSALS: usize = 5;

/// The names that are most like one that is not there, as the end of a sentence.
pub(crate) fn nearest<T: AsRef<str>>(wanted: &str, known: &[T]) -> String {
    let mut ranked: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
    // Places share names.
    ranked.sort_unstable();
    ranked.dedup();
    let likeness = |name: &str| strsim::sorensen_dice(wanted, name);
    ranked.sort_by(|one, other| likeness(other).total_cmp(&likeness(one)));
    ranked.truncate(PROPOSALS);
    match ranked.is_empty() {
        true => String::new(),
        false => format!("; the nearest are:\n  {}", ranked.join("\n  ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs() -> Vec<Program> {
        ["uml/kms/view", "uml/kms/copy", "uml/zero_copy", "qemu/zero_copy", "host/files"]
            .map(|path| Program {
                name: path.replace('/', "_"),
                path: format!("tests/{path}.rs").into(),
                required_features: Vec::new(),
            })
            .to_vec()
    }

    fn selected(places: &[Place], names: &[&str]) -> Vec<(String, Vec<String>)> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let selected = select(&programs(), places, &names).unwrap();
        selected.into_iter().map(|one| (one.program.name, one.filters)).collect()
    }

    fn plain(names: &[&str]) -> Vec<(String, Vec<String>)> {
        names.iter().map(|name| ((*name).to_owned(), Vec::new())).collect()
    }

    const ALL: &[Place] = &[Place::Host, Place::Uml, Place::Qemu];

    #[test]
    fn a_program_is_meant_with_its_place_and_without() {
        for name in ["kms_view", "uml_kms_view"] {
            assert_eq!(selected(ALL, &[name]), plain(&["uml_kms_view"]));
        }
        assert_eq!(selected(ALL, &["zero_copy"]), plain(&["qemu_zero_copy", "uml_zero_copy"]));
        assert_eq!(selected(&[Place::Qemu], &["zero_copy"]), plain(&["qemu_zero_copy"]));
    }

    #[test]
    fn a_folder_is_all_that_is_in_it() {
        assert_eq!(selected(ALL, &["kms"]), plain(&["uml_kms_copy", "uml_kms_view"]));
        assert_eq!(selected(ALL, &[]).len(), 5);
        assert_eq!(selected(&[Place::Uml], &[]).len(), 3);
    }

    #[test]
    fn tests_of_one_program_are_collected() {
        let filters = |names: &[&str]| selected(ALL, names)[0].1.clone();
        assert_eq!(filters(&["kms_view::turns", "uml_kms_view::scaled"]), ["turns", "scaled"]);
        // All of it is more than a part.
        assert!(filters(&["kms_view::turns", "kms_view"]).is_empty());
        assert!(filters(&["kms_view", "kms_view::turns"]).is_empty());
    }

    #[test]
    fn a_name_of_nothing_is_an_error_that_names_the_nearest() {
        let error = select(&programs(), ALL, &["kms_veiw::turns".to_owned()]).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("no test program is named `kms_veiw`"), "{text}");
        assert_eq!(text.lines().nth(1), Some("  kms_view"), "{text}");
        assert_eq!(text.matches("zero_copy").count(), 1, "{text}");
        let error = select(&programs(), &[Place::Qemu], &["kms_view".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "`kms_view` is not there: its file is tests/uml/kms/view.rs");
    }
}
