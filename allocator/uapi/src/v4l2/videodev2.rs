//! The structures of `include/uapi/linux/videodev2.h`, as the kernel lays them out.
//!
//! Field by field, under the kernel's names. Their sizes are checked where they meet their
//! opcodes, in `request.rs`.

#![allow(non_camel_case_types)]

use std::ffi::{c_int, c_long, c_ulong};

/// As many planes as a picture can have.
pub(super) const VIDEO_MAX_PLANES: usize = 8;

/// A structure for which zeros are a value, and any other bits are too.
///
/// # Safety
///
/// It consists of integers, raw pointers, and unions and arrays of those.
pub(super) unsafe trait Plain {
    fn zeroed() -> Self
    where
        Self: Sized,
    {
        // SAFETY: zero is a value of every integer and every raw pointer.
        unsafe { std::mem::zeroed() }
    }
}

macro_rules! plain {
    ($($name:ident)*) => {
        $(
            // SAFETY: integers, raw pointers, and unions and arrays of those.
            unsafe impl Plain for $name {}
        )*
    };
}

plain! {
    c_int v4l2_buffer v4l2_capability v4l2_control v4l2_exportbuffer v4l2_fmtdesc v4l2_format
    v4l2_frmsizeenum v4l2_input v4l2_output v4l2_plane v4l2_queryctrl v4l2_querymenu
    v4l2_requestbuffers v4l2_selection v4l2_streamparm
}

#[repr(C)]
pub(super) struct v4l2_capability {
    pub(super) driver: [u8; 16],
    pub(super) card: [u8; 32],
    pub(super) bus_info: [u8; 32],
    pub(super) version: u32,
    pub(super) capabilities: u32,
    pub(super) device_caps: u32,
    pub(super) reserved: [u32; 3],
}

#[repr(C)]
pub(super) struct v4l2_fmtdesc {
    pub(super) index: u32,
    pub(super) type_: u32,
    pub(super) flags: u32,
    pub(super) description: [u8; 32],
    pub(super) pixelformat: u32,
    pub(super) mbus_code: u32,
    pub(super) reserved: [u32; 3],
}

#[repr(C)]
pub(super) struct v4l2_frmsizeenum {
    pub(super) index: u32,
    pub(super) pixel_format: u32,
    pub(super) type_: u32,
    pub(super) size: v4l2_frmsize,
    pub(super) reserved: [u32; 2],
}

