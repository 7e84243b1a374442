//! `cargo xtask test`: the unit tests on this machine, the integration tests in
//! the lab's machines, and one line on each at the end.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::build::executables;
use crate::host;
use crate::lab::{self, Job, Kind, Lab, Output, list};
use crate::process::{self, End};
use crate::progress::note;
use crate::workspace::Workspace;

/// Where tests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Place {
    /// The unit tests, on this machine.
    Host,
    /// `tests/lab_uml*.rs`, in the uml machine.
    Uml,
    /// `tests/lab_qemu*.rs`, in the qemu machine.
    Qemu,
}

impl Place {
    /// The machine, and how the names of its integration tests start.
    fn machine(self) -> Option<(Kind, &'static str)> {
        match self {
            Self::Host => None,
            Self::Uml => Some((Kind::Uml, "lab_uml")),
            Self::Qemu => Some((Kind::Qemu, "lab_qemu")),
        }
    }
}

/// What to test.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Where; everywhere if empty.
    pub(crate) places: Vec<Place>,
    /// Arguments for the test programs: filters and the like.
    pub(crate) arguments: Vec<String>,
    /// The limit for the tests of one place.
    pub(crate) limit: Duration,
}

/// Runs the plan; the exit status.
pub(crate) fn test(workspace: &Workspace, plan: &Plan) -> Result<i32> {
    let places = if plan.places.is_empty() { Place::value_variants() } else { &plan.places };
    let kinds: Vec<Kind> =
        places.iter().filter_map(|place| place.machine()).map(|(kind, _)| kind).collect();
    // All at once, so that whoever must install by hand does it once.
    let needs = if kinds.is_empty() { &[] } else { lab::purposes(&kinds) };
    host::provide(workspace, needs)?;
    // First, since it is what may lack something.
    let machines = if kinds.is_empty() { None } else { Some(Lab::set_up(workspace, &kinds)?) };
    let (here, there): (Vec<Place>, Vec<Place>) =
        places.iter().partition(|place| place.machine().is_none());
    let mut reports: Vec<_> =
        here.into_iter().map(|place| report(place, || on_host(workspace, plan))).collect();
    if let Some(lab) = &machines
        && !process::interrupted()
    {
        let programs = build(workspace, &there);
        let machines = Machines { workspace, plan, lab, programs, several: there.len() > 1 };
        let run = |place: Place| report(place, || machines.test(place));
        // At once: uml has one processor, and qemu waits for its screens.
        reports.extend(thread::scope(|scope| {
            let running: Vec<_> = there.iter().map(|place| scope.spawn(|| run(*place))).collect();
            let joined = running.into_iter().map(ScopedJoinHandle::join);
            joined
                .map(|report| report.unwrap_or_else(|panic| resume_unwind(panic)))
                .collect::<Vec<_>>()
        }));
    }
    if process::interrupted() {
        bail!("interrupted");
    }
    let ran: u32 = reports.iter().map(|report| report.ran).sum();
    let mut passed = reports.iter().all(|report| report.passed);
    let mut lines: Vec<_> = reports.into_iter().map(|report| report.line).collect();
    if ran == 0 && passed {
        passed = false;
        lines.push("no test ran".to_owned());
    }
    println!("\n{}", lines.join("\n"));
    Ok(i32::from(!passed))
}

/// What came of the tests of a place.
struct Report {
    line: String,
    passed: bool,
    /// How many tests passed; where that is not counted, 1 for all of them.
    ran: u32,
}

/// Runs the tests of a place, which say how many passed if they count them.
fn report(place: Place, tests: impl FnOnce() -> Result<Option<u32>>) -> Report {
    let begun = Instant::now();
    let result = tests();
    let name = format!("{place:?}").to_lowercase();
    let seconds = begun.elapsed().as_secs();
    let (line, passed, ran) = match result {
        Ok(None) => (format!("passed in {seconds} s"), true, 1),
        Ok(Some(0)) => ("has no such test".to_owned(), true, 0),
        Ok(Some(tests)) => (format!("passed {tests} tests in {seconds} s"), true, tests),
        Err(error) => (format!("FAILED in {seconds} s: {error:#}"), false, 0),
    };
    Report { line: format!("{name:5} {line}"), passed, ran }
}

