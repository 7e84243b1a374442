//! The formats of raw frames: colour filters, bits of a sample, and packing in memory.
//!
//! The names are those of V4L2 (`Documentation/userspace-api/media/v4l/pixfmt-srggb10.rst` and its
//! siblings): `SRGGB10` is two bytes a sample, little-endian, the value in the low ten bits;
//! `SRGGB10P` is as CSI-2 sends it, four samples in five bytes. `Y10` is the same without colour
//! filters.

use std::fmt;
use std::str::FromStr;

use vcam_allocator::Fourcc;

/// The order of the colour filters: those of the first two pixels of the first row, then those of
/// the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Cfa {
    /// Red, green; green, blue.
    #[default]
    Rggb,
    /// Green, red; blue, green.
    Grbg,
    /// Green, blue; red, green.
    Gbrg,
    /// Blue, green; green, red.
    Bggr,
}

impl Cfa {
    /// All four orders.
    pub const ALL: [Self; 4] = [Self::Rggb, Self::Grbg, Self::Gbrg, Self::Bggr];

    /// Column and row of the first red site.
    pub const fn red(self) -> (u32, u32) {
        match self {
            Self::Rggb => (0, 0),
            Self::Grbg => (1, 0),
            Self::Gbrg => (0, 1),
            Self::Bggr => (1, 1),
        }
    }

    /// The colour that the site at this column and row sees: 0 is red, 1 green, 2 blue.
    pub const fn colour_at(self, column: u32, row: u32) -> usize {
        let (red_column, red_row) = self.red();
        ((column ^ red_column) as usize & 1) + ((row ^ red_row) as usize & 1)
    }
}

impl fmt::Display for Cfa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rggb => "RGGB",
            Self::Grbg => "GRBG",
            Self::Gbrg => "GBRG",
            Self::Bggr => "BGGR",
        })
    }
}

/// How the samples of a raw frame lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Packing {
    /// A byte each (8 bits), or two, little-endian, with the value in the low bits.
    Unpacked,
    /// As MIPI CSI-2 packs them: the high eight bits of each sample of a group, then a byte of
    /// their low bits, those of the first sample lowest. A row is made of whole groups.
    Csi2,
}

/// The format of a raw frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RawFormat {
    cfa: Option<Cfa>,
    bits: u8,
    packing: Packing,
}

impl RawFormat {
    /// 8-bit Bayer, the simplest there is.
    pub const SRGGB8: Self = Self { cfa: Some(Cfa::Rggb), bits: 8, packing: Packing::Unpacked };

    /// Every bit depth and packing there is.
    const KINDS: [(u8, Packing); 6] = [
        (8, Packing::Unpacked),
        (10, Packing::Unpacked),
        (12, Packing::Unpacked),
        (16, Packing::Unpacked),
        (10, Packing::Csi2),
        (12, Packing::Csi2),
    ];

    /// Every format: four orders of colour filters and none, in each depth and packing.
    pub fn all() -> impl Iterator<Item = Self> {
        let orders = Cfa::ALL.into_iter().map(Some).chain([None]);
        orders.flat_map(|cfa| {
            Self::KINDS.into_iter().map(move |(bits, packing)| Self { cfa, bits, packing })
        })
    }

    /// The order of the colour filters; `None` for a sensor without, which sees brightness alone.
    pub fn cfa(self) -> Option<Cfa> {
        self.cfa
    }

    /// Bits of a sample: 8, 10, 12 or 16.
    pub fn bits(self) -> u8 {
        self.bits
    }

    /// How the samples lie in memory.
    pub fn packing(self) -> Packing {
        self.packing
    }

    /// The value of a saturated sample.
    pub fn white(self) -> u16 {
        u16::MAX >> (16 - self.bits)
    }

    /// The same bits in the same packing, seen through other filters.
    #[must_use]
    pub fn with_cfa(self, cfa: Option<Cfa>) -> Self {
        Self { cfa, ..self }
    }

