//! Runs examples.

use std::path::PathBuf;
use std::process::Command;

/// Runs an example that cargo has built beside this test, and returns what it printed.
pub fn run(name: &str) -> String {
    let test = std::env::current_exe().expect("a test has a path");
    let folder: PathBuf = test.parent().and_then(|deps| deps.parent()).expect("in deps/").into();
    let output = Command::new(folder.join("examples").join(name)).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}
