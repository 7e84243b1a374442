//! The kernel's word that something was plugged in or out.
//!
//! `drm_sysfs_hotplug_event` sends it as a uevent to whoever listens on a netlink socket, as udev
//! does: a header, then `KEY=VALUE` strings that end with a zero (`lib/kobject_uevent.c`). In a
//! container it may not arrive; then what the kernel knows of a connector must do.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use vcam_uapi::retry::uninterrupted;

/// The group that the kernel sends to; udev has another.
const KERNEL: u32 = 1;

/// A uevent is at most this long (`UEVENT_BUFFER_SIZE`), and its header as long as a path.
const LARGEST: usize = 8192;

/// Listens for uevents of displays.
#[derive(Debug)]
pub(super) struct Uevents {
    socket: OwnedFd,
    bytes: Box<[u8]>,
}

impl Uevents {
    /// Listens from now on.
    pub(super) fn open() -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (family, kind) = (AddressFamily::NETLINK, SocketType::DGRAM);
        let socket = socket_with(family, kind, flags, Some(KOBJECT_UEVENT))?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL))?;
        Ok(Self { socket, bytes: vec![0; LARGEST].into() })
    }

    /// Whether something happened to a card since this was asked last; does not wait.
    pub(super) fn any(&mut self) -> bool {
        let mut any = false;
        loop {
            let read = || recv(&self.socket, &mut self.bytes[..], RecvFlags::empty());
            match uninterrupted("recv", read) {
                Ok((len, _)) => any |= is_of_a_display(&self.bytes[..len]),
                // There were more than the socket holds, perhaps one of a display among them.
                Err(Errno::NOBUFS) => any = true,
                Err(_) => return any,
            }
        }
    }
}

fn is_of_a_display(event: &[u8]) -> bool {
    event.split(|byte| *byte == 0).any(|field| field == b"SUBSYSTEM=drm")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_events_of_displays_count() {
        let hotplug =
            b"change@/devices/faux/vkms/drm/card1\0ACTION=change\0SUBSYSTEM=drm\0HOTPLUG=1\0";
        assert!(is_of_a_display(hotplug));
        assert!(!is_of_a_display(b"add@/drm\0ACTION=add\0SUBSYSTEM=drm_dp_aux_dev\0"));
        assert!(!is_of_a_display(b""));
    }
}
