//! Inputs and outputs: the connectors of a device, of which one is chosen at a time.

use std::ffi::c_int;
use std::os::fd::BorrowedFd;

use rustix::io;

use super::request::{
    Request, VIDIOC_ENUMINPUT, VIDIOC_ENUMOUTPUT, VIDIOC_G_INPUT, VIDIOC_G_OUTPUT, VIDIOC_S_INPUT,
    VIDIOC_S_OUTPUT, call,
};
use super::text;
use super::videodev2::{Plain, v4l2_input, v4l2_output};

/// `V4L2_IN_CAP_DV_TIMINGS` and `V4L2_OUT_CAP_DV_TIMINGS`.
const CAP_DV_TIMINGS: u32 = 2;

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connector {
    /// Such as `HDMI 000-0`.
    pub name: String,
    /// Whether its signal is described by DV timings, as a digital one is: full pictures, of as
    /// many rows and pixels as they say.
    pub dv_timings: bool,
}

/// Describes an input; `EINVAL` after the last.
pub fn enuminput(node: BorrowedFd<'_>, index: u32) -> io::Result<Connector> {
    let mut input = v4l2_input { index, ..v4l2_input::zeroed() };
    call(node, &VIDIOC_ENUMINPUT, &mut input)?;
    let dv_timings = input.capabilities & CAP_DV_TIMINGS != 0;
    Ok(Connector { name: text(&input.name), dv_timings })
}

/// Describes an output; `EINVAL` after the last.
pub fn enumoutput(node: BorrowedFd<'_>, index: u32) -> io::Result<Connector> {
    let mut output = v4l2_output { index, ..v4l2_output::zeroed() };
    call(node, &VIDIOC_ENUMOUTPUT, &mut output)?;
    let dv_timings = output.capabilities & CAP_DV_TIMINGS != 0;
    Ok(Connector { name: text(&output.name), dv_timings })
}

/// The index of the input that is chosen.
pub fn g_input(node: BorrowedFd<'_>) -> io::Result<u32> {
    get(node, &VIDIOC_G_INPUT)
}

/// Chooses an input; `EBUSY` while a program streams.
pub fn s_input(node: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    set(node, &VIDIOC_S_INPUT, index)
}

/// The index of the output that is chosen.
pub fn g_output(node: BorrowedFd<'_>) -> io::Result<u32> {
    get(node, &VIDIOC_G_OUTPUT)
}

/// Chooses an output; `EBUSY` while a program streams.
pub fn s_output(node: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    set(node, &VIDIOC_S_OUTPUT, index)
}

fn get(node: BorrowedFd<'_>, request: &Request<c_int>) -> io::Result<u32> {
    let mut index = 0;
    call(node, request, &mut index)?;
    u32::try_from(index).map_err(|_| io::Errno::INVAL)
}

fn set(node: BorrowedFd<'_>, request: &Request<c_int>, index: u32) -> io::Result<()> {
    call(node, request, &mut c_int::try_from(index).map_err(|_| io::Errno::INVAL)?)
}
