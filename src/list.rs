//! `vcam list`: what this machine has, and what keeps each thing from being used.

use std::fmt;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::io::Errno;
use serde::Serialize;
use vcam_allocator::{OpenError, Permission, heaps, uaccess_rule};
use vcam_isp_gpu::{GpuIsp, Isp};
use vcam_pipeline::chain;
use vcam_pipeline::sensor::{HEIGHTS, WIDTHS};
use vcam_sinks::KmsError;
use vcam_uapi::node::{numbered, open_read_write};
use vcam_uapi::v4l2::querycap;

use crate::exit::Error;
use crate::print;

/// Everything that a run could use.
#[derive(Debug, Serialize)]
struct List {
    schema: u32,
    cameras: Vec<Entry>,
    heaps: Vec<Entry>,
    gpus: Vec<Entry>,
    displays: Vec<Entry>,
    v4l2: Vec<Entry>,
}

/// One thing, by the name that the command's arguments take.
#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    description: String,
    available: bool,
    /// Why it cannot be used.
    reason: Option<String>,
    /// A line for the shell that would change that.
    fix: Option<String>,
    /// Other ways to it: the distribution's rules, or the seat.
    note: Option<String>,
}

impl Entry {
    fn usable(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            available: true,
            reason: None,
            fix: None,
            note: None,
        }
    }

    fn unusable(
        name: impl Into<String>,
        description: impl Into<String>,
        reason: impl Into<String>,
        fix: Option<String>,
    ) -> Self {
        let reason = Some(reason.into());
        Self { available: false, reason, fix, ..Self::usable(name, description) }
    }

    fn forbidden(
        name: impl Into<String>,
        description: impl Into<String>,
        permission: &Permission,
    ) -> Self {
        let (reason, fix) = (format!("not permitted: {permission}"), &permission.remedy);
        Self::unusable(name, description, reason, print::shell_command(fix))
    }

    /// An entry for a device node that counts as usable if this user may open it.
    fn node(node: &Path, description: impl Into<String>) -> Self {
        let name = node.display().to_string();
        match open_read_write(node) {
            Ok(_) => Self::usable(name, description),
            Err(Errno::ACCESS | Errno::PERM) => {
                Self::forbidden(name, description, &Permission::of(node))
            }
            Err(error) => Self::unusable(name, description, error.to_string(), None),
        }
    }
}

/// Prints the list.
pub(crate) fn list(json: bool) -> Result<(), Error> {
    let list = List {
        schema: 1,
        cameras: vec![Entry::usable(
            "virtual",
            format!(
                "raw Bayer or mono, 8 to 16 bits, {}x{} to {}x{}; see --scene, --sensor-format",
                WIDTHS.start(),
                HEIGHTS.start(),
                WIDTHS.end(),
                HEIGHTS.end()
            ),
        )],
        heaps: heaps::discover().into_iter().map(heap).collect(),
        gpus: gpus(),
        displays: displays(),
        v4l2: v4l2(),
    };
    if json { print::json(&list) } else { print::text(&list) }
}

/// Whether the distribution gives udmabuf to the user at the machine.
fn udmabuf_note() -> String {
    match uaccess_rule(Path::new(heaps::udmabuf::NODE)) {
        Some(rule) => format!("{} gives it to the user at the machine", rule.display()),
        None => {
            "no udev rule gives it to the user at the machine; systemd has one since 257".to_owned()
        }
    }
}

fn heap(found: heaps::Discovered) -> Entry {
    let note = (found.name == heaps::udmabuf::NAME).then(udmabuf_note);
    Entry { note, ..heap_itself(found) }
}

fn heap_itself(found: heaps::Discovered) -> Entry {
    match found.heap {
        Ok(heap) => {
            let words: Vec<_> = heap
                .capabilities()
                .iter_names()
                .map(|(name, _)| name.to_lowercase().replace('_', "-"))
                .collect();
            Entry::usable(found.name, words.join(", "))
        }
        Err(OpenError::Permission { permission, .. }) => {
            Entry::forbidden(found.name, "", &permission)
        }
        Err(error) => Entry::unusable(found.name, "", chain(&error), None),
    }
}

