//! `cargo xtask test`: the unit tests on this machine, the integration tests in
//! the lab's machines, and one line on each at the end.
//!
//! The selection is complete before a machine boots: programs are selected by their names in
//! `Cargo.toml`, and tests by what a program, built for the machine, lists on the host.

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::build::executables;
use crate::check::stanzas;
use crate::host::{self, Purpose};
use crate::lab::{self, Job, Kind, Lab, Output, list};
use crate::process::{self, End};
use crate::programs::{self, Manifest, Program, Selected};
use crate::progress::note;
use crate::workspace::Workspace;

/// A place in which tests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Place {
    /// The unit tests and `tests/host/`, on this machine.
    Host,
    /// `tests/uml/`, in the uml machine.
    Uml,
    /// `tests/qemu/`, in the qemu machine.
    Qemu,
}

impl Place {
    /// The place whose tests are in this folder of `tests/`.
    pub(crate) fn of(folder: &str) -> Option<Self> {
        Self::value_variants().iter().copied().find(|place| place.folder() == folder)
    }

    /// The folder of its tests in `tests/`.
    fn folder(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Uml => "uml",
            Self::Qemu => "qemu",
        }
    }

    /// The machine, if it is not this one.
    fn machine(self) -> Option<Kind> {
        match self {
            Self::Host => None,
            Self::Uml => Some(Kind::Uml),
            Self::Qemu => Some(Kind::Qemu),
        }
    }
}

/// A selection of tests.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The places; all if empty.
    pub(crate) places: Vec<Place>,
    /// Programs and parts of them, `PROGRAM` or `PROGRAM::TEST`; all if empty.
    pub(crate) names: Vec<String>,
    /// Arguments for the test programs: filters and the like.
    pub(crate) arguments: Vec<String>,
    /// The limit for the tests of one place.
    pub(crate) limit: Duration,
}

