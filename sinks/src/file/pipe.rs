//! The standard output, as a stream that somebody reads.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;
use vcam_uapi::poll::{self, Deadline};
use vcam_uapi::retry::uninterrupted;

/// How long to wait for room before looking whether the run was interrupted.
const PATIENCE: Duration = Duration::from_millis(100);

/// How often that is in vain, after an interruption, until the stream is given up in mid-frame: a
/// second. A reader who still reads gets whole frames to the last.
const LAST_ROUNDS: u32 = 10;

/// The run that a stream belongs to, as far as it has to do with whoever reads the stream.
pub trait StreamReader: Send + Sync + std::fmt::Debug {
    /// The reader has closed its end: nobody needs more frames.
    fn left(&self);

    /// Whether somebody wants the run to end now, so that a reader who takes nothing must not hold
    /// it up.
    fn interrupted(&self) -> bool;
}

/// The standard output.
///
/// A pipe is opened anew, because only a description of our own may be told not to wait: the
/// caller's is shared with other processes. Anything else, and a pipe that may not be opened, is
/// written to as it is, and then a reader who takes nothing does hold the run up.
#[derive(Debug)]
pub(super) struct Pipe {
    fd: OwnedFd,
    reader: Box<dyn StreamReader>,
}

impl Pipe {
    pub(super) fn stdout(reader: Box<dyn StreamReader>) -> io::Result<Self> {
        Self::of(io::stdout().as_fd().try_clone_to_owned()?, reader)
    }

    fn of(fd: OwnedFd, reader: Box<dyn StreamReader>) -> io::Result<Self> {
        let is_pipe = FileType::from_raw_mode(fstat(&fd)?.st_mode) == FileType::Fifo;
        let ours = is_pipe.then(|| {
            OpenOptions::new()
                .write(true)
                .custom_flags(OFlags::NONBLOCK.bits() as i32)
                .open(format!("/proc/self/fd/{}", fd.as_raw_fd()))
        });
        match ours {
            Some(Ok(ours)) => Ok(Self { fd: ours.into(), reader }),
            // Where nobody reads, there is nothing to wait for either.
            Some(Err(_)) | None => Ok(Self { fd, reader }),
        }
    }

    pub(super) fn reader(&self) -> &dyn StreamReader {
        &*self.reader
    }

    /// Writes what there is room for, at least a byte.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut rounds = 0;
        loop {
            match uninterrupted("write", || rustix::io::write(&self.fd, bytes)) {
                Err(Errno::AGAIN) => {
                    if self.reader.interrupted() {
                        rounds += 1;
                    }
                    if rounds > LAST_ROUNDS {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                    poll::wait(self.fd.as_fd(), PollFlags::OUT, Deadline::after(PATIENCE))?;
                }
                result => return Ok(result?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[derive(Debug, Default, Clone)]
    struct Run {
        left: Arc<AtomicBool>,
        interrupted: Arc<AtomicBool>,
    }

    impl StreamReader for Run {
        fn left(&self) {
            self.left.store(true, Ordering::Relaxed);
        }

        fn interrupted(&self) -> bool {
            self.interrupted.load(Ordering::Relaxed)
        }
    }

    fn write_all(pipe: &Pipe, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            bytes = &bytes[pipe.write(bytes)?..];
        }
        Ok(())
    }

    #[test]
    fn a_slow_reader_gets_everything() {
        let (mut reader, writer) = io::pipe().unwrap();
        let pipe = Pipe::of(writer.into(), Box::new(Run::default())).unwrap();
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
        let expected = bytes.clone();
        let writing = std::thread::spawn(move || write_all(&pipe, &bytes));
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        writing.join().unwrap().unwrap();
        assert_eq!(read, expected);
    }

    #[test]
    fn a_reader_who_takes_nothing_does_not_hold_up_an_interrupted_run() {
        let (_reader, writer) = io::pipe().unwrap();
        let run = Run::default();
        let pipe = Pipe::of(writer.into(), Box::new(run.clone())).unwrap();
        let writing = std::thread::spawn(move || write_all(&pipe, &[0; 1_000_000]));
        run.interrupted.store(true, Ordering::Relaxed);
        let error = writing.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_reader_who_leaves_is_noticed() {
        let (reader, writer) = io::pipe().unwrap();
        let pipe = Pipe::of(writer.into(), Box::new(Run::default())).unwrap();
        drop(reader);
        assert_eq!(write_all(&pipe, b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn what_is_no_pipe_is_written_to_as_it_is() {
        let file = tempfile::tempfile().unwrap();
        let pipe = Pipe::of(file.try_clone().unwrap().into(), Box::new(Run::default())).unwrap();
        write_all(&pipe, b"abc").unwrap();
        write_all(&pipe, b"def").unwrap();
        assert_eq!(file.metadata().unwrap().len(), 6);
    }
}
