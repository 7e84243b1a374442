//! Errors in words, each with what the user of the command can do about it.
//!
//! The libraries say what is wrong, in types; which flag, variable or shell command helps is the
//! command's to say.

use rustix::process::{Resource, Rlimit, getrlimit};
use vcam_allocator::{AllocError, OpenError, Remedy, Shortage};
use vcam_pipeline::{Hint, PlanError, StageError, StartError, chain};
use vcam_sinks::v4l2::{NodeError, V4l2Error};
use vcam_sinks::{KmsError, SinkError};

use crate::exit::Error;

/// An error, its causes, and what helps.
pub(crate) fn error(error: &Error) -> String {
    with_hint(chain(error), hint(error))
}

/// As [`error`], for a heap that the run can do without.
pub(crate) fn heap_error(error: &OpenError) -> String {
    with_hint(chain(error), heap_hint(error))
}

/// Logs a hint of the pipeline, with the flag that changes what it is about.
pub(crate) fn log_hint(hint: &Hint) {
    match hint {
        Hint::SlowIsp { .. } => tracing::warn!("{hint}: --isp auto or cpu would be faster"),
        Hint::CheaperCopy { .. } => tracing::info!("{hint}; --fresh measures again"),
        _ => tracing::info!("{hint}"),
    }
}

/// A line for the shell that gives the user access to a device node.
pub(crate) fn shell_command(remedy: &Remedy) -> Option<String> {
    Some(match remedy {
        Remedy::JoinGroup(group) => {
            format!("sudo usermod -aG {group} \"$USER\"   # then log in again")
        }
        Remedy::LogInAgain(group) => format!("newgrp {group}   # or log in again"),
        Remedy::UdevRule(rule) => format!(
            "echo '{rule}' | sudo tee /etc/udev/rules.d/70-vcam.rules && sudo udevadm trigger"
        ),
        _ => return None,
    })
}

fn with_hint(words: String, hint: Option<String>) -> String {
    match hint {
        Some(hint) => format!("{words}; {hint}"),
        None => words,
    }
}

fn hint(error: &Error) -> Option<String> {
    match error {
        Error::Heap(error) => heap_hint(error),
        Error::Display(error) => display_hint(error),
        Error::Node(V4l2Error::Node(NodeError::Permission(permission))) => {
            permission_hint(&permission.remedy)
        }
        Error::Start(StartError::Plan(PlanError::Alloc(error))) => allocation_hint(error),
        Error::Start(StartError::Stage(error)) | Error::Stage(error) => stage_hint(error),
        _ => None,
    }
}

fn heap_hint(error: &OpenError) -> Option<String> {
    match error {
        OpenError::Permission { permission, .. } => permission_hint(&permission.remedy),
        _ => None,
    }
}

fn permission_hint(remedy: &Remedy) -> Option<String> {
    shell_command(remedy).map(|command| format!("try: {command}"))
}

fn stage_hint(error: &StageError) -> Option<String> {
    match error {
        StageError::Sink { source: SinkError::Kms(error), .. }
        | StageError::Pause { source: SinkError::Kms(error), .. }
        | StageError::Finish { source: SinkError::Kms(error), .. } => display_hint(error),
        _ => None,
    }
}

fn display_hint(error: &KmsError) -> Option<String> {
    match error {
        KmsError::Permission { permission, .. } => permission_hint(&permission.remedy),
        KmsError::Master { .. } => Some("--card chooses the card".to_owned()),
        KmsError::Seat { .. } => {
            Some("with LIBSEAT_BACKEND= set to nothing vcam opens it without one".to_owned())
        }
        _ => None,
    }
}

fn allocation_hint(error: &AllocError) -> Option<String> {
    match error.shortage()? {
        Shortage::Memory => Some("try another --heap or a smaller --size".to_owned()),
        Shortage::ControlGroup => Some(
            "try a smaller --size, or raise the group's memory.max (of a container, its memory \
             limit)"
                .to_owned(),
        ),
        Shortage::ProcessDescriptors => {
            let missing = match error {
                AllocError::Descriptors { needed, left, .. } => needed.saturating_sub(*left),
                _ => 1,
            };
            more_descriptors(getrlimit(Resource::Nofile), missing)
        }
        Shortage::SystemDescriptors => {
            Some("the machine's limit is in /proc/sys/fs/file-max".to_owned())
        }
        _ => None,
    }
}

