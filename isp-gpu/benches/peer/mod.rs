//! Others that do the same.

pub(crate) mod gstreamer;
pub(crate) mod libcamera;
