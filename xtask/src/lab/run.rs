//! One command in one machine: the run folder, the channels for its output, the
//! time limit, the exit status.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::initramfs::Initramfs;
use super::terminal::{self, Terminal};
use super::{Kind, Lab, qemu, uml};
use crate::process::{self, End};
use crate::progress::note;
use crate::workspace::make_folder;

/// A command for a machine.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// The program and its arguments.
    pub(crate) command: Vec<String>,
    /// Its working folder, if the machine can see that folder.
    pub(crate) folder: PathBuf,
    /// A folder that both sides write to.
    pub(crate) out: PathBuf,
    /// Variables for it, on top of the machine's own.
    pub(crate) environment: Vec<(String, String)>,
    /// Arguments for the machine's kernel, on top of its own command line.
    pub(crate) kernel: String,
    /// The time after which the machine is killed.
    pub(crate) limit: Duration,
    /// The destination of its output.
    pub(crate) output: Output,
    /// Folders of programs, before those of the machine's own PATH.
    pub(crate) programs: Vec<PathBuf>,
}

/// The destination of a command's output; stdout is in the outcome in any case.
#[derive(Debug, Clone)]
pub(crate) enum Output {
    /// To our own stdout and stderr, as it comes.
    Shown,
    /// To our terminal, which is also where its input comes from: a shell for a person.
    Terminal,
    /// Its stderr to ours, its stdout into the outcome alone.
    StdoutKept,
    /// To our stdout in one piece below this heading, when the machine is gone: another one shows
    /// its output at the same time.
    InOnePiece(String),
}

/// The result of a command.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The command's exit status.
    pub(crate) status: i32,
    /// All it wrote to stdout.
    pub(crate) stdout: Vec<u8>,
    /// The messages of the machine's kernel.
    pub(crate) console: PathBuf,
}

/// The status of a command that ran into its time limit, as `timeout` has it.
pub(crate) const TIMED_OUT: i32 = 124;

/// Everything a machine's command line is made from.
#[derive(Debug)]
pub(crate) struct Boot<'a> {
    /// The lab.
    pub(crate) lab: &'a Lab,
    /// A folder for this run alone.
    pub(crate) folder: &'a Path,
    /// The initramfs.
    pub(crate) initramfs: &'a Path,
    /// Host folders that appear in the machine.
    pub(crate) shares: &'a [PathBuf],
    /// More of the kernel's command line.
    pub(crate) kernel: &'a str,
    /// File descriptor for the command's stdout.
    pub(crate) stdout: i32,
    /// File descriptor for the command's stderr.
    pub(crate) stderr: i32,
    /// File descriptors for the input and the output of the command's terminal, if it has one.
    pub(crate) terminal: Option<(i32, i32)>,
}

/// The number of times that a machine is started if it crashes before its command.
const BOOTS: u32 = 3;

/// Runs `job` in a machine, passing its output on as it comes.
///
/// QEMU without KVM sometimes crashes a kernel with two CPUs while it boots and patches its own
/// code. Nothing has run by then, so the machine is started again; once the command has begun,
/// nothing is ever repeated.
pub(crate) fn run(lab: &Lab, kind: Kind, job: &Job) -> Result<Outcome> {
    for _ in 1..BOOTS {
        match boot(lab, kind, job)? {
            Booted::Ran(outcome) => return Ok(outcome),
            Booted::Crashed(console) => note(&format!(
                "the {kind} machine crashed while it booted, and is started again; its console's \
                 log is {}",
                console.display()
            )),
        }
    }
    match boot(lab, kind, job)? {
        Booted::Ran(outcome) => Ok(outcome),
        Booted::Crashed(console) => bail!(
            "the {kind} machine crashed {BOOTS} times while it booted; its console's log is {}",
            console.display()
        ),
    }
}

/// The end of a machine.
enum Booted {
    Ran(Outcome),
    /// It ended before its command; this is the console's log.
    Crashed(PathBuf),
}

