//! Asks the process that tries a device out, and takes over where it dies.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child as Process, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use vcam_allocator::Fourcc;
use vcam_allocator::probe::{Cell, HeapInfo, ImporterInfo};

use super::{Answer, Offer, Progress, Report, Request, Skipped, Source, unique};
use crate::exit::Error;

/// How often an importer may crash before it is given up. One that hangs gets no second chance:
/// each costs the whole time limit.
const CRASHES: u32 = 3;

/// What a device may leave in order to be put back as it was found.
const FAREWELL: Duration = Duration::from_secs(3);

/// The heaps of this machine, usable or not.
///
/// Where a driver behind one of them takes the process with it that opens them all, every heap that
/// there may be is tried, each where it is needed.
pub(super) fn heaps(limit: Duration) -> Result<Vec<HeapInfo>, Error> {
    let mut child = Child::spawn(&Source::Heaps)?;
    Ok(match child.answer(limit) {
        Ok(Answer::Heaps(heaps)) => heaps,
        _ => {
            let heap = |name: String| HeapInfo {
                kind: name.split(':').next().unwrap_or_default().to_owned(),
                name,
                available: true,
                reason: None,
                fix: None,
            };
            vcam_allocator::heaps::names().into_iter().map(heap).collect()
        }
    })
}

/// Tries out every importer of a source with every heap and format.
pub(super) fn try_out(
    source: &Source,
    limit: Duration,
    report: &mut Report,
    names: &mut BTreeMap<String, u32>,
    progress: &mut Progress,
) -> Result<(), Error> {
    progress.say(&format!("probing {source}"));
    let (child, offers) = match Child::start(source, limit)? {
        Ok(started) => started,
        Err(Stillborn::Failed(reason)) => {
            report.skipped.push(Skipped { source: source.to_string(), reason });
            return Ok(());
        }
        Err(Stillborn::Died(death)) => {
            for mut info in source.suspects() {
                info.name = unique(names, &info.name);
                died_before(report, info, &death);
            }
            return Ok(());
        }
    };
    let mut child = Some(child);
    for (index, offer) in offers.into_iter().enumerate() {
        let Offer { mut info, formats } = offer;
        info.name = unique(names, &info.name);
        let mut patience = CRASHES;
        for heap in usable(report) {
            for format in &formats {
                progress.say(&format!("probing {} with {heap}, {format}", info.name));
                let mut cell = Cell::unknown(
                    &heap,
                    &info.name,
                    *format,
                    None,
                    "not tried, since the driver had crashed or hung before".to_owned(),
                );
                if let Some(asked) = child.as_mut().filter(|_| patience > 0) {
                    let request = Request { importer: index, heap: heap.clone(), format: *format };
                    match asked.ask(&request, limit) {
                        Ok(answer) => cell = Cell { importer: info.name.clone(), ..answer },
                        Err(Death { step, why, hung }) => {
                            patience = if hung { 0 } else { patience - 1 };
                            let step = step.as_deref();
                            cell = Cell::unknown(&heap, &info.name, *format, step, why);
                            cell.crashed = true;
                            child = Child::start(source, limit)?.ok().map(|(child, _)| child);
                        }
                    }
                }
                report.cells.push(cell);
            }
        }
        report.importers.push(info);
    }
    Ok(())
}

/// The heaps that there are buffers from.
fn usable(report: &Report) -> Vec<String> {
    let heaps = report.heaps.iter().filter(|heap| heap.available);
    heaps.map(|heap| heap.name.clone()).collect()
}

/// Notes for every heap that the driver does not even start, with the format that matters most.
fn died_before(report: &mut Report, info: ImporterInfo, death: &Death) {
    for heap in usable(report) {
        let step = death.step.as_deref().or(Some("open"));
        let why = death.why.clone();
        let cell = Cell::unknown(&heap, &info.name, Fourcc::XRGB8888, step, why);
        report.cells.push(Cell { crashed: true, ..cell });
    }
    report.importers.push(info);
}

/// Why there is no process that could be asked.
enum Stillborn {
    /// It said why there is nothing to ask.
    Failed(String),
    /// It did not live to say so.
    Died(Death),
}

/// How a process came to its end while it owed an answer.
struct Death {
    /// The last step that it spoke of.
    step: Option<String>,
    why: String,
    hung: bool,
}

/// A process that waits for requests, and what it has to offer.
type Started = Result<(Child, Vec<Offer>), Stillborn>;

/// A process that tries a device out.
struct Child {
    process: Process,
    /// Taken away in the end.
    requests: Option<ChildStdin>,
    answers: Receiver<Answer>,
    /// What it and its drivers print on the standard error.
    words: Option<File>,
}

