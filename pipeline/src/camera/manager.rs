//! Which cameras there are, and which come and go.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::inotify;
use rustix::io::Errno;

use super::Camera;
use crate::sensor::Settings;
use crate::sensor::config::{self, CameraDescription, ConfigError, Location, Mode};

/// The cameras of this process.
///
/// They are made of software, so each process has its own, and any number of processes can use the
/// same configuration at once.
#[derive(Debug)]
pub struct CameraManager {
    cameras: Vec<Camera>,
    file: Option<PathBuf>,
    watch: Option<OwnedFd>,
}

/// A camera came or went.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// It is there now.
    Added(Camera),
    /// It is gone; its frames have come to an end.
    Removed(Camera),
}

/// Why there are no cameras, or why changes are not seen.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The kernel does not watch the file.
    #[error("{} cannot be watched", path.display())]
    Watch {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Default for CameraManager {
    fn default() -> Self {
        Self::new()
    }
}

impl CameraManager {
    /// One camera, `vcam`: 8 bits behind colour filters, up to 1920x1080, 30 frames a second.
    pub fn new() -> Self {
        Self::of(vec![Self::default_camera()])
    }

    /// These cameras.
    pub fn of(cameras: Vec<CameraDescription>) -> Self {
        let cameras = cameras.into_iter().map(Camera::new).collect();
        Self { cameras, file: None, watch: None }
    }

    /// The cameras of a configuration file ([`config`]).
    pub fn from_file(path: &Path) -> Result<Self, ManagerError> {
        let manager = Self::of(config::read(path)?);
        Ok(Self { file: Some(path.to_owned()), ..manager })
    }

    pub(super) fn default_camera() -> CameraDescription {
        let mode = |size: (u32, u32)| Mode { size: size.into(), rates: [1.0, 30.0] };
        CameraDescription {
            name: "vcam".to_owned(),
            settings: Settings::default(),
            modes: [(640, 480), (1280, 720), (1920, 1080)].map(mode).to_vec(),
            model: "vcam".to_owned(),
            location: Location::default(),
        }
    }

    /// All cameras, in the order of the file.
    pub fn cameras(&self) -> &[Camera] {
        &self.cameras
    }

    /// The camera of this name.
    pub fn get(&self, id: &str) -> Option<Camera> {
        self.cameras.iter().find(|camera| camera.id() == id).cloned()
    }

    /// Has the kernel watch the configuration file; the descriptor is readable when
    /// [`CameraManager::events`] may have something to tell.
    ///
    /// The file's folder is watched, since editors put a new file in the place of the old one.
    pub fn watch(&mut self) -> Result<Option<BorrowedFd<'_>>, ManagerError> {
        let Some(path) = &self.file else { return Ok(None) };
        if self.watch.is_none() {
            let failed =
                |errno: Errno| ManagerError::Watch { path: path.clone(), source: errno.into() };
            let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
            let watch = inotify::init(flags).map_err(failed)?;
            let folder = match path.parent() {
                Some(folder) if folder != Path::new("") => folder,
                _ => Path::new("."),
            };
            let changes = inotify::WatchFlags::CLOSE_WRITE
                | inotify::WatchFlags::MOVED_TO
                | inotify::WatchFlags::MOVED_FROM
                | inotify::WatchFlags::DELETE;
            inotify::add_watch(&watch, folder, changes).map_err(failed)?;
            self.watch = Some(watch);
        }
        Ok(self.watch.as_ref().map(AsFd::as_fd))
    }

    /// Reads the configuration file again, and returns which cameras came and went.
    ///
    /// One whose description changed went, and another one of its name came. A file that is gone
    /// has no cameras; one that has mistakes changes nothing, and is an error.
    pub fn events(&mut self) -> Result<Vec<Event>, ManagerError> {
        let Some(path) = &self.file else { return Ok(Vec::new()) };
        if let Some(watch) = &self.watch {
            // The events do not matter: the file does.
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let mut changes = inotify::Reader::new(watch, &mut buffer);
            while changes.next().is_ok() {}
        }
        let described = match config::read(path) {
            Err(ConfigError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Vec::new()
            }
            read => read?,
        };
        let mut before = std::mem::take(&mut self.cameras);
        let mut events = Vec::new();
        for description in described {
            let known = before.iter().position(|camera| *camera.description() == description);
            self.cameras.push(match known {
                Some(index) => before.swap_remove(index),
                None => {
                    let camera = Camera::new(description);
                    events.push(Event::Added(camera.clone()));
                    camera
                }
            });
        }
        before.iter().for_each(Camera::disconnect);
        events.splice(0..0, before.into_iter().map(Event::Removed));
        Ok(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "[[camera]]\nname = \"one\"\n\n[[camera]]\nname = \"two\"\n";

    #[test]
    fn cameras_come_and_go_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cameras.toml");
        std::fs::write(&path, TWO).unwrap();
        let mut manager = CameraManager::from_file(&path).unwrap();
        let ids = |manager: &CameraManager| -> Vec<_> {
            manager.cameras().iter().map(|camera| camera.id().to_owned()).collect()
        };
        assert_eq!(ids(&manager), ["one", "two"]);
        let one = manager.get("one").unwrap();
        assert_eq!(manager.get("three"), None);
        manager.watch().unwrap().unwrap();
        assert_eq!(manager.events().unwrap(), []);

        std::fs::write(&path, TWO.replace("one", "three")).unwrap();
        let events = manager.events().unwrap();
        let three = manager.get("three").unwrap();
        assert_eq!(events, [Event::Removed(one.clone()), Event::Added(three)]);
        assert!(one.acquire(Default::default()).is_err());
        assert_eq!(ids(&manager), ["three", "two"]);

        std::fs::write(&path, "[[camera]]\nname = 5").unwrap();
        assert!(matches!(manager.events(), Err(ManagerError::Config(_))));
        assert_eq!(ids(&manager), ["three", "two"]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(manager.events().unwrap().len(), 2);
        assert!(ids(&manager).is_empty());
    }

    #[test]
    fn a_change_wakes_whoever_polls() {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cameras.toml");
        std::fs::write(&path, TWO).unwrap();
        let mut manager = CameraManager::from_file(&path).unwrap();
        let ready = |manager: &mut CameraManager, seconds| {
            let fd = manager.watch().unwrap().unwrap();
            let limit = Timespec { tv_sec: seconds, tv_nsec: 0 };
            poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).unwrap()
        };
        assert_eq!(ready(&mut manager, 0), 0);
        std::fs::write(&path, TWO.replace("two", "four")).unwrap();
        assert_eq!(ready(&mut manager, 30), 1);
        assert_eq!(manager.events().unwrap().len(), 2);
        assert_eq!(ready(&mut manager, 0), 0);
        assert_eq!(CameraManager::new().watch().unwrap().map(|_| ()), None);
    }
}
