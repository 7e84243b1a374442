//! The `vcam` command, run as a user runs it.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::profile_folder;

/// The result of a run of the command.
#[derive(Debug)]
pub struct Ran {
    /// The exit code, -1 if a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Ran {
    /// The report of `--json`.
    pub fn report(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts an exit code and a single line on the standard error that says all of this.
    pub fn failed_with(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.stderr.trim_end().lines().count(), 1, "{self:?}");
        for words in says {
            assert!(self.stderr.contains(words), "'{words}' is not in: {}", self.stderr);
        }
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the command prints UTF-8");
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

/// A run that goes on until a signal ends it, or until its test fails.
#[derive(Debug)]
pub struct Child(Option<std::process::Child>);

impl Child {
    /// Starts it, and keeps what it prints.
    pub fn spawn(mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Self(Some(child.expect("vcam runs")))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.0.as_ref().expect("it ends once");
        kill_process(Pid::from_child(child), signal).expect("it is ours");
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.0.as_ref().expect("it ends once").id()
    }

    /// Sends it a signal and waits for its end.
    pub fn end(self, signal: Signal) -> Ran {
        self.signal(signal);
        self.wait()
    }

    /// Waits until it ends by itself.
    pub fn wait(mut self) -> Ran {
        let child = self.0.take().expect("it ends once");
        child.wait_with_output().expect("it ends").into()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // A display that it kept would fail every test after this one.
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The command's file, which cargo has built along with the running test.
///
/// # Panics
///
/// If it is not there: cargo builds it for the tests of its own package alone.
pub fn program() -> PathBuf {
    let program = profile_folder().join("vcam");
    assert!(program.is_file(), "{} is not there", program.display());
    program
}

/// The command with these arguments, separated by blanks.
pub fn command(arguments: &str) -> Command {
    let mut command = Command::new(program());
    command.args(arguments.split_whitespace()).env_remove("VCAM_HEAP");
    // The next test must not use the knowledge of this run.
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("cache-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    // The same as cargo's `CARGO_TARGET_TMPDIR`, which is set only when tests are compiled.
    let folder = profile_folder().join("../tmp").join(name);
    // A machine of the lab that ran before may have had the same numbers.
    let _ = std::fs::remove_dir_all(&folder);
    command.env("XDG_CACHE_HOME", folder);
    command
}

/// Runs the command to its end.
pub fn vcam(arguments: &str) -> Ran {
    command(arguments).output().expect("vcam runs").into()
}

/// The link at this place, sensor first.
pub fn link(report: &Value, index: usize) -> &Value {
    &report["links"][index]
}

/// Asserts that a run was perfect: every frame shown, nothing copied.
pub fn assert_zero_copy(report: &Value, frames: u64, heap: &str) {
    assert_eq!(report["schema"], 1);
    assert_eq!(report["error"], Value::Null, "{report:#}");
    let count = &report["frames"];
    assert_eq!(count["completed"], frames, "{report:#}");
    assert_eq!(count["displayed"], frames, "{report:#}");
    assert_eq!((&count["dropped"], &count["errors"]), (&0.into(), &0.into()), "{report:#}");
    assert_eq!(report["links"].as_array().map(Vec::len), Some(2), "{report:#}");
    for index in 0..2 {
        let link = link(report, index);
        assert_eq!(link["method"], "import", "{report:#}");
        assert_eq!(link["bytes_copied"], 0, "{report:#}");
        assert_eq!(link["heap"], heap, "{report:#}");
    }
    assert_eq!(report["sync"]["begin"], report["sync"]["end"], "{report:#}");
}
