//! Another process, which is the running test program once more.

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use vcam_allocator::socket::BufferSocket;

/// A command that runs a test of this program, which is marked as ignored, and no other.
pub fn command(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test has a path"));
    command.args([test, "--exact", "--ignored", "--nocapture"]);
    command
}

/// A peer at the other end of a socket, which reports its steps line by line. It is killed when
/// dropped.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
    /// This end of the socket.
    pub socket: BufferSocket,
}

impl Peer {
    /// Starts that test; it finds the socket with [`socket`].
    pub fn spawn(test: &str) -> Self {
        let flags = rustix::net::SocketFlags::CLOEXEC;
        let kind = rustix::net::SocketType::SEQPACKET;
        let (ours, theirs) =
            rustix::net::socketpair(rustix::net::AddressFamily::UNIX, kind, flags, None).unwrap();
        let mut child =
            command(test).stdin(Stdio::from(theirs)).stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said, socket: BufferSocket::new(ours).unwrap() }
    }

    /// Waits until it has said this.
    pub fn wait_for(&mut self, word: &str) {
        let mut line = String::new();
        while line.trim() != word {
            line.clear();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "it ended before '{word}'");
        }
    }

    /// Ends it with a SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        assert_eq!(self.child.wait().unwrap().signal(), Some(9));
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The socket of the process that is the peer.
pub fn socket() -> BufferSocket {
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    BufferSocket::new(stdin).unwrap()
}

/// Says that something was done.
pub fn say(word: &str) {
    // On a line of its own, whatever the test's frame has printed.
    println!("\n{word}");
}

/// Does nothing until it is killed.
pub fn wait_to_be_killed() -> ! {
    loop {
        std::thread::park();
    }
}
