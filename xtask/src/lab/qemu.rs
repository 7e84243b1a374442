//! The qemu machine's command line, and whether KVM may be used for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Lab;
use super::initramfs::Initramfs;
use super::run::Boot;
use crate::process::{End, bound_to_us, supervise};
use crate::progress::note;

const QEMU: &str = "qemu-system-x86_64";

/// The modules that reach the tree, in loading order, and where they are.
const FIRST: &[&str] = &["fs/netfs/netfs", "net/9p/9pnet", "fs/9p/9p", "net/9p/9pnet_virtio"];

/// QEMU, ready to be spawned.
pub(crate) fn command(boot: &Boot<'_>) -> Result<Command> {
    let lab = boot.lab;
    let mut command = bound_to_us(QEMU);
    command
        .args(accelerator(lab)?)
        .args(["-smp", "2", "-m", "2G", "-nodefaults", "-no-reboot", "-nic", "none"])
        // The screens: one that refuses foreign buffers, one that takes them.
        // No window; QMP makes screen dumps of them by these ids.
        .args(["-display", "none", "-vga", "none"])
        .args(["-device", "virtio-gpu-pci,id=virtio-gpu"])
        .args(["-device", "bochs-display,id=bochs"])
        .arg("-kernel")
        .arg(kernel(lab))
        .arg("-initrd")
        .arg(boot.initramfs)
        .arg("-append")
        // cma= brings the CMA heap's memory.
        .arg(format!("console=ttyS0 panic=-1 quiet loglevel=5 cma=96M {}", boot.kernel))
        .args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"])
        .args(["-device", "virtio-serial-pci"]);
    for (name, fd) in [("lab.out", boot.stdout), ("lab.err", boot.stderr)] {
        command
            .args(["-chardev", &format!("file,id={name},path=/proc/self/fd/{fd}")])
            .args(["-device", &format!("virtserialport,chardev={name},name={name}")]);
    }
    if let Some((input, output)) = boot.terminal {
        command
            .arg("-chardev")
            .arg(format!(
                "file,id=lab.tty,path=/proc/self/fd/{output},input-path=/proc/self/fd/{input}"
            ))
            .args(["-device", "virtconsole,chardev=lab.tty,name=lab.tty"]);
    }
    // QEMU talks to itself: the machine's end of this port is QMP. The socket is
    // named relative to the run folder, since such names must be short.
    command
        .args(["-chardev", "socket,id=qmp-port,path=qmp,server=on,wait=off"])
        .args(["-device", "virtserialport,chardev=qmp-port,name=lab.qmp"])
        .args(["-chardev", "socket,id=qmp-monitor,path=qmp"])
        .args(["-mon", "chardev=qmp-monitor,mode=control"]);
    let share = |path: &Path, tag: &str, more: &str| {
        format!(
            "local,path={},mount_tag={tag},security_model=none,multidevs=remap{more}",
            path.display()
        )
    };
    command.args(["-virtfs", &share(&lab.tree.root, "tree", ",readonly=on")]);
    for (number, path) in boot.shares.iter().enumerate() {
        command.args(["-virtfs", &share(path, &format!("share{number}"), "")]);
    }
    Ok(command)
}

/// Adds the modules that the machine needs before it can see the tree, and those
/// that were built for it.
pub(crate) fn pack_modules(lab: &Lab, archive: &mut Initramfs) -> Result<()> {
    let modules = lab.modules.as_deref().context("the qemu machine was not set up")?;
    for file in fs::read_dir(modules).context("cannot read the folder of built modules")? {
        let file = file.context("cannot read the folder of built modules")?;
        archive.copy(&format!("lab/modules/{}", file.file_name().display()), &file.path())?;
    }
    let mut order = String::new();
    for module in FIRST {
        let file = find_module(&lab.tree.root, &lab.tree.release, module)?;
        let name = file.file_name().context("a module without a name")?.display().to_string();
        archive.copy(&format!("modules/{name}"), &file)?;
        order += &name;
        order.push('\n');
    }
    archive.file("modules/order", order.as_bytes())
}

/// A module of the tree, compressed or not.
fn find_module(tree: &Path, release: &str, module: &str) -> Result<PathBuf> {
    let folder = tree.join("usr/lib/modules").join(release).join("kernel");
    ["ko.xz", "ko.zst", "ko.gz", "ko"]
        .iter()
        .map(|ending| folder.join(format!("{module}.{ending}")))
        .find(|path| path.is_file())
        .with_context(|| format!("the tree's kernel {release} has no module {module}"))
}

fn kernel(lab: &Lab) -> PathBuf {
    lab.tree.root.join("usr/lib/modules").join(&lab.tree.release).join("vmlinuz")
}

/// Arguments for KVM where it runs a guest, for emulation elsewhere.
fn accelerator(lab: &Lab) -> Result<Vec<&'static str>> {
    Ok(if kvm_works(lab)? {
        vec!["-accel", "kvm", "-cpu", "host"]
    } else {
        vec!["-accel", "tcg,thread=multi", "-cpu", "max"]
    })
}

/// Returns true if a guest starts under KVM. Inside another virtual machine
/// /dev/kvm may open and run no guest, so a kernel is booted to its first lines.
/// The answer holds until the host boots again.
fn kvm_works(lab: &Lab) -> Result<bool> {
    if rustix::fs::access("/dev/kvm", rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK)
        .is_err()
    {
        return Ok(false);
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let memory = lab.cache.folder().join("kvm");
    if let Ok(text) = fs::read_to_string(&memory)
        && let Some(answer) = text.strip_prefix(boot.trim())
    {
        return Ok(answer.trim() == "works");
    }
    let works = try_kvm(&kernel(lab))?;
    note(if works { "KVM works here" } else { "KVM runs no guest here: emulates (slower)" });
    let answer = if works { "works" } else { "does not work" };
    fs::write(&memory, format!("{} {answer}\n", boot.trim()))
        .with_context(|| format!("cannot write {}", memory.display()))?;
    Ok(works)
}

fn try_kvm(kernel: &Path) -> Result<bool> {
    const LIMIT: Duration = Duration::from_secs(10);
    let mut command = bound_to_us(QEMU);
    command
        .args(["-accel", "kvm", "-cpu", "host", "-m", "256M", "-nodefaults", "-no-reboot"])
        .args(["-display", "none", "-vga", "none", "-serial", "stdio"])
        .arg("-kernel")
        .arg(kernel)
        // There is no root: the kernel ends in a panic, and that ends QEMU.
        .args(["-append", "console=ttyS0 panic=-1"]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {QEMU}"))?;
    let output = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut output) = output {
            let _ = std::io::Read::read_to_end(&mut output, &mut bytes);
        }
        bytes
    });
    let end = supervise(&mut child, Some(LIMIT), || ())?;
    if matches!(end, End::Interrupted) {
        bail!("interrupted");
    }
    let bytes = reader.join().unwrap_or_default();
    Ok(matches!(end, End::Exited(_)) && String::from_utf8_lossy(&bytes).contains("panic"))
}
