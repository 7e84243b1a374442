//! The Debian tree that both machines show as their root, made by mmdebstrap:
//! the tools and libraries of `packages.txt`, the kernel that the qemu machine
//! boots, and the source and compiler that the rest is built with. Because the
//! tree brings its own compiler, the host's does not matter.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::cache::{Cache, remove};
use super::recipe::{Recipe, hash, list};
use crate::Lacking;
use crate::host::{as_root_apart, can_be_root};
use crate::progress::step;

const SUITE: &str = "trixie";

/// The scripts that add the kernel to the tree, and then modules that are not the kernel's.
const KERNEL: &str = "tree-kernel.sh";
const MODULES: &str = "tree-modules.sh";

/// mmdebstrap's arguments that are the same everywhere.
const ARGUMENTS: &[&str] = &[
    "--mode=root",
    "--variant=apt",
    "--architectures=amd64",
    "--format=directory",
    "--components=main",
    "--aptopt=APT::Default-Release \"trixie-backports\"",
    "--aptopt=Acquire::Languages \"none\"",
    "--aptopt=Acquire::Retries \"3\"",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
];

/// A tree that is ready.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    /// The tree's own root.
    pub(crate) root: PathBuf,
    /// The kernel it is for, as `uname -r` says it.
    pub(crate) release: String,
    /// Package and version of every part of that kernel.
    pub(crate) kernel: String,
    /// Package and version of the modules that come apart from it.
    pub(crate) modules: String,
    /// All packages with their versions, one a line.
    pub(crate) versions: PathBuf,
}

impl Tree {
    /// The tree of this recipe, made if it is not in the cache.
    pub(crate) fn get(recipe: &Recipe, cache: &Cache) -> Result<Self> {
        let packages = recipe.read("packages.txt")?;
        let kernel = recipe.read(KERNEL)?;
        let modules = recipe.read(MODULES)?;
        let ingredients = [SUITE, &packages, &kernel, &modules];
        let ingredients = ingredients.into_iter().chain(ARGUMENTS.iter().copied());
        let folder = cache.get("tree", &hash(ingredients), |site| {
            make(recipe, &packages, &site.folder, &site.log)
        })?;
        let root = folder.join("root");
        let read = |name: &str| {
            let path = root.join("lab").join(name);
            fs::read_to_string(&path).with_context(|| {
                format!("cannot read {}: remove {} and try again", path.display(), folder.display())
            })
        };
        Ok(Self {
            release: read("kernel-release")?.trim().to_owned(),
            kernel: read("kernel-packages")?,
            modules: read("module-packages")?,
            versions: folder.join("versions.txt"),
            root,
        })
    }

    /// Runs a script of the recipe inside the tree, in a scratch folder that
    /// holds `files`, and copies what the script left in `out` to `into`.
    pub(crate) fn build(
        &self,
        title: &str,
        log: &Path,
        script: &Path,
        arguments: &[&str],
        files: &[PathBuf],
        into: &Path,
    ) -> Result<()> {
        need_root()?;
        let scratch = self.root.join("lab/work");
        let entry = script.file_name().context("a script without a name")?;
        // As one script, since sudo may be between us and each of its steps. Where
        // mounting is not allowed, most builds do without /proc.
        let steps = r#"
            set -eu
            root=$1 scratch=$2 into=$3 owner=$4 entry=$5
            rm -rf "$scratch"; mkdir -p "$scratch"
            shift 5
            while [ "$1" != -- ]; do cp "$1" "$scratch/"; shift; done
            shift
            mount -t proc proc "$root/proc" || echo "no /proc in the tree"
            chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin LC_ALL=C HOME=/tmp \
                sh -c 'cd /lab/work && exec sh "$@"' sh "$entry" "$@"
            cp -r "$scratch/out/." "$into/"
            chown -R "$owner" "$into"
            rm -rf "$scratch"
        "#;
        let owner = format!(
            "{}:{}",
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw()
        );
        let mut command = as_root_apart("sh");
        command.args(["-c", steps, "build"]).arg(&self.root).arg(&scratch).arg(into).arg(owner);
        command.arg(entry).arg(script).args(files).arg("--").args(arguments);
        step(title, log, &mut command)
    }
}

fn need_root() -> Result<()> {
    if can_be_root() {
        return Ok(());
    }
    Err(Lacking(
        "making the lab needs root: run `cargo xtask setup` as root, or as a user with sudo"
            .to_owned(),
    )
    .into())
}