fn boot(lab: &Lab, kind: Kind, job: &Job) -> Result<Booted> {
    let folder = run_folder(lab, kind)?;
    let out = make_folder(&job.out)?;
    let shares = shares(&[&lab.workspace.root, &lab.workspace.target, &out, &folder])?;
    let initramfs = folder.join("initramfs");
    fs::write(&initramfs, pack(lab, kind, job, &out, &folder, &shares)?)
        .with_context(|| format!("cannot write {}", initramfs.display()))?;
    let console = folder.join("console.log");
    let log = fs::File::create(&console)
        .with_context(|| format!("cannot write {}", console.display()))?;

    let (stdout, stdout_end) = pipe()?;
    let (stderr, stderr_end) = pipe()?;
    let mut ends = vec![];
    let terminal = match job.output {
        Output::Terminal => {
            let (input, to_machine) = pipe()?;
            let (from_machine, output) = pipe()?;
            let numbers = (input.as_raw_fd(), output.as_raw_fd());
            ends.extend([input, output]);
            Some((numbers, to_machine, from_machine))
        }
        _ => None,
    };
    let boot = Boot {
        lab,
        folder: &folder,
        initramfs: &initramfs,
        shares: &shares,
        kernel: &job.kernel,
        stdout: stdout_end.as_raw_fd(),
        stderr: stderr_end.as_raw_fd(),
        terminal: terminal.as_ref().map(|(numbers, ..)| *numbers),
    };
    let mut command = match kind {
        Kind::Uml => uml::command(&boot)?,
        Kind::Qemu => qemu::command(&boot)?,
    };
    command
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("cannot share the console's log")?)
        .stderr(log);
    ends.extend([stdout_end, stderr_end]);
    let mut child = spawn(&mut command, ends)?;
    let terminal =
        terminal.map(|(_, input, output)| Terminal::connect(input, output)).transpose()?;
    let held = Held::default();
    let (to_stdout, to_stderr): (Box<dyn Write + Send>, Box<dyn Write + Send>) = match job.output {
        Output::Shown | Output::Terminal => {
            (Box::new(std::io::stdout()), Box::new(std::io::stderr()))
        }
        Output::StdoutKept => (Box::new(std::io::sink()), Box::new(std::io::stderr())),
        Output::InOnePiece(_) => (Box::new(held.clone()), Box::new(held.clone())),
    };
    let stdout = thread::spawn(move || relay(stdout, to_stdout, true));
    let stderr = thread::spawn(move || relay(stderr, to_stderr, false));

    let end = process::supervise(&mut child, Some(job.limit), || ())?;
    let stdout = stdout.join().unwrap_or_default();
    let _ = stderr.join();
    drop(terminal);
    if let Output::InOnePiece(heading) = &job.output {
        held.show(heading);
    }
    // Of no use any more, and the largest file.
    let _ = fs::remove_file(&initramfs);

    let status = match end {
        End::Exited(_) if !folder.join("started").exists() => return Ok(Booted::Crashed(console)),
        End::Exited(_) => read_status(&folder.join("status")).with_context(|| {
            format!(
                "the {kind} machine ended before its command did; its console's log is {}",
                console.display()
            )
        })?,
        End::TimedOut => {
            eprintln!(
                "lab: killed the {kind} machine after its limit of {} s (--timeout); its console's \
                 log is {}",
                job.limit.as_secs(),
                console.display()
            );
            TIMED_OUT
        }
        End::Interrupted => bail!("interrupted; the {kind} machine is gone"),
        End::OutputClosed => 141,
    };
    Ok(Booted::Ran(Outcome { status, stdout, console }))
}

/// A new folder for this run; older ones make room.
fn run_folder(lab: &Lab, kind: Kind) -> Result<PathBuf> {
    const KEPT: usize = 20;
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let all = make_folder(&lab.workspace.target.join("lab/run"))?;
    let mut old: Vec<_> = fs::read_dir(&all)
        .with_context(|| format!("cannot read {}", all.display()))?
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    old.sort();
    for (modified, path) in old.iter().rev().skip(KEPT) {
        // A machine that still runs has its initramfs here, as has one that was
        // killed together with us: only their age distinguishes them.
        let old = modified.elapsed().is_ok_and(|age| age > Duration::from_secs(24 * 3600));
        if old || !path.join("initramfs").exists() {
            let _ = fs::remove_dir_all(path);
        }
    }
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    make_folder(&all.join(format!("{kind}-{}-{count}", std::process::id())))
}

/// The folders to share, parents first: none inside another, except one in which
/// the machine must see the host's writes at once.
fn shares(wanted: &[&Path]) -> Result<Vec<PathBuf>> {
    let mut shares: Vec<PathBuf> = Vec::new();
    for path in wanted {
        let text = path
            .to_str()
            .with_context(|| format!("{} is not UTF-8: the lab cannot share it", path.display()))?;
        if text.contains([',', '\n']) {
            bail!("{text} has a comma or a line break in its path: the lab cannot share it");
        }
        if !shares.iter().any(|known| path.starts_with(known)) {
            shares.push(path.to_path_buf());
        }
    }
    shares.sort();
    Ok(shares)
}

