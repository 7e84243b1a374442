//! From levels and light to the bytes of a row.

use vcam_isp_gpu::RawFormat;

use super::format::PictureFormat;

/// The number of no light: a sixteenth of full scale, as near as the depth allows.
pub(crate) fn black(format: RawFormat) -> u16 {
    u16::from(super::BLACK_LEVEL) << (format.bits() - 8)
}

/// Turns levels from 0 to 1 into the numbers of pixels in row `y`, without noise.
pub(super) fn numbers(format: RawFormat, y: usize, colours: &[[f32; 3]], numbers: &mut [u16]) {
    let (black, white) = (f32::from(black(format)), f32::from(format.white()));
    for (x, (colour, number)) in colours.iter().zip(numbers).enumerate() {
        let level = match format.cfa() {
            Some(cfa) => colour[cfa.colour_at(x as u32, y as u32)],
            None => super::model::colour::LUMINANCE.iter().zip(colour).map(|(w, l)| w * l).sum(),
        };
        *number = (black + level * (white - black)).round() as u16;
    }
}

/// The bytes of a row of a picture from levels of sRGB, 0 to 1; of NV12, those of plane 0.
pub(super) fn picture(format: PictureFormat, levels: &[[f32; 3]], row: &mut [u8]) {
    match format {
        PictureFormat::Xrgb8888 => {
            for (level, bytes) in levels.iter().zip(row.chunks_exact_mut(4)) {
                let [red, green, blue] = level.map(byte);
                bytes.copy_from_slice(&[blue, green, red, u8::MAX]);
            }
        }
        PictureFormat::Yuyv => {
            for (pair, bytes) in levels.chunks_exact(2).zip(row.chunks_exact_mut(4)) {
                let [cb, cr] = chroma(mean(pair));
                bytes.copy_from_slice(&[luma(pair[0]), cb, luma(pair[1]), cr]);
            }
        }
        PictureFormat::Nv12 => {
            levels.iter().zip(row).for_each(|(level, byte)| *byte = luma(*level));
        }
    }
}

/// The bytes of a row of plane 1 of NV12, from the two rows of levels that share it.
pub(super) fn nv12_chroma(levels: [&[[f32; 3]]; 2], row: &mut [u8]) {
    let pairs = levels[0].chunks_exact(2).zip(levels[1].chunks_exact(2));
    for ((above, below), bytes) in pairs.zip(row.chunks_exact_mut(2)) {
        bytes.copy_from_slice(&chroma(mean(&[above[0], above[1], below[0], below[1]])));
    }
}

fn mean(levels: &[[f32; 3]]) -> [f32; 3] {
    [0, 1, 2]
        .map(|channel| levels.iter().map(|level| level[channel]).sum::<f32>() / levels.len() as f32)
}

fn byte(level: f32) -> u8 {
    // A float beyond the range becomes its end.
    (level * 255.0 + 0.5) as u8
}

/// Brightness by BT.601, in its limited range.
fn luma([red, green, blue]: [f32; 3]) -> u8 {
    (16.5 + 65.481 * red + 128.553 * green + 24.966 * blue) as u8
}

/// Blue and red difference by BT.601, in its limited range.
fn chroma([red, green, blue]: [f32; 3]) -> [u8; 2] {
    [
        (128.5 - 37.797 * red - 74.203 * green + 112.0 * blue) as u8,
        (128.5 + 112.0 * red - 93.786 * green - 18.214 * blue) as u8,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_colours_have_their_bytes() {
        let white_red = [[1.0; 3], [1.0, 0.0, 0.0]];
        let bytes = |format, length| {
            let mut row = vec![0xee; length];
            picture(format, &white_red, &mut row);
            row
        };
        assert_eq!(bytes(PictureFormat::Xrgb8888, 8), [255, 255, 255, 255, 0, 0, 255, 255]);
        assert_eq!(bytes(PictureFormat::Nv12, 2), [235, 81]);
        // The mean of white (128, 128) and red (90, 240).
        assert_eq!(bytes(PictureFormat::Yuyv, 4), [235, 109, 81, 184]);
        let mut row = [0; 2];
        nv12_chroma([&[[1.0, 0.0, 0.0]; 2], &[[1.0, 0.0, 0.0]; 2]], &mut row);
        assert_eq!(row, [90, 240]);
    }

    #[test]
    fn black_and_white_are_those_of_the_depth() {
        for format in RawFormat::all() {
            let mut out = [0; 3];
            numbers(format, 0, &[[0.0; 3], [1.0; 3], [0.5; 3]], &mut out);
            assert_eq!(out[..2], [black(format), format.white()], "{format}");
            assert_eq!(u32::from(out[0]) << (16 - format.bits()), 4096);
        }
    }
}
