//! What the host must have: Debian packages, and a way to become root for the
//! two things that need it (installing them, and building the tree).

use std::env;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::Lacking;
use crate::progress::{note, step};
use crate::workspace::Workspace;

/// What the packages are wanted for; the first column of `host-packages.txt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To make the machines and run the uml one.
    Lab,
    /// To run the qemu machine.
    Qemu,
    /// To build vcam.
    Build,
}

impl Purpose {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "lab" => Some(Self::Lab),
            "qemu" => Some(Self::Qemu),
            "build" => Some(Self::Build),
            _ => None,
        }
    }
}

/// One line of `host-packages.txt`.
#[derive(Debug, PartialEq, Eq)]
struct Need<'a> {
    purpose: Purpose,
    package: &'a str,
    proof: &'a str,
}

fn parse_needs(text: &str) -> Result<Vec<Need<'_>>> {
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            match (words.next().and_then(Purpose::parse), words.next(), words.next(), words.next())
            {
                (Some(purpose), Some(package), Some(proof), None) => {
                    Ok(Need { purpose, package, proof })
                }
                _ => bail!("lab/host-packages.txt: cannot read the line `{line}`"),
            }
        })
        .collect()
}

/// Makes sure that the host has what `purposes` need, installing what is
/// missing. Does nothing at all when nothing is.
pub(crate) fn provide(workspace: &Workspace, purposes: &[Purpose]) -> Result<()> {
    let list = workspace.recipe().join("host-packages.txt");
    let text =
        fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let missing: Vec<&str> = parse_needs(&text)?
        .into_iter()
        .filter(|need| purposes.contains(&need.purpose) && !is_there(need.proof))
        .map(|need| need.package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let line = format!("apt-get install --no-install-recommends {}", missing.join(" "));
    if find_program("apt-get").is_none() {
        return Err(Lacking(format!(
            "this machine lacks what Debian calls {}, and has no apt-get to install it with",
            missing.join(", ")
        ))
        .into());
    }
    if !can_be_root() {
        return Err(Lacking(line).into());
    }
    install(workspace, &missing).with_context(|| format!("could not run `{line}`"))
}

fn install(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    note(&format!("installs {}", packages.join(" ")));
    let logs = crate::workspace::make_folder(&workspace.cache.join("logs"))?;
    let known = packages.iter().all(|package| {
        Command::new("apt-cache")
            .args(["show", "--quiet=0", package])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    });
    let update =
        || step("apt-get update", &logs.join("apt-update.log"), as_root("apt-get").arg("update"));
    let install = || {
        step(
            "apt-get install",
            &logs.join("apt-install.log"),
            as_root("env")
                .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes"])
                .arg("--no-install-recommends")
                .args(packages),
        )
    };
    if !known {
        update()?;
        return install();
    }
    // Lists that are old name files the archive no longer has.
    install().or_else(|_| update().and_then(|()| install()))
}

/// Whether a need is met: by a program on the PATH or a library's file.
fn is_there(proof: &str) -> bool {
    match proof.strip_prefix("lib:") {
        Some(beginning) => has_library(beginning),
        None => find_program(proof).is_some(),
    }
}

/// The file that a program's name stands for.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Where Debian keeps programs that a user's PATH may leave out.
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(more).map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn has_library(beginning: &str) -> bool {
    let mut folders: Vec<PathBuf> =
        ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"]
            .map(PathBuf::from)
            .into();
    folders.extend(env::var_os("LIBCLANG_PATH").map(PathBuf::from));
    let llvm = entries(Path::new("/usr/lib")).filter(|name| name.starts_with("llvm-"));
    folders.extend(llvm.map(|name| Path::new("/usr/lib").join(name).join("lib")));
    folders.iter().any(|folder| entries(folder).any(|name| name.starts_with(beginning)))
}

fn entries(folder: &Path) -> impl Iterator<Item = String> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
}

/// Whether commands can be run as root here. Asks for sudo's password once, if
/// there is a terminal to ask on.
pub(crate) fn can_be_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    if find_program("sudo").is_none() {
        return false;
    }
    let without_asking = Command::new("sudo")
        .args(["-n", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if without_asking.is_ok_and(|status| status.success()) {
        return true;
    }
    std::io::stdin().is_terminal()
        && Command::new("sudo").arg("--validate").status().is_ok_and(|status| status.success())
}

/// A command that runs as root; see [`can_be_root`].
pub(crate) fn as_root(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        Command::new(program)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["--non-interactive", "--", program]);
        sudo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read() {
        let needs =
            parse_needs("# comment\n\nlab mmdebstrap mmdebstrap\nbuild libgbm-dev lib:libgbm.so\n");
        let needs = needs.unwrap();
        assert_eq!(needs.len(), 2);
        assert_eq!(
            needs[1],
            Need { purpose: Purpose::Build, package: "libgbm-dev", proof: "lib:libgbm.so" }
        );
        assert!(parse_needs("lab mmdebstrap\n").is_err());
        assert!(parse_needs("other mmdebstrap mmdebstrap\n").is_err());
    }

    #[test]
    fn programs_are_found_on_the_path() {
        assert!(is_there("sh"));
        assert!(!is_there("no-such-program-anywhere"));
        assert!(!is_there("lib:no-such-library"));
    }
}
