//! The lab: two small machines with the kernel devices that a development
//! machine, a container or CI lacks. `lab/README.md` describes them.

mod cache;
mod initramfs;
mod kernels;
mod qemu;
mod recipe;
mod run;
mod terminal;
mod tree;
mod uml;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;

pub(crate) use self::cache::{Cache, Site, remove};
use self::recipe::Recipe;
pub(crate) use self::recipe::{hash, list};
pub(crate) use self::run::{Job, Outcome, Output};
use self::tree::Tree;
pub(crate) use self::tree::sources;
use crate::host::{self, Purpose};
use crate::workspace::Workspace;

/// One of the two machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// User-Mode Linux: a kernel that runs as a process. Fast to start.
    Uml,
    /// Debian's kernel in QEMU: a whole PC, with screens of its own.
    Qemu,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uml => "uml",
            Self::Qemu => "qemu",
        })
    }
}

/// The purposes for which these machines need packages on the host.
pub(crate) fn purposes(kinds: &[Kind]) -> &'static [Purpose] {
    if kinds.contains(&Kind::Qemu) { &[Purpose::Lab, Purpose::Qemu] } else { &[Purpose::Lab] }
}

/// The lab, set up for some of its machines.
#[derive(Debug)]
pub(crate) struct Lab {
    workspace: Workspace,
    recipe: Recipe,
    cache: Cache,
    tree: Tree,
    /// The kernel, if the uml machine was asked for.
    uml: Option<PathBuf>,
    /// The folder of built modules, if the qemu machine was asked for.
    modules: Option<PathBuf>,
}

impl Lab {
    /// Makes the stages that `kinds` need and the cache does not hold.
    pub(crate) fn set_up(workspace: &Workspace, kinds: &[Kind]) -> Result<Self> {
        let wants = |kind| kinds.contains(&kind);
        host::provide(workspace, purposes(kinds))?;
        let recipe = Recipe::new(workspace.recipe());
        let cache = Cache::new(workspace.cache.clone());
        let tree = Tree::get(&recipe, &cache)?;
        let uml = wants(Kind::Uml).then(|| kernels::uml(&recipe, &cache, &tree)).transpose()?;
        let modules =
            wants(Kind::Qemu).then(|| kernels::modules(&recipe, &cache, &tree)).transpose()?;
        Ok(Self { workspace: workspace.clone(), recipe, cache, tree, uml, modules })
    }

    /// Runs a command in a machine that was set up.
    pub(crate) fn run(&self, kind: Kind, job: &Job) -> Result<Outcome> {
        run::run(self, kind, job)
    }

    /// The folders of the cache that the uml machine runs from.
    pub(crate) fn parts(&self) -> Vec<PathBuf> {
        let parts = [Some(&self.tree.root), self.uml.as_ref()];
        parts
            .into_iter()
            .flatten()
            .filter_map(|part| part.parent())
            .map(Path::to_path_buf)
            .collect()
    }

    /// The parts of the machines, for a person to read: the kernel and the
    /// packages of the recipe, with the versions found.
    pub(crate) fn versions(&self) -> Result<String> {
        let text = fs::read_to_string(&self.tree.versions)
            .with_context(|| format!("cannot read {}", self.tree.versions.display()))?;
        let packages = self.recipe.read("packages.txt")?;
        let wanted: Vec<&str> = recipe::list(&packages).collect();
        let mut lines = vec![format!("kernel {}", self.tree.release)];
        for line in text.lines() {
            let name = line.split(' ').next().unwrap_or_default();
            if wanted.contains(&name) || self.tree.kernel.lines().any(|part| part == line) {
                lines.push(line.to_owned());
            }
        }
        lines.push(format!("all packages: {}", self.tree.versions.display()));
        Ok(lines.join("\n"))
    }
}