/// The union within [`v4l2_frmsizeenum`].
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union v4l2_frmsize {
    pub(super) discrete: v4l2_frmsize_discrete,
    pub(super) stepwise: v4l2_frmsize_stepwise,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct v4l2_frmsize_discrete {
    pub(super) width: u32,
    pub(super) height: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct v4l2_frmsize_stepwise {
    pub(super) min_width: u32,
    pub(super) max_width: u32,
    pub(super) step_width: u32,
    pub(super) min_height: u32,
    pub(super) max_height: u32,
    pub(super) step_height: u32,
}

#[repr(C)]
pub(super) struct v4l2_format {
    pub(super) type_: u32,
    pub(super) fmt: v4l2_format_fmt,
}

/// The union within [`v4l2_format`]. Of its members those of pictures are here; others have
/// pointers, which align it.
#[repr(C)]
pub(super) union v4l2_format_fmt {
    pub(super) pix: v4l2_pix_format,
    pub(super) pix_mp: v4l2_pix_format_mplane,
    pub(super) raw_data: [u8; 200],
    pub(super) aligned: [c_ulong; 0],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct v4l2_pix_format {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) pixelformat: u32,
    pub(super) field: u32,
    pub(super) bytesperline: u32,
    pub(super) sizeimage: u32,
    pub(super) colorspace: u32,
    pub(super) priv_: u32,
    pub(super) flags: u32,
    pub(super) ycbcr_enc: u32,
    pub(super) quantization: u32,
    pub(super) xfer_func: u32,
}

#[repr(C, packed)]
#[derive(Clone, Copy)]
pub(super) struct v4l2_pix_format_mplane {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) pixelformat: u32,
    pub(super) field: u32,
    pub(super) colorspace: u32,
    pub(super) plane_fmt: [v4l2_plane_pix_format; VIDEO_MAX_PLANES],
    pub(super) num_planes: u8,
    pub(super) flags: u8,
    pub(super) ycbcr_enc: u8,
    pub(super) quantization: u8,
    pub(super) xfer_func: u8,
    pub(super) reserved: [u8; 7],
}

#[repr(C, packed)]
#[derive(Clone, Copy)]
pub(super) struct v4l2_plane_pix_format {
    pub(super) sizeimage: u32,
    pub(super) bytesperline: u32,
    pub(super) reserved: [u16; 6],
}

const _: () = assert!(size_of::<v4l2_pix_format>() == 48);
const _: () = assert!(size_of::<v4l2_pix_format_mplane>() == 192);

#[repr(C)]
pub(super) struct v4l2_streamparm {
    pub(super) type_: u32,
    pub(super) parm: v4l2_streamparm_parm,
}

/// The union within [`v4l2_streamparm`]. `struct v4l2_outputparm` has the same fields at the same
/// places as this member.
#[repr(C)]
pub(super) union v4l2_streamparm_parm {
    pub(super) capture: v4l2_captureparm,
    pub(super) raw_data: [u8; 200],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct v4l2_captureparm {
    pub(super) capability: u32,
    pub(super) capturemode: u32,
    pub(super) timeperframe: v4l2_fract,
    pub(super) extendedmode: u32,
    pub(super) readbuffers: u32,
    pub(super) reserved: [u32; 4],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct v4l2_fract {
    pub(super) numerator: u32,
    pub(super) denominator: u32,
}

#[repr(C)]
pub(super) struct v4l2_control {
    pub(super) id: u32,
    pub(super) value: i32,
}

#[repr(C)]
pub(super) struct v4l2_queryctrl {
    pub(super) id: u32,
    pub(super) type_: u32,
    pub(super) name: [u8; 32],
    pub(super) minimum: i32,
    pub(super) maximum: i32,
    pub(super) step: i32,
    pub(super) default_value: i32,
    pub(super) flags: u32,
    pub(super) reserved: [u32; 2],
}

#[repr(C, packed)]
pub(super) struct v4l2_querymenu {
    pub(super) id: u32,
    pub(super) index: u32,
    pub(super) item: v4l2_querymenu_item,
    pub(super) reserved: u32,
}

/// The union within [`v4l2_querymenu`].
#[repr(C, packed)]
#[derive(Clone, Copy)]
pub(super) union v4l2_querymenu_item {
    pub(super) name: [u8; 32],
    pub(super) value: i64,
}

#[repr(C)]
pub(super) struct v4l2_input {
    pub(super) index: u32,
    pub(super) name: [u8; 32],
    pub(super) type_: u32,
    pub(super) audioset: u32,
    pub(super) tuner: u32,
    pub(super) std: u64,
    pub(super) status: u32,
    pub(super) capabilities: u32,
    pub(super) reserved: [u32; 3],
}

#[repr(C)]
pub(super) struct v4l2_output {
    pub(super) index: u32,
    pub(super) name: [u8; 32],
    pub(super) type_: u32,
    pub(super) audioset: u32,
    pub(super) modulator: u32,
    pub(super) std: u64,
    pub(super) capabilities: u32,
    pub(super) reserved: [u32; 3],
}

#[repr(C)]
pub(super) struct v4l2_selection {
    pub(super) type_: u32,
    pub(super) target: u32,
    pub(super) flags: u32,
    pub(super) r: v4l2_rect,
    pub(super) reserved: [u32; 9],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct v4l2_rect {
    pub(super) left: i32,
    pub(super) top: i32,
    pub(super) width: u32,
    pub(super) height: u32,
}

#[repr(C)]
pub(super) struct v4l2_requestbuffers {
    pub(super) count: u32,
    pub(super) type_: u32,
    pub(super) memory: u32,
    pub(super) capabilities: u32,
    pub(super) flags: u8,
    pub(super) reserved: [u8; 3],
}

#[repr(C)]
pub(super) struct v4l2_buffer {
    pub(super) index: u32,
    pub(super) type_: u32,
    pub(super) bytesused: u32,
    pub(super) flags: u32,
    pub(super) field: u32,
    pub(super) timestamp: timeval,
    pub(super) timecode: v4l2_timecode,
    pub(super) sequence: u32,
    pub(super) memory: u32,
    pub(super) m: v4l2_buffer_m,
    pub(super) length: u32,
    pub(super) reserved2: u32,
    pub(super) request_fd: i32,
}

/// The union within [`v4l2_buffer`].
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union v4l2_buffer_m {
    pub(super) offset: u32,
    pub(super) userptr: c_ulong,
    pub(super) planes: *mut v4l2_plane,
    pub(super) fd: i32,
}

/// `struct timeval`, as videodev2.h takes it from the C library.
#[repr(C)]
pub(super) struct timeval {
    pub(super) tv_sec: c_long,
    pub(super) tv_usec: c_long,
}

#[repr(C)]
pub(super) struct v4l2_timecode {
    pub(super) type_: u32,
    pub(super) flags: u32,
    pub(super) frames: u8,
    pub(super) seconds: u8,
    pub(super) minutes: u8,
    pub(super) hours: u8,
    pub(super) userbits: [u8; 4],
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct v4l2_plane {
    pub(super) bytesused: u32,
    pub(super) length: u32,
    pub(super) m: v4l2_plane_m,
    pub(super) data_offset: u32,
    pub(super) reserved: [u32; 11],
}

/// The union within [`v4l2_plane`].
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union v4l2_plane_m {
    pub(super) mem_offset: u32,
    pub(super) userptr: c_ulong,
    pub(super) fd: i32,
}

#[repr(C)]
pub(super) struct v4l2_exportbuffer {
    pub(super) type_: u32,
    pub(super) index: u32,
    pub(super) plane: u32,
    pub(super) flags: u32,
    pub(super) fd: i32,
    pub(super) reserved: [u32; 11],
}
