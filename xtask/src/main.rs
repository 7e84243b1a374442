//! The workspace's own tool: sets up the lab, runs commands, the tests and the
//! demonstration in it. See `lab/README.md`.

mod bench;
mod build;
mod check;
mod demo;
mod deps;
mod fresh;
mod host;
mod lab;
mod process;
mod programs;
mod progress;
mod test;
mod workspace;

use std::fmt;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use crate::fresh::{Extent, Release};
use crate::lab::{Job, Kind, Lab, Output};
use crate::test::{Place, Plan};
use crate::workspace::Workspace;

/// Sets up vcam's lab and runs things in it.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Runs a command in one of the lab's machines, which has this checkout's vcam on its PATH;
    /// without a command, and on a terminal, a shell.
    Lab {
        /// The machine.
        #[arg(long, value_enum, default_value_t = Kind::Uml)]
        machine: Kind,
        /// A folder the command can leave files in [default: target/lab/out].
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Kills the machine after this many seconds [default: 600; a shell has no limit].
        #[arg(long, value_name = "SECS")]
        timeout: Option<u64>,
        /// Sets an environment variable for the command; may be repeated.
        #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
        env: Vec<(String, String)>,
        /// Adds to the kernel's command line, such as parameters of modules.
        #[arg(long, value_name = "WORDS", default_value = "")]
        kernel: String,
        /// Only makes what is missing.
        #[arg(long, conflicts_with = "command")]
        setup_only: bool,
        /// The command and its arguments.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Makes both machines and prints what they are made of.
    Setup,
    /// Runs the unit tests here and the integration tests in both machines.
    Test {
        /// Only there; may be repeated.
        #[arg(long, value_enum, value_name = "PLACE")]
        only: Vec<Place>,
        /// Gives up on the tests of one place after this many seconds.
        #[arg(long, value_name = "SECS", default_value_t = 1800)]
        timeout: u64,
        /// A test program of `tests/` or a folder of them, and a part of its tests' names; may be
        /// repeated.
        #[arg(value_name = "PROGRAM[::TEST]")]
        names: Vec<String>,
        /// Filters and other arguments for the test programs.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Runs vcam with a display, here or in the lab, and keeps the picture.
    Demo,
    /// Looks for shared names, circles of imports and odd words, beyond what the compiler sees.
    Check,
    /// Follows the README on bare trees of Debian 12 and 13, as root, with sudo and without.
    Fresh {
        /// Only this release; may be repeated.
        #[arg(long, value_enum, value_name = "RELEASE")]
        only: Vec<Release>,
        /// Stops after what needs no lab: the build, vcam, and the line that a user without sudo
        /// gets.
        #[arg(long, conflicts_with = "whole")]
        build: bool,
        /// Makes the lab again on each release, instead of showing this machine's.
        #[arg(long)]
        whole: bool,
    },
    /// Checks what the crates depend on, and builds each with each choice of its features.
    Deps {
        /// Brings the table in docs/dependencies.md up to date.
        #[arg(long)]
        write: bool,
    },
    /// Measures what the allocator costs, in the uml machine.
    Bench {
        /// Measures less, and less well: to see whether it works.
        #[arg(long)]
        quick: bool,
        /// Runs only the benchmark of this name, or shows only rows whose names hold this.
        filter: Option<String>,
    },
}

/// The time limit of a command in the lab, unless it is given another.
const LAB_LIMIT: Duration = Duration::from_secs(600);

/// Something that this machine lacks, and how to get it. Exit code 4.
#[derive(Debug)]
struct Lacking(String);

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Lacking {}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(valid)
    {
        return Err(format!("`{name}` cannot name a variable"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match perform(arguments.task) {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(1)),
        Err(error) => {
            if let Some(lacking) = error.downcast_ref::<Lacking>() {
                // The remedy alone, so that it can be copied as it stands.
                eprintln!("{lacking}");
                return ExitCode::from(4);
            }
            eprintln!("xtask: {error:#}");
            ExitCode::from(if process::interrupted() { 130 } else { 1 })
        }
    }
}

fn perform(task: Task) -> Result<i32> {
    process::catch_signals()?;
    let workspace = Workspace::find()?;
    match task {
        Task::Setup => set_up(&workspace),
        Task::Lab { setup_only: true, .. } => set_up(&workspace),
        Task::Lab { machine, out, timeout, env, kernel, command, .. } => {
            if command.is_empty() && !std::io::stdin().is_terminal() {
                bail!("a shell needs a terminal as its input: say a command after `--`");
            }
            let vcam = build::vcam(&workspace)?;
            let mut job = Job {
                command,
                folder: std::env::current_dir()?,
                out: out.unwrap_or_else(|| workspace.target.join("lab/out")),
                environment: env,
                kernel,
                limit: timeout.map_or(LAB_LIMIT, Duration::from_secs),
                output: Output::Shown,
                programs: vcam.parent().map(Path::to_path_buf).into_iter().collect(),
            };
            if job.command.is_empty() {
                job.command = vec!["bash".to_owned()];
                job.output = Output::Terminal;
                job.limit = timeout.map_or(Duration::MAX, Duration::from_secs);
            }
            let outcome = Lab::set_up(&workspace, &[machine])?.run(machine, &job)?;
            Ok(outcome.status)
        }
        Task::Test { only, timeout, names, arguments } => {
            let limit = Duration::from_secs(timeout);
            test::test(&workspace, &Plan { places: only, names, arguments, limit })
        }
        Task::Check => check::check(&workspace),
        Task::Fresh { only, build, whole } => {
            let extent = match (build, whole) {
                (true, _) => Extent::Build,
                (_, true) => Extent::Whole,
                _ => Extent::Usual,
            };
            fresh::fresh(&workspace, &only, extent)
        }
        Task::Deps { write } => deps::deps(&workspace, write),
        Task::Demo => demo::demo(&workspace),
        Task::Bench { filter, quick } => bench::bench(&workspace, filter.as_deref(), quick),
    }
}

fn set_up(workspace: &Workspace) -> Result<i32> {
    let lab = Lab::set_up(workspace, &[Kind::Uml, Kind::Qemu])?;
    println!("{}", lab.versions()?);
    Ok(0)
}
