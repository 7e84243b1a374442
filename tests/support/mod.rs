//! What the tests of both machines share: a camera that is stepped by hand, the command, and the
//! kernel's own books.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "a test program is no library")]
#![allow(dead_code, reason = "each machine's tests use a part of it")]

pub mod books;
pub mod command;
pub mod egl;
pub mod errnos;
pub mod faults;
pub mod faulty;
pub mod filled;
pub mod film;
pub mod group;
pub mod loopback;
pub mod master;
pub mod peer;
pub mod qmp;
pub mod raw;
pub mod seat;
pub mod show;
pub mod step;
pub mod v4l2;
pub mod vivid;
pub mod vkms;