fn gpus() -> Vec<Entry> {
    let egl = match GpuIsp::new(None) {
        Ok(isp) => Entry::usable(isp.name(), isp.describe()),
        Err(error) => Entry::unusable("gpu", "EGL", chain(&error), None),
    };
    let nodes = numbered(Path::new("/dev/dri"), "renderD").into_iter().map(|node| {
        let driver = sysfs_driver("drm", &node).unwrap_or_else(|| "driver unknown".to_owned());
        Entry::node(&node, driver)
    });
    std::iter::once(egl).chain(nodes).collect()
}

/// The name of the driver behind a node, from sysfs: the node is not opened.
pub(crate) fn sysfs_driver(class: &str, node: &Path) -> Option<String> {
    let device = Path::new("/sys/class").join(class).join(node.file_name()?).join("device/driver");
    Some(fs::read_link(device).ok()?.file_name()?.to_string_lossy().into_owned())
}

fn displays() -> Vec<Entry> {
    let manager = vcam_sinks::seat_manager();
    vcam_sinks::cards()
        .into_iter()
        .map(|card| {
            let name = card.path.display().to_string();
            let driver = card.driver.as_deref().unwrap_or("driver unknown");
            let connectors: Vec<_> = card.connectors.iter().map(ToString::to_string).collect();
            let description = format!("{driver} {}", connectors.join(", "));
            match card.error {
                Some(KmsError::Permission { permission, .. }) => match manager {
                    Some(manager) => {
                        let driver = sysfs_driver("drm", &card.path);
                        let driver = driver.unwrap_or_else(|| "driver unknown".to_owned());
                        let note = format!("through the seat, if {manager} gives it");
                        Entry { note: Some(note), ..Entry::usable(name, driver) }
                    }
                    None => Entry::forbidden(name, description, &permission),
                },
                Some(error) => Entry::unusable(name, description, chain(&error), None),
                None if !card.free => {
                    Entry::unusable(name, description, "another program controls it", None)
                }
                None => Entry::usable(name, description),
            }
        })
        .collect()
}

fn v4l2() -> Vec<Entry> {
    numbered(Path::new("/dev"), "video")
        .iter()
        .map(|node| {
            let name = sysfs_name(node).unwrap_or_default();
            let capability = open_read_write(node)
                .and_then(|file| querycap(file.as_fd()))
                .map(|found| format!(" ({}; {})", found.driver, found.capabilities))
                .unwrap_or_default();
            Entry::node(node, format!("{name}{capability}"))
        })
        .collect()
}

/// What a video node's driver calls it, without opening it.
fn sysfs_name(node: &Path) -> Option<String> {
    let device = Path::new("/sys/class/video4linux").join(node.file_name()?);
    Some(fs::read_to_string(device.join("name")).ok()?.trim().to_owned())
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sections = [
            ("Cameras", &self.cameras),
            ("Heaps (--heap)", &self.heaps),
            ("GPUs (--gpu)", &self.gpus),
            ("Displays (--card, --display)", &self.displays),
            ("V4L2 nodes", &self.v4l2),
        ];
        for (index, (title, entries)) in sections.into_iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{title}:")?;
            if entries.is_empty() {
                write!(f, " none")?;
            }
            for entry in entries {
                let mark = if entry.available { ' ' } else { '!' };
                write!(f, "\n {mark} {:<18} {}", entry.name, entry.description)?;
                if let Some(reason) = &entry.reason {
                    write!(f, "\n   {:<18} not usable: {reason}", "")?;
                }
                if let Some(note) = &entry.note {
                    write!(f, "\n   {:<18} {note}", "")?;
                }
                if let Some(fix) = &entry.fix {
                    write!(f, "\n   {:<18} try: {fix}", "")?;
                }
            }
        }
        Ok(())
    }
}
