//! Builds with cargo, and finds the results in the messages that it prints.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::{self, End};
use crate::workspace::Workspace;

/// Runs cargo with `arguments` in the workspace, its messages for people going
/// to stderr, and returns the executables it made, by their target's name.
pub(crate) fn executables(
    workspace: &Workspace,
    arguments: &[&str],
) -> Result<HashMap<String, PathBuf>> {
    let mut cargo = workspace.cargo();
    cargo.args(arguments).arg("--message-format=json-render-diagnostics");
    process::own_group(&mut cargo);
    let mut child =
        cargo.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot run cargo")?;
    let output = child.stdout.take().context("cargo has no stdout")?;
    let reader = std::thread::spawn(move || std::io::read_to_string(output));
    let end = process::supervise(&mut child, None, || ())?;
    let messages = reader.join().unwrap_or_else(|_| Ok(String::new()));
    let messages = messages.context("cannot read cargo's messages")?;
    match end {
        End::Exited(status) if status.success() => Ok(parse(&messages)),
        End::Exited(_) => bail!("`cargo {}` failed", arguments.join(" ")),
        End::TimedOut | End::Interrupted | End::OutputClosed => bail!("interrupted"),
    }
}

/// Builds the command as a user would, and returns the file.
pub(crate) fn vcam(workspace: &Workspace) -> Result<PathBuf> {
    let arguments = ["build", "--release", "--package", "vcam", "--bin", "vcam"];
    executables(workspace, &arguments)?.remove("vcam").context("cargo built no vcam")
}

fn parse(messages: &str) -> HashMap<String, PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["reason"] == "compiler-artifact")
        .filter_map(|message| {
            let name = message["target"]["name"].as_str()?.to_owned();
            Some((name, PathBuf::from(message["executable"].as_str()?)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_found_among_the_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"a"},"executable":"/t/a-1"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"lib"},"executable":null}"#,
            "\nnot json\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        let found = parse(messages);
        assert_eq!(found.len(), 1);
        assert_eq!(found["a"], PathBuf::from("/t/a-1"));
    }
}
