//! Virtual cards of any shape, through the configfs of vkms.
//!
//! Source: `Documentation/gpu/vkms.rst`, "Configuring With Configfs".

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

const FOLDER: &str = "/sys/kernel/config/vkms";

/// The type of a plane, as its property has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plane {
    /// Over or under the primary one.
    Overlay = 0,
    /// The one that a mode needs.
    Primary = 1,
    /// A small one for a cursor.
    Cursor = 2,
}

/// A card of vkms with displays that can be read back. It is gone when dropped.
#[derive(Debug)]
pub struct Card {
    folder: PathBuf,
    /// Its node, as long as it is plugged in.
    pub node: PathBuf,
}

impl Card {
    /// A card with one display.
    pub fn new(name: &str, planes: &[Plane]) -> Self {
        Self::with_displays(name, 1, planes)
    }

    /// A card with several displays, each with a CRTC and with planes of its own.
    pub fn with_displays(name: &str, displays: u32, planes: &[Plane]) -> Self {
        let folder = Path::new(FOLDER).join(name);
        let make = |path: &str| {
            let path = folder.join(path);
            fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            path
        };
        let set = |path: PathBuf, value: u32| fs::write(path, value.to_string()).unwrap();
        make("");
        for display in 0..displays {
            let crtc = make(&format!("crtcs/{display}"));
            set(crtc.join("writeback"), 1);
            for (number, kind) in planes.iter().enumerate() {
                let plane = make(&format!("planes/{display}-{number}"));
                set(plane.join("type"), *kind as u32);
                symlink(&crtc, plane.join("possible_crtcs/crtc")).unwrap();
            }
            let encoder = make(&format!("encoders/{display}"));
            symlink(&crtc, encoder.join("possible_crtcs/crtc")).unwrap();
            let connector = make(&format!("connectors/{display}"));
            symlink(&encoder, connector.join("possible_encoders/encoder")).unwrap();
        }
        let mut card = Self { folder, node: PathBuf::new() };
        card.plug_in();
        card
    }

    /// Asks the kernel to make the card, under a number that is free.
    pub fn plug_in(&mut self) {
        let before = nodes();
        fs::write(self.folder.join("enabled"), "1").unwrap();
        self.node = loop {
            match nodes().into_iter().find(|node| !before.contains(node)) {
                Some(node) => break node,
                None => thread::sleep(Duration::from_millis(1)),
            }
        };
    }

    /// Takes the card out, even while programs have it open.
    pub fn take_out(&mut self) {
        fs::write(self.folder.join("enabled"), "0").unwrap();
    }

    /// Plugs a display in, or out.
    pub fn connect(&self, display: u32, connected: bool) {
        // `enum drm_connector_status`.
        let status = if connected { "1" } else { "2" };
        fs::write(self.folder.join(format!("connectors/{display}/status")), status).unwrap();
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        fs::write(self.folder.join("enabled"), "0").unwrap();
        // Links first, then their targets.
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