/// The initramfs with all the machine has to know; see `lab/init.sh`.
fn pack(
    lab: &Lab,
    kind: Kind,
    job: &Job,
    out: &Path,
    folder: &Path,
    shares: &[PathBuf],
) -> Result<Vec<u8>> {
    let text = |path: &Path| path.display().to_string();
    let mut archive = Initramfs::default();
    for folder in ["bin", "lab", "lab/modules", "modules"] {
        archive.folder(folder)?;
    }
    archive.copy("bin/busybox", &lab.tree.root.join("usr/bin/busybox"))?;
    archive.copy("init", &lab.recipe.path("init.sh"))?;
    archive.copy("second.sh", &lab.recipe.path("second.sh"))?;
    archive.copy("machine.sh", &lab.recipe.path(&format!("{kind}.sh")))?;
    if kind == Kind::Qemu {
        qemu::pack_modules(lab, &mut archive)?;
    }
    let mut environment = vec![
        ("VCAM_LAB_MACHINE".to_owned(), kind.to_string()),
        ("VCAM_LAB_OUT".to_owned(), text(out)),
    ];
    environment.extend(job.environment.iter().cloned());
    let environment: String = environment
        .iter()
        .map(|(name, value)| format!("export {name}={}\n", quote(value)))
        .chain(
            job.programs
                .iter()
                .map(|folder| format!("export PATH={}:\"$PATH\"\n", quote(&text(folder)))),
        )
        .collect();
    let seen = shares.iter().any(|share| job.folder.starts_with(share));
    let command = format!(
        "cd {} && exec {}\n",
        quote(&text(if seen { &job.folder } else { &lab.workspace.root })),
        job.command.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
    );
    let shares: String = shares.iter().map(|share| text(share) + "\n").collect();
    for (name, contents) in [
        ("machine", kind.to_string()),
        ("tree", text(&lab.tree.root)),
        ("run", text(folder)),
        ("shares", shares),
        ("environment", environment),
        ("command", command),
    ] {
        archive.file(&format!("lab/{name}"), contents.as_bytes())?;
    }
    if matches!(job.output, Output::Terminal) {
        archive.file("lab/terminal", terminal::description().as_bytes())?;
    }
    archive.finish()
}

/// A word as a shell reads it.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).context("cannot make a pipe")
}

/// Starts a machine that has these descriptors under their numbers.
///
/// No other process gets them: a machine that starts at the same time would hold them open for as
/// long as it lives, and the end of this one's output would come no sooner.
fn spawn(command: &mut Command, descriptors: Vec<OwnedFd>) -> Result<Child> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    for fd in &descriptors {
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())
            .context("cannot pass a descriptor on")?;
    }
    command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))
}

/// Output that waits until it can be shown in one piece.
#[derive(Debug, Clone, Default)]
struct Held(Arc<Mutex<Vec<u8>>>);

impl Held {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, heading: &str) {
        let mut stdout = std::io::stdout().lock();
        let shown = writeln!(stdout, "\n== {heading}")
            .and_then(|()| stdout.write_all(&self.bytes()))
            .and_then(|()| stdout.flush());
        if shown.is_err() {
            process::output_closed();
        }
    }
}

impl Write for Held {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.bytes().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Copies bytes as they come, and keeps them if asked to.
pub(super) fn relay(from: OwnedFd, mut to: impl Write, keep: bool) -> Vec<u8> {
    let mut from = fs::File::from(from);
    let mut kept = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut open = true;
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..count];
        if keep {
            kept.extend_from_slice(bytes);
        }
        if open && to.write_all(bytes).and_then(|()| to.flush()).is_err() {
            open = false;
            process::output_closed();
        }
    }
    kept
}

fn read_status(path: &Path) -> Result<i32> {
    let text = fs::read_to_string(path).context("no exit status was left")?;
    text.trim().parse().with_context(|| format!("the exit status is `{}`", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        let words = ["plain", "", "two words", "it's", "$HOME", "a\"b", "line\nbreak", "*", "-x=1"];
        let script = words.map(quote).join(" ");
        let output =
            Command::new("sh").args(["-c", &format!("printf '%s\\0' {script}")]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let read: Vec<_> = text.split_terminator('\0').collect();
        assert_eq!(read, words);
    }

    #[test]
    fn a_share_inside_another_is_the_same_share() {
        let paths = ["/w", "/w/target", "/out", "/w/target/lab/run/1"].map(Path::new);
        assert_eq!(shares(&paths).unwrap(), [Path::new("/out"), Path::new("/w")]);
        assert!(shares(&[Path::new("/a,b")]).is_err());
    }
}