impl Child {
    /// Starts it, and has it tell what there is to try.
    fn start(source: &Source, limit: Duration) -> Result<Started, Error> {
        let mut child = Self::spawn(source)?;
        Ok(match child.answer(limit) {
            Ok(Answer::Offers(offers)) => Ok((child, offers)),
            Ok(Answer::Failed(reason)) => Err(Stillborn::Failed(reason)),
            Ok(_) => Err(Stillborn::Failed("it does not say what there is to try".to_owned())),
            Err(death) => Err(Stillborn::Died(death)),
        })
    }

    fn spawn(source: &Source) -> Result<Self, Error> {
        let program = std::env::current_exe().map_err(Error::Probe)?;
        let mut command = Command::new(program);
        command.arg("probe-importers").arg(source.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // Drivers talk a lot, and last of all about why they die.
        let mut words = None;
        if std::env::var_os("VCAM_LOG").is_none()
            && let Ok(memory) = memfd_create("vcam-probe-stderr", MemfdFlags::CLOEXEC)
        {
            let memory = File::from(memory);
            command.stderr(memory.try_clone().map_err(Error::Probe)?);
            words = Some(memory);
        }
        let mut process = command.spawn().map_err(Error::Probe)?;
        let (Some(requests), Some(from)) = (process.stdin.take(), process.stdout.take()) else {
            unreachable!("both are pipes");
        };
        let (to, answers) = channel();
        std::thread::Builder::new()
            .name("probe".into())
            .spawn(move || {
                for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                    // What is no answer was printed by a driver.
                    let Ok(answer) = serde_json::from_slice(&line) else { continue };
                    if to.send(answer).is_err() {
                        break;
                    }
                }
            })
            .map_err(Error::Probe)?;
        Ok(Self { process, requests: Some(requests), answers, words })
    }

    /// Has it fill a cell.
    fn ask(&mut self, request: &Request, limit: Duration) -> Result<Cell, Death> {
        if let (Some(to), Ok(mut line)) = (&mut self.requests, serde_json::to_vec(request)) {
            line.push(b'\n');
            // If it is gone already, the wait for its answer says how.
            let _ = to.write_all(&line);
        }
        match self.answer(limit)? {
            Answer::Cell(cell) => Ok(cell),
            _ => Err(self.death(None, false)),
        }
    }

    /// The next answer that is more than a step.
    fn answer(&mut self, limit: Duration) -> Result<Answer, Death> {
        let deadline = Instant::now() + limit;
        let mut step = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(left) {
                Ok(Answer::Step(next)) => step = Some(next),
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Timeout) => {
                    let why = format!("no answer after {} s", limit.as_secs_f32());
                    return Err(Death { step, why, hung: true });
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.death(step, false)),
            }
        }
    }

    /// How it died, now that it has closed its output.
    fn death(&mut self, step: Option<String>, hung: bool) -> Death {
        let mut why = match self.reap(FAREWELL) {
            Some(status) => ended(status),
            None => "the process stopped answering".to_owned(),
        };
        if let Some(words) = self.last_words() {
            why.push_str(&format!(" ({words})"));
        }
        Death { step, why, hung }
    }

    /// Its last line on the standard error.
    fn last_words(&mut self) -> Option<String> {
        const MOST: usize = 200;
        let file = self.words.as_mut()?;
        let mut text = Vec::new();
        file.rewind().ok()?;
        file.take(1 << 20).read_to_end(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
        Some(line.chars().filter(|letter| !letter.is_control()).take(MOST).collect())
    }

    /// Waits for its end, for no longer than the limit.
    fn reap(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            match self.process.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                _ => return None,
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The end of its input is the end of its work; it puts back what it changed.
        self.requests = None;
        if self.reap(FAREWELL).is_none() {
            let _ = self.process.kill();
            // One that hangs in the kernel does not even die of this; it is left behind.
            self.reap(FAREWELL);
        }
    }
}

fn ended(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => match signal_hook::low_level::signal_name(signal) {
            Some(name) => format!("the driver crashed: {name}"),
            None => format!("the driver crashed: signal {signal}"),
        },
        (None, Some(code)) => format!("the driver ended the process, with status {code}"),
        (None, None) => "the process ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_named_by_its_signal() {
        assert_eq!(ended(ExitStatus::from_raw(6)), "the driver crashed: SIGABRT");
        assert_eq!(ended(ExitStatus::from_raw(11)), "the driver crashed: SIGSEGV");
        assert!(ended(ExitStatus::from_raw(1 << 8)).contains("status 1"));
    }
}
