//! Checks of the crates' dependencies: licences, versions, yanked releases, the Rust that they
//! need, and each documented choice of features built alone.
//!
//! `deny.toml` has the rules, in the format of cargo-deny. The registry's index names the yanked
//! releases. Cargo keeps a copy of it, which `cargo update --dry-run` brings up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use semver::{Version, VersionReq};
use serde::Deserialize;
use spdx::{Expression, Licensee, ParseMode};

use crate::workspace::Workspace;

/// The platform that is counted, so that the table is the same on every machine.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The file with the table.
const DOCUMENT: &str = "docs/dependencies.md";
const BEGIN: &str = "<!-- made by `cargo xtask deps --write` -->\n";
const END: &str = "<!-- end -->\n";

/// A crate with a choice of features that is documented.
struct Set {
    package: &'static str,
    /// `None` for the default.
    features: Option<&'static str>,
    /// The Rust that is needed where that is more than the crate's own `rust-version`.
    rust: Option<&'static str>,
}

const SETS: [Set; 11] = [
    Set { package: "vcam-uapi", features: None, rust: None },
    Set { package: "vcam-allocator", features: None, rust: None },
    Set { package: "vcam-isp-gpu", features: None, rust: None },
    Set { package: "vcam-sinks", features: Some(""), rust: None },
    Set { package: "vcam-sinks", features: Some("kms"), rust: None },
    Set { package: "vcam-sinks", features: Some("file"), rust: None },
    Set { package: "vcam-sinks", features: Some("tiff"), rust: None },
    Set { package: "vcam-sinks", features: Some("terminal"), rust: Some("1.90") },
    Set { package: "vcam-sinks", features: None, rust: Some("1.90") },
    Set { package: "vcam-pipeline", features: None, rust: None },
    Set { package: "vcam", features: None, rust: None },
];

impl Set {
    /// The arguments that choose it on cargo's command line.
    fn arguments(&self) -> Vec<&'static str> {
        let mut arguments = vec!["--package", self.package];
        if let Some(features) = self.features {
            arguments.extend(["--no-default-features", "--features", features]);
        }
        arguments
    }

    fn features(&self) -> &'static str {
        match self.features {
            None => "default",
            Some("") => "none",
            Some(features) => features,
        }
    }
}

/// A package by name and version.
type Id = (String, Version);

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: Version,
    license: Option<String>,
    rust_version: Option<String>,
    source: Option<String>,
}

impl Package {
    fn id(&self) -> Id {
        (self.name.clone(), self.version.clone())
    }
}

#[derive(Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    skip: Vec<Skip>,
}

/// Versions of a crate that may be there in addition to another.
#[derive(Deserialize)]
struct Skip {
    #[serde(rename = "crate")]
    which: String,
    reason: String,
}

