//! The child process, as its parent holds it: started, asked, and ended.

use std::fs::File;
use std::io::{BufRead, BufReader, Error as IoError, Read, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use vcam_allocator::probe::Cell;

use super::protocol::{CellRequest, ListedImporter, Reply};
use super::source::Source;
use crate::exit::Error;

/// How long the process may take to put its device back as it was, before it is killed.
const KILL_TIMEOUT: Duration = Duration::from_secs(3);

/// A process that tries a device.
pub(super) struct ProbeProcess {
    child: Child,
    /// `None` once the process is to end.
    requests: Option<ChildStdin>,
    replies: Receiver<Reply>,
    /// The standard error of the process and its drivers.
    stderr: Option<File>,
}

/// Why there is no process to ask.
pub(super) enum StartFailure {
    /// It says that there is nothing to ask, and why.
    Failed(String),
    /// It ended before it said anything.
    Exited(ChildExit),
}

/// The end of a process that owed an answer.
pub(super) struct ChildExit {
    /// The last step that it reported.
    pub(super) step: Option<String>,
    pub(super) why: String,
    /// Whether it still runs and does not answer.
    pub(super) hung: bool,
}

/// A process that waits for requests, and the importers of its source.
type Started = Result<(ProbeProcess, Vec<ListedImporter>), StartFailure>;

impl ProbeProcess {
    /// Starts a process, and asks it for the importers of its source.
    pub(super) fn start(source: &Source, limit: Duration) -> Result<Started, Error> {
        let mut process = Self::spawn(source)?;
        Ok(match process.reply(limit) {
            Ok(Reply::Importers(importers)) => Ok((process, importers)),
            Ok(Reply::Failed(reason)) => Err(StartFailure::Failed(reason)),
            Ok(_) => Err(StartFailure::Failed("it does not list its importers".to_owned())),
            Err(exit) => Err(StartFailure::Exited(exit)),
        })
    }

    pub(super) fn spawn(source: &Source) -> Result<Self, Error> {
        let program = std::env::current_exe().map_err(Error::Probe)?;
        let mut command = Command::new(program);
        command.arg("probe-importers").arg(source.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // Drivers print a lot, and last of all why they crash.
        let mut stderr = None;
        if std::env::var_os("VCAM_LOG").is_none()
            && let Ok(memory) = memfd_create("vcam-probe-stderr", MemfdFlags::CLOEXEC)
        {
            let memory = File::from(memory);
            command.stderr(memory.try_clone().map_err(Error::Probe)?);
            stderr = Some(memory);
        }
        let mut child = command.spawn().map_err(Error::Probe)?;
        let (requests, from) = (child.stdin.take(), child.stdout.take());
        let from = from.ok_or_else(|| Error::Probe(IoError::other("there is no pipe to it")))?;
        let (to, replies) = channel();
        std::thread::Builder::new()
            .name("probe".into())
            .spawn(move || {
                for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                    // A line that is no reply was printed by a driver.
                    let Ok(reply) = serde_json::from_slice(&line) else { continue };
                    if to.send(reply).is_err() {
                        break;
                    }
                }
            })
            .map_err(Error::Probe)?;
        Ok(Self { child, requests, replies, stderr })
    }

    /// Asks for a cell.
    pub(super) fn ask(
        &mut self,
        request: &CellRequest,
        limit: Duration,
    ) -> Result<Cell, ChildExit> {
        if let (Some(to), Ok(mut line)) = (&mut self.requests, serde_json::to_vec(request)) {
            line.push(b'\n');
            // If the process is gone already, the wait for its reply says why.
            let _ = to.write_all(&line);
        }
        match self.reply(limit)? {
            Reply::Cell(cell) => Ok(cell),
            _ => Err(self.exit(None)),
        }
    }

    /// The next reply that is more than a step.
    pub(super) fn reply(&mut self, limit: Duration) -> Result<Reply, ChildExit> {
        let deadline = Instant::now() + limit;
        let mut step = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.replies.recv_timeout(left) {
                Ok(Reply::Step(next)) => step = Some(next),
                Ok(reply) => return Ok(reply),
                Err(RecvTimeoutError::Timeout) => {
                    let why = format!("no answer after {} s", limit.as_secs_f32());
                    return Err(ChildExit { step, why, hung: true });
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.exit(step)),
            }
        }
    }

    /// How the process ended, once it has closed its output.
    fn exit(&mut self, step: Option<String>) -> ChildExit {
        let mut why = match self.wait(KILL_TIMEOUT) {
            Some(status) => describe(status),
            None => "the process stopped answering".to_owned(),
        };
        if let Some(line) = self.stderr_tail() {
            why.push_str(&format!(" ({line})"));
        }
        ChildExit { step, why, hung: false }
    }

    /// The last line on its standard error.
    fn stderr_tail(&mut self) -> Option<String> {
        const MOST: usize = 200;
        let file = self.stderr.as_mut()?;
        let mut text = Vec::new();
        file.rewind().ok()?;
        file.take(1 << 20).read_to_end(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
        Some(line.chars().filter(|letter| !letter.is_control()).take(MOST).collect())
    }

    /// Waits for the end of the process; `None` if it still runs after the limit.
    fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                _ => return None,
            }
        }
    }
}

impl Drop for ProbeProcess {
    fn drop(&mut self) {
        // The process ends with its input, and puts back what it changed.
        self.requests = None;
        if self.wait(KILL_TIMEOUT).is_none() {
            let _ = self.child.kill();
            // A process that hangs in the kernel does not even end by this; it is left behind.
            self.wait(KILL_TIMEOUT);
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => match signal_hook::low_level::signal_name(signal) {
            Some(name) => format!("the driver crashed: {name}"),
            None => format!("the driver crashed: signal {signal}"),
        },
        (None, Some(code)) => format!("the driver ended the process, with status {code}"),
        (None, None) => "the process ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_named_by_its_signal() {
        assert_eq!(describe(ExitStatus::from_raw(6)), "the driver crashed: SIGABRT");
        assert_eq!(describe(ExitStatus::from_raw(11)), "the driver crashed: SIGSEGV");
        assert!(describe(ExitStatus::from_raw(1 << 8)).contains("status 1"));
    }
}
