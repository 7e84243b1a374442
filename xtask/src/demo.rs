//! `cargo xtask demo`: one run of vcam that shows the main job, on this
//! machine's devices or in the lab, and the picture of what the display scanned
//! out.

use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use drm::Device as _;
use drm::control::{Device as _, connector};
use serde_json::Value;

use crate::build;
use crate::host;
use crate::lab::{self, Job, Kind, Lab, Output};
use crate::process::{self, End};
use crate::progress::note;
use crate::workspace::{Workspace, make_folder};

const LIMIT: Duration = Duration::from_secs(300);

/// vcam's exit status when a machine lacks a device that was asked for.
const LACKS: i32 = 4;

/// Runs the demonstration; the exit status.
pub(crate) fn demo(workspace: &Workspace) -> Result<i32> {
    let obstacle = obstacle();
    // All at once, so that a user who must install by hand does it once.
    let machine = if obstacle.is_some() { lab::purposes(&[Kind::Uml]) } else { &[] };
    host::provide(workspace, machine)?;
    let vcam = &build::vcam(workspace)?;

    let folder = make_folder(&workspace.target.join("demo"))?;
    let picture = folder.join("display.png");
    let report = folder.join("report.json");
    for stale in [&picture, &report] {
        if stale.exists() {
            fs::remove_file(stale).with_context(|| format!("cannot remove {}", stale.display()))?;
        }
    }
    let mut arguments: Vec<String> =
        "--heap udmabuf --isp gpu --display --size 640x480 --frames 120 --json --display-capture"
            .split(' ')
            .map(str::to_owned)
            .collect();
    arguments.push(picture.display().to_string());

    let place = match obstacle {
        None => Place::Here,
        Some(obstacle) => {
            note(&format!("runs in the lab, because {obstacle}"));
            Place::lab(workspace, &folder)?
        }
    };
    let (place, status, stdout) = match (place.run(vcam, &arguments)?, place) {
        ((LACKS, _), Place::Here) => {
            note("this machine's display cannot give back what it scans out: runs in the lab");
            let place = Place::lab(workspace, &folder)?;
            let (status, stdout) = place.run(vcam, &arguments)?;
            (place, status, stdout)
        }
        ((status, stdout), place) => (place, status, stdout),
    };
    fs::write(&report, &stdout).with_context(|| format!("cannot write {}", report.display()))?;
    if status != 0 {
        bail!("vcam ended with status {status}; its report is {}", report.display());
    }
    let json: Value = serde_json::from_slice(&stdout)
        .with_context(|| format!("vcam's report is not JSON: {}", report.display()))?;
    let size = fs::metadata(&picture).map(|metadata| metadata.len()).unwrap_or_default();
    if size == 0 {
        bail!("vcam left no picture at {}", picture.display());
    }
    println!("{}", summary(&json));
    if let Some(reason) = choice(&place, vcam)? {
        println!(
            "isp      the GPU here is a program on the CPU; left to choose (--isp auto): {reason}"
        );
    }
    println!("picture  {}", picture.display());
    println!("report   {}", report.display());
    Ok(0)
}

/// The ISP that vcam chooses by itself, and the reason, where there is a choice.
fn choice(place: &Place, vcam: &Path) -> Result<Option<String>> {
    let arguments = "plan --heap udmabuf --display --size 640x480 --json";
    let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
    let (status, stdout) = place.run(vcam, &arguments)?;
    let plan: Value = serde_json::from_slice(&stdout).unwrap_or_default();
    if status != 0 {
        bail!("`vcam {}` ended with status {status}", arguments.join(" "));
    }
    Ok(plan["isp"]["reason"].as_str().map(str::to_owned))
}

/// The machine that runs the demonstration.
enum Place {
    /// On this machine's devices.
    Here,
    /// In the uml machine.
    Lab { lab: Box<Lab>, folder: PathBuf, out: PathBuf },
}

impl Place {
    fn lab(workspace: &Workspace, out: &Path) -> Result<Self> {
        let lab = Box::new(Lab::set_up(workspace, &[Kind::Uml])?);
        Ok(Self::Lab { lab, folder: workspace.root.clone(), out: out.to_path_buf() })
    }

