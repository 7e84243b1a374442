//! Names of files with a number in them.

use std::path::{Path, PathBuf};

/// A file name with a place for a number: `%d`, or `%06d` for six digits at least.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    before: PathBuf,
    digits: usize,
    after: String,
}

impl Pattern {
    /// The pattern, or `None` for a name without a place for a number.
    pub(super) fn parse(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        name.match_indices('%').find_map(|(at, _)| {
            let (number, after) = name[at + 1..].split_once('d')?;
            let digits = match number {
                "" => 0,
                // More digits than that make no name that a file system takes.
                _ => number.strip_prefix('0')?.parse().ok().filter(|digits| *digits <= 200)?,
            };
            Some(Self { before: path.with_file_name(&name[..at]), digits, after: after.to_owned() })
        })
    }

    /// The name with this number.
    pub(super) fn path(&self, number: u64) -> PathBuf {
        let digits = self.digits;
        let mut path = self.before.clone().into_os_string();
        path.push(format!("{number:0digits$}{}", self.after));
        path.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(path: &str, number: u64) -> Option<String> {
        Pattern::parse(Path::new(path)).map(|pattern| pattern.path(number).display().to_string())
    }

    #[test]
    fn a_number_goes_where_the_pattern_is() {
        assert_eq!(pattern("out/a-%d.png", 7).as_deref(), Some("out/a-7.png"));
        assert_eq!(pattern("/x/%06d.png", 7).as_deref(), Some("/x/000007.png"));
        assert_eq!(pattern("100%-%03dd.png", 1234).as_deref(), Some("100%-1234d.png"));
        for plain in ["a.png", "50%.png", "%s.png", "%6d.png", "%0d.png", "%d/a.png", "%0999d.png"]
        {
            assert_eq!(pattern(plain, 1), None, "{plain}");
        }
    }
}
