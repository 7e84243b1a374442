//! The frame's number as a strip of black and white blocks along the top of the picture.
//!
//! 32 blocks are the number's bits, the highest first, and 8 more their check sum, so that a
//! picture of something else, or of half a frame, does not read as a number. A block is at least
//! three pixels wide: its middle is the same before and after a demosaic.

const BITS: usize = 32;
const CHECK_BITS: usize = 8;
const BLOCKS: usize = BITS + CHECK_BITS;

/// How many rows of a picture the strip takes, from the top.
pub fn rows(height: usize) -> usize {
    (height / 16).max(4)
}

/// Writes the number into a row, in this black and this white; all rows of the strip are equal.
pub(super) fn write<T: Copy>(number: u32, row: &mut [T], black: T, white: T) {
    let code = code(number);
    let width = row.len();
    for block in 0..BLOCKS {
        let bit = code >> (BLOCKS - 1 - block) & 1;
        row[block * width / BLOCKS..(block + 1) * width / BLOCKS].fill(if bit == 1 {
            white
        } else {
            black
        });
    }
}

/// Reads the number from a row of a picture of this width, or `None` if it carries none.
///
/// `brightness` gives a pixel's, from 0 to 255; any row of the strip but the last will do.
pub fn read(width: usize, brightness: impl Fn(usize) -> u8) -> Option<u32> {
    if width < BLOCKS {
        return None;
    }
    let mut code = 0u64;
    for block in 0..BLOCKS {
        let middle = (block * width / BLOCKS + (block + 1) * width / BLOCKS) / 2;
        code = code << 1 | u64::from(brightness(middle) >= 128);
    }
    let number = (code >> CHECK_BITS) as u32;
    (code == self::code(number)).then_some(number)
}

/// The number and its check sum, which for no number is all black or all white.
fn code(number: u32) -> u64 {
    let sum =
        number.to_be_bytes().into_iter().fold(0xa5, |sum: u8, byte| sum.rotate_left(1) ^ byte);
    u64::from(number) << CHECK_BITS | u64::from(sum)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(number: u32, width in 128usize..2000) {
            let mut row = vec![0u8; width];
            write(number, &mut row, 16, 255);
            prop_assert_eq!(read(width, |x| row[x]), Some(number));
        }

        #[test]
        fn a_flipped_block_is_noticed(number: u32, block in 0usize..BLOCKS) {
            let mut row = vec![0u8; 400];
            write(number, &mut row, 16, 255);
            row[block * 10..block * 10 + 10].iter_mut().for_each(|pixel| *pixel = !*pixel);
            prop_assert_ne!(read(400, |x| row[x]), Some(number));
        }
    }

    #[test]
    fn a_blank_picture_has_no_number() {
        assert_eq!(read(640, |_| 0), None);
        assert_eq!(read(640, |_| 255), None);
        assert_eq!(read(8, |_| 255), None);
    }
}