/// Checks all of it; `write` brings the table up to date instead of comparing it.
pub(crate) fn deps(workspace: &Workspace, write: bool) -> Result<i32> {
    let metadata = cargo(
        workspace,
        &["metadata", "--locked", "--format-version=1", "--all-features"],
        &["--filter-platform", TARGET],
    )?;
    let metadata: Metadata = serde_json::from_str(&metadata).context("cargo's metadata")?;
    let rules = fs::read_to_string(workspace.root.join("deny.toml")).context("deny.toml")?;
    let rules: Rules = toml::from_str(&rules).context("deny.toml")?;

    let mut findings = licences(&metadata.packages, &rules.licenses.allow)?;
    let shipped = tree(workspace, &["--workspace", "--all-features"])?;
    findings.extend(duplicates(&shipped, &rules.bans.skip)?);
    if cargo(workspace, &["update", "--dry-run", "--quiet"], &[]).is_err() {
        eprintln!("the registry is out of reach: yanked is what was yanked when it was asked last");
    }
    findings.extend(yanked(&metadata.packages, &indices()?));

    let by_id: BTreeMap<Id, &Package> = metadata.packages.iter().map(|p| (p.id(), p)).collect();
    let mut table = String::from("| crate | features | dependencies | Rust |\n|---|---|---|---|\n");
    for set in &SETS {
        let tree = tree(workspace, &set.arguments())?;
        let packages: Vec<&Package> = tree.iter().filter_map(|id| by_id.get(id).copied()).collect();
        if packages.len() != tree.len() {
            bail!("`cargo tree` and `cargo metadata` differ for {}", set.package);
        }
        let rust = rust_version(set, &packages, &mut findings)?;
        let (package, features, count) = (set.package, set.features(), tree.len() - 1);
        table.push_str(&format!("| {package} | {features} | {count} | {rust} |\n"));
    }
    print!("{table}");
    let path = workspace.root.join(DOCUMENT);
    let document = fs::read_to_string(&path).context(DOCUMENT)?;
    let renewed = with_table(&document, &table)?;
    if write {
        fs::write(&path, renewed).context(DOCUMENT)?;
    } else if renewed != document {
        findings.push(format!("{DOCUMENT} is out of date: run `cargo xtask deps --write`"));
    }

    for set in &SETS {
        // Together with others a crate gets their features too, and a missing one stays unnoticed.
        let arguments = [&["clippy", "--locked", "--quiet"][..], &set.arguments()].concat();
        if cargo(workspace, &arguments, &["--", "-D", "warnings"]).is_err() {
            findings.push(format!("{} fails alone, features: {}", set.package, set.features()));
        }
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    Ok(i32::from(!findings.is_empty()))
}

/// Runs cargo, its messages going to the standard error, and returns its standard output.
fn cargo(workspace: &Workspace, arguments: &[&str], more: &[&str]) -> Result<String> {
    let output = workspace
        .cargo()
        .args(arguments)
        .args(more)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("`cargo {}` failed", arguments.join(" "));
    }
    String::from_utf8(output.stdout).context("cargo's output")
}

/// The packages built for a choice of packages and features, itself included, without tests.
fn tree(workspace: &Workspace, choice: &[&str]) -> Result<BTreeSet<Id>> {
    let listed = cargo(
        workspace,
        &["tree", "--locked", "--edges=normal,build", "--target", TARGET],
        &[&["--prefix=none", "--no-dedupe", "--format={p}"], choice].concat(),
    )?;
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        Some((name.to_owned(), version.parse().ok()?))
    };
    listed
        .lines()
        .filter(|listed| !listed.is_empty())
        .map(|listed| line(listed).with_context(|| format!("cargo tree printed `{listed}`")))
        .collect()
}

/// Finds packages whose licence is not, and has no alternative that is, on the list.
fn licences(packages: &[Package], allow: &[String]) -> Result<Vec<String>> {
    let allowed: Vec<Licensee> = allow
        .iter()
        .map(|name| Licensee::parse(name))
        .collect::<Result<_, _>>()
        .context("deny.toml: [licenses] allow")?;
    let fits = |license: &String| {
        Expression::parse_mode(license, ParseMode::LAX).is_ok_and(|expression| {
            expression.evaluate(|asked| allowed.iter().any(|have| have.satisfies(asked)))
        })
    };
    let refused = packages.iter().filter(|package| !package.license.as_ref().is_some_and(fits));
    Ok(refused
        .map(|package| {
            let license = package.license.as_deref().unwrap_or("none");
            format!("{} {}: its licence is {license}", package.name, package.version)
        })
        .collect())
}

/// Finds crates that are there in several versions, and exceptions that nothing needs.
fn duplicates(shipped: &BTreeSet<Id>, skip: &[Skip]) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    let mut versions: BTreeMap<&str, Vec<&Version>> = BTreeMap::new();
    for (name, version) in shipped {
        versions.entry(name).or_default().push(version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    for Skip { which, reason } in skip {
        let (name, wanted) = which.split_once('@').context("deny.toml: skip: NAME@VERSION")?;
        let wanted = VersionReq::parse(wanted).context("deny.toml: skip")?;
        let Some(there) = versions.get_mut(name) else {
            findings.push(format!("deny.toml: {which} stands beside no other ({reason})"));
            continue;
        };
        let before = there.len();
        there.retain(|version| !wanted.matches(version));
        if there.len() == before {
            findings.push(format!("deny.toml: {which} is not there ({reason})"));
        }
    }
    for (name, versions) in versions.into_iter().filter(|(_, versions)| versions.len() > 1) {
        let versions: Vec<String> = versions.into_iter().map(Version::to_string).collect();
        findings.push(format!("{name} is there as {}", versions.join(" and ")));
    }
    Ok(findings)
}

/// Cargo's copies of the indices of registries.
fn indices() -> Result<Vec<PathBuf>> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo"))).context("no home folder")?;
    let folder = home.join("registry/index");
    let listed = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    listed.map(|entry| Ok(entry?.path().join(".cache"))).collect()
}