/// How the process gets so many descriptors more than its limit allows: never by a lower limit.
fn more_descriptors(limit: Rlimit, missing: u64) -> Option<String> {
    let needed = limit.current?.saturating_add(missing);
    let most = limit.maximum.unwrap_or(u64::MAX);
    if needed > most {
        return Some(format!(
            "the hard limit is {most} (ulimit -Hn), which only root can raise, as with: sudo \
             prlimit --pid $$ --nofile={}",
            ample(needed)
        ));
    }
    Some(format!("try: ulimit -n {}", ample(needed).min(most)))
}

/// A limit with room for more than what is needed just now.
fn ample(descriptors: u64) -> u64 {
    descriptors.saturating_mul(2).checked_next_multiple_of(1024).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use vcam_allocator::BudgetOf;

    use super::*;

    fn limit(current: u64, maximum: Option<u64>) -> Rlimit {
        Rlimit { current: Some(current), maximum }
    }

    #[test]
    fn a_limit_is_only_ever_raised() {
        for current in [0, 8, 64, 1023, 1024, 4096, 20_000, 1 << 20, u64::MAX - 1] {
            for missing in [1, 56, 60_000] {
                for maximum in [None, Some(current), Some(current.saturating_mul(2))] {
                    let words = more_descriptors(limit(current, maximum), missing).unwrap();
                    let advised = words.strip_prefix("try: ulimit -n ").map(|number| {
                        let number = number.parse::<u64>().unwrap();
                        assert!(number <= maximum.unwrap_or(u64::MAX), "{current}: {words}");
                        number
                    });
                    let enough = current.saturating_add(missing);
                    assert!(advised.is_none_or(|number| number >= enough), "{current}: {words}");
                    let possible = enough <= maximum.unwrap_or(u64::MAX);
                    assert_eq!(advised.is_some(), possible, "{current}: {words}");
                }
            }
        }
        assert_eq!(more_descriptors(limit(1024, None), 1).unwrap(), "try: ulimit -n 3072");
        let capped = more_descriptors(limit(1024, Some(2000)), 1).unwrap();
        assert_eq!(capped, "try: ulimit -n 2000");
        let hard = more_descriptors(limit(1024, Some(1024)), 1).unwrap();
        assert!(hard.starts_with("the hard limit is 1024 (ulimit -Hn)"), "{hard}");
    }

    #[test]
    fn a_shortage_is_worded_with_flags_of_the_command() {
        let error = |source| {
            let error = AllocError::System { heap: "test".into(), step: "do it", size: 1, source };
            super::error(&StartError::Plan(PlanError::Alloc(error)).into())
        };
        let words = error(rustix::io::Errno::NOMEM);
        assert!(words.ends_with("; try another --heap or a smaller --size"), "{words}");
        let words = error(rustix::io::Errno::INVAL);
        assert!(words.ends_with("(os error 22)"), "{words}");
        let budget = |of| {
            let heap = "test".to_owned();
            allocation_hint(&AllocError::OverBudget { heap, count: 3, needed: 3, budget: 2, of })
        };
        assert!(budget(BudgetOf::Group).unwrap().contains("memory.max"));
        assert_eq!(budget(BudgetOf::Caller), None);
    }

    #[test]
    fn access_is_given_by_a_line_for_the_shell() {
        let line = |remedy| shell_command(&remedy).unwrap();
        assert!(line(Remedy::JoinGroup("kvm".into())).starts_with("sudo usermod -aG kvm "));
        assert!(line(Remedy::LogInAgain("kvm".into())).starts_with("newgrp kvm "));
        let rule = line(Remedy::UdevRule("KERNEL==\"udmabuf\"".into()));
        assert!(rule.starts_with("echo 'KERNEL==\"udmabuf\"' | sudo tee /etc/udev/"), "{rule}");
    }
}
