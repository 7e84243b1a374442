//! One newcomer's walk in a copy of a bare tree, and its cost.

use std::fmt;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::tree::{BareTree, packages};
use super::{Person, Release};
use crate::host::as_root;
use crate::lab::remove;
use crate::progress::step;
use crate::workspace::{Workspace, make_folder};

/// A walk that went as it must.
#[derive(Debug)]
pub(super) struct Walk {
    release: Release,
    person: Person,
    /// Each step, and the seconds that it took.
    steps: Vec<(String, u64)>,
    /// Names of the packages that it installed.
    installed: Vec<String>,
    /// Their size, in KiB.
    installed_size: u64,
    /// The size of the folders of cargo and of the lab, in KiB.
    built_size: u64,
    lab_size: u64,
}

impl Walk {
    /// Has `person` walk in a copy of `tree`. `build` is for what cargo fetches and builds, `lab`
    /// are finished parts of the lab, if there are to be any.
    pub(super) fn of(
        workspace: &Workspace,
        tree: &BareTree,
        scratch: &Path,
        build: &Path,
        lab: Option<&[PathBuf]>,
        person: Person,
    ) -> Result<Self> {
        let root = machine(scratch, person);
        run(as_root("cp").args(["-a", "--reflink=auto"]).arg(&tree.root).arg(&root))?;
        run(as_root("cp").arg(workspace.recipe().join("fresh/walk.sh")).arg(root.join("srv")))?;
        let checkout = make_folder(&scratch.join(format!("checkout-{}", person.name())))?;
        copy_checkout(workspace, &checkout)?;
        let shown = match lab {
            None => PathBuf::from("none"),
            Some(parts) => shown(scratch, parts)?,
        };
        let before = packages(&root)?;
        let mut command = as_root("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh"]);
        command.arg(workspace.recipe().join("fresh/enter.sh"));
        command.arg(&root).arg(toolchain(workspace)?).arg(&checkout).arg(build).arg(shown);
        let what = if person == Person::Plain { "build" } else { "all" };
        command.args([person.name(), what]);
        let number = tree.release.number();
        let logs = make_folder(&workspace.cache.join("logs"))?;
        let log = logs.join(format!("fresh-{number}-{}.log", person.name()));
        step(
            &format!("Debian {number}, {}: follows the README", person.described()),
            &log,
            &mut command,
        )?;
        let steps = fs::read_to_string(root.join("srv/steps")).context("no steps were left")?;
        let mut installed = packages(&root)?;
        installed.retain(|package| !before.iter().any(|(name, _)| *name == package.0));
        Ok(Self {
            release: tree.release,
            person,
            steps: parse(&steps),
            installed_size: installed.iter().map(|(_, size)| size).sum(),
            installed: installed.into_iter().map(|(name, _)| name).collect(),
            built_size: size(build)?,
            lab_size: size(&home(&root, person).join(".cache"))?,
        })
    }
}

impl fmt::Display for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { release, person, steps, installed, .. } = self;
        let steps: Vec<_> =
            steps.iter().map(|(name, seconds)| format!("{name} {seconds} s")).collect();
        write!(f, "Debian {}, {}: {}", release.number(), person.described(), steps.join(", "))?;
        match installed.len() {
            0 => write!(f, "; installed nothing")?,
            count => write!(f, "; installed {count} packages, {} MiB", self.installed_size >> 10)?,
        }
        write!(f, "; cargo {} MiB, cache {} MiB", self.built_size >> 10, self.lab_size >> 10)
    }
}

/// The copy of the tree that is a person's machine.
fn machine(scratch: &Path, person: Person) -> PathBuf {
    scratch.join(person.name())
}

fn home(root: &Path, person: Person) -> PathBuf {
    match person {
        Person::Root => root.join("root"),
        Person::Plain | Person::Sudo => root.join("home/newcomer"),
    }
}

/// The parts of the lab that the user with sudo made.
pub(super) fn parts_made(scratch: &Path) -> Result<Vec<PathBuf>> {
    let cache = home(&machine(scratch, Person::Sudo), Person::Sudo).join(".cache/vcam-lab");
    let entries =
        fs::read_dir(&cache).with_context(|| format!("cannot read {}", cache.display()))?;
    let parts = entries.flatten().map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        (name.starts_with("tree-") || name.starts_with("uml-")) && !name.contains('.')
    });
    Ok(parts.collect())
}

/// A folder that names `parts`.
fn shown(scratch: &Path, parts: &[PathBuf]) -> Result<PathBuf> {
    let folder = scratch.join("lab");
    remove(&folder)?;
    make_folder(&folder)?;
    for part in parts {
        let name = part.file_name().context("a part of the lab without a name")?;
        symlink(part, folder.join(name)).context("cannot name the lab's parts")?;
    }
    Ok(folder)
}

/// The files of a clone, with the changes that are not committed yet.
fn copy_checkout(workspace: &Workspace, to: &Path) -> Result<()> {
    let mut list = Command::new("git");
    list.current_dir(&workspace.root);
    list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"]);
    let output = list.output().context("cannot run git")?;
    if !output.status.success() {
        bail!("git cannot list the checkout: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    for name in output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = str::from_utf8(name).context("a file of the checkout is not UTF-8")?;
        let from = workspace.root.join(name);
        // Deleted, and not committed.
        if !from.exists() {
            continue;
        }
        let to = to.join(name);
        to.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::copy(&from, &to))
            .with_context(|| format!("cannot copy {name}"))?;
    }
    Ok(())
}

/// The folder of the Rust that runs this.
fn toolchain(workspace: &Workspace) -> Result<PathBuf> {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .current_dir(&workspace.root)
        .args(["--print", "sysroot"])
        .output()
        .context("cannot run rustc")?;
    let path = String::from_utf8(output.stdout).context("rustc's folder is not UTF-8")?;
    Ok(PathBuf::from(path.trim()))
}

fn parse(steps: &str) -> Vec<(String, u64)> {
    let step = |line: &str| {
        let (name, seconds) = line.split_once(' ')?;
        Some((name.to_owned(), seconds.parse().ok()?))
    };
    steps.lines().filter_map(step).collect()
}

/// The size of a folder, in KiB; 0 if it is not there.
fn size(folder: &Path) -> Result<u64> {
    // A folder that only another user may read seems not to be there.
    let output = as_root("du")
        .args(["--summarize", "--one-file-system", "--block-size=1K", "--"])
        .arg(folder)
        .stderr(Stdio::null())
        .output()
        .context("cannot run du")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().next().and_then(|size| size.parse().ok()).unwrap_or(0))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().context("cannot run a command as root")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
