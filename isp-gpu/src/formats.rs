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

/// Whether a format is luma and chroma. No driver renders to one as a whole: each plane is rendered
/// by itself.
pub(crate) fn is_yuv(format: Fourcc) -> bool {
    matches!(format, Fourcc::NV12 | Fourcc::NV21 | Fourcc::YUV420 | Fourcc::YUYV)
}

/// Whether a format is rendered with red and blue swapped, since llvmpipe does not render to XR30.
pub(crate) fn is_rendered_swapped(format: Fourcc) -> bool {
    format == Fourcc::XRGB2101010
}

/// Whether GLES samples a format through external textures, which give RGB.
pub(crate) fn is_sampled_externally(format: Fourcc) -> bool {
    format == Fourcc::NV12
}
