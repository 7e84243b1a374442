//! What a terminal can show: asked of itself, with a limit.
//!
//! It is sent the query of kitty's protocol and then the one that every terminal answers (primary
//! device attributes, DA1). When the second is answered, the first either was before or never is.
//! The attribute 4 stands for sixel.
//!
//! Sources: "Querying support" of kitty's graphics protocol, and DA1 in xterm's control sequences.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::fs::OFlags;
use rustix::process::getpgrp;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr,
};
use vcam_uapi::poll::{self, Deadline};

/// How a picture is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Kitty,
    Iterm,
    Sixel,
    /// Two pixels to a cell, in all colours or in the 256 of a palette.
    Blocks {
        all_colours: bool,
    },
}

/// How long a terminal may take to answer; it may be at the other end of a network.
const LIMIT: Duration = Duration::from_millis(500);

const QUERY: &[u8] = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c";

/// The best way to draw on a terminal.
pub(super) fn protocol(terminal: &File, variable: impl Fn(&str) -> Option<String>) -> Protocol {
    let is = |name: &str, known: &[&str]| {
        variable(name).is_some_and(|value| known.iter().any(|known| value.contains(known)))
    };
    if is("TERM_PROGRAM", &["iTerm"]) || is("LC_TERMINAL", &["iTerm"]) {
        return Protocol::Iterm;
    }
    let all_colours = is("COLORTERM", &["truecolor", "24bit"]) || is("TERM", &["-direct"]);
    let blocks = Protocol::Blocks { all_colours };
    // They would print the question.
    if variable("TERM").is_none_or(|term| term == "linux" || term == "dumb") {
        return blocks;
    }
    match ask(terminal) {
        Ok(answer) => read(&answer).unwrap_or(blocks),
        Err(error) => {
            tracing::debug!(%error, "the terminal was not asked");
            blocks
        }
    }
}

/// What an answer says, if it says that there are pixels.
fn read(answer: &[u8]) -> Option<Protocol> {
    let holds = |words: &[u8]| answer.windows(words.len()).any(|window| window == words);
    if holds(b"\x1b_Gi=31;OK") {
        return Some(Protocol::Kitty);
    }
    let (attributes, _) = attributes(answer)?;
    attributes.split(|byte| *byte == b';').any(|one| one == b"4").then_some(Protocol::Sixel)
}

/// The device attributes in an answer, and where they end; `None` if they have not come.
fn attributes(answer: &[u8]) -> Option<(&[u8], usize)> {
    let start = answer.windows(3).position(|window| window == b"\x1b[?")? + 3;
    let length = answer[start..].iter().position(|byte| *byte == b'c')?;
    Some((&answer[start..start + length], start + length + 1))
}

/// Asks, and returns what came until the end of the answer or of the limit.
fn ask(terminal: &File) -> io::Result<Vec<u8>> {
    // The standard output need not be open for reading. The terminal's number is that of its node.
    let node = format!("/proc/self/fd/{}", terminal.as_raw_fd());
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal =
        OpenOptions::new().read(true).write(true).custom_flags(flags.bits() as i32).open(node)?;
    // To change the settings of a terminal in whose background we are would stop us.
    if tcgetpgrp(&terminal).is_ok_and(|group| group != getpgrp()) {
        return Err(io::Error::other("it is in the foreground of another job"));
    }
    let _quiet = Quiet::new(&terminal)?;
    (&terminal).write_all(QUERY)?;
    let deadline = Deadline::after(LIMIT);
    let mut answer = Vec::new();
    while attributes(&answer).is_none() {
        if !poll::wait(terminal.as_fd(), PollFlags::IN, deadline)? {
            break;
        }
        let mut some = [0; 256];
        let count = (&terminal).read(&mut some)?;
        answer.extend_from_slice(&some[..count]);
    }
    Ok(answer)
}

/// Keeps a terminal from printing its own answers and from waiting for the end of a line.
struct Quiet<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn new(terminal: &'a File) -> io::Result<Self> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 0;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(terminal, OptionalActions::Now, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(self.terminal.as_fd(), OptionalActions::Now, &self.before) {
            tracing::error!(%error, "the terminal's settings were not put back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_what_there_is() {
        assert_eq!(read(b"\x1b_Gi=31;OK\x1b\\\x1b[?62;c"), Some(Protocol::Kitty));
        assert_eq!(read(b"\x1b[?62;4;22c"), Some(Protocol::Sixel));
        assert_eq!(read(b"\x1b[?4c"), Some(Protocol::Sixel));
        // 14 and 42 are other things, and so is an error.
        assert_eq!(read(b"\x1b_Gi=31;ENOTSUP:no\x1b\\\x1b[?62;14;42c"), None);
        assert_eq!(read(b"\x1b[?62;4"), None, "half an answer");
        assert_eq!(read(b""), None);
    }

    #[test]
    fn who_is_known_is_not_asked() {
        let nothing = File::open("/dev/null").unwrap();
        let of = |pairs: &'static [(&str, &str)]| {
            protocol(&nothing, |asked| {
                let found = pairs.iter().find(|(name, _)| *name == asked);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(of(&[("TERM_PROGRAM", "iTerm.app")]), Protocol::Iterm);
        assert_eq!(of(&[("TERM", "linux")]), Protocol::Blocks { all_colours: false });
        let colours = of(&[("TERM", "xterm"), ("COLORTERM", "truecolor")]);
        assert_eq!(colours, Protocol::Blocks { all_colours: true }, "/dev/null does not answer");
    }
}
