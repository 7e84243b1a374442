//! `cargo xtask fresh`: follows the README on machines that never saw this project.
//!
//! On a developer's machine a test cannot see that a set-up step is missing. So this makes minimal
//! trees of Debian 12 and 13, with only the packages that the README asks for. In a copy of each,
//! three newcomers follow the README: root, a user with sudo, and a user without. `lab/fresh/` has
//! their steps.

mod tree;
mod walk;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use self::tree::BareTree;
use self::walk::Walk;
use crate::Lacking;
use crate::host::{self, can_be_root};
use crate::lab::{self, Cache, Kind, Lab, remove};
use crate::process;
use crate::progress::note;
use crate::workspace::{Workspace, make_folder};

/// A release of Debian that the README speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Release {
    /// Debian 12.
    Bookworm,
    /// Debian 13.
    Trixie,
}

impl Release {
    fn suite(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    fn number(self) -> u32 {
        match self {
            Self::Bookworm => 12,
            Self::Trixie => 13,
        }
    }

    /// Packages that were once mistaken for build dependencies: run-time libraries of Mesa and
    /// LLVM.
    fn traps(self) -> &'static [&'static str] {
        match self {
            Self::Bookworm => &["libclang-cpp14", "libgbm1", "libegl1", "libgl1-mesa-dri"],
            Self::Trixie => &["libclang-cpp19", "libgbm1", "libegl1", "libgl1-mesa-dri"],
        }
    }
}

/// The newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Person {
    /// A user who cannot become root.
    Plain,
    /// A user with sudo.
    Sudo,
    /// Root.
    Root,
}

impl Person {
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Sudo => "sudo",
            Self::Root => "root",
        }
    }

    fn described(self) -> &'static str {
        match self {
            Self::Plain => "a user without sudo",
            Self::Sudo => "a user with sudo",
            Self::Root => "root",
        }
    }
}

/// The extent of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The build, and what needs no lab.
    Build,
    /// All, with this machine's lab.
    Usual,
    /// All, with a lab made again on each release.
    Whole,
}

/// Walks on `releases`, or all of them; the exit status.
pub(crate) fn fresh(workspace: &Workspace, releases: &[Release], extent: Extent) -> Result<i32> {
    let releases = if releases.is_empty() { Release::value_variants() } else { releases };
    let readme = workspace.root.join("README.md");
    let readme =
        fs::read_to_string(&readme).with_context(|| format!("cannot read {}", readme.display()))?;
    let packages = promised(&readme)?;
    host::provide(workspace, lab::purposes(&[Kind::Uml]))?;
    if !can_be_root() {
        return Err(Lacking(
            "showing a bare machine needs root: run `cargo xtask fresh` as root, or as a user with \
             sudo"
                .to_owned(),
        )
        .into());
    }
    let cache = Cache::new(workspace.cache.clone());
    let scratch = make_folder(&workspace.cache.join("fresh"))?;
    let _alone = cache.lock("fresh.lock", "another process that walks on bare machines")?;
    remove_contents(&scratch)?;
    let lab = match extent {
        Extent::Usual => Some(Lab::set_up(workspace, &[Kind::Uml])?.parts()),
        Extent::Build | Extent::Whole => None,
    };
    let mut walks = Vec::new();
    for &release in releases {
        let tree = BareTree::get(&cache, release, &packages)?;
        let walked = walk_all(workspace, &tree, &scratch, extent, lab.as_deref(), &mut walks);
        remove_contents(&scratch)?;
        walked?;
    }
    println!("{}", walks.iter().map(Walk::to_string).collect::<Vec<_>>().join("\n"));
    Ok(0)
}

/// The walks on one release.
fn walk_all(
    workspace: &Workspace,
    tree: &BareTree,
    scratch: &Path,
    extent: Extent,
    lab: Option<&[PathBuf]>,
    walks: &mut Vec<Walk>,
) -> Result<()> {
    // Cargo fetches and builds once for all three: the rights of the others do not help a build.
    let build = make_folder(&scratch.join("build"))?;
    let mut parts = lab.map(<[_]>::to_vec);
    let persons: &[Person] = match extent {
        Extent::Build => &[Person::Plain],
        Extent::Usual | Extent::Whole => &[Person::Plain, Person::Sudo, Person::Root],
    };
    for &person in persons {
        let walk = Walk::of(workspace, tree, scratch, &build, parts.as_deref(), person)?;
        if extent == Extent::Whole && person == Person::Sudo {
            parts = Some(walk::parts_made(scratch)?);
        }
        note(&walk.to_string());
        walks.push(walk);
    }
    if process::interrupted() {
        bail!("interrupted");
    }
    Ok(())
}

/// Empties a folder that root may own parts of.
fn remove_contents(folder: &Path) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    entries.flatten().try_for_each(|entry| remove(&entry.path()))
}

/// The packages that the README has a newcomer install, if it has the commands that the walk runs.
fn promised(readme: &str) -> Result<Vec<&str>> {
    for command in
        ["cargo run --release", "cargo xtask demo", "vcam list", "cargo xtask lab -- vcam list"]
    {
        if !readme.contains(command) {
            bail!(
                "the README has no `{command}`, which a newcomer is to run: see lab/fresh/walk.sh"
            );
        }
    }
    let line = readme.lines().find_map(|line| line.trim().strip_prefix("apt-get install "));
    let packages: Vec<&str> = line.unwrap_or_default().split_whitespace().collect();
    if packages.is_empty() {
        bail!("the README has no line `apt-get install …` with what a build needs");
    }
    Ok(packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_is_followed() {
        let readme = "# vcam\n\n```\napt-get install gcc git\n```\n`cargo run --release`\n\
                      `cargo xtask demo`\n`vcam list`, `cargo xtask lab -- vcam list`\n";
        assert_eq!(promised(readme).unwrap(), ["gcc", "git"]);
        assert!(promised(&readme.replace("xtask demo", "xtask show")).is_err());
        assert!(promised(&readme.replace("apt-get install", "apt install")).is_err());
    }
}