/// Finds packages that were withdrawn from their registry, or whose state is unknown.
fn yanked(packages: &[Package], indices: &[PathBuf]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| package.source.is_some()) {
        let place = place(&package.name);
        let entries: Vec<bool> = indices
            .iter()
            .filter_map(|index| fs::read(index.join(&place)).ok())
            .filter_map(|entry| yanked_in(&entry, &package.version))
            .collect();
        let Package { name, version, .. } = package;
        if entries.is_empty() {
            findings.push(format!("{name} {version}: no index here says whether it is yanked"));
        } else if entries.contains(&true) {
            findings.push(format!("{name} {version} is yanked"));
        }
    }
    findings
}

/// The path of a crate in an index, as "Index Files" in the Cargo book describes it.
fn place(name: &str) -> PathBuf {
    let name = name.to_lowercase();
    let start = |count| name.chars().take(count).collect::<String>();
    let folder = match name.chars().count() {
        count @ (1 | 2) => count.to_string(),
        3 => format!("3/{}", start(1)),
        _ => format!("{}/{}", start(2), name.chars().skip(2).take(2).collect::<String>()),
    };
    Path::new(&folder).join(name)
}

/// Returns true if this version is yanked, `None` if the entry of the index does not have it.
///
/// An entry has the JSON of each release, among other data, and a zero after each.
fn yanked_in(entry: &[u8], version: &Version) -> Option<bool> {
    #[derive(Deserialize)]
    struct Release {
        vers: Version,
        yanked: bool,
    }

    entry
        .split(|byte| *byte == 0)
        .filter_map(|part| serde_json::from_slice::<Release>(part).ok())
        .find(|release| release.vers == *version)
        .map(|release| release.yanked)
}

/// The Rust that a set declares; finds dependencies that need more.
fn rust_version(set: &Set, packages: &[&Package], findings: &mut Vec<String>) -> Result<String> {
    let of = |package: &&Package| package.rust_version.as_deref().map(release).transpose();
    let (own, others): (Vec<&Package>, Vec<&Package>) =
        packages.iter().partition(|package| package.name == set.package);
    let own = own.first().and_then(|package| package.rust_version.as_deref());
    let own = own.with_context(|| format!("{} has no rust-version", set.package))?;
    let said = release(set.rust.unwrap_or(own))?;
    let mut most = release(own)?;
    for package in &others {
        let Some(needed) = of(package)? else { continue };
        if needed > said {
            let Package { name, version, .. } = package;
            findings.push(format!(
                "{}, features {}: {name} {version} needs Rust {needed}, more than {said}",
                set.package,
                set.features()
            ));
        }
        most = most.max(needed);
    }
    if most < said {
        findings.push(format!(
            "{}, features {}: Rust {most} is enough, not {said}",
            set.package,
            set.features()
        ));
    }
    Ok(format!("{}.{}", said.major, said.minor))
}

/// A release of Rust, which may be written without its last numbers.
fn release(text: &str) -> Result<Version> {
    let missing = 2_usize.saturating_sub(text.matches('.').count());
    let whole = format!("{text}{}", ".0".repeat(missing));
    whole.parse().with_context(|| format!("`{text}` is no release of Rust"))
}

