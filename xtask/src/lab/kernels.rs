//! The stages that compile: the User-Mode Linux kernel, and the modules that
//! Debian's kernel leaves out. Both come from the source of the tree's own
//! kernel, so both are made again only when their recipe or that kernel changes.

use std::fs;
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result, bail};

use super::cache::Cache;
use super::recipe::{Recipe, hash, unmet};
use super::tree::Tree;

/// The uml machine's kernel, a program of the host.
pub(crate) fn uml(recipe: &Recipe, cache: &Cache, tree: &Tree) -> Result<PathBuf> {
    let fragment = recipe.read("uml.config")?;
    let script = recipe.read("uml-build.sh")?;
    let folder = cache.get("uml", &hash([fragment.as_str(), &script, &tree.kernel]), |site| {
        let jobs = thread::available_parallelism().map_or(1, usize::from).to_string();
        tree.build(
            &format!("builds User-Mode Linux {}, about six minutes on two cores", tree.release),
            &site.log,
            &recipe.path("uml-build.sh"),
            &[&tree.release, &jobs],
            &[recipe.path("uml.config")],
            &site.folder,
        )?;
        let config = fs::read_to_string(site.folder.join("config"))
            .context("the kernel's build left no config")?;
        let unmet = unmet(&fragment, &config);
        if !unmet.is_empty() {
            bail!(
                "the kernel's configuration does not honour these lines of lab/uml.config: {}; \
                 the log is {}",
                unmet.join(", "),
                site.log.display()
            );
        }
        Ok(())
    })?;
    Ok(folder.join("linux"))
}

/// The folder of the qemu machine's additional modules.
pub(crate) fn modules(recipe: &Recipe, cache: &Cache, tree: &Tree) -> Result<PathBuf> {
    let script = recipe.read("modules-build.sh")?;
    cache.get("modules", &hash([script.as_str(), &tree.kernel, &tree.modules]), |site| {
        tree.build(
            &format!("builds modules for Linux {}", tree.release),
            &site.log,
            &recipe.path("modules-build.sh"),
            &[&tree.release],
            &[],
            &site.folder,
        )
    })
}