/// The unit tests of all crates.
fn on_host(workspace: &Workspace, plan: &Plan) -> Result<Option<u32>> {
    note("tests on this machine");
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--workspace"]);
    if !plan.arguments.is_empty() {
        cargo.arg("--").args(&plan.arguments);
    }
    process::own_group(&mut cargo);
    let mut child = cargo.stdin(Stdio::null()).spawn().context("cannot run cargo")?;
    match process::supervise(&mut child, Some(plan.limit), || ())? {
        End::Exited(status) if status.success() => Ok(None),
        End::Exited(_) => bail!("`cargo test --workspace` failed"),
        End::TimedOut => bail!("no end after {} s", plan.limit.as_secs()),
        End::Interrupted | End::OutputClosed => bail!("interrupted"),
    }
}

/// The machines' test programs, by the name of their test.
fn build(workspace: &Workspace, places: &[Place]) -> Result<HashMap<String, PathBuf>> {
    note("builds the tests for the machines");
    // Tests run examples, too; `cargo test --examples` would make test programs of them.
    let features = ["--release", "--features", "lab"];
    let examples: Vec<_> = ["build", "--examples"].into_iter().chain(features).collect();
    executables(workspace, &examples)?;
    let mut arguments: Vec<_> = ["test", "--no-run"].into_iter().chain(features).collect();
    let globs: Vec<_> = places
        .iter()
        .filter_map(|place| place.machine())
        .map(|(_, prefix)| format!("{prefix}*"))
        .collect();
    for glob in &globs {
        arguments.extend(["--test", glob]);
    }
    executables(workspace, &arguments)
}

/// What the tests in machines need.
struct Machines<'a> {
    workspace: &'a Workspace,
    plan: &'a Plan,
    lab: &'a Lab,
    programs: Result<HashMap<String, PathBuf>>,
    /// Whether machines run side by side: then a program's output is shown when it has ended.
    several: bool,
}

impl Machines<'_> {
    /// The test programs of a machine, one after the other; how many tests passed.
    fn test(&self, place: Place) -> Result<Option<u32>> {
        let (kind, prefix) = place.machine().context("the host is no machine")?;
        let programs = match &self.programs {
            Ok(programs) => programs,
            Err(error) => bail!("not run: {error:#}"),
        };
        let mut mine: Vec<_> =
            programs.iter().filter(|(name, _)| name.starts_with(prefix)).collect();
        mine.sort();
        if mine.is_empty() {
            bail!("cargo built no test {prefix}");
        }
        let mut passed = 0;
        for (name, program) in mine {
            let begun = Instant::now();
            note(&format!("{name} in the {kind} machine"));
            passed += self.run(kind, name, program).with_context(|| format!("in {name}"))?;
            if self.several {
                note(&format!("{name}: done in {} s", begun.elapsed().as_secs()));
            }
        }
        Ok(Some(passed))
    }

    /// One test program; how many tests passed.
    ///
    /// Its machine is booted with the words of the file `NAME.cmdline` beside the test, if there is
    /// one.
    fn run(&self, kind: Kind, name: &str, program: &Path) -> Result<u32> {
        let Self { workspace, plan, .. } = self;
        let cmdline = workspace.root.join("tests").join(format!("{name}.cmdline"));
        let kernel = match fs::read_to_string(&cmdline) {
            Ok(text) => list(&text).collect::<Vec<_>>().join(" "),
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", cmdline.display()));
            }
        };
        let mut command = vec![program.display().to_string(), "--test-threads=1".to_owned()];
        command.extend(plan.arguments.iter().cloned());
        let environment = std::env::vars()
            .filter(|(name, _)| name == "RUST_BACKTRACE" || name == "RUST_LOG")
            .collect();
        let output = match self.several {
            false => Output::Shown,
            true => Output::InOnePiece(format!("{name} in the {kind} machine")),
        };
        let job = Job {
            command,
            folder: workspace.root.clone(),
            out: workspace.target.join("lab/out").join(kind.to_string()),
            environment,
            kernel,
            limit: plan.limit,
            output,
            programs: Vec::new(),
        };
        let outcome = self.lab.run(kind, &job)?;
        let text = String::from_utf8_lossy(&outcome.stdout);
        match verdict(outcome.status, &text, !plan.arguments.is_empty()) {
            Ok(passed) => Ok(passed),
            Err(error) => bail!("{error}; the console's log is {}", outcome.console.display()),
        }
    }
}

