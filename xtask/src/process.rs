//! Child processes that always end: each in a process group of its own, under a
//! time limit, and taken down with everything it started when the limit passes
//! or the user interrupts.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::host::signal_roots_group;

/// The end of a supervised child.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    /// By itself.
    Exited(ExitStatus),
    /// Killed: the time limit passed.
    TimedOut,
    /// Killed: SIGINT, SIGTERM or SIGHUP reached this program.
    Interrupted,
    /// Killed: the reader of its output is gone.
    OutputClosed,
}

/// Reasons to end a supervised child early.
#[derive(Debug, Default)]
struct Flags {
    interrupted: Arc<AtomicBool>,
    output_closed: AtomicBool,
}

static FLAGS: OnceLock<Flags> = OnceLock::new();

fn flags() -> &'static Flags {
    FLAGS.get_or_init(Flags::default)
}

/// From here on SIGINT, SIGTERM and SIGHUP end the supervised child first, and
/// this program then ends in order. A second signal ends it at once.
pub(crate) fn catch_signals() -> Result<()> {
    let interrupted = &flags().interrupted;
    for signal in
        [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
    {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(interrupted))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(interrupted)))
            .context("cannot catch signals")?;
    }
    Ok(())
}

/// Returns true if a signal asked this program to end.
pub(crate) fn interrupted() -> bool {
    flags().interrupted.load(Ordering::Relaxed)
}

/// Informs the supervision that the reader of the child's output is gone.
pub(crate) fn output_closed() {
    flags().output_closed.store(true, Ordering::Relaxed);
}

/// Puts the command in a process group of its own, so that it and its children
/// can be ended together and a terminal's ^C reaches this program alone.
pub(crate) fn own_group(command: &mut Command) {
    command.process_group(0);
}

/// Wraps a program so that the kernel kills it when this program dies, however
/// that happens.
pub(crate) fn bound_to_us(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    own_group(&mut command);
    command
}

/// Waits for `child`, which must lead a process group, and takes the whole group
/// down when it should end early. `tick` runs a few times a second.
pub(crate) fn supervise(
    child: &mut Child,
    limit: Option<Duration>,
    mut tick: impl FnMut(),
) -> Result<End> {
    const POLL: Duration = Duration::from_millis(10);
    let begun = Instant::now();
    let mut polls = 0_u32;
    let end = loop {
        if let Some(status) = child.try_wait().context("cannot wait for a child process")? {
            break End::Exited(status);
        }
        if interrupted() {
            break End::Interrupted;
        }
        if flags().output_closed.load(Ordering::Relaxed) {
            break End::OutputClosed;
        }
        if limit.is_some_and(|limit| begun.elapsed() >= limit) {
            break End::TimedOut;
        }
        if polls.is_multiple_of(20) {
            tick();
        }
        polls = polls.wrapping_add(1);
        thread::sleep(POLL);
    };
    kill_group(child).context("cannot end a process group")?;
    Ok(end)
}

/// Kills what is left of the child's group and reaps the child.
fn kill_group(child: &mut Child) -> io::Result<()> {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        match kill_process_group(group, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            // The rest of the group is root's, started by sudo.
            Err(rustix::io::Errno::PERM) => return end_roots_child(child, group.as_raw_pid()),
            Err(errno) => return Err(errno.into()),
        }
    }
    child.wait().map(|_| ())
}

/// Ends a child of root's, which may first undo its mounts.
fn end_roots_child(child: &mut Child, group: i32) -> io::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(10);
    let begun = Instant::now();
    let mut signalled = signal_roots_group(group, "TERM");
    while signalled && begun.elapsed() < PATIENCE {
        if child.try_wait()?.is_some() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    signalled |= signal_roots_group(group, "KILL");
    // Without sudo's permission nothing can end the group, so do not wait for it.
    if signalled { child.wait().map(|_| ()) } else { child.try_wait().map(|_| ()) }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_child_ends_with_all_it_started() {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 & sleep 1000"]).stdout(Stdio::piped());
        own_group(&mut command);
        let mut child = command.spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        let end = supervise(&mut child, Some(Duration::from_millis(100)), || ()).unwrap();
        assert!(matches!(end, End::TimedOut), "{end:?}");
        // The end of the pipe comes when its last writer is gone.
        assert_eq!(output.read_to_end(&mut Vec::new()).unwrap(), 0);
    }

    #[test]
    fn a_status_is_passed_on() {
        let mut command = Command::new("sh");
        command.args(["-c", "exit 7"]);
        own_group(&mut command);
        let mut child = command.spawn().unwrap();
        match supervise(&mut child, None, || ()).unwrap() {
            End::Exited(status) => assert_eq!(status.code(), Some(7)),
            other => panic!("{other:?}"),
        }
    }
}
