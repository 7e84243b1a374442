//! A run: arguments, settings, devices, frames, report.

use vcam_pipeline::{Config, Prepared, SyscallCount};
use vcam_sinks::Cards;

use crate::args::{Output, RunArgs};
use crate::exit::Error;
use crate::open::{DisplayCapture, Opened, open};
use crate::report::Report;
use crate::settings::{RunSettings, check_reader};
use crate::signals::RunControl;
use crate::status::StatusLine;
use crate::{count, knowledge, print};

/// Runs the camera and prints its report, also if the run fails.
pub(crate) fn run(args: &RunArgs) -> Result<(), Error> {
    let mut report = Report::new();
    let result = make_frames(args, &mut report);
    report.error = result.as_ref().err().map(print::error);
    let printed = match (args.json, report.frames.completed) {
        (true, _) => print::json(&report),
        (false, 0) => Ok(()),
        (false, _) if args.output.contains(&Output::Stdout) => {
            print::text_to_stderr(&print::Ran(&report))
        }
        (false, _) => print::text(&print::Ran(&report)),
    };
    result.and(printed)
}

/// Prints what a run would do and why, and shows nothing.
pub(crate) fn preview(args: &RunArgs) -> Result<(), Error> {
    let mut report = Report::new();
    let prepared = prepare(args, &RunControl::default(), None, &mut report);
    let is_prepared = prepared.is_ok();
    let result = prepared.and_then(|prepared| Ok(prepared.run.check_copies()?));
    report.error = result.as_ref().err().map(print::error);
    let printed = match (args.json, is_prepared) {
        (true, _) => print::json(&report),
        (false, true) => print::text(&print::WouldRun(&report)),
        (false, false) => Ok(()),
    };
    result.and(printed)
}

fn make_frames(args: &RunArgs, report: &mut Report) -> Result<(), Error> {
    check_reader(args)?;
    // Before there are threads that it would not count.
    let syscalls = count::syscalls().map(SyscallCount::new);
    // Before anything is touched that would have to be put back.
    let control = RunControl::default();
    let signals = control.heed_signals()?;
    let PreparedRun { run, capture, draws_on_terminal } =
        prepare(args, &control, syscalls, report)?;
    let run = run.start()?;
    let status = match draws_on_terminal {
        // Pictures are where the line would be.
        true => None,
        false => StatusLine::start(run.progress())?,
    };
    let (outcome, result) = run.wait();
    drop(status);
    signals.close();
    report.note_outcome(outcome);
    result?;
    capture.map_or(Ok(()), |capture| capture.save())
}

/// A run before its first frame.
struct PreparedRun {
    run: Prepared,
    capture: Option<DisplayCapture>,
    draws_on_terminal: bool,
}

/// Does everything that comes before the first frame, and notes what is known by then.
fn prepare(
    args: &RunArgs,
    control: &RunControl,
    syscalls: Option<SyscallCount>,
    report: &mut Report,
) -> Result<PreparedRun, Error> {
    let cards = Cards::through_seat();
    let settings = RunSettings::resolve(args, &cards)?;
    report.note_settings(&settings);
    let opened = open(&settings, &cards, control)?;
    report.outputs = opened.descriptions;
    let unusable = opened.unusable.iter().map(|heap| (&*heap.name, print::heap_error(&heap.error)));
    report.note_unusable(unusable);
    let draws_on_terminal = settings.draw_on_terminal();
    let config = config(settings, control, syscalls);
    let Opened { heaps, sinks, capture, .. } = opened;
    let run = Prepared::new(config, heaps, sinks)?;
    run.hints().for_each(print::log_hint);
    report.note_prepared(&run);
    Ok(PreparedRun { run, capture, draws_on_terminal })
}

/// The settings as the pipeline takes them.
fn config(settings: RunSettings, control: &RunControl, syscalls: Option<SyscallCount>) -> Config {
    Config::new(settings.format)
        .copies(settings.copies())
        .heap_order(settings.heap_order())
        .sensor(settings.sensor)
        .view(settings.view)
        .controls(settings.controls)
        .period(settings.period)
        .stop(control.stop.clone())
        .pause(control.pause.clone())
        .frames(settings.frames)
        .isp(settings.isp)
        .knowledge(knowledge::open(settings.fresh))
        .heap_allocs(count::heap_allocs)
        .syscalls(syscalls)
}