    /// Samples and bytes of the smallest piece of a row.
    fn group(self) -> (usize, usize) {
        match (self.packing, self.bits) {
            (Packing::Csi2, 10) => (4, 5),
            (Packing::Csi2, _) => (2, 3),
            (Packing::Unpacked, 8) => (1, 1),
            (Packing::Unpacked, _) => (1, 2),
        }
    }

    /// Bytes of a row of this many samples, without padding.
    pub fn row_bytes(self, width: u32) -> u64 {
        let (samples, bytes) = self.group();
        (u64::from(width)).div_ceil(samples as u64) * bytes as u64
    }

    /// The single-channel format as which a frame of this width travels through allocators and
    /// importers, which know nothing of Bayer, and how many of its pixels are a row.
    ///
    /// Samples of two bytes are `R16`; all others, packed ones included, are bytes of `R8`.
    pub fn carrier(self, width: u32) -> (Fourcc, u32) {
        match self.group() {
            (1, 2) => (Fourcc::R16, width),
            _ => (Fourcc::R8, self.row_bytes(width).try_into().unwrap_or(u32::MAX)),
        }
    }

    /// Reads the samples of a row.
    ///
    /// Bits above the depth, which a sensor leaves zero, are ignored. Samples for which `row` is
    /// too short keep what they are.
    pub fn unpack(self, row: &[u8], samples: &mut [u16]) {
        match (self.packing, self.bits) {
            (Packing::Unpacked, 8) => {
                samples.iter_mut().zip(row).for_each(|(sample, byte)| *sample = (*byte).into());
            }
            (Packing::Unpacked, _) => {
                let (bytes, white) = (row.as_chunks().0, self.white());
                for (sample, bytes) in samples.iter_mut().zip(bytes) {
                    *sample = u16::from_le_bytes(*bytes) & white;
                }
            }
            (Packing::Csi2, 10) => unpack_groups::<4, 5>(row, samples),
            (Packing::Csi2, _) => unpack_groups::<2, 3>(row, samples),
        }
    }

    /// Writes the samples of a row: each byte of it once, in order, and none is read.
    ///
    /// A sample above [`white`](RawFormat::white) is written as white. The last group of a packed
    /// row is filled up with zeros. Samples for which `row` is too short are left out.
    pub fn pack(self, samples: &[u16], row: &mut [u8]) {
        let (count, bytes) = self.group();
        let white = self.white();
        let groups = samples.chunks(count).zip(row.chunks_exact_mut(bytes));
        match (self.packing, self.bits) {
            (Packing::Unpacked, 8) => {
                for (sample, byte) in samples.iter().zip(row) {
                    *byte = (*sample).min(white) as u8;
                }
            }
            (Packing::Unpacked, _) => {
                for (sample, bytes) in groups {
                    bytes.copy_from_slice(&sample[0].min(white).to_le_bytes());
                }
            }
            (Packing::Csi2, bits) => {
                let low = u32::from(bits) - 8;
                for (samples, bytes) in groups {
                    let mut rest = 0;
                    for (index, byte) in bytes[..count].iter_mut().enumerate() {
                        let sample = samples.get(index).map_or(0, |sample| (*sample).min(white));
                        *byte = (sample >> low) as u8;
                        rest |= (sample & ((1 << low) - 1)) << (low * index as u32);
                    }
                    bytes[count] = rest as u8;
                }
            }
        }
    }
}

/// Reads groups of `COUNT` samples in `BYTES` bytes, the last of which has the low bits.
fn unpack_groups<const COUNT: usize, const BYTES: usize>(row: &[u8], samples: &mut [u16]) {
    let low = 8 / COUNT;
    let sample = |bytes: &[u8; BYTES], index: usize| {
        let rest = bytes[COUNT] >> (low * index) & ((1 << low) - 1);
        u16::from(bytes[index]) << low | u16::from(rest)
    };
    let (whole, last) = samples.as_chunks_mut::<COUNT>();
    let mut groups = row.as_chunks::<BYTES>().0.iter();
    for (samples, bytes) in whole.iter_mut().zip(&mut groups) {
        *samples = std::array::from_fn(|index| sample(bytes, index));
    }
    if let Some(bytes) = groups.next() {
        last.iter_mut().enumerate().for_each(|(index, value)| *value = sample(bytes, index));
    }
}

