//! The sources of importers: what one process tries.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use vcam_allocator::probe::ImporterInfo;
use vcam_uapi::node::numbered;

use crate::list::sysfs_driver;

/// A source of importers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// No importers, but the heaps: some of them are drivers too.
    Heaps,
    /// The GPU that EGL chooses.
    Egl,
    /// A display card.
    Kms(PathBuf),
    /// A V4L2 node.
    V4l2(PathBuf),
}

impl Source {
    /// All sources of importers on this machine.
    pub(super) fn all() -> Vec<Self> {
        let cards = vcam_sinks::kms::probe::nodes().into_iter().map(Self::Kms);
        std::iter::once(Self::Egl)
            .chain(cards)
            .chain(numbered(Path::new("/dev"), "video").into_iter().map(Self::V4l2))
            .collect()
    }

    /// The importers that the source would have, for a driver that crashes before it lists them.
    pub(super) fn importers_at_risk(&self) -> Vec<ImporterInfo> {
        let (kinds, class, node): (&[_], _, _) = match self {
            Self::Heaps => (&[], "", None),
            Self::Egl => (&["egl-texture", "egl-target"], "", None),
            Self::Kms(node) => (&["kms"], "drm", Some(node)),
            Self::V4l2(node) => (&["v4l2"], "video4linux", Some(node)),
        };
        let driver = node.and_then(|node| sysfs_driver(class, node));
        let driver = driver.unwrap_or_else(|| "unknown".to_owned());
        kinds
            .iter()
            .map(|kind| {
                let name = format!("{kind}:{driver}");
                match node {
                    Some(node) => ImporterInfo::of_node(name, &driver, node),
                    None => ImporterInfo {
                        name,
                        driver: driver.clone(),
                        node: None,
                        identity: String::new(),
                    },
                }
            })
            .collect()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Heaps => f.write_str("heaps"),
            Self::Egl => f.write_str("egl"),
            Self::Kms(node) => write!(f, "kms:{}", node.display()),
            Self::V4l2(node) => write!(f, "v4l2:{}", node.display()),
        }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "heaps" => Ok(Self::Heaps),
            None if text == "egl" => Ok(Self::Egl),
            Some(("kms", node)) => Ok(Self::Kms(node.into())),
            Some(("v4l2", node)) => Ok(Self::V4l2(node.into())),
            _ => Err("a source is egl, kms:NODE or v4l2:NODE".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_reads_back_as_it_is_written() {
        for source in
            [Source::Egl, Source::Kms("/dev/dri/card1".into()), Source::V4l2("/dev/video0".into())]
        {
            assert_eq!(source.to_string().parse(), Ok(source));
        }
        assert!("gl".parse::<Source>().is_err());
    }
}
