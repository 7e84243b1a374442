//! Control groups (cgroups): limits of memory, as containers have them.
//!
//! Source: `Documentation/admin-guide/cgroup-v2.rst`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = "/sys/fs/cgroup";

/// A group of processes. It is gone when dropped, and must be empty then.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// A group that may take so much memory.
    pub fn new(name: &str, bytes: u64) -> Self {
        fs::write(Path::new(ROOT).join("cgroup.subtree_control"), "+memory").unwrap();
        let folder = Path::new(ROOT).join(name);
        fs::create_dir(&folder).unwrap();
        let group = Self(folder);
        group.limit(bytes);
        group
    }

    /// Sets how much it may take.
    pub fn limit(&self, bytes: u64) {
        fs::write(self.0.join("memory.max"), bytes.to_string()).unwrap();
    }

    /// The command that runs another one in it.
    pub fn around(&self, command: &Command) -> Command {
        let mut inside = Command::new("sh");
        inside.arg("-c").arg("echo $$ >\"$0\" && exec \"$@\"").arg(self.0.join("cgroup.procs"));
        inside.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// Returns the number of its processes that the kernel killed for want of memory.
    pub fn kills(&self) -> u64 {
        let events = fs::read_to_string(self.0.join("memory.events")).unwrap();
        let kills = events.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.unwrap().parse().unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let removed = fs::remove_dir(&self.0);
        // A second panic would hide the message of the first.
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}