/// The document with another table between its marks.
fn with_table(document: &str, table: &str) -> Result<String> {
    let parts = document.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = parts.with_context(|| format!("{DOCUMENT} has no place for a table"))?;
    Ok(format!("{before}{BEGIN}\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, license: Option<&str>) -> Package {
        Package {
            name: name.to_owned(),
            version: version.parse().unwrap(),
            license: license.map(str::to_owned),
            rust_version: Some("1.70".to_owned()),
            source: Some("registry".to_owned()),
        }
    }

    #[test]
    fn one_alternative_must_be_allowed_and_every_part_of_it() {
        let allow = ["MIT", "Apache-2.0", "Unicode-3.0"].map(str::to_owned);
        let refused =
            |license| !licences(&[package("a", "1.0.0", license)], &allow).unwrap().is_empty();
        for good in ["MIT", "MIT/Apache-2.0", "GPL-2.0-only OR MIT", "(MIT OR ISC) AND Unicode-3.0"]
        {
            assert!(!refused(Some(good)), "{good}");
        }
        for bad in ["LGPL-3.0-or-later", "MPL-2.0", "MIT AND ISC", "Apache-2.0 WITH nothing", ""] {
            assert!(refused(Some(bad)), "{bad}");
        }
        assert!(refused(None));
    }

    #[test]
    fn a_second_version_needs_a_reason_and_a_reason_needs_one() {
        let shipped = [("a", "1.0.0"), ("a", "2.0.0"), ("b", "1.0.0")]
            .map(|(name, version)| (name.to_owned(), version.parse().unwrap()))
            .into();
        let skip = |which: &str| Skip { which: which.to_owned(), reason: "why".to_owned() };
        assert_eq!(duplicates(&shipped, &[]).unwrap(), ["a is there as 1.0.0 and 2.0.0"]);
        assert!(duplicates(&shipped, &[skip("a@^1")]).unwrap().is_empty());
        assert_eq!(duplicates(&shipped, &[skip("a@^1"), skip("b@^1")]).unwrap().len(), 1);
        assert_eq!(duplicates(&shipped, &[skip("a@^3")]).unwrap().len(), 2);
    }

    #[test]
    fn an_index_says_what_is_yanked() {
        let folder = env::temp_dir().join(format!("vcam-xtask-index-{}", std::process::id()));
        fs::create_dir_all(folder.join("3/a")).unwrap();
        let release = |version, yanked| {
            format!("{version}\0{{\"name\":\"abc\",\"vers\":\"{version}\",\"yanked\": {yanked}}}\0")
        };
        let entry = format!("\x03\0etag\0{}{}", release("1.0.0", true), release("1.0.1", false));
        fs::write(folder.join("3/a/abc"), entry).unwrap();
        let of =
            |name, version| yanked(&[package(name, version, None)], std::slice::from_ref(&folder));
        assert_eq!(of("Abc", "1.0.0"), ["Abc 1.0.0 is yanked"]);
        assert!(of("abc", "1.0.1").is_empty());
        assert_eq!(of("abc", "1.0.2").len(), 1);
        assert_eq!(of("other", "1.0.0").len(), 1);
        fs::remove_dir_all(folder).unwrap();
        for (name, at) in [("a", "1/a"), ("ab", "2/ab"), ("serde_json", "se/rd/serde_json")] {
            assert_eq!(place(name), Path::new(at));
        }
    }

    #[test]
    fn the_rust_that_is_said_is_the_one_that_is_needed() {
        let (own, dependency) = (package("own", "1.0.0", None), package("dep", "1.0.0", None));
        let newer =
            Package { rust_version: Some("1.90.1".to_owned()), ..package("n", "1.0.0", None) };
        let count = |rust, packages: &[&Package]| {
            let mut findings = Vec::new();
            let set = Set { package: "own", features: None, rust };
            rust_version(&set, packages, &mut findings).unwrap();
            findings.len()
        };
        assert_eq!(count(None, &[&own, &dependency]), 0);
        assert_eq!(count(None, &[&own, &newer]), 1);
        assert_eq!(count(Some("1.90.1"), &[&own, &newer]), 0);
        assert_eq!(count(Some("1.91"), &[&own, &newer]), 1);
    }

    #[test]
    fn a_table_takes_the_place_of_another() {
        let old = format!("before\n{BEGIN}\nold\n\n{END}after\n");
        let new = with_table(&old, "new\n").unwrap();
        assert_eq!(new, format!("before\n{BEGIN}\nnew\n\n{END}after\n"));
        assert_eq!(with_table(&new, "new\n").unwrap(), new);
        assert!(with_table("no place", "new\n").is_err());
    }
}
