//! The progress of a long step: a spinner with the elapsed time and the log's last
//! line on a terminal, two plain lines in a pipe. All of it goes to stderr, so
//! that stdout belongs to the command that was asked for.

use std::fs;
use std::io::{IsTerminal, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::process::{self, End};

/// Prints one line about the current step.
pub(crate) fn note(text: &str) {
    eprintln!("lab: {text}");
}

/// Runs `command` with its output in `log`, showing that it is alive. `title`
/// says what it does; the error names the log.
pub(crate) fn step(title: &str, log: &Path, command: &mut Command) -> Result<()> {
    let begun = Instant::now();
    let output =
        fs::File::create(log).with_context(|| format!("cannot write the log {}", log.display()))?;
    let errors = output.try_clone().context("cannot share the log's file")?;
    process::own_group(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;

    let spinner = spinner(title);
    if spinner.is_none() {
        note(&format!("{title} (log: {})", log.display()));
    }
    let end = process::supervise(&mut child, None, || {
        if let Some(spinner) = &spinner {
            spinner.set_message(last_line(log));
            spinner.tick();
        }
    })?;
    if let Some(spinner) = spinner {
        spinner.finish_and_clear();
    }
    match end {
        End::Exited(status) if status.success() => {
            note(&format!("{title}: done in {} s", begun.elapsed().as_secs()));
            Ok(())
        }
        End::Exited(status) => match last_line(log) {
            line if line.is_empty() => {
                bail!("{title} failed ({status}); its log is {}", log.display())
            }
            line => bail!("{title} failed ({status}): {line}; its log is {}", log.display()),
        },
        End::TimedOut | End::Interrupted | End::OutputClosed => {
            bail!("{title} was interrupted; its log is {}", log.display())
        }
    }
}

/// A spinner, if stderr is a terminal.
fn spinner(title: &str) -> Option<ProgressBar> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    let spinner = ProgressBar::new_spinner().with_prefix(title.to_owned());
    if let Ok(style) =
        ProgressStyle::with_template("{spinner} {prefix} [{elapsed_precise}] {wide_msg}")
    {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(250));
    Some(spinner)
}

/// The last line of a log that is still being written, fit for a terminal.
fn last_line(log: &Path) -> String {
    let tail = || -> std::io::Result<String> {
        let mut file = fs::File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(512)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = tail().unwrap_or_default();
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).collect()
}
