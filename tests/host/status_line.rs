//! The line with the progress of a long run: on a terminal, and nowhere else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

fn vcam() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vcam"));
    // Three seconds.
    let arguments = "--isp cpu --heap memfd --size 128x64 --fps 10 --frames 30 --output null";
    command.args(arguments.split_whitespace());
    command
}

#[test]
fn a_terminal_sees_how_it_goes() {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let end = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let mut child = vcam().stdout(Stdio::null()).stderr(Stdio::from(end)).spawn().unwrap();
    assert!(child.wait().unwrap().success());
    let mut seen = Vec::new();
    // Without a program at the other end, what is left to read ends with an error.
    let _ = File::from(terminal).read_to_end(&mut seen);
    let seen = String::from_utf8_lossy(&seen);
    assert!(seen.contains(" frames, ") && seen.contains(" fps, "), "{seen:?}");
}

#[test]
fn a_pipe_sees_nothing() {
    let output = vcam().output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