/// Runs the plan; the exit status.
pub(crate) fn test(workspace: &Workspace, plan: &Plan) -> Result<i32> {
    let lost = stanzas::findings(&workspace.root)?;
    if !lost.is_empty() {
        bail!("some tests would not run:\n{}", lost.join("\n"));
    }
    let asked = if plan.places.is_empty() { Place::value_variants() } else { &plan.places };
    let manifest = Manifest::read(&workspace.root)?;
    let selected = programs::select(&manifest.programs, asked, &plan.names)?;
    let is_named = |place: &Place| selected.iter().any(|one| one.program.place() == Some(*place));
    let places: Vec<Place> =
        asked.iter().copied().filter(|place| plan.names.is_empty() || is_named(place)).collect();
    let kinds: Vec<Kind> = places.iter().filter_map(|place| place.machine()).collect();
    // All at once, so that a user who must install by hand does it once.
    let mut needs = if kinds.is_empty() { Vec::new() } else { lab::purposes(&kinds).to_vec() };
    if places.contains(&Place::Host) {
        needs.push(Purpose::Test);
    }
    host::provide(workspace, &needs)?;
    // First, since a package may be missing for it.
    let machines = if kinds.is_empty() { None } else { Some(Lab::set_up(workspace, &kinds)?) };
    let (here, there): (Vec<Place>, Vec<Place>) =
        places.iter().partition(|place| place.machine().is_none());
    let (outside, inside): (Vec<Selected>, Vec<Selected>) =
        selected.into_iter().partition(|one| one.program.place() == Some(Place::Host));
    let programs = match plan.names.is_empty() {
        // The host's tests run even if those of the machines cannot be built.
        true => build(workspace, inside, FOR_MACHINES).and_then(|built| narrow(plan, built)),
        false => {
            let mut built = build(workspace, outside, &[])?;
            built.extend(build(workspace, inside, FOR_MACHINES)?);
            Ok(narrow(plan, built)?)
        }
    };
    let tests =
        Tests { workspace, plan, lab: machines.as_ref(), programs, several: there.len() > 1 };
    let run = |place: Place| report(place, || tests.of(place));
    let mut reports: Vec<_> = here.into_iter().map(run).collect();
    if !process::interrupted() {
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

/// The result of the tests of a place.
struct Report {
    line: String,
    passed: bool,
    /// The number of tests that passed; where that is not counted, 1 for all of them.
    ran: u32,
}

/// Runs the tests of a place, which say how many passed if they count them.
fn report(place: Place, tests: impl FnOnce() -> Result<Option<u32>>) -> Report {
    let begun = Instant::now();
    let result = tests();
    let name = place.folder();
    let seconds = begun.elapsed().as_secs();
    let (line, passed, ran) = match result {
        Ok(None) => (format!("passed in {seconds} s"), true, 1),
        Ok(Some(0)) => ("has no such test".to_owned(), true, 0),
        Ok(Some(tests)) => (format!("passed {tests} tests in {seconds} s"), true, tests),
        Err(error) => (format!("FAILED in {seconds} s: {error:#}"), false, 0),
    };
    Report { line: format!("{name:5} {line}"), passed, ran }
}

/// Cargo's arguments to build for a machine.
const FOR_MACHINES: &[&str] = &["--release", "--features", "lab"];

/// A test program that is built.
#[derive(Debug)]
struct Built {
    program: Program,
    /// Parts of names of tests; without one, every test is meant.
    filters: Vec<String>,
    file: PathBuf,
}

/// Builds these programs and no others.
fn build(workspace: &Workspace, selected: Vec<Selected>, how: &[&str]) -> Result<Vec<Built>> {
    if selected.is_empty() {
        return Ok(Vec::new());
    }
    note("builds the tests");
    if selected.iter().any(|one| one.program.runs_examples()) {
        // `cargo test --examples` would make test programs of them.
        executables(workspace, &[&["build", "--examples"], how].concat())?;
    }
    let mut arguments = [&["test", "--no-run"], how].concat();
    for one in &selected {
        arguments.extend(["--test", &one.program.name]);
    }
    let mut files: HashMap<String, PathBuf> = executables(workspace, &arguments)?;
    let built = |Selected { program, filters }: Selected| {
        let file = files.remove(&program.name);
        let file = file.with_context(|| format!("cargo built no test {}", program.name))?;
        Ok(Built { program, filters, file })
    };
    selected.into_iter().map(built).collect()
}

/// Leaves the programs that have tests of the names that are asked for.
fn narrow(plan: &Plan, programs: Vec<Built>) -> Result<Vec<Built>> {
    for name in &plan.names {
        let Some((wanted, test)) = name.split_once("::") else { continue };
        let mut known = Vec::new();
        for one in programs.iter().filter(|one| one.program.is(wanted)) {
            known.extend(one.tests(&[])?);
        }
        if !known.iter().any(|known| known.contains(test)) {
            bail!("no test of `{wanted}` is named `{test}`{}", programs::nearest(test, &known));
        }
    }
    let (mut left, mut known) = (Vec::new(), Vec::new());
    for one in programs {
        let arguments = one.arguments(plan);
        if arguments.is_empty() || !one.tests(&arguments)?.is_empty() {
            left.push(one);
        } else {
            known.extend(one.tests(&[])?);
        }
    }
    if left.is_empty() && !known.is_empty() {
        let wanted = plan.arguments.join(" ");
        // It may still be the name of a unit test of the host; those are not listed.
        note(&format!("no test in a machine for `{wanted}`{}", programs::nearest(&wanted, &known)));
    }
    Ok(left)
}

impl Built {
    /// The arguments that say which of its tests are meant.
    fn arguments(&self, plan: &Plan) -> Vec<String> {
        plan.arguments.iter().chain(&self.filters).cloned().collect()
    }

    /// The names of the tests that it would run with these arguments.
    fn tests(&self, arguments: &[String]) -> Result<Vec<String>> {
        let name = &self.program.name;
        let output = Command::new(&self.file)
            .args(arguments)
            .arg("--list")
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {name}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{name} does not list its tests: {}", said.trim());
        }
        let listed = String::from_utf8_lossy(&output.stdout);
        Ok(listed
            .lines()
            .filter_map(|line| line.strip_suffix(": test"))
            .map(str::to_owned)
            .collect())
    }
}

/// A plan, and the lab and programs that it needs.
struct Tests<'a> {
    workspace: &'a Workspace,
    plan: &'a Plan,
    lab: Option<&'a Lab>,
    /// Those of the machines, and those of the host if they are named.
    programs: Result<Vec<Built>>,
    /// True if machines run at the same time: then a program's output is shown when it has ended.
    several: bool,
}

