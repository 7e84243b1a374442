//! Runs examples.

use std::process::Command;

use crate::profile_folder;

/// Runs an example that cargo has built along with this test, and returns what it printed.
///
/// # Panics
///
/// If it is not there, fails, or prints something that is not UTF-8.
pub fn run(name: &str) -> String {
    let path = profile_folder().join("examples").join(name);
    let output = Command::new(path).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}
