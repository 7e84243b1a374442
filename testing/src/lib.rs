//! Helpers of the workspace's tests. Only tests and benchmarks depend on them.
//!
//! - To see what the kernel holds and shows: [`accounting`], [`allocations`], [`display_state`].
//! - To ask the kernel or EGL without the project's own code in between: [`raw`], [`egl`],
//!   [`drm_master`].
//! - To make a device or a limit: `vkms`, [`vivid`], [`v4l2loopback`], [`v4l2_ctl`], [`seat`],
//!   `qmp`, [`cgroup`].
//! - To run a program: [`command`], [`example`], [`peer_process`].
//! - To step through frames by hand: `kms_rig`, `stepped_display`, `stepped_camera`,
//!   `test_pattern`.
//! - To let something fail: `syscall_faults`, `syscall_errnos`, `faulty_stages`, `panicking_log`,
//!   `video_file`.
//! - To put the same cases to several devices: [`isp_cases`], [`demosaic_scenes`], [`compliance`],
//!   `vcam_camera`, `camera_cases`.
//!
//! [`raw`] and [`egl`] are oracles: of the code that they are compared with, they import only the
//! types of their arguments.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::new_without_default, reason = "what a test makes has no default")]

pub mod accounting;
pub mod allocations;
pub mod cgroup;
pub mod command;
pub mod compliance;
pub mod demosaic_scenes;
pub mod display_state;
pub mod drm_master;
pub mod egl;
pub mod example;
pub mod isp_cases;
pub mod peer_process;
pub mod raw;
pub mod seat;
pub mod v4l2_ctl;
pub mod v4l2loopback;
pub mod vivid;

#[cfg(feature = "pipeline")]
pub mod camera_cases;
#[cfg(feature = "pipeline")]
pub mod faulty_stages;
#[cfg(feature = "pipeline")]
pub mod kms_rig;
#[cfg(feature = "pipeline")]
pub mod panicking_log;
#[cfg(feature = "pipeline")]
pub mod qmp;
#[cfg(feature = "pipeline")]
pub mod stepped_camera;
#[cfg(feature = "pipeline")]
pub mod stepped_display;
#[cfg(feature = "pipeline")]
pub mod test_pattern;
#[cfg(feature = "pipeline")]
pub mod vcam_camera;
#[cfg(feature = "pipeline")]
pub mod video_file;
#[cfg(feature = "pipeline")]
pub mod vkms;

#[cfg(feature = "lab")]
pub mod syscall_errnos;
#[cfg(feature = "lab")]
pub mod syscall_faults;

use std::path::{Path, PathBuf};

/// The folder that cargo built the running test for: its parent has the examples' folder, the
/// programs, and one above, what tests may write.
///
/// # Panics
///
/// If the program was not built by cargo as a test.
fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.parent().and_then(Path::parent).expect("cargo builds tests in `deps/`");
    folder.to_owned()
}

/// The path of a file in the folder that a machine of the lab shares with its host.
///
/// # Panics
///
/// Outside of the lab.
pub fn lab_output(name: &str) -> PathBuf {
    let folder = std::env::var_os("VCAM_LAB_OUT").expect("the lab sets VCAM_LAB_OUT");
    Path::new(&folder).join(name)
}
