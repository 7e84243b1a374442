//! Kinds of output formats, by how a GPU or a packing loop treats them.

use vcam_allocator::Fourcc;

/// Whether a pixel is four bytes, one for each of three colours and one for alpha or padding.
pub(crate) fn is_four_bytes(format: Fourcc) -> bool {
    matches!(format, Fourcc::XRGB8888 | Fourcc::ARGB8888 | Fourcc::XBGR8888 | Fourcc::ABGR8888)
}

/// Whether the first byte of a pixel's four is blue.
pub(crate) fn is_blue_first(format: Fourcc) -> bool {
    matches!(format, Fourcc::XRGB8888 | Fourcc::ARGB8888)
}

/// Whether a format is rendered with red and blue swapped, since llvmpipe does not render to XR30.
pub(crate) fn is_rendered_swapped(format: Fourcc) -> bool {
    format == Fourcc::XRGB2101010
}
