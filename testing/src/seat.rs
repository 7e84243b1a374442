//! A seat with virtual terminals: its manager, and the terminal on the screen.

use std::fs;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::sync::Once;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The time limit of a wait, longer than any wait here takes.
const SOON: Duration = Duration::from_secs(60);

const SOCKET: &str = "/run/seatd.sock";

/// The variable that names the seat manager; without it vcam finds one by itself.
pub const BACKEND: &str = "LIBSEAT_BACKEND";

/// The user that may have the seat, and nothing else.
pub const USER: &str = "nobody";

/// seatd, until it is dropped.
#[derive(Debug)]
pub struct Seatd(Child);

impl Seatd {
    /// Starts it, and waits until it listens.
    pub fn start() -> Self {
        Self::start_bound("1")
    }

    /// As [`Seatd::start`], with a seat that has nothing to do with virtual terminals.
    pub fn start_without_terminals() -> Self {
        Self::start_bound("0")
    }

    fn start_bound(bound: &str) -> Self {
        let mut seatd = Command::new("seatd");
        let child = seatd.args(["-u", USER, "-l", "error"]).env("SEATD_VTBOUND", bound).spawn();
        let seatd = Self(child.expect("the lab has seatd"));
        until("seatd listens", || UnixStream::connect(SOCKET).is_ok());
        seatd
    }
}

impl Drop for Seatd {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
        let _ = fs::remove_file(SOCKET);
    }
}

/// Has displays of this process go through seatd.
pub fn use_seatd() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let threads = fs::read_dir("/proc/self/task").expect("/proc is there").count();
        assert_eq!(threads, 2, "the tests run one at a time, and leave no threads");
        // SAFETY: the only other thread is the test harness's, which waits for the end of this
        // test: no other code reads the environment now.
        unsafe { std::env::set_var(BACKEND, "seatd") };
    });
}

/// Switches to a virtual terminal, and waits until it is on the screen.
pub fn switch_to(terminal: u32) {
    let status = Command::new("chvt").arg(terminal.to_string()).status().expect("the lab has chvt");
    assert!(status.success(), "{status}");
    assert_eq!(on_the_screen(), terminal);
}

/// The virtual terminal that is on the screen.
pub fn on_the_screen() -> u32 {
    let name = fs::read_to_string("/sys/class/tty/tty0/active").expect("there are terminals");
    name.trim().trim_start_matches("tty").parse().expect("a terminal has a number")
}

/// Writes on a virtual terminal, which is then what its picture shows.
pub fn write_on(terminal: u32, text: &str) {
    fs::write(format!("/dev/tty{terminal}"), text).expect("root may write");
}

/// Waits for something.
pub fn until(what: &str, happened: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !happened() {
        assert!(Instant::now() < deadline, "{what}: never");
        std::thread::sleep(Duration::from_millis(20));
    }
}
