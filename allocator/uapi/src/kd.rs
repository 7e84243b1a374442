//! The keyboard of a virtual terminal.
//!
//! Source: `include/uapi/linux/kd.h`, ioctl_console(2).

use std::ffi::c_int;
use std::os::fd::BorrowedFd;

use linux_raw_sys::ioctl::{KDGKBMODE, KDSKBMODE};
use rustix::io;
use rustix::ioctl::{Getter, IntegerSetter, Opcode, ioctl};

use crate::fault;

/// What becomes of keys: `K_RAW`, `K_XLATE`, `K_MEDIUMRAW`, `K_UNICODE` or `K_OFF`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyboardMode(c_int);

impl KeyboardMode {
    /// `K_OFF`: nothing.
    pub const OFF: Self = Self(4);
}

/// The mode of a terminal's keyboard; `ENOTTY` for a terminal that is no virtual one.
pub fn keyboard_mode(terminal: BorrowedFd<'_>) -> io::Result<KeyboardMode> {
    fault::call("KDGKBMODE")?;
    // SAFETY: the kernel writes an int.
    let mode = unsafe { ioctl(terminal, Getter::<{ KDGKBMODE as Opcode }, c_int>::new())? };
    Ok(KeyboardMode(mode))
}

/// Sets the mode of a terminal's keyboard.
pub fn set_keyboard_mode(terminal: BorrowedFd<'_>, mode: KeyboardMode) -> io::Result<()> {
    fault::call("KDSKBMODE")?;
    // SAFETY: the kernel takes the mode by value.
    unsafe {
        let mode = IntegerSetter::<{ KDSKBMODE as Opcode }>::new_usize(mode.0 as usize);
        ioctl(terminal, mode)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_is_no_terminal_has_no_keyboard() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(keyboard_mode(file.as_fd()), Err(io::Errno::NOTTY));
    }
}
