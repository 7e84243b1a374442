//! The person's terminal, for a shell in a machine. Its bytes go to the machine as they are typed,
//! since the machine's kernel has a terminal of its own, which edits lines and turns ^C into a
//! signal.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::thread;

use anyhow::{Context, Result};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::run::relay;

/// Our terminal in raw mode, connected to a machine's. Dropping it restores the terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    before: Termios,
    output: Option<thread::JoinHandle<()>>,
}

impl Terminal {
    /// Sends what is typed to `input` and shows what comes from `output`.
    ///
    /// # Errors
    ///
    /// stdin is not a terminal.
    pub(super) fn connect(input: OwnedFd, output: OwnedFd) -> Result<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).context("stdin is not a terminal")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).context("cannot set the terminal")?;
        // It waits for a key when the machine is gone, and ends with the program.
        thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::fs::File::from(input));
        });
        let output = thread::spawn(move || {
            relay(output, std::io::stdout(), false);
        });
        Ok(Self { before, output: Some(output) })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.output.take().map(thread::JoinHandle::join);
        let _ = std::io::stdout().flush();
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Rows and columns of our terminal, and its kind, as the machine sets its own.
pub(super) fn description() -> String {
    let size = tcgetwinsize(std::io::stdin()).ok().filter(|size| size.ws_row > 0);
    let (rows, columns) = size.map_or((24, 80), |size| (size.ws_row, size.ws_col));
    let kind = std::env::var("TERM").unwrap_or_else(|_| "linux".to_owned());
    format!("{rows}\n{columns}\n{}\n", kind.replace(char::is_whitespace, ""))
}