    /// Runs vcam; returns its exit status and its stdout.
    fn run(&self, vcam: &Path, arguments: &[String]) -> Result<(i32, Vec<u8>)> {
        match self {
            Self::Here => run_here(vcam, arguments),
            Self::Lab { lab, folder, out } => {
                let mut command = vec![vcam.display().to_string()];
                command.extend(arguments.iter().cloned());
                let job = Job {
                    command,
                    folder: folder.clone(),
                    out: out.clone(),
                    environment: Vec::new(),
                    kernel: String::new(),
                    limit: LIMIT,
                    output: Output::StdoutKept,
                    programs: Vec::new(),
                };
                let outcome = lab.run(Kind::Uml, &job)?;
                Ok((outcome.status, outcome.stdout))
            }
        }
    }
}

fn run_here(vcam: &Path, arguments: &[String]) -> Result<(i32, Vec<u8>)> {
    note("runs on this machine's display");
    let mut command = Command::new(vcam);
    command.args(arguments);
    process::own_group(&mut command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", vcam.display()))?;
    let mut output = child.stdout.take().context("vcam has no stdout")?;
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut output, &mut bytes).map(|_| bytes)
    });
    let end = process::supervise(&mut child, Some(LIMIT), || ())?;
    let stdout =
        reader.join().unwrap_or_else(|_| Ok(Vec::new())).context("cannot read vcam's report")?;
    match end {
        End::Exited(status) => Ok((status.code().unwrap_or(1), stdout)),
        End::TimedOut => bail!("vcam did not end in {} s", LIMIT.as_secs()),
        End::Interrupted | End::OutputClosed => bail!("interrupted"),
    }
}

/// The obstacle to the demonstration on this machine, if there is one.
fn obstacle() -> Option<String> {
    if let Err(error) = File::open("/dev/udmabuf") {
        return Some(format!("/dev/udmabuf cannot be opened here ({error})"));
    }
    let cards: Vec<PathBuf> = fs::read_dir("/dev/dri")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("card"))
        })
        .collect();
    if cards.iter().any(|card| is_free(card)) {
        return None;
    }
    Some("no display here is connected and free".to_owned())
}

/// A DRM card, opened.
#[derive(Debug)]
struct Card(File);

impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl drm::Device for Card {}
impl drm::control::Device for Card {}

/// Returns true if a card has a display, and no other program is its master.
fn is_free(path: &Path) -> bool {
    let Ok(file) = OpenOptions::new().read(true).write(true).open(path) else { return false };
    let card = Card(file);
    let Ok(resources) = card.resource_handles() else { return false };
    let connected = resources.connectors().iter().any(|&handle| {
        card.get_connector(handle, false)
            .is_ok_and(|connector| connector.state() == connector::State::Connected)
    });
    // Mastership goes with the descriptor, at the end of this function.
    connected && card.acquire_master_lock().is_ok()
}

/// The report in a few lines. Takes what is there: a field that is missing is
/// shown as such and hides nothing else.
fn summary(report: &Value) -> String {
    let text = |value: &Value| match value {
        Value::Null => "?".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let frames = &report["frames"];
    let mut lines = vec![format!(
        "frames   {} completed, {} displayed, {} dropped, {} errors",
        text(&frames["completed"]),
        text(&frames["displayed"]),
        text(&frames["dropped"]),
        text(&frames["errors"]),
    )];
    if let Some(fps) = report["fps"].as_f64() {
        lines.push(format!("speed    {fps:.1} frames a second"));
    }
    for link in report["links"].as_array().into_iter().flatten() {
        let mut line = format!(
            "link     {} -> {}: {}, {} in {}, {} bytes copied",
            text(&link["from"]),
            text(&link["to"]),
            text(&link["method"]),
            text(&link["format"]),
            text(&link["heap"]),
            text(&link["bytes_copied"]),
        );
        if let Some(reason) = link["reason"].as_str() {
            line += &format!(" ({reason})");
        }
        lines.push(line);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_summed_up() {
        let report = serde_json::json!({
            "frames": {"completed": 120, "displayed": 119, "dropped": 0, "errors": 0},
            "fps": 59.94,
            "links": [
                {"from": "sensor", "to": "isp", "method": "import", "format": "R8",
                 "heap": "udmabuf", "bytes_copied": 0, "reason": null},
                {"from": "isp", "to": "display", "method": "copy", "format": "XR24",
                 "heap": "udmabuf", "bytes_copied": 12, "reason": "why not"},
            ],
        });
        assert_eq!(
            summary(&report),
            "frames   120 completed, 119 displayed, 0 dropped, 0 errors\n\
             speed    59.9 frames a second\n\
             link     sensor -> isp: import, R8 in udmabuf, 0 bytes copied\n\
             link     isp -> display: copy, XR24 in udmabuf, 12 bytes copied (why not)"
        );
        assert!(summary(&Value::Null).contains("? completed"));
    }
}
