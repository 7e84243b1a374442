//! V4L2 nodes, as `v4l2-ctl` has them.

use std::path::Path;
use std::process::Command;

/// Runs `v4l2-ctl` on a node and returns its output.
pub fn ctl(node: &Path, words: &str) -> String {
    let ran = Command::new("v4l2-ctl").arg("-d").arg(node).args(words.split(' ')).output().unwrap();
    assert!(ran.status.success(), "{words}: {ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

/// The settings of a node, without those that change by themselves.
pub fn settings(node: &Path) -> Vec<String> {
    let text = ctl(node, "--all");
    let kept = |line: &&str| !line.contains("volatile") && !line.contains("read-only");
    // Controls of the inputs that are not chosen become inactive with the first choice.
    let words = |line: &str| line.split(" flags=").next().unwrap_or_default().to_owned();
    text.lines().filter(kept).map(words).collect()
}
