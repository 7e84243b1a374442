//! Requirements of the host: Debian packages, and a way to become root for the
//! two steps that need it (installing them, and building the tree).

use std::env;
use std::fs;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::Lacking;
use crate::lab::{Cache, list};
use crate::progress::{note, step};
use crate::workspace::Workspace;

/// The purpose of a package; the first column of `host-packages.txt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To make the machines and run the uml one.
    Lab,
    /// To run the qemu machine.
    Qemu,
    /// To compare what the tests make with what other programs make of it.
    Test,
}

impl Purpose {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "lab" => Some(Self::Lab),
            "qemu" => Some(Self::Qemu),
            "test" => Some(Self::Test),
            _ => None,
        }
    }
}

/// One line of `host-packages.txt`.
#[derive(Debug, PartialEq, Eq)]
struct Need<'a> {
    purpose: Purpose,
    package: &'a str,
    program: &'a str,
}

fn parse_needs(text: &str) -> Result<Vec<Need<'_>>> {
    list(text)
        .map(|line| {
            let mut words = line.split_whitespace();
            match (words.next().and_then(Purpose::parse), words.next(), words.next(), words.next())
            {
                (Some(purpose), Some(package), Some(program), None) => {
                    Ok(Need { purpose, package, program })
                }
                _ => bail!("lab/host-packages.txt: cannot read the line `{line}`"),
            }
        })
        .collect()
}

/// Makes sure that the host has the packages for `purposes`: installs those
/// that are missing, and does nothing when none is.
pub(crate) fn provide(workspace: &Workspace, purposes: &[Purpose]) -> Result<()> {
    let list = workspace.recipe().join("host-packages.txt");
    let text =
        fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let needs: Vec<Need<'_>> =
        parse_needs(&text)?.into_iter().filter(|need| purposes.contains(&need.purpose)).collect();
    let missing = || -> Vec<&str> {
        let missing = needs.iter().filter(|need| find_program(need.program).is_none());
        missing.map(|need| need.package).collect()
    };
    if missing().is_empty() {
        return Ok(());
    }
    if find_program("apt-get").is_none() {
        return Err(Lacking(format!(
            "this machine lacks what Debian calls {}, and has no apt-get to install it with",
            missing().join(", ")
        ))
        .into());
    }
    if !can_be_root() {
        return Err(Lacking(apt_line(&missing())).into());
    }
    // One at a time: apt's own locks do not wait.
    let _lock = Cache::new(workspace.cache.clone()).set_up_lock()?;
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
    install(workspace, &packages)
        .with_context(|| format!("could not run `{}`", apt_line(&packages)))?;
    match missing().as_slice() {
        [] => Ok(()),
        left => bail!("{} was installed, and its program is not on the PATH", left.join(", ")),
    }
}

/// The command that installs packages, for a person to run as root.
fn apt_line(packages: &[&str]) -> String {
    format!("apt-get install --no-install-recommends {}", packages.join(" "))
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
                // Another program may be installing something.
                .args(["--option", "DPkg::Lock::Timeout=300", "--no-install-recommends"])
                .args(packages),
        )
    };
    if !known {
        update()?;
        return install();
    }
    // Old lists name files that the archive no longer has.
    install().or_else(|_| update().and_then(|()| install()))
}

/// The file that a program's name stands for.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian keeps programs there that a user's PATH may leave out.
    let more = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(more).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Returns true if commands can be run as root here. Asks for sudo's password
/// once, if there is a terminal.
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

/// A command that runs as root; see [`can_be_root`]. It makes files that all users can read, and
/// reaches the network as this program does: sudo passes neither a mask nor proxies on as they are.
pub(crate) fn as_root(program: &str) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new("sh")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["--non-interactive", "--", "env"]);
        sudo.args(proxies().map(|(name, value)| format!("{name}={value}"))).arg("sh");
        sudo
    };
    command.args(["-c", r#"umask 022; exec "$0" "$@""#, program]);
    command
}

/// A command as root whose mounts are its own: they go with it, also when it is killed. Where there
/// are no such namespaces for root, as in many containers, there are no mounts either.
pub(crate) fn as_root_apart(program: &str) -> Command {
    let namespaces = !rustix::process::geteuid().is_root()
        || Command::new("unshare")
            .args(["--mount", "true"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
    if !namespaces {
        return as_root(program);
    }
    let mut command = as_root("unshare");
    command.args(["--mount", "--", program]);
    command
}

/// The variables of the environment that name proxies.
pub(crate) fn proxies() -> impl Iterator<Item = (String, String)> {
    env::vars().filter(|(name, _)| {
        let name = name.to_ascii_lowercase();
        ["http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"].contains(&name.as_str())
    })
}

/// Signals a process group of root's; returns true if that was possible.
pub(crate) fn signal_roots_group(group: i32, signal: &str) -> bool {
    as_root("kill")
        .args(["-s", signal, "--", &format!("-{group}")])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read() {
        let needs = parse_needs("# comment\n\nlab mmdebstrap mmdebstrap\nlab util-linux setpriv\n");
        let needs = needs.unwrap();
        assert_eq!(needs.len(), 2);
        assert_eq!(
            needs[1],
            Need { purpose: Purpose::Lab, package: "util-linux", program: "setpriv" }
        );
        assert!(parse_needs("lab mmdebstrap\n").is_err());
        assert!(parse_needs("other mmdebstrap mmdebstrap\n").is_err());
    }

    #[test]
    fn programs_are_found_on_the_path() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-anywhere").is_none());
    }
}
