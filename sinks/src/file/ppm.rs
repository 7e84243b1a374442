//! PPM, the binary kind (`P6`), with 255 levels: the pixels after one line of text.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use image::codecs::pnm::{PnmEncoder, PnmSubtype, SampleEncoding};
use image::{ExtendedColorType, ImageEncoder};

use crate::file::png::{check_length, io_error};

pub(super) fn encode(file: &mut File, (width, height): (u32, u32), rgb: &[u8]) -> io::Result<()> {
    check_length((width, height), rgb)?;
    let mut writer = BufWriter::new(file);
    PnmEncoder::new(&mut writer)
        .with_subtype(PnmSubtype::Pixmap(SampleEncoding::Binary))
        .write_image(rgb, width, height, ExtendedColorType::Rgb8)
        .map_err(io_error)?;
    writer.flush()
}
