//! Plain English: phrases that a native reader stops at are counted, in comments and documents, and
//! their number only falls.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use regex::Regex;

use crate::workspace::Workspace;

/// Name and pattern of each phrase, within one line of prose.
const PHRASES: &[(&str, &str)] = &[
    ("what-a", r"^What (a|an|the|it|is|was|of|this|these|each|one|every)\b"),
    ("who-how", r"^(Who|Whose|Whether a|How a|How an) "),
    ("nobody", r"(?i)\bnobody\b"),
    ("somebody", r"(?i)\bsomebody\b"),
    ("whoever", r"(?i)\bwhoever\b"),
    ("anew", r"(?i)\banew\b"),
    ("meanwhile", r"(?i)\bmeanwhile\b"),
    ("turn-about", r"(?i)\bturn about\b"),
    ("tells", r"(?i)\btells\b"),
    ("beside", r"(?i)\bbeside\b"),
    ("over-100-columns", r"^.{101,}$"),
];

/// Counts the occurrences of each phrase.
pub(super) fn count(workspace: &Workspace) -> Result<BTreeMap<String, usize>> {
    let phrases: Vec<(&str, Regex)> = PHRASES
        .iter()
        .map(|(name, pattern)| Ok((*name, Regex::new(pattern)?)))
        .collect::<Result<_>>()?;
    let output = Command::new("git")
        .current_dir(&workspace.root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.rs", "*.md"])
        .output()
        .context("cannot run git")?;
    let mut counts: BTreeMap<String, usize> =
        PHRASES.iter().map(|(name, _)| ((*name).to_owned(), 0)).collect();
    for name in String::from_utf8_lossy(&output.stdout).split('\0') {
        // The patterns themselves; and a list of what changed keeps its words.
        if name.is_empty() || name.ends_with("check/prose.rs") || name == "CHANGELOG.md" {
            continue;
        }
        // One that is deleted and not committed is not there.
        let Ok(text) = fs::read_to_string(workspace.root.join(name)) else { continue };
        for line in text.lines() {
            for (phrase, pattern) in &phrases {
                let whole = *phrase == "over-100-columns";
                let words = match (name.ends_with(".rs"), prose(line)) {
                    (true, None) => continue,
                    (true, Some(_)) if whole => line,
                    (true, Some(words)) => words,
                    // A table's row cannot be broken.
                    (false, _) if whole => continue,
                    (false, _) => line,
                };
                *counts.entry((*phrase).to_owned()).or_default() +=
                    usize::from(pattern.is_match(words));
            }
        }
    }
    Ok(counts)
}

/// The words of a line that is a comment.
fn prose(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let words = line.strip_prefix("//")?;
    Some(words.trim_start_matches(['/', '!']).trim_start())
}

/// Differences from the record.
pub(super) fn compare(
    counts: &BTreeMap<String, usize>,
    known: &BTreeMap<String, usize>,
) -> Vec<String> {
    let more = counts.iter().filter_map(|(phrase, count)| {
        let most = known.get(phrase).copied().unwrap_or(0);
        let pattern = PHRASES.iter().find(|(name, _)| name == phrase)?.1;
        (*count > most).then(|| {
            format!(
                "prose: {count} lines have `{phrase}` (`{pattern}`), {most} were on record: say it \
                 plainly, see CONTRIBUTING.md"
            )
        })
    });
    let fewer = counts.iter().filter_map(|(phrase, count)| {
        let most = known.get(phrase).copied().unwrap_or(0);
        (*count < most).then(|| {
            format!(
                "prose: {count} lines have `{phrase}`: write that into xtask/src/check/known.toml"
            )
        })
    });
    more.chain(fewer).collect()
}
