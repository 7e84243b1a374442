//! The `vcam` command: arguments, wiring, reports.

mod cli;
mod count;
mod exit;
mod hint;
mod list;
mod probe;
mod report;
mod run;
mod status;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;
use vcam_pipeline::chain;

use crate::cli::{Cli, Command};

#[global_allocator]
static HEAP: count::Counting = count::Counting;

fn main() -> ExitCode {
    quiet_egl();
    // clap itself ends with 2 on bad usage, and with 0 after --help.
    let cli = Cli::parse();
    let display = match &cli.command {
        Some(Command::Plan(args)) => &args.display,
        Some(Command::List { .. } | Command::Probe { .. } | Command::ProbeImporters { .. }) => {
            &None
        }
        None => &cli.run.display,
    };
    if display.is_some() {
        name_seat_manager();
    }
    let filter = EnvFilter::try_from_env("VCAM_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .init();
    let result = match cli.command {
        Some(Command::Plan(args)) => run::plan(&args),
        Some(Command::List { json }) => list::list(json),
        Some(Command::Probe { json, limit }) => probe::probe(json, limit.0),
        Some(Command::ProbeImporters { source }) => probe::serve(&source),
        None => run::run(&cli.run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vcam: {}", chain(&error));
            error.exit_code()
        }
    }
}

/// Mesa warns on the standard error for each GPU that it tries and passes over; what became of it
/// is in our report.
fn quiet_egl() {
    const LEVEL: &str = "EGL_LOG_LEVEL";
    if std::env::var_os(LEVEL).is_none() {
        // SAFETY: the process has one thread yet, so nobody reads the environment meanwhile.
        unsafe { std::env::set_var(LEVEL, "fatal") };
    }
}

/// Displays go through the seat where there is one; libseat takes its manager's name from here.
fn name_seat_manager() {
    const BACKEND: &str = "LIBSEAT_BACKEND";
    if std::env::var_os(BACKEND).is_none()
        && let Some(manager) = vcam_sinks::seat_manager()
    {
        // SAFETY: the process has one thread yet, so nobody reads the environment meanwhile.
        unsafe { std::env::set_var(BACKEND, manager) };
    }
}
