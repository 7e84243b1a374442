//! A bare tree: a minimal Debian as mmdebstrap makes it, with the packages of the README, with
//! those of Rust's own instructions, and with packages that look like build dependencies.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Release;
use crate::host::as_root_apart;
use crate::lab::{Cache, Site, hash, sources};
use crate::progress::step;

/// For rustup, which fetches Rust by curl; and sudo, which one of the newcomers has.
const MORE: &[&str] = &["ca-certificates", "curl", "sudo"];

const ARGUMENTS: &[&str] = &[
    "--mode=root",
    "--variant=minbase",
    "--architectures=amd64",
    "--format=directory",
    "--components=main",
    "--aptopt=APT::Install-Recommends \"false\"",
    "--aptopt=Acquire::Languages \"none\"",
    "--aptopt=Acquire::Retries \"3\"",
    "--customize-hook=chroot \"$1\" useradd --create-home --shell /bin/bash newcomer",
];

/// A tree that is ready, not to be changed.
#[derive(Debug)]
pub(super) struct BareTree {
    pub(super) release: Release,
    pub(super) root: PathBuf,
}

impl BareTree {
    /// The tree of a release with `packages`, made if it is not in the cache.
    pub(super) fn get(cache: &Cache, release: Release, packages: &[&str]) -> Result<Self> {
        let packages = [packages, MORE, release.traps()].concat().join(",");
        let ingredients = [release.suite(), &packages].into_iter().chain(ARGUMENTS.iter().copied());
        let name = format!("bare-{}", release.number());
        let folder = cache.get(&name, &hash(ingredients), |site| make(site, release, &packages))?;
        Ok(Self { release, root: folder.join("root") })
    }
}

fn make(site: &Site, release: Release, packages: &str) -> Result<()> {
    let mut command = as_root_apart("mmdebstrap");
    command.args(ARGUMENTS).arg(format!("--include={packages}"));
    let sources = sources(release.suite(), &["", "-updates"]);
    command.arg(release.suite()).arg(site.folder.join("root")).args(sources);
    let title = format!("makes a bare Debian {}, about a minute", release.number());
    step(&title, &site.log, &mut command)
}

/// The packages that a tree holds, each with its size in KiB.
pub(super) fn packages(root: &std::path::Path) -> Result<Vec<(String, u64)>> {
    let output = Command::new("dpkg-query")
        .arg(format!("--admindir={}", root.join("var/lib/dpkg").display()))
        .args(["--show", "--showformat", "${db:Status-Status} ${Package} ${Installed-Size}\\n"])
        .output()
        .context("cannot run dpkg-query")?;
    if !output.status.success() {
        bail!("dpkg-query cannot read {}", root.display());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let packages = text.lines().filter_map(|line| {
        let (name, size) = line.strip_prefix("installed ")?.split_once(' ')?;
        Some((name.to_owned(), size.parse().unwrap_or(0)))
    });
    Ok(packages.collect())
}
