//! The recipe: the files of `lab/`, and the hash that names the stages made of
//! them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The folder `lab/` of the workspace.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    folder: PathBuf,
}

impl Recipe {
    /// The recipe in `folder`.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The path of one of the recipe's files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The text of one of the recipe's files.
    pub(crate) fn read(&self, name: &str) -> Result<String> {
        let path = self.path(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }
}

/// The lines of a list that are neither empty nor a comment.
pub(crate) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// A name for what is made of `ingredients`: equal ingredients, equal name.
pub(crate) fn hash<'a>(ingredients: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = Sha256::new();
    for ingredient in ingredients {
        // The length keeps "ab", "c" apart from "a", "bc".
        hasher.update((ingredient.len() as u64).to_le_bytes());
        hasher.update(ingredient);
    }
    hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The lines of a kernel configuration fragment that `config` does not honour.
pub(crate) fn unmet<'a>(fragment: &'a str, config: &str) -> Vec<&'a str> {
    let is_set = |name: &str| {
        config.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')))
    };
    fragment
        .lines()
        .map(str::trim)
        .filter(|line| {
            if let Some(name) =
                line.strip_prefix("# ").and_then(|rest| rest.strip_suffix(" is not set"))
            {
                is_set(name)
            } else {
                line.starts_with("CONFIG_") && !config.lines().any(|given| given == *line)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_tells_ingredients_apart() {
        assert_eq!(hash(["a", "b"]), hash(["a", "b"]));
        assert_ne!(hash(["ab", "c"]), hash(["a", "bc"]));
        assert_ne!(hash(["a"]), hash(["a", ""]));
        assert_eq!(hash(["a"]).len(), 16);
    }

    #[test]
    fn a_list_has_no_comments() {
        let lines: Vec<_> = list("# no\n\n one \ntwo\n").collect();
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn a_fragment_is_checked_line_by_line() {
        let fragment = "# comment\nCONFIG_A=y\nCONFIG_B=y\n# CONFIG_C is not set\n# CONFIG_D is not set\nCONFIG_E=12\n";
        let config = "CONFIG_A=y\nCONFIG_B=m\nCONFIG_C=y\nCONFIG_DD=y\nCONFIG_E=1\n";
        assert_eq!(unmet(fragment, config), ["CONFIG_B=y", "# CONFIG_C is not set", "CONFIG_E=12"]);
    }
}
