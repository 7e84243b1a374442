//! Buffers between processes: a [`Claim`] and its descriptors, in one message of a Unix socket.
//!
//! The socket keeps message boundaries (`SOCK_SEQPACKET`), so that a buffer's description and its
//! descriptors (`SCM_RIGHTS`) arrive together or not at all. A message is four bytes of magic, the
//! number of the protocol's version, and the claim as JSON, [`MAX_MESSAGE`] bytes at most. The
//! receiver believes nothing: a message or its descriptors that were cut off are an error, as is a
//! number of descriptors other than the one that is claimed, and then everything that
//! [`foreign`] checks. Descriptors that came with a bad message are closed.
//!
//! Source: unix(7), cmsg(3).

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair, sockopt,
};
use serde::{Deserialize, Serialize};
use vcam_uapi::fault;
use vcam_uapi::poll::{self, Deadline};
use vcam_uapi::retry::uninterrupted;

use crate::dmabuf::{Dmabuf, MAX_PLANES};
use crate::foreign::{self, Claim, ForeignError};

/// The number of this protocol.
pub const VERSION: u32 = 1;

/// The most bytes of a message.
pub const MAX_MESSAGE: usize = 4096;

/// The longest name of a buffer that is kept.
const MAX_NAME: usize = 64;

const MAGIC: [u8; 4] = *b"vcam";

const HEADER: usize = MAGIC.len() + size_of::<u32>();

/// The JSON of a message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    name: String,
    /// How many descriptors come along.
    descriptors: u8,
    claim: Claim,
}

/// One end of a connection that buffers go through.
#[derive(Debug)]
pub struct BufferSocket(OwnedFd);

/// Why a buffer did not get across.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The descriptor is no socket, or one that does not keep messages apart.
    #[error("a buffer needs a Unix socket of type SOCK_SEQPACKET")]
    Type,
    /// The kernel refused.
    #[error("could not {step}")]
    System {
        /// What was attempted.
        step: &'static str,
        /// What the kernel said.
        source: Errno,
    },
    /// Nothing arrived in time.
    #[error("no buffer arrived within {0:?}")]
    Timeout(Duration),
    /// The peer has closed its end.
    #[error("the peer is gone")]
    Closed,
    /// The message is longer than a message can be.
    #[error("the message is longer than {MAX_MESSAGE} bytes")]
    MessageTruncated,
    /// More descriptors came than a buffer can have, or than this process can open.
    #[error("descriptors got lost: there were more than {MAX_PLANES}, or RLIMIT_NOFILE is reached")]
    DescriptorsTruncated,
    /// The message is not of this protocol.
    #[error("the message is not one about a buffer")]
    Magic,
    /// The message is of another version of it.
    #[error("the message is of version {0}, and only {VERSION} is spoken here")]
    Version(u32),
    /// The message cannot be read.
    #[error("the message is garbled")]
    Garbled(#[source] serde_json::Error),
    /// The number of descriptors is not the one that was claimed.
    #[error("{claimed} descriptors are claimed and {received} were received")]
    DescriptorCount {
        /// Descriptors that the message speaks of.
        claimed: usize,
        /// Descriptors that came.
        received: usize,
    },
    /// What is claimed of the buffer does not hold.
    #[error("the buffer is not what the peer claims")]
    Foreign(#[from] ForeignError),
}

impl BufferSocket {
    /// Takes over one end of a connection, if it is of the right type.
    pub fn new(socket: OwnedFd) -> Result<Self, SocketError> {
        match sockopt::socket_type(&socket) {
            Ok(SocketType::SEQPACKET) => Ok(Self(socket)),
            _ => Err(SocketError::Type),
        }
    }

    /// Both ends of a new connection.
    pub fn pair() -> Result<(Self, Self), SocketError> {
        let failed = |source| SocketError::System { step: "make a pair of sockets", source };
        fault::call("socketpair").map_err(failed)?;
        let flags = SocketFlags::CLOEXEC;
        let (one, other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(failed)?;
        Ok((Self(one), Self(other)))
    }

    /// Sends a buffer; it stays ours as well.
    ///
    /// Waits while the peer does not read; a peer that is gone is an error and no `SIGPIPE`.
    pub fn send(&self, buffer: &Dmabuf) -> Result<(), SocketError> {
        let fds: Vec<_> = buffer.memories().iter().map(|memory| memory.as_fd()).collect();
        let name = buffer.name().chars().take(MAX_NAME).collect();
        let body = Body { name, descriptors: fds.len() as u8, claim: Claim::of(buffer) };
        let mut message = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
        serde_json::to_writer(&mut message, &body).map_err(SocketError::Garbled)?;
        self.send_raw(&message, &fds)
    }

    fn send_raw(&self, message: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), SocketError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_PLANES))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(SocketError::DescriptorsTruncated);
        }
        let failed = |source| match source {
            Errno::PIPE | Errno::CONNRESET => SocketError::Closed,
            source => SocketError::System { step: "send a buffer", source },
        };
        let sent = uninterrupted("sendmsg", || {
            sendmsg(&self.0, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)
        });
        // A message goes as a whole or not at all.
        sent.map(drop).map_err(failed)
    }

    /// Receives a buffer, waiting for no longer than `limit`, and checks all that is said of it.
    ///
    /// After an error that is about a message, and not about the socket, the next one can be
    /// received.
    pub fn receive(&self, limit: Duration) -> Result<Dmabuf, SocketError> {
        self.wait(limit)?;
        // One byte more than there may be, to tell.
        let mut bytes = [0; MAX_MESSAGE + 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_PLANES))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = uninterrupted("recvmsg", || {
            recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)
        });
        let received = received.map_err(|errno| match errno {
            Errno::AGAIN => SocketError::Timeout(limit),
            Errno::CONNRESET => SocketError::Closed,
            source => SocketError::System { step: "receive a buffer", source },
        })?;
        // From here on the descriptors are ours, and closed on every way out.
        let fds: Vec<OwnedFd> = control
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            })
            .flatten()
            .collect();
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(SocketError::DescriptorsTruncated);
        }
        if received.flags.contains(ReturnFlags::TRUNC) || received.bytes > MAX_MESSAGE {
            return Err(SocketError::MessageTruncated);
        }
        if received.bytes == 0 && fds.is_empty() {
            return Err(SocketError::Closed);
        }
        let body = parse(&bytes[..received.bytes])?;
        let (claimed, received) = (usize::from(body.descriptors), fds.len());
        if claimed != received {
            return Err(SocketError::DescriptorCount { claimed, received });
        }
        Ok(foreign::import(&tame(&body.name), &body.claim, fds)?)
    }

    fn wait(&self, limit: Duration) -> Result<(), SocketError> {
        match poll::wait(self.0.as_fd(), PollFlags::IN, Deadline::after(limit)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(SocketError::Timeout(limit)),
            Err(source) => Err(SocketError::System { step: "wait for a buffer", source }),
        }
    }
}

