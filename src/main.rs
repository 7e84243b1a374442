//! The `vcam` command, in a straight line: [`args`] as they are typed, [`settings`] as they are
//! meant, [`open`] the devices, [`run`], [`print`].

mod args;
mod count;
mod exit;
mod knowledge;
mod list;
mod open;
mod print;
mod probe;
mod report;
mod run;
mod settings;
mod signals;
mod status;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, Command};
use crate::open::environment;

#[global_allocator]
static HEAP: count::Counting = count::Counting;

fn main() -> ExitCode {
    // clap itself ends with 2 on bad usage, and with 0 after --help.
    let args = Args::parse();
    // SAFETY: the process has one thread yet.
    unsafe {
        environment::quiet_egl();
        if args.opens_display() {
            environment::name_seat_manager();
        }
    }
    log_to_stderr();
    let result = match args.command {
        None => run::run(&args.run),
        Some(Command::Plan(run)) => run::preview(&run),
        Some(Command::List { json }) => list::list(json),
        Some(Command::Probe { json, limit }) => probe::probe(json, limit.0),
        Some(Command::ProbeImporters { source }) => probe::serve(&source),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vcam: {}", print::error(&error));
            error.exit_code()
        }
    }
}

/// Sends warnings, or what `VCAM_LOG` names, to the standard error.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("VCAM_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .init();
}
