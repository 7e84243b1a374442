//! Test programs that would not run: cargo finds no test in a folder by itself, and builds none
//! whose features are off.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::programs::{Manifest, Program, names};
use crate::test::Place;

/// The differences between the files in `tests/` and the stanzas of `Cargo.toml`.
pub(crate) fn findings(root: &Path) -> Result<Vec<String>> {
    let mut files = BTreeSet::new();
    collect(root, Path::new("tests"), &mut files)?;
    Ok(compare(&Manifest::read(root)?, &files))
}

/// The files of a folder and of those in it.
fn collect(root: &Path, folder: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    let path = root.join(folder);
    let reading = || format!("cannot read {}", path.display());
    for entry in fs::read_dir(&path).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let inner = folder.join(entry.file_name());
        match entry.file_type().with_context(reading)?.is_dir() {
            true => collect(root, &inner, files)?,
            false => _ = files.insert(inner),
        }
    }
    Ok(())
}

fn compare(manifest: &Manifest, files: &BTreeSet<PathBuf>) -> Vec<String> {
    let mut findings = Vec::new();
    if manifest.package.autotests {
        findings.push("Cargo.toml: the package needs `autotests = false`".to_owned());
    }
    let programs = &manifest.programs;
    for file in files {
        let shown = file.display();
        let is_of = |program: &&Program| program.path == *file || program.cmdline() == *file;
        match programs.iter().filter(is_of).count() {
            1 => {}
            0 if file.extension().is_some_and(|end| end == "rs") => {
                findings.push(format!("{shown}: not run; add to Cargo.toml:\n{}", stanza(file)));
            }
            0 => findings.push(format!("{shown}: there is no test of that name")),
            _ => findings.push(format!("{shown}: several stanzas in Cargo.toml name it")),
        }
    }
    for program in programs {
        let name = &program.name;
        if !files.contains(&program.path) {
            let path = program.path.display();
            findings.push(format!("Cargo.toml: test {name}: there is no file `{path}`"));
            continue;
        }
        let Some(place) = program.place() else {
            findings.push(format!(
                "{}: not in a folder of a place where tests run: tests/host, tests/uml, tests/qemu",
                program.path.display()
            ));
            continue;
        };
        let expected = names(&program.path).join("_");
        if *name != expected {
            findings.push(format!("Cargo.toml: test {name}: its path makes it {expected}"));
        }
        let lab = program.required_features.iter().any(|feature| feature == LAB);
        if lab != (place != Place::Host) {
            let wanted = if lab { "without" } else { "with" };
            findings.push(format!("Cargo.toml: test {name}: {wanted} the feature `{LAB}`"));
        }
    }
    findings
}

/// The feature of tests in machines.
const LAB: &str = "lab";

/// The stanza that a file needs.
fn stanza(file: &Path) -> String {
    let names = names(file);
    let mut stanza =
        format!("[[test]]\nname = \"{}\"\npath = \"{}\"", names.join("_"), file.display());
    if names.first().and_then(|folder| Place::of(folder)) != Some(Place::Host) {
        stanza.push_str(&format!("\nrequired-features = [\"{LAB}\"]"));
    }
    stanza
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings about these files, and stanzas of name, path and features.
    fn found(files: &[&str], stanzas: &[(&str, &str, &str)]) -> Vec<String> {
        let mut text = "[package]\nautotests = false\n".to_owned();
        for (name, path, features) in stanzas {
            text.push_str(&format!(
                "[[test]]\nname = \"{name}\"\npath = \"{path}\"\nrequired-features = [{features}]\n"
            ));
        }
        let files = files.iter().map(PathBuf::from).collect();
        compare(&toml::from_str(&text).unwrap(), &files)
    }

    #[test]
    fn every_test_of_this_checkout_runs() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let findings = findings(root).unwrap();
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }

    #[test]
    fn a_test_with_its_stanza_is_fine() {
        let files = ["tests/uml/kms/view.rs", "tests/uml/kms/view.cmdline", "tests/host/files.rs"];
        let stanzas =
            [("uml_kms_view", files[0], "\"lab\", \"v4l\""), ("host_files", files[2], "")];
        assert_eq!(found(&files, &stanzas), [""; 0]);
    }

    #[test]
    fn a_test_that_would_not_run_is_found() {
        let view = "tests/uml/kms/view.rs";
        let one = |files: &[&str], stanzas: &[(&str, &str, &str)], says: &str| {
            let found = found(files, stanzas);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].contains(says), "{found:?}");
        };
        one(&[view], &[], "name = \"uml_kms_view\"");
        one(&[view], &[("uml_kms_view", view, "")], "with the feature `lab`");
        one(&[view], &[("kms_view", view, "\"lab\"")], "its path makes it uml_kms_view");
        one(&[], &[("uml_kms_view", view, "\"lab\"")], "there is no file");
        let (host, lost) = ("tests/host/a.rs", "tests/a.rs");
        one(&[host], &[("host_a", host, "\"lab\"")], "without the feature `lab`");
        one(&[lost], &[("a", lost, "")], "not in a folder of a place");
        one(&["tests/uml/a.cmdline"], &[], "there is no test of that name");
        let twice = ("host_a", host, "");
        one(&[host], &[twice, twice], "several stanzas");
    }

    #[test]
    fn tests_are_not_left_to_cargo_to_find() {
        let manifest = toml::from_str("[package]\nname = \"vcam\"").unwrap();
        assert!(compare(&manifest, &BTreeSet::new())[0].contains("autotests"));
    }
}
