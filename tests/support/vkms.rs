//! Virtual cards made to measure, through configfs.
//!
//! Source: `Documentation/gpu/vkms.rst`, "Configuring With Configfs".

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

const FOLDER: &str = "/sys/kernel/config/vkms";

/// What a plane is for, as its property "type" has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plane {
    Overlay = 0,
    Primary = 1,
    Cursor = 2,
}

/// A card of vkms with one display, which can be read back. It is gone when dropped.
pub struct Card {
    folder: PathBuf,
    pub node: PathBuf,
}

impl Card {
    pub fn new(name: &str, planes: &[Plane]) -> Self {
        let before = nodes();
        let folder = Path::new(FOLDER).join(name);
        let make = |path: &str| {
            let path = folder.join(path);
            fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            path
        };
        let set = |path: PathBuf, value: u32| fs::write(path, value.to_string()).unwrap();
        make("");
        let crtc = make("crtcs/crtc");
        set(crtc.join("writeback"), 1);
        for (number, kind) in planes.iter().enumerate() {
            let plane = make(&format!("planes/{number}"));
            set(plane.join("type"), *kind as u32);
            symlink(&crtc, plane.join("possible_crtcs/crtc")).unwrap();
        }
        let encoder = make("encoders/encoder");
        symlink(&crtc, encoder.join("possible_crtcs/crtc")).unwrap();
        let connector = make("connectors/connector");
        symlink(&encoder, connector.join("possible_encoders/encoder")).unwrap();
        set(folder.join("enabled"), 1);
        let node = loop {
            match nodes().into_iter().find(|node| !before.contains(node)) {
                Some(node) => break node,
                None => thread::sleep(Duration::from_millis(1)),
            }
        };
        Self { folder, node }
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        fs::write(self.folder.join("enabled"), "0").unwrap();
        // Links first, then what they point at.
        for (kind, links) in [
            ("connectors", Some("possible_encoders")),
            ("encoders", Some("possible_crtcs")),
            ("planes", Some("possible_crtcs")),
            ("crtcs", None),
        ] {
            for item in fs::read_dir(self.folder.join(kind)).unwrap().flatten() {
                for link in links
                    .into_iter()
                    .flat_map(|links| fs::read_dir(item.path().join(links)).unwrap().flatten())
                {
                    fs::remove_file(link.path()).unwrap();
                }
                fs::remove_dir(item.path()).unwrap();
            }
        }
        fs::remove_dir(&self.folder).unwrap();
    }
}

fn nodes() -> Vec<PathBuf> {
    vcam_sinks::kms::probe::nodes()
}
