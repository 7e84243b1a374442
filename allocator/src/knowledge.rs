//! What was learned about this machine, kept from one run to the next.
//!
//! A probe finds out which heap works with which device; a run finds out what its own devices
//! refuse, and what memory costs. All of it stays true until a kernel or a driver changes, so it is
//! kept in a file and used by the next plan: see [`Knowledge::verdicts`] and [`Knowledge::cost`].
//!
//! The file is a cache. It may be deleted at any time; one that cannot be read, or was written by
//! another version, on another machine or under another kernel, counts as empty and is replaced.
//! Two processes that save at the same time leave the work of one of them.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::constraints::{Rule, Statement};
use crate::cost::{HeapCost, LinkCost, RenderCost};
use crate::errno::{self, errno_name};
use crate::format::Fourcc;
use crate::import::{Importer, Refusal};
use crate::probe::{Cell, ImporterInfo, Outcome};

/// The number of this file's shape.
const VERSION: u32 = 3;

/// The most records of a kind that are kept; the oldest go first.
const MOST: usize = 4096;

/// The largest file that is read.
const MAX_BYTES: u64 = 8 << 20;

/// Errors that pass: they say something about the moment and nothing about the device.
const PASSING: [i32; 9] = [
    errno::EINTR,
    errno::EAGAIN,
    errno::EBUSY,
    errno::ENOMEM,
    errno::EMFILE,
    errno::ENFILE,
    errno::ENOSPC,
    errno::EACCES,
    errno::EPERM,
];

/// A device that was asked, so that its answer holds for this device and driver alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// `kind:driver`, such as `kms:vkms`.
    pub name: String,
    /// What tells it from others of that name: see [`Importer::identity`].
    pub identity: String,
}

impl From<&ImporterInfo> for Asked {
    fn from(info: &ImporterInfo) -> Self {
        // A number tells equal names apart within one table, and means nothing in the next.
        let name = info.name.split('#').next().unwrap_or_default().to_owned();
        Self { name, identity: info.identity.clone() }
    }
}

impl Asked {
    /// The device that is being asked.
    pub fn of(importer: &(impl Importer + ?Sized)) -> Self {
        Self { name: importer.name(), identity: importer.identity() }
    }
}

/// How sure an unfavourable answer is to come again, and how bad it would be to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The device refused. To ask again costs nothing.
    Refused,
    /// The device took it and showed something else, or its driver crashed or hung. Nobody would
    /// notice, or everybody, so it is not tried again.
    Harmful,
}

/// What a device is known to do with a heap's buffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How bad it is.
    pub severity: Severity,
    /// The heap.
    pub heap: String,
    /// What a plan learns from it.
    pub statement: Statement,
    /// The step and the reason, as a refusal says it.
    pub refusal: Refusal,
}

/// How a device's answer was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Finder {
    Probe,
    Run,
}

impl fmt::Display for Finder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Probe => "a probe",
            Self::Run => "a run",
        })
    }
}