/// Counts in a test program's last line.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u32,
    failed: u32,
    ignored: u32,
}

/// What the line of a test ends with that another one runs, in a process of its own.
const PART: &str = "... ignored, a part of another test";

/// Judges a test program by its status *and* by what it says it ran: a program
/// that ran nothing, or left tests out, has proven nothing.
fn verdict(status: i32, output: &str, narrowed: bool) -> Result<u32> {
    let counts = counts(output);
    let parts = output.lines().filter(|line| line.ends_with(PART)).count() as u32;
    match (status, counts) {
        (0, Some(Counts { passed, failed: 0, ignored })) => {
            if passed == 0 && !narrowed {
                bail!("no test ran");
            }
            if ignored > parts && !narrowed {
                let ignored = ignored - parts;
                bail!("{ignored} tests were ignored, and none may be");
            }
            Ok(passed)
        }
        (_, Some(Counts { failed, passed, .. })) if failed > 0 => {
            bail!("{failed} of {} tests failed", failed + passed)
        }
        (0, _) => bail!("the test program printed no result"),
        (status, _) => bail!("the test program ended with status {status}"),
    }
}

/// Reads `test result: ok. 3 passed; 0 failed; 0 ignored; …`.
fn counts(output: &str) -> Option<Counts> {
    let line = output.lines().rev().find_map(|line| line.trim().strip_prefix("test result: "))?;
    let mut counts = Counts::default();
    let (_, parts) = line.split_once(". ")?;
    for part in parts.split(';') {
        match part.trim().split_once(' ') {
            Some((number, "passed")) => counts.passed = number.parse().ok()?,
            Some((number, "failed")) => counts.failed = number.parse().ok()?,
            Some((number, "ignored")) => counts.ignored = number.parse().ok()?,
            _ => {}
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(passed: u32, failed: u32, ignored: u32) -> String {
        let word = if failed == 0 { "ok" } else { "FAILED" };
        format!(
            "running 9 tests\ntest result: {word}. {passed} passed; {failed} failed; {ignored} \
             ignored; 0 measured; 0 filtered out; finished in 0.10s\n\n"
        )
    }

    #[test]
    fn a_result_line_is_read() {
        assert_eq!(counts(&result(3, 1, 2)), Some(Counts { passed: 3, failed: 1, ignored: 2 }));
        assert_eq!(counts("nothing"), None);
    }

    #[test]
    fn only_tests_that_ran_count() {
        assert_eq!(verdict(0, &result(3, 0, 0), false).unwrap(), 3);
        assert!(verdict(0, &result(0, 0, 0), false).is_err());
        assert!(verdict(0, &result(3, 0, 1), false).is_err());
        let part = format!("test peer ... ignored, a part of another test\n{}", result(3, 0, 1));
        assert_eq!(verdict(0, &part, false).unwrap(), 3);
        assert!(verdict(0, &part.replace("1 ignored", "2 ignored"), false).is_err());
        assert!(verdict(0, "", false).is_err());
        assert!(verdict(0, "", true).is_err());
        assert!(verdict(101, &result(3, 1, 0), false).is_err());
        assert!(verdict(124, &result(3, 0, 0), false).is_err());
        assert_eq!(verdict(0, &result(0, 0, 0), true).unwrap(), 0);
    }
}
