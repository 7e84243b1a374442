//! The uml machine's command line.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::run::Boot;
use crate::process::bound_to_us;

/// The machine's memory. Only what is touched is taken from the host.
const MEMORY: u64 = 3 << 30;

/// User-Mode Linux, ready to be spawned.
pub(crate) fn command(boot: &Boot<'_>) -> Result<Command> {
    let kernel = boot.lab.uml.as_deref().context("the uml machine was not set up")?;
    let mut command = bound_to_us(kernel);
    command
        .arg(format!("mem={}M", MEMORY >> 20))
        .arg(format!("initrd={}", boot.initramfs.display()))
        // No second process per guest process to be traced: much faster.
        .arg("seccomp=on")
        // The console goes to our stdout, a log. Two more are the command's output, and a third its
        // terminal.
        .args(["con=null", "con0=null,fd:1"])
        .arg(format!("con1=null,fd:{}", boot.stdout))
        .arg(format!("con2=null,fd:{}", boot.stderr))
        .args(boot.terminal.map(|(input, output)| format!("con3=fd:{input},fd:{output}")))
        // A panic ends the machine and does not restart it.
        .args(["noreboot", "panic=-1", "quiet", "loglevel=5"])
        .args(boot.kernel.split_whitespace());
    // The machine's memory is a file. /dev/shm is the best place, but small in
    // many containers, where a full one would be a SIGBUS in the middle.
    if !has_room(Path::new("/dev/shm")) {
        command.env("TMPDIR", boot.folder);
    } else {
        command.env("TMPDIR", "/dev/shm");
    }
    Ok(command)
}

fn has_room(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|fs| fs.f_bavail.saturating_mul(fs.f_frsize) >= MEMORY)
}
