//! Colours of a queue's pictures: four fields of its format.
//!
//! Source: `Documentation/userspace-api/media/v4l/colorspaces-defs.rst`.

use std::os::fd::BorrowedFd;

use rustix::io;

use super::BufType;
use super::request::{VIDIOC_G_FMT, VIDIOC_S_FMT, call};
use super::videodev2::{Plain, v4l2_format};

/// `V4L2_PIX_FMT_PRIV_MAGIC`: without it the kernel ignores the three fields that came after
/// `colorspace`.
const PIX_FMT_PRIV_MAGIC: u32 = 0xfeed_cafe;

/// The four fields; 0 in any is the default of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colorimetry {
    /// `enum v4l2_colorspace`.
    pub colorspace: u32,
    /// `enum v4l2_xfer_func`.
    pub xfer_func: u32,
    /// `enum v4l2_ycbcr_encoding`.
    pub ycbcr_enc: u32,
    /// `enum v4l2_quantization`.
    pub quantization: u32,
}

/// The fields of the format that the queue has now.
pub fn g_colorimetry(node: BorrowedFd<'_>, queue: BufType) -> io::Result<Colorimetry> {
    let mut raw = v4l2_format { type_: queue as u32, ..v4l2_format::zeroed() };
    call(node, &VIDIOC_G_FMT, &mut raw)?;
    Ok(read(queue, &raw))
}

/// Sets these fields and nothing else, and returns those that the driver chose; `EBUSY` while the
/// queue has buffers.
pub fn s_colorimetry(
    node: BorrowedFd<'_>,
    queue: BufType,
    wish: Colorimetry,
) -> io::Result<Colorimetry> {
    let mut raw = v4l2_format { type_: queue as u32, ..v4l2_format::zeroed() };
    call(node, &VIDIOC_G_FMT, &mut raw)?;
    if queue.is_mplane() {
        let narrow = |field: u32| u8::try_from(field).unwrap_or(u8::MAX);
        // SAFETY: any bits are numbers.
        let pix = unsafe { &mut raw.fmt.pix_mp };
        pix.colorspace = wish.colorspace;
        pix.xfer_func = narrow(wish.xfer_func);
        pix.ycbcr_enc = narrow(wish.ycbcr_enc);
        pix.quantization = narrow(wish.quantization);
    } else {
        // SAFETY: any bits are numbers.
        let pix = unsafe { &mut raw.fmt.pix };
        pix.colorspace = wish.colorspace;
        pix.xfer_func = wish.xfer_func;
        pix.ycbcr_enc = wish.ycbcr_enc;
        pix.quantization = wish.quantization;
        pix.priv_ = PIX_FMT_PRIV_MAGIC;
    }
    call(node, &VIDIOC_S_FMT, &mut raw)?;
    Ok(read(queue, &raw))
}

fn read(queue: BufType, raw: &v4l2_format) -> Colorimetry {
    if queue.is_mplane() {
        // SAFETY: any bits are numbers.
        let pix = unsafe { raw.fmt.pix_mp };
        Colorimetry {
            colorspace: pix.colorspace,
            xfer_func: pix.xfer_func.into(),
            ycbcr_enc: pix.ycbcr_enc.into(),
            quantization: pix.quantization.into(),
        }
    } else {
        // SAFETY: any bits are numbers.
        let pix = unsafe { raw.fmt.pix };
        Colorimetry {
            colorspace: pix.colorspace,
            xfer_func: pix.xfer_func,
            ycbcr_enc: pix.ycbcr_enc,
            quantization: pix.quantization,
        }
    }
}