impl AsFd for BufferSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn parse(message: &[u8]) -> Result<Body, SocketError> {
    let (header, body) = message.split_at_checked(HEADER).ok_or(SocketError::Magic)?;
    let (magic, version) = header.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(SocketError::Magic);
    }
    let version = version.try_into().map(u32::from_le_bytes).map_err(|_| SocketError::Magic)?;
    if version != VERSION {
        return Err(SocketError::Version(version));
    }
    serde_json::from_slice(body).map_err(SocketError::Garbled)
}

/// A peer's name for a buffer, fit for a terminal and for the kernel's books.
fn tame(name: &str) -> String {
    let tame = |c: char| if c.is_ascii_graphic() { c } else { '?' };
    name.chars().take(MAX_NAME).map(tame).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;
    use crate::dmabuf::WrapError;
    use crate::heaps::memfd::Memfd;
    use crate::{Alignment, CpuAccess, Fourcc, Heap, Layout};

    const SOON: Duration = Duration::from_secs(1);

    fn buffer() -> Dmabuf {
        let layout = Layout::linear(Fourcc::NV12, 64, 48, Alignment::default()).unwrap();
        Memfd::new().allocate(&layout, "test \u{1b}[31m").unwrap()
    }

    fn message(body: &str) -> Vec<u8> {
        [&MAGIC[..], &VERSION.to_le_bytes(), body.as_bytes()].concat()
    }

    fn honest(buffer: &Dmabuf, descriptors: u8) -> Vec<u8> {
        let body = Body { name: "x".into(), descriptors, claim: Claim::of(buffer) };
        message(&serde_json::to_string(&body).unwrap())
    }

    /// What the receiver makes of a message.
    fn received(message: &[u8], fds: &[BorrowedFd<'_>]) -> SocketError {
        let (one, other) = BufferSocket::pair().unwrap();
        one.send_raw(message, fds).unwrap();
        other.receive(SOON).unwrap_err()
    }

    #[test]
    fn a_buffer_arrives_as_it_is() {
        let (one, other) = BufferSocket::pair().unwrap();
        let sent = buffer();
        let mut guard = sent.cpu_access(CpuAccess::Write).unwrap();
        guard.plane_mut(1).fill(42);
        drop(guard);
        for _ in 0..3 {
            one.send(&sent).unwrap();
        }
        for _ in 0..3 {
            let came = other.receive(SOON).unwrap();
            assert_eq!((came.id(), came.layout().planes()), (sent.id(), sent.layout().planes()));
            assert_eq!(came.name(), "test??[31m");
            let flags = rustix::io::fcntl_getfd(came.planes().next().unwrap().0).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            let guard = came.cpu_access(CpuAccess::Read).unwrap();
            assert!(guard.plane(1).iter().all(|byte| *byte == 42));
        }
    }

    #[test]
    fn an_end_and_a_silence_are_told_apart() {
        let (one, other) = BufferSocket::pair().unwrap();
        let soon = Duration::from_millis(1);
        assert!(matches!(other.receive(soon), Err(SocketError::Timeout(_))));
        drop(one);
        assert!(matches!(other.receive(SOON), Err(SocketError::Closed)));
        // Farther than the clock goes.
        assert!(matches!(other.receive(Duration::MAX), Err(SocketError::Closed)));
        assert!(matches!(other.send(&buffer()), Err(SocketError::Closed)));
    }

    #[test]
    fn a_socket_without_message_boundaries_is_refused() {
        let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(matches!(BufferSocket::new(stream.into()), Err(SocketError::Type)));
        let memfd = memfd_create("test", MemfdFlags::empty()).unwrap();
        assert!(matches!(BufferSocket::new(memfd), Err(SocketError::Type)));
    }

    #[test]
    fn garbled_and_oversized_messages_are_refused() {
        let buffer = buffer();
        let memory = buffer.memories()[0].as_fd();
        assert!(matches!(received(b"vca", &[memory]), SocketError::Magic));
        assert!(matches!(received(&[7; 100], &[memory]), SocketError::Magic));
        let mut later = honest(&buffer, 1);
        later[4] = 2;
        assert!(matches!(received(&later, &[memory]), SocketError::Version(2)));
        assert!(matches!(received(&message("{}"), &[memory]), SocketError::Garbled(_)));
        let cut = honest(&buffer, 1);
        assert!(matches!(received(&cut[..cut.len() - 9], &[memory]), SocketError::Garbled(_)));
        let long = message(&" ".repeat(MAX_MESSAGE));
        assert!(matches!(received(&long, &[memory]), SocketError::MessageTruncated));
        // Deep nesting must not exhaust the stack.
        let deep = message(&"[".repeat(MAX_MESSAGE - HEADER));
        assert!(matches!(received(&deep, &[memory]), SocketError::Garbled(_)));
    }

    #[test]
    fn the_number_of_descriptors_must_be_the_claimed_one() {
        let buffer = buffer();
        let memory = buffer.memories()[0].as_fd();
        let honest = honest(&buffer, 1);
        assert!(matches!(
            received(&honest, &[]),
            SocketError::DescriptorCount { claimed: 1, received: 0 }
        ));
        assert!(matches!(
            received(&honest, &[memory, memory]),
            SocketError::DescriptorCount { claimed: 1, received: 2 }
        ));
        let two = super::tests::honest(&buffer, 2);
        assert!(matches!(
            received(&two, &[memory, memory]),
            SocketError::Foreign(ForeignError::Wrap(WrapError::MemoryCount { .. }))
        ));
    }

    #[test]
    fn more_descriptors_than_fit_are_an_error_and_none_stays_open() {
        let buffer = buffer();
        let (one, other) = BufferSocket::pair().unwrap();
        const MANY: usize = 4 * MAX_PLANES;
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let many = [writer.as_fd(); MANY];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MANY))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&many)));
        let message = honest(&buffer, 1);
        sendmsg(&one.0, &[IoSlice::new(&message)], &mut control, SendFlags::empty()).unwrap();
        assert!(matches!(other.receive(SOON), Err(SocketError::DescriptorsTruncated)));
        // With every writing end closed, ours and what was received, the pipe is at its end.
        drop(writer);
        assert_eq!(rustix::io::read(&reader, &mut [0; 1]).unwrap(), 0);
        // The connection is still good.
        one.send(&buffer).unwrap();
        assert!(other.receive(SOON).is_ok());
    }

    #[test]
    fn lying_peers_are_refused() {
        let buffer = buffer();
        let message = honest(&buffer, 1);
        let refused = |fd: OwnedFd| match received(&message, &[fd.as_fd()]) {
            SocketError::Foreign(error) => error,
            other => panic!("{other}"),
        };
        let (pipe, _other) = rustix::pipe::pipe().unwrap();
        assert!(matches!(refused(pipe), ForeignError::NotMemory { index: 0 }));
        let file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.set_len(1 << 20).unwrap();
        assert!(matches!(refused(file.into()), ForeignError::NotMemory { index: 0 }));
        let unsealed = memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&unsealed, 1 << 20).unwrap();
        assert!(matches!(refused(unsealed), ForeignError::NotSealed { index: 0 }));
        let small = Layout::linear(Fourcc::R8, 16, 16, Alignment::default()).unwrap();
        let small = Memfd::new().allocate(&small, "small").unwrap();
        let small = small.memories()[0].as_fd().try_clone_to_owned().unwrap();
        assert!(matches!(refused(small), ForeignError::Wrap(WrapError::TooSmall { .. })));
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let _ = parse(&message(&String::from_utf8_lossy(&bytes)));
        }
    }
}
