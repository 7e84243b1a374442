//! Words: reports, errors, and what the user can do about them.

mod hint;
mod report;

use std::fmt::Display;
use std::io::{ErrorKind, Result as IoResult, Write, stderr, stdout};

use serde::Serialize;

use crate::exit::Error;

pub(crate) use hint::{error, heap_error, log_hint, shell_command};
pub(crate) use report::{Ran, WouldRun};

/// Prints for people.
pub(crate) fn text(text: &impl Display) -> Result<(), Error> {
    written("standard output", writeln!(stdout().lock(), "{text}"))
}

/// Prints for people if the standard output is a stream of pictures.
pub(crate) fn text_to_stderr(text: &impl Display) -> Result<(), Error> {
    written("standard error", writeln!(stderr().lock(), "{text}"))
}

/// Prints one JSON document.
pub(crate) fn json(document: &impl Serialize) -> Result<(), Error> {
    let mut out = stdout().lock();
    let result = serde_json::to_writer_pretty(&mut out, document).map_err(std::io::Error::from);
    written("standard output", result.and_then(|()| writeln!(out)))
}

fn written(place: &str, result: IoResult<()>) -> Result<(), Error> {
    match result {
        // The reader has had enough; that is no failure.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|source| Error::Write { path: place.into(), source }),
    }
}
