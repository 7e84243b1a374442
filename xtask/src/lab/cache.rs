//! The cache: one folder for each stage, named by the hash of its ingredients. A
//! folder under its final name is complete: it is filled under another name and
//! renamed at the very end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::host::as_root;
use crate::progress::note;
use crate::workspace::make_folder;

/// The cache's folder.
#[derive(Debug, Clone)]
pub(crate) struct Cache {
    folder: PathBuf,
}

/// The place for the results of one stage, and for its log.
#[derive(Debug)]
pub(crate) struct Site {
    /// An empty folder to fill.
    pub(crate) folder: PathBuf,
    /// The log of the making.
    pub(crate) log: PathBuf,
}

impl Cache {
    /// The cache in `folder`, which exists.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder itself.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of `name` in the version `hash`, made by `make` when it is not
    /// there yet. Two processes that want the same thing make it once.
    pub(crate) fn get(
        &self,
        name: &str,
        hash: &str,
        make: impl FnOnce(&Site) -> Result<()>,
    ) -> Result<PathBuf> {
        let ready = self.folder.join(format!("{name}-{hash}"));
        if ready.is_dir() {
            return Ok(ready);
        }
        let _lock = self.set_up_lock()?;
        if ready.is_dir() {
            return Ok(ready);
        }
        let logs = make_folder(&self.folder.join("logs"))?;
        let site = Site {
            folder: self.folder.join(format!("{name}-{hash}.partial")),
            log: logs.join(format!("{name}.log")),
        };
        // No other process is making it: the folder is from a run that ended in the middle.
        remove(&site.folder)?;
        make_folder(&site.folder)?;
        make(&site)?;
        fs::rename(&site.folder, &ready)
            .with_context(|| format!("cannot rename to {}", ready.display()))?;
        Ok(ready)
    }

    /// One maker at a time: they would only take each other's processor.
    pub(crate) fn set_up_lock(&self) -> Result<File> {
        self.lock("lock", "another process that sets up the lab")
    }

    /// A lock on the file `name`, waiting for `other` to give it up.
    pub(crate) fn lock(&self, name: &str, other: &str) -> Result<File> {
        let path = self.folder.join(name);
        let file = File::create(&path)
            .with_context(|| format!("cannot open the lock {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => note(&format!("waits for {other}")),
            Err(fs::TryLockError::Error(error)) => {
                return Err(error).context(format!("cannot lock {}", path.display()));
            }
        }
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(file)
    }
}

/// Removes a folder that root may own parts of.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let status = as_root("rm")
        .args(["-rf", "--one-file-system", "--"])
        .arg(folder)
        .status()
        .context("cannot run rm")?;
    if !status.success() {
        bail!("cannot remove {}: remove it by hand", folder.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().to_path_buf());
        (folder, cache)
    }

    #[test]
    fn what_was_half_made_is_never_used() {
        let (_folder, cache) = cache();
        let half = |site: &Site| -> Result<()> {
            fs::write(site.folder.join("first"), "half").unwrap();
            bail!("no space left")
        };
        assert!(cache.get("tree", "1", half).is_err());
        let ready = cache.get("tree", "1", |site| {
            // Nothing is left of it, even if a process was killed in the middle.
            assert_eq!(fs::read_dir(&site.folder).unwrap().count(), 0);
            fs::write(site.folder.join("whole"), "").context("cannot write")
        });
        let ready = ready.unwrap();
        assert!(ready.join("whole").exists() && !ready.join("first").exists());
        let again = cache.get("tree", "1", |_| bail!("made again")).unwrap();
        assert_eq!(again, ready);
    }

    #[test]
    fn two_that_want_the_same_make_it_once() {
        let (_folder, cache) = cache();
        let made = AtomicU32::new(0);
        let get = || {
            let make = |_: &Site| {
                made.fetch_add(1, Ordering::Relaxed);
                thread::sleep(std::time::Duration::from_millis(50));
                Ok(())
            };
            cache.get("tree", "1", make).unwrap()
        };
        let folders = thread::scope(|scope| {
            [scope.spawn(get), scope.spawn(get)].map(|one| one.join().unwrap())
        });
        assert_eq!(folders[0], folders[1]);
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }
}