/// An answer that a device gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    asked: Asked,
    heap: String,
    format: Fourcc,
    /// Width and height of the picture.
    size: (u32, u32),
    severity: Severity,
    /// How it was found out.
    by: Finder,
    step: String,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OfHeap {
    heap: String,
    /// The device whose driver is behind the heap, if one is.
    device: Option<PathBuf>,
    cost: HeapCost,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OfLink {
    asked: Asked,
    heap: String,
    format: Fourcc,
    size: (u32, u32),
    cost: LinkCost,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OfRenderer {
    renderer: String,
    task: String,
    cost: RenderCost,
}

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Book {
    version: u32,
    /// Host, kernel and architecture.
    machine: String,
    answers: Vec<Answer>,
    heaps: Vec<OfHeap>,
    links: Vec<OfLink>,
    /// Files of before have none; their version tells them apart.
    #[serde(default)]
    renderers: Vec<OfRenderer>,
}

/// Why what was learned is not kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KnowledgeError {
    /// The folder cannot be made.
    #[error("could not make the folder '{path}'")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("could not write '{path}'")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What was learned about this machine.
///
/// The default knows nothing and keeps nothing.
#[derive(Debug, Clone, Default)]
pub struct Knowledge {
    path: Option<PathBuf>,
    book: Book,
    changed: bool,
}

impl Knowledge {
    /// The file in the user's cache folder (`$XDG_CACHE_HOME/vcam/knowledge.json`); `None` for a
    /// user who has no such folder.
    pub fn file() -> Option<PathBuf> {
        Some(cache_folder()?.join("vcam").join("knowledge.json"))
    }

    /// What the file holds about this machine as it is now.
    pub fn open(path: &Path) -> Self {
        let machine = machine();
        let book = match read(path) {
            Ok(book) if book.version == VERSION && book.machine == machine => book,
            Ok(_) => {
                tracing::debug!(path = %path.display(), "was learned under another kernel");
                Book::default()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Book::default(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "is not used");
                Book::default()
            }
        };
        let path = Some(path.to_owned());
        Self { path, book: Book { version: VERSION, machine, ..book }, changed: false }
    }

    /// Knows nothing yet; what is learned replaces what the file holds.
    pub fn fresh(path: &Path) -> Self {
        let book = Book { version: VERSION, machine: machine(), ..Book::default() };
        Self { path: Some(path.to_owned()), book, changed: true }
    }

    /// What this device is known not to do with each heap, for pictures of this format and size.
    ///
    /// A failure holds for larger pictures too, for what is small and contiguous by luck passes
    /// where what is large does not; for smaller ones it says nothing.
    pub fn verdicts(&self, asked: &Asked, format: Fourcc, size: (u32, u32)) -> Vec<Verdict> {
        let applies = |answer: &&Answer| {
            answer.asked == *asked
                && answer.format == format
                && answer.size.0 <= size.0
                && answer.size.1 <= size.1
        };
        self.book
            .answers
            .iter()
            .filter(applies)
            .map(|answer| {
                let source = format!("{}: {} ({})", answer.step, answer.reason, answer.by);
                let rule = Rule::NotHeaps([answer.heap.clone()].into());
                let detail =
                    format!("{}: {} (known from {})", answer.step, answer.reason, answer.by);
                Verdict {
                    severity: answer.severity,
                    heap: answer.heap.clone(),
                    statement: Statement::new(&asked.name, &source, rule),
                    refusal: Refusal::because(&asked.name, "not tried again", detail),
                }
            })
            .collect()
    }

    /// Notes what a probe found about a device.
    pub fn note_cell(&mut self, info: &ImporterInfo, cell: &Cell) {
        let (asked, size) = (Asked::from(info), cell.size);
        let severity = match cell.result {
            Outcome::Ok => {
                // A probe compares pixels where it can, so its word outweighs every other.
                self.forget(&asked, &cell.heap, cell.format, size, Severity::Harmful);
                return;
            }
            Outcome::Refused if passing(cell.errno.as_deref()) => return,
            Outcome::Refused => Severity::Refused,
            Outcome::WrongPixels => Severity::Harmful,
            Outcome::Error if cell.crashed => Severity::Harmful,
            Outcome::Error => return,
        };
        let step = cell.step.clone().unwrap_or_default();
        let reason = match (&cell.errno, &cell.reason) {
            (Some(errno), Some(reason)) => format!("{errno}, {reason}"),
            (errno, reason) => errno.clone().or(reason.clone()).unwrap_or_default(),
        };
        let (heap, format, by) = (cell.heap.clone(), cell.format, Finder::Probe);
        self.note(Answer { asked, heap, format, size, severity, by, step, reason });
    }

    /// Notes what a run found out when it handed a heap's buffer to a device.
    pub fn note_import(
        &mut self,
        asked: &Asked,
        heap: &str,
        format: Fourcc,
        size: (u32, u32),
        result: Result<(), &Refusal>,
    ) {
        let Err(refusal) = result else {
            return self.forget(asked, heap, format, size, Severity::Refused);
        };
        if passing(refusal.errno.map(errno_name).as_deref()) {
            return;
        }
        self.note(Answer {
            asked: asked.clone(),
            heap: heap.to_owned(),
            format,
            size,
            severity: Severity::Refused,
            by: Finder::Run,
            step: refusal.step.to_owned(),
            reason: match refusal.errno {
                Some(errno) => errno_name(errno),
                None => refusal.detail.clone(),
            },
        });
    }

    /// Keeps an answer in place of an older one to the same question.
    fn note(&mut self, answer: Answer) {
        let same = |other: &Answer| {
            other.asked == answer.asked
                && other.heap == answer.heap
                && other.format == answer.format
                && other.size == answer.size
        };
        if let Some(known) = self.book.answers.iter_mut().find(|other| same(other)) {
            // A refusal now is no reason to forget that the pixels were wrong.
            let worse = known.severity == Severity::Harmful && answer.severity == Severity::Refused;
            if *known != answer && !worse {
                *known = answer;
                self.changed = true;
            }
            return;
        }
        keep(&mut self.book.answers, answer);
        self.changed = true;
    }

    /// What works for a picture works for every smaller one.
    fn forget(
        &mut self,
        asked: &Asked,
        heap: &str,
        format: Fourcc,
        size: (u32, u32),
        up_to: Severity,
    ) {
        let before = self.book.answers.len();
        self.book.answers.retain(|answer| {
            let same = answer.asked == *asked && answer.heap == heap && answer.format == format;
            let smaller = answer.size.0 <= size.0 && answer.size.1 <= size.1;
            let outweighed = up_to == Severity::Harmful || answer.severity == Severity::Refused;
            !(same && smaller && outweighed)
        });
        self.changed |= self.book.answers.len() != before;
    }

    /// What buffers of this many bytes cost in a heap, if that was measured.
    pub fn cost(&self, heap: &str, bytes: u64) -> Option<HeapCost> {
        let (class, device) = (HeapCost::class(bytes), heap_device(heap));
        let of =
            |one: &&OfHeap| one.heap == heap && one.cost.bytes == class && one.device == device;
        Some(self.book.heaps.iter().find(of)?.cost)
    }

    /// Notes what a heap's buffers cost.
    pub fn note_cost(&mut self, heap: &str, cost: HeapCost) {
        self.book.heaps.retain(|one| !(one.heap == heap && one.cost.bytes == cost.bytes));
        let device = heap_device(heap);
        keep(&mut self.book.heaps, OfHeap { heap: heap.to_owned(), device, cost });
        self.changed = true;
    }

    /// What a frame costs a device by import and by copy, if that was measured.
    pub fn link(
        &self,
        asked: &Asked,
        heap: &str,
        format: Fourcc,
        size: (u32, u32),
    ) -> Option<LinkCost> {
        let of = |one: &&OfLink| {
            one.asked == *asked && one.heap == heap && one.format == format && one.size == size
        };
        Some(self.book.links.iter().find(of)?.cost)
    }

    /// Notes what a frame costs a device by import and by copy.
    pub fn note_link(
        &mut self,
        asked: &Asked,
        heap: &str,
        format: Fourcc,
        size: (u32, u32),
        cost: LinkCost,
    ) {
        self.book.links.retain(|one| {
            !(one.asked == *asked && one.heap == heap && one.format == format && one.size == size)
        });
        let (asked, heap) = (asked.clone(), heap.to_owned());
        keep(&mut self.book.links, OfLink { asked, heap, format, size, cost });
        self.changed = true;
    }

    /// What a frame costs on a renderer and on the CPU, if that was measured. `renderer` is all that
    /// it says of itself, versions included; `task` is what is done to the frame.
    pub fn render(&self, renderer: &str, task: &str) -> Option<RenderCost> {
        let of = |one: &&OfRenderer| one.renderer == renderer && one.task == task;
        Some(self.book.renderers.iter().find(of)?.cost)
    }

    /// Notes what a frame costs on a renderer and on the CPU.
    pub fn note_render(&mut self, renderer: &str, task: &str, cost: RenderCost) {
        self.book.renderers.retain(|one| !(one.renderer == renderer && one.task == task));
        let (renderer, task) = (renderer.to_owned(), task.to_owned());
        keep(&mut self.book.renderers, OfRenderer { renderer, task, cost });
        self.changed = true;
    }

    /// Writes the file, if there is one and something new to write.
    ///
    /// The old file is there until the new one is complete.
    pub fn save(&mut self) -> Result<(), KnowledgeError> {
        let Some(path) = self.path.as_ref().filter(|_| self.changed) else { return Ok(()) };
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)
            .map_err(|source| KnowledgeError::Folder { path: folder.to_owned(), source })?;
        let write = || -> io::Result<()> {
            let unfinished = path.with_extension(format!("{}.tmp", std::process::id()));
            let written = File::create(&unfinished).and_then(|mut file| {
                serde_json::to_writer_pretty(&mut file, &self.book)?;
                file.flush()?;
                fs::rename(&unfinished, path)
            });
            if written.is_err() {
                let _ = fs::remove_file(&unfinished);
            }
            written
        };
        write().map_err(|source| KnowledgeError::Write { path: path.clone(), source })?;
        self.changed = false;
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<Book> {
    let file = File::open(path)?;
    if file.metadata()?.len() > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large"));
    }
    Ok(serde_json::from_reader(io::BufReader::new(file))?)
}

fn keep<T>(records: &mut Vec<T>, record: T) {
    if records.len() >= MOST {
        records.remove(0);
    }
    records.push(record);
}

/// Whether an error says nothing about the device.
fn passing(name: Option<&str>) -> bool {
    name.is_some() && PASSING.into_iter().any(|number| errno::name(number) == name)
}

/// The user's folder for what can be made again. The XDG base directory specification says that a
/// path which is not absolute counts as not set.
fn cache_folder() -> Option<PathBuf> {
    cache_folder_of(env::var_os("XDG_CACHE_HOME").map(PathBuf::from), env::home_dir())
}

fn cache_folder_of(cache: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    cache.filter(absolute).or_else(|| Some(home.filter(absolute)?.join(".cache")))
}

/// The device behind a heap whose name holds its node, such as `dumb:/dev/dri/card0`.
fn heap_device(heap: &str) -> Option<PathBuf> {
    let (_, node) = heap.split_once(':')?;
    if node.starts_with('/') { crate::sysfs::device(Path::new(node)) } else { None }
}

/// What must be equal for anything that was learned to hold: host, kernel and architecture.
fn machine() -> String {
    let uname = rustix::system::uname();
    [uname.nodename(), uname.sysname(), uname.release(), uname.version(), uname.machine()]
        .map(|part| part.to_string_lossy().into_owned())
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (u32, u32) = (256, 128);

    #[test]
    fn a_cache_folder_that_is_not_absolute_counts_as_none() {
        let of = |cache: Option<&str>, home: Option<&str>| {
            cache_folder_of(cache.map(PathBuf::from), home.map(PathBuf::from))
        };
        let in_home = Some(PathBuf::from("/home/ann/.cache"));
        assert_eq!(of(Some("/var/ann"), Some("/home/ann")), Some("/var/ann".into()));
        assert_eq!(of(Some("/var/ann"), None), Some("/var/ann".into()));
        assert_eq!(of(Some("cache"), Some("/home/ann")), in_home);
        assert_eq!(of(Some(""), Some("/home/ann")), in_home);
        assert_eq!(of(None, Some("/home/ann")), in_home);
        assert_eq!(of(None, Some("")), None);
        assert_eq!(of(Some("cache"), Some("ann")), None);
        assert_eq!(of(None, None), None);
    }

    fn vkms() -> ImporterInfo {
        ImporterInfo {
            name: "kms:vkms#2".into(),
            driver: "vkms".into(),
            node: Some("/dev/dri/card1".into()),
            identity: "/sys/devices/faux/vkms".into(),
        }
    }

    fn cell(result: Outcome, errno: Option<&str>) -> Cell {
        let mut cell = Cell::unknown("udmabuf", "kms:vkms#2", Fourcc::XRGB8888, None, "no".into());
        cell.size = SIZE;
        (cell.result, cell.errno) = (result, errno.map(str::to_owned));
        cell.step = Some("ADDFB2".into());
        cell
    }

    fn asked() -> Asked {
        Asked { name: "kms:vkms".into(), identity: "/sys/devices/faux/vkms".into() }
    }

    fn severities(knowledge: &Knowledge, size: (u32, u32)) -> Vec<Severity> {
        let verdicts = knowledge.verdicts(&asked(), Fourcc::XRGB8888, size);
        verdicts.into_iter().map(|verdict| verdict.severity).collect()
    }

    #[test]
    fn a_probes_failure_is_a_statement_for_this_device_format_and_larger_pictures() {
        let mut knowledge = Knowledge::default();
        knowledge.note_cell(&vkms(), &cell(Outcome::Refused, Some("EINVAL")));
        let verdicts = knowledge.verdicts(&asked(), Fourcc::XRGB8888, (640, 480));
        assert_eq!(
            verdicts[0].statement.to_string(),
            "kms:vkms needs a heap other than udmabuf (ADDFB2: EINVAL, no (a probe))"
        );
        assert_eq!(severities(&knowledge, (255, 480)), []);
        assert_eq!(knowledge.verdicts(&asked(), Fourcc::NV12, (640, 480)), []);
        let other = Asked { identity: "/sys/devices/other".into(), ..asked() };
        assert_eq!(knowledge.verdicts(&other, Fourcc::XRGB8888, SIZE), []);
    }

    #[test]
    fn what_passes_and_what_is_unknown_teaches_nothing() {
        let mut knowledge = Knowledge::default();
        knowledge.note_cell(&vkms(), &cell(Outcome::Refused, Some("ENOMEM")));
        knowledge.note_cell(&vkms(), &cell(Outcome::Error, Some("EBUSY")));
        knowledge.note_cell(&vkms(), &cell(Outcome::Error, None));
        let busy = Refusal::errno("kms:vkms", "ADDFB2", 16);
        knowledge.note_import(&asked(), "udmabuf", Fourcc::XRGB8888, SIZE, Err(&busy));
        assert_eq!(severities(&knowledge, SIZE), []);
        assert!(!knowledge.changed);
    }

    #[test]
    fn a_runs_success_mends_a_refusal_and_not_wrong_pixels() {
        let mut knowledge = Knowledge::default();
        let succeed = |knowledge: &mut Knowledge| {
            knowledge.note_import(&asked(), "udmabuf", Fourcc::XRGB8888, (640, 480), Ok(()));
        };
        let refusal = Refusal::errno("kms:vkms", "PRIME_FD_TO_HANDLE", 19);
        knowledge.note_import(&asked(), "udmabuf", Fourcc::XRGB8888, SIZE, Err(&refusal));
        assert_eq!(severities(&knowledge, SIZE), [Severity::Refused]);
        succeed(&mut knowledge);
        assert_eq!(severities(&knowledge, SIZE), []);
        knowledge.note_cell(&vkms(), &cell(Outcome::WrongPixels, None));
        succeed(&mut knowledge);
        knowledge.note_import(&asked(), "udmabuf", Fourcc::XRGB8888, SIZE, Err(&refusal));
        assert_eq!(severities(&knowledge, SIZE), [Severity::Harmful]);
        // A probe that finds the pixels right does mend it.
        knowledge.note_cell(&vkms(), &cell(Outcome::Ok, None));
        assert_eq!(severities(&knowledge, SIZE), []);
    }

    #[test]
    fn a_crash_is_remembered_as_harmful() {
        let mut knowledge = Knowledge::default();
        let crash = Cell { crashed: true, ..cell(Outcome::Error, None) };
        knowledge.note_cell(&vkms(), &crash);
        assert_eq!(severities(&knowledge, SIZE), [Severity::Harmful]);
    }

    #[test]
    fn a_file_is_kept_for_this_kernel_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("knowledge.json");
        let cost = LinkCost { import_us: 3, copy_us: 1 };
        let mut knowledge = Knowledge::open(&path);
        knowledge.save().unwrap();
        assert!(!path.exists(), "there was nothing to keep");
        knowledge.note_link(&asked(), "udmabuf", Fourcc::R8, SIZE, cost);
        knowledge.note_cell(&vkms(), &cell(Outcome::WrongPixels, None));
        knowledge.save().unwrap();
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);

        let again = Knowledge::open(&path);
        assert_eq!(again.link(&asked(), "udmabuf", Fourcc::R8, SIZE), Some(cost));
        assert_eq!(severities(&again, SIZE), [Severity::Harmful]);
        assert_eq!(Knowledge::fresh(&path).link(&asked(), "udmabuf", Fourcc::R8, SIZE), None);

        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(&again.book.machine, "another kernel")).unwrap();
        assert_eq!(severities(&Knowledge::open(&path), SIZE), []);
    }

    #[test]
    fn a_file_of_nonsense_counts_as_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("knowledge.json");
        for nonsense in ["", "{", "[]", "{\"version\": 1}", "\u{0}\u{0}", "{\"version\":-1}"] {
            fs::write(&path, nonsense).unwrap();
            assert_eq!(Knowledge::open(&path).book.answers, []);
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let mut knowledge = Knowledge::fresh(&path);
        assert!(matches!(knowledge.save(), Err(KnowledgeError::Write { .. })));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "half a file was left");
    }

    #[test]
    fn the_book_does_not_grow_without_end() {
        let mut records = (0..MOST).collect();
        keep(&mut records, MOST);
        assert_eq!((records.len(), records[0]), (MOST, 1));
    }
}