fn make(recipe: &Recipe, packages: &str, folder: &Path, log: &Path) -> Result<()> {
    need_root()?;
    let root = folder.join("root");
    let mut command = as_root_apart("mmdebstrap");
    command.args(ARGUMENTS);
    command.arg(format!("--include={}", list(packages).collect::<Vec<_>>().join(",")));
    for script in [KERNEL, MODULES] {
        let script = recipe.path(script);
        let script = script.to_str().context("the workspace's path is not UTF-8")?;
        command.arg(format!("--customize-hook=chroot \"$1\" sh <{}", super::run::quote(script)));
    }
    let sources = sources(SUITE, &["", "-updates", "-backports"]);
    if sources.is_empty() {
        // mmdebstrap writes its default mirror; backports come from there too.
        command.arg(format!(
            "--setup-hook=sed -n 's/^deb \\(.*\\) {SUITE} main.*/deb \\1 {SUITE}-backports main/p' \
             \"$1/etc/apt/sources.list\" >\"$1/etc/apt/sources.list.d/backports.list\""
        ));
    }
    command.arg(SUITE).arg(&root).args(&sources);
    step("makes the Debian tree, about two minutes", log, &mut command)?;

    let output = Command::new("dpkg-query")
        .arg(format!("--admindir={}", root.join("var/lib/dpkg").display()))
        .args(["--show", "--showformat", "${Package} ${Version}\\n"])
        .output()
        .context("cannot run dpkg-query")?;
    let unpacked = ["kernel-packages", "module-packages"]
        .map(|name| fs::read_to_string(root.join("lab").join(name)))
        .into_iter()
        .collect::<Result<String, _>>()
        .context("the tree has no list of what was unpacked")?;
    if !output.status.success() || output.stdout.is_empty() {
        remove(&root)?;
        bail!("dpkg-query cannot read the new tree; the log is {}", log.display());
    }
    let versions = String::from_utf8_lossy(&output.stdout) + unpacked.as_str();
    fs::write(folder.join("versions.txt"), versions.as_bytes())
        .context("cannot record the packages' versions")
}

/// The archives that the host's apt uses for Debian itself.
fn mirrors() -> Vec<String> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)"])
        .arg("Created-By: Packages")
        .output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    choose_mirrors(&String::from_utf8_lossy(&text))
}

/// Debian's main archives among apt's sources. The origin is known only once
/// lists have been fetched; until then the release's name must do.
fn choose_mirrors(targets: &str) -> Vec<String> {
    const RELEASES: &[&str] =
        &["bookworm", "trixie", "forky", "sid", "oldstable", "stable", "testing", "unstable"];
    let mut found: Vec<String> = Vec::new();
    for line in targets.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (uri, origin) = match words[..] {
            [uri, release, "main"] if RELEASES.contains(&release) => (uri, None),
            [uri, release, "main", origin] if RELEASES.contains(&release) => (uri, Some(origin)),
            _ => continue,
        };
        let debian = origin.is_none_or(|origin| origin == "Debian" || origin.starts_with("$("));
        let local = uri.starts_with("file:") || uri.starts_with("cdrom:");
        if debian && !local && !found.iter().any(|known| known == uri) {
            found.push(uri.to_owned());
        }
    }
    found
}

/// Sources for a tree of `suite` with these parts of it, such as "-updates", from the host's own
/// mirror; nothing when no mirror is known.
pub(crate) fn sources(suite: &str, parts: &[&str]) -> Vec<String> {
    sources_of(&mirrors(), suite, parts)
}

fn sources_of(mirrors: &[String], suite: &str, parts: &[&str]) -> Vec<String> {
    // One archive is enough, and a second only makes the lists longer.
    let Some(uri) = mirrors.first() else { return Vec::new() };
    parts.iter().map(|part| format!("deb {uri} {suite}{part} main")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_come_from_debians_own_sources() {
        let targets = "\
            http://a.example/debian/ bookworm main Debian\n\
            http://a.example/debian/ bookworm-updates main Debian\n\
            http://a.example/debian-security/ bookworm-security main Debian\n\
            http://other.example/ bookworm main Other\n\
            http://b.example/debian/ stable main $(ORIGIN)\n\
            http://c.example/debian/ trixie main\n\
            http://d.example/debian/ trixie contrib Debian\n\
            file:/srv/debian/ trixie main Debian\n";
        assert_eq!(
            choose_mirrors(targets),
            ["http://a.example/debian/", "http://b.example/debian/", "http://c.example/debian/"]
        );
        assert!(choose_mirrors("").is_empty());
    }

    #[test]
    fn without_a_mirror_there_are_no_sources() {
        assert!(sources_of(&[], "trixie", &[""]).is_empty());
        let sources = sources_of(&["http://a.example/debian/".to_owned()], "trixie", &["", "-x"]);
        assert_eq!(sources[1], "deb http://a.example/debian/ trixie-x main");
    }
}
