//! How much memory is left: to the machine, and to the control group that the process is in.
//!
//! A group that may take no more is not told so when it allocates. The kernel kills a process of it
//! instead, and for buffers that are pinned when they are made, as udmabuf's are, it does so in the
//! middle of the call. So whoever wants much asks first.
//!
//! Sources: proc(5) `MemAvailable`; `Documentation/admin-guide/cgroup-v2.rst`, "Memory Interface
//! Files"; cgroups(7), `/proc/[pid]/cgroup`.

use std::fs;
use std::path::{Path, PathBuf};

/// Where control groups are found (version 2 of them).
const GROUPS: &str = "/sys/fs/cgroup";

/// Whose memory a number of bytes is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BudgetOf {
    /// Somebody said how much it is.
    Caller,
    /// All that the machine has free.
    Machine,
    /// What the control group of the process, or one around it, may still take.
    Group,
}

impl BudgetOf {
    /// Where the number of bytes comes from, as the end of a sentence.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Caller => "",
            Self::Machine => ", which is three quarters of what the machine has free",
            Self::Group => {
                ", which is three quarters of what this process's control group has left"
            }
        }
    }
}

/// Memory that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Free {
    pub(crate) bytes: u64,
    pub(crate) of: BudgetOf,
}

/// What is left now; what cannot be found out is taken to be without end.
pub(crate) fn now() -> Free {
    the_less(of_machine(), of_groups())
}

fn the_less(machine: Option<u64>, group: Option<u64>) -> Free {
    let machine = machine.unwrap_or(u64::MAX);
    match group {
        Some(bytes) if bytes < machine => Free { bytes, of: BudgetOf::Group },
        _ => Free { bytes: machine, of: BudgetOf::Machine },
    }
}

fn of_machine() -> Option<u64> {
    number_after(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?.checked_mul(1024)
}

/// The least that a group around this process has left; `None` if none has a limit.
fn of_groups() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    // The hierarchy of version 2 has the number 0 and no controllers.
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let own: PathBuf = Path::new(GROUPS).join(own);
    own.ancestors().take_while(|group| group.starts_with(GROUPS)).filter_map(of_group).min()
}

/// What a group has left: up to the limit where it is killed or, if that is less, slowed down to a
/// halt, with the pages of files, which are given up first, counted as free.
fn of_group(group: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let limit = |name| read(name)?.trim().parse::<u64>().ok();
    let most = [limit("memory.max"), limit("memory.high")].into_iter().flatten().min()?;
    let used = read("memory.current")?.trim().parse::<u64>().ok()?;
    let stat = read("memory.stat").unwrap_or_default();
    let file = |name| number_after(&stat, name).unwrap_or_default();
    let held = used.saturating_sub(file("active_file ")).saturating_sub(file("inactive_file "));
    Some(most.saturating_sub(held))
}

/// The number on the line that begins with this.
fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_left_what_it_does_not_hold() {
        let group = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(group.path().join(name), text).unwrap();
        assert_eq!(of_group(group.path()), None, "the root has no limit");
        write("memory.current", "5000\n");
        write("memory.stat", "anon 3000\nfile 2000\nactive_file 400\ninactive_file 600\n");
        write("memory.max", "max\n");
        assert_eq!(of_group(group.path()), None);
        write("memory.max", "10000\n");
        assert_eq!(of_group(group.path()), Some(6000));
        write("memory.high", "7000\n");
        assert_eq!(of_group(group.path()), Some(3000));
        write("memory.high", "1000\n");
        assert_eq!(of_group(group.path()), Some(0));
    }

    #[test]
    fn a_machine_has_some_memory_left() {
        let free = of_machine().unwrap();
        assert!((1 << 20..1 << 60).contains(&free), "{free}");
        let of = |machine, group| (the_less(machine, group).bytes, the_less(machine, group).of);
        assert_eq!(of(Some(8), Some(5)), (5, BudgetOf::Group));
        assert_eq!(of(Some(8), Some(9)), (8, BudgetOf::Machine));
        assert_eq!(of(Some(8), None), (8, BudgetOf::Machine));
        assert_eq!(of(None, None), (u64::MAX, BudgetOf::Machine));
    }
}