impl Tests<'_> {
    /// The tests of a place, which say how many passed if they count them.
    fn of(&self, place: Place) -> Result<Option<u32>> {
        match (place.machine(), self.plan.names.is_empty()) {
            (None, true) => self.on_host(),
            (None, false) => self.programs_on_host().map(Some),
            (Some(kind), _) => self.in_machine(place, kind).map(Some),
        }
    }

    /// The programs of a place, in the order of their names.
    fn mine(&self, place: Place) -> Result<Vec<&Built>> {
        let programs = match &self.programs {
            Ok(programs) => programs,
            Err(error) => bail!("not run: {error:#}"),
        };
        let mut mine: Vec<_> =
            programs.iter().filter(|one| one.program.place() == Some(place)).collect();
        mine.sort_by_key(|one| &one.program.name);
        Ok(mine)
    }

    /// The unit tests of all crates, and the programs in `tests/host/`.
    fn on_host(&self) -> Result<Option<u32>> {
        note("tests on this machine");
        let mut cargo = self.workspace.cargo();
        cargo.args(["test", "--workspace"]);
        if !self.plan.arguments.is_empty() {
            cargo.arg("--").args(&self.plan.arguments);
        }
        self.run_here(cargo, "cargo test --workspace")?;
        Ok(None)
    }

    /// Runs the programs of `tests/host/` that are named; returns the number of their tests.
    fn programs_on_host(&self) -> Result<u32> {
        let mut passed = 0;
        for one in self.mine(Place::Host)? {
            let arguments = one.arguments(self.plan);
            note(&format!("{} on this machine", one.program.name));
            let mut command = Command::new(&one.file);
            command.args(&arguments).current_dir(&self.workspace.root);
            self.run_here(command, &one.program.name)?;
            passed += one.tests(&arguments)?.len() as u32;
        }
        Ok(passed)
    }

    /// Runs a command on this machine, which must end well.
    fn run_here(&self, mut command: Command, name: &str) -> Result<()> {
        process::own_group(&mut command);
        let child = command.stdin(Stdio::null()).spawn();
        let mut child = child.with_context(|| format!("cannot run `{name}`"))?;
        match process::supervise(&mut child, Some(self.plan.limit), || ())? {
            End::Exited(status) if status.success() => Ok(()),
            End::Exited(_) => bail!("`{name}` failed"),
            End::TimedOut => bail!("no end after {} s", self.plan.limit.as_secs()),
            End::Interrupted | End::OutputClosed => bail!("interrupted"),
        }
    }

    /// Runs the test programs of a machine one by one; returns the number of tests that passed.
    fn in_machine(&self, place: Place, kind: Kind) -> Result<u32> {
        let mut passed = 0;
        for one in self.mine(place)? {
            let name = &one.program.name;
            let begun = Instant::now();
            note(&format!("{name} in the {kind} machine"));
            passed += self.run_inside(kind, one).with_context(|| format!("in {name}"))?;
            if self.several {
                note(&format!("{name}: done in {} s", begun.elapsed().as_secs()));
            }
        }
        Ok(passed)
    }

    /// Runs one test program; returns the number of tests that passed.
    ///
    /// Its machine is booted with the arguments of the test's `.cmdline` file, if it has one.
    fn run_inside(&self, kind: Kind, one: &Built) -> Result<u32> {
        let Self { workspace, plan, .. } = self;
        let name = &one.program.name;
        let cmdline = workspace.root.join(one.program.cmdline());
        let kernel = match fs::read_to_string(&cmdline) {
            Ok(text) => list(&text).collect::<Vec<_>>().join(" "),
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", cmdline.display()));
            }
        };
        let arguments = one.arguments(plan);
        let narrowed = !arguments.is_empty();
        let mut command = vec![one.file.display().to_string(), "--test-threads=1".to_owned()];
        command.extend(arguments);
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
        let outcome = self.lab.context("no machine was made")?.run(kind, &job)?;
        let text = String::from_utf8_lossy(&outcome.stdout);
        match verdict(outcome.status, &text, narrowed) {
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

/// The end of the line of a test that another one runs, in a process of its own.
const PART: &str = "... ignored, a part of another test";

/// Judges a test program by its status *and* by its own count of tests: a program
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