impl fmt::Display for RawFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cfa {
            Some(cfa) => write!(f, "S{cfa}{}", self.bits)?,
            None => write!(f, "Y{}", self.bits)?,
        }
        f.write_str(if self.packing == Packing::Csi2 { "P" } else { "" })
    }
}

/// The text names no raw format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no raw format: it is S and the order of the colour filters (RGGB, GRBG, GBRG, BGGR), \
     or Y for none; then 8, 10, 12 or 16 bits; then P if packed (10 and 12 only), as in SRGGB10P"
)]
pub struct ParseRawFormatError(String);

impl FromStr for RawFormat {
    type Err = ParseRawFormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let same = |format: &Self| format.to_string().eq_ignore_ascii_case(text);
        Self::all().find(same).ok_or_else(|| ParseRawFormatError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_order_has_its_letters() {
        for cfa in Cfa::ALL {
            let letters: String = [(0, 0), (1, 0), (0, 1), (1, 1)]
                .map(|(column, row)| ['R', 'G', 'B'][cfa.colour_at(column, row)])
                .iter()
                .collect();
            assert_eq!(letters, cfa.to_string());
            assert_eq!(cfa.colour_at(5, 7), cfa.colour_at(1, 1));
        }
        assert_eq!(Cfa::default(), Cfa::Rggb);
    }

    #[test]
    fn names_read_back() {
        assert_eq!(RawFormat::all().count(), 30);
        for format in RawFormat::all() {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert_eq!(RawFormat::SRGGB8.to_string(), "SRGGB8");
        assert_eq!("sbggr12p".parse::<RawFormat>().unwrap().to_string(), "SBGGR12P");
        for text in ["", "RGGB8", "SRGGB8P", "SRGGB16P", "SRGGB11", "Y8 "] {
            assert!(text.parse::<RawFormat>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn packed_rows_are_as_in_the_kernel_document() {
        let packed = |name: &str, samples: &[u16]| {
            let format: RawFormat = name.parse().unwrap();
            let mut row = vec![0xee; format.row_bytes(samples.len() as u32) as usize];
            format.pack(samples, &mut row);
            row
        };
        // Byte 4 holds bits 1-0 of samples 3, 2, 1, 0, from high to low.
        let samples = [0x3ff, 0x000, 0x155, 0x2aa];
        assert_eq!(packed("SRGGB10P", &samples), [0xff, 0x00, 0x55, 0xaa, 0b10_01_00_11]);
        assert_eq!(packed("SRGGB12P", &[0xabc, 0x123]), [0xab, 0x12, 0x3c]);
        assert_eq!(packed("SRGGB12", &[0xabc, 0xffff]), [0xbc, 0x0a, 0xff, 0x0f]);
        // A row of two samples is still a whole group.
        assert_eq!(packed("SRGGB10P", &[0x3ff, 0x001]), [0xff, 0, 0, 0, 0b01_11]);
    }

    #[test]
    fn every_value_survives() {
        for format in RawFormat::all() {
            for width in 1..9 {
                let samples: Vec<u16> = (0..width)
                    .map(|at| (at as u16).wrapping_mul(0x9e37) & format.white())
                    .collect();
                let mut row = vec![0xee; format.row_bytes(width) as usize];
                format.pack(&samples, &mut row);
                let mut back = vec![0; samples.len()];
                format.unpack(&row, &mut back);
                assert_eq!(back, samples, "{format} {width}");
            }
        }
    }

    #[test]
    fn carriers_hold_the_row() {
        for format in RawFormat::all() {
            let (fourcc, pixels) = format.carrier(641);
            let bytes = fourcc.planes().unwrap()[0].bytes;
            assert_eq!(u64::from(bytes * pixels), format.row_bytes(641), "{format}");
        }
    }
}
