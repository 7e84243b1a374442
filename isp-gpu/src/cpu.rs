//! The ISP without a GPU, and the reference of the one with.

use vcam_allocator::constraints::{Constraints, CpuUse, Rule, Statement};
use vcam_allocator::{CpuAccess, Dmabuf, Fence, Fourcc, Importer, LinkEnd};

use crate::Isp;
use crate::frame::{ByteOrder, Frame, IspError, OUTPUT_BYTES, cpu_stride};
use crate::params::{Cfa, IspParams, Tone};

/// Makes pictures with the CPU, in the mapped buffers: nothing is imported and nothing copied.
#[derive(Debug, Default)]
pub struct CpuIsp;

fn says(cpu: CpuUse) -> Constraints {
    [Statement::new("isp:cpu", "it is a program", Rule::Cpu(cpu))].into_iter().collect()
}

const IN_PLACE: &str = "the CPU uses the mapped buffer in place";

impl Isp for CpuIsp {
    fn name(&self) -> String {
        "cpu".into()
    }

    fn describe(&self) -> String {
        "the CPU, on one thread".into()
    }

    fn raw_constraints(&self) -> Constraints {
        says(CpuUse { read: true, cached: true, ..CpuUse::default() })
    }

    fn output_constraints(&self, _: &[Fourcc]) -> Constraints {
        says(CpuUse { write: true, ..CpuUse::default() })
    }

    fn raw_importer(&mut self) -> Option<Box<dyn Importer + '_>> {
        None
    }

    fn output_importer(&mut self) -> Option<Box<dyn Importer + '_>> {
        None
    }

    fn prepare(&mut self, _: &[Dmabuf], _: &[Dmabuf]) {}

    fn process(
        &mut self,
        _: u64,
        cfa: Cfa,
        raw: &Dmabuf,
        output: &Dmabuf,
        params: &IspParams,
    ) -> Result<Option<Fence>, IspError> {
        let Frame { width, height, .. } = Frame::check(raw, output, params)?;
        let (raw_stride, out_stride) = (cpu_stride(raw)?, cpu_stride(output)?);
        let from = raw.cpu_access(CpuAccess::Read)?;
        let mut to = output.cpu_access(CpuAccess::Write)?;
        let (format, out) = (output.format(), to.plane_mut(0));
        reference(cfa, from.plane(0), raw_stride, width, height, params, format, out, out_stride);
        to.end()?;
        from.end()?;
        Ok(None)
    }

    fn raw_end(&self) -> LinkEnd {
        LinkEnd::native(IN_PLACE)
    }

    fn output_end(&self) -> LinkEnd {
        LinkEnd::native(IN_PLACE)
    }
}

/// Makes the picture of a raw frame: the maths of this crate, in plain words.
///
/// Strides are in bytes; what lies beyond the pixels of a row is left as it is.
///
/// # Panics
///
/// When a slice ends before its picture does, the picture is smaller than 2x2, or the format is
/// none that [`Isp::process`] makes.
#[allow(clippy::too_many_arguments)]
pub fn reference(
    cfa: Cfa,
    raw: &[u8],
    raw_stride: usize,
    width: u32,
    height: u32,
    params: &IspParams,
    format: Fourcc,
    out: &mut [u8],
    out_stride: usize,
) {
    assert!(width >= 2 && height >= 2, "{width}x{height} has not all colours");
    let Some(order) = ByteOrder::of(format) else { panic!("{format} is not made here") };
    let (red, blue) = match order {
        ByteOrder::Bgrx => (2, 0),
        ByteOrder::Rgbx => (0, 2),
    };
    let tables = params.tone().tables();
    let (columns, rows) = (width as usize, height as usize);
    let row = |y: usize| &raw[y * raw_stride..][..columns];
    for y in 0..rows {
        let (up, here, down) = (row(before(y)), row(y), row(after(y, rows)));
        let out = &mut out[y * out_stride..][..columns * OUTPUT_BYTES];
        for (x, pixel) in out.chunks_exact_mut(OUTPUT_BYTES).enumerate() {
            let (left, right) = (before(x), after(x, columns));
            let byte = |row: &[u8], x: usize| usize::from(row[x]);
            // All in quarters of a level: the sum of four bytes, or of one or two as often.
            let centre = 4 * byte(here, x);
            let beside = 2 * (byte(here, left) + byte(here, right));
            let above = 2 * (byte(up, x) + byte(down, x));
            let cross = (beside + above) / 2;
            let corners = byte(up, left) + byte(up, right) + byte(down, left) + byte(down, right);
            let (x, y) = (x as u32, y as u32);
            let [r, g, b] = match (cfa.colour_at(x, y), cfa.colour_at(x ^ 1, y)) {
                (0, _) => [centre, cross, corners],
                (2, _) => [corners, cross, centre],
                // Green, in a row with red and in one with blue.
                (_, 0) => [beside, centre, above],
                _ => [above, centre, beside],
            };
            pixel[red] = tables[0][r];
            pixel[1] = tables[1][g];
            pixel[blue] = tables[2][b];
            pixel[3] = 255;
        }
    }
}

/// The neighbour before a pixel, mirrored at the first.
fn before(at: usize) -> usize {
    if at == 0 { 1 } else { at - 1 }
}

/// The neighbour after a pixel, mirrored at the last.
fn after(at: usize, count: usize) -> usize {
    if at + 1 == count { count - 2 } else { at + 1 }
}

/// Each mean that four bytes can have, in quarters of a level.
const QUARTERS: usize = 4 * 255 + 1;

impl Tone {
    /// The level of red, green and blue for every mean there is.
    fn tables(&self) -> [[u8; QUARTERS]; 3] {
        self.scale.map(|scale| {
            std::array::from_fn(|quarters| {
                let light = (quarters as f32 * 0.25 - self.black) * scale;
                let level = light.clamp(0.0, 1.0).powf(self.exponent) * 255.0;
                level.round() as u8
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use vcam_allocator::heaps::memfd::Memfd;
    use vcam_allocator::{Alignment, Heap, Layout, Method};

    use super::*;
    use crate::ParamsError;

    const LINEAR: IspParams = IspParams { black_level: 0.0, gains: [1.0; 3], gamma: 1.0 };

    /// The picture as RGB triples.
    fn rgb(cfa: Cfa, raw: &[u8], width: usize, params: &IspParams) -> Vec<[u8; 3]> {
        let (height, stride) = (raw.len() / width, width * 4 + 3);
        let mut out = vec![7; stride * height];
        let (w, h) = (width as u32, height as u32);
        reference(cfa, raw, width, w, h, params, Fourcc::XBGR8888, &mut out, stride);
        let mut pixels = Vec::new();
        for row in out.chunks_exact(stride) {
            for pixel in row[..width * 4].chunks_exact(4) {
                assert_eq!(pixel[3], 255);
                pixels.push([pixel[0], pixel[1], pixel[2]]);
            }
            assert_eq!(row[width * 4..], [7; 3], "the padding of a row was touched");
        }
        pixels
    }

    #[test]
    #[rustfmt::skip]
    fn the_middle_of_three_rows_is_as_computed_by_hand() {
        let raw = [
            8, 100, 16, 30,
            40, 200, 48, 90,
            24, 60, 32, 70,
        ];
        let middle = |cfa| {
            let pixels = rgb(cfa, &raw, 4, &LINEAR);
            [pixels[5], pixels[6]]
        };
        // (1, 1): itself 200; beside 44; above 80; cross 62; corners 20.
        // (2, 1): itself 48; beside 145; above 24; cross 84.5; corners 65.
        assert_eq!(middle(Cfa::Rggb), [[20, 62, 200], [24, 48, 145]]);
        assert_eq!(middle(Cfa::Bggr), [[200, 62, 20], [145, 48, 24]]);
        // In GRBG the second row is blue, green: (1, 1) is green with blue beside it.
        assert_eq!(middle(Cfa::Grbg), [[80, 200, 44], [65, 85, 48]]);
        assert_eq!(middle(Cfa::Gbrg), [[44, 200, 80], [48, 85, 65]]);
    }

    #[test]
    #[rustfmt::skip]
    fn borders_are_mirrored_without_repeating_the_edge() {
        let raw = [
            8, 100, 16,
            40, 200, 48,
            24, 60, 32,
        ];
        let pixels = rgb(Cfa::Rggb, &raw, 3, &LINEAR);
        // (0, 0): left of it is 100 again, above it 40 again, in the corners 200.
        assert_eq!(pixels[0], [8, 70, 200]);
        // (2, 2): right of it is 60 again, below it 48 again.
        assert_eq!(pixels[8], [32, 54, 200]);
        // (1, 0), green beside red: above and below it 200.
        assert_eq!(pixels[1], [12, 100, 200]);
    }

    #[test]
    fn the_smallest_mosaic_has_every_colour_everywhere() {
        let colours = [10, 20, 30];
        for cfa in Cfa::ALL {
            let raw: Vec<u8> = [(0, 0), (1, 0), (0, 1), (1, 1)]
                .map(|(x, y)| colours[cfa.colour_at(x, y)])
                .to_vec();
            assert_eq!(rgb(cfa, &raw, 2, &LINEAR), [colours; 4], "{cfa}");
        }
    }

    #[test]
    fn flat_grey_stays_flat_to_the_edges() {
        for (width, height) in [(2, 2), (3, 2), (2, 5), (33, 17), (640, 3)] {
            for cfa in Cfa::ALL {
                let pixels = rgb(cfa, &vec![100; width * height], width, &IspParams::default());
                assert_eq!(pixels.len(), width * height);
                // 255 * ((100 - 16) / (255 - 16)) ^ (1 / 2.2) = 158.58
                assert!(pixels.iter().all(|pixel| *pixel == [159; 3]), "{width}x{height} {cfa}");
            }
        }
    }

    #[test]
    fn black_level_gains_and_clipping_are_those_of_the_formula() {
        let params = IspParams { black_level: 55.0 / 255.0, gains: [2.0, 1.0, 0.5], gamma: 1.0 };
        // (155 - 55) / 200 = 0.5
        assert_eq!(rgb(Cfa::Rggb, &[155; 4], 2, &params), [[255, 128, 64]; 4]);
        // Above full scale and below black.
        assert_eq!(rgb(Cfa::Rggb, &[255; 4], 2, &params), [[255, 255, 128]; 4]);
        assert_eq!(rgb(Cfa::Rggb, &[54; 4], 2, &params), [[0; 3]; 4]);
    }

    #[test]
    fn bytes_are_in_the_order_of_the_format() {
        let raw = [10, 20, 20, 30];
        for (format, expected) in [
            (Fourcc::XRGB8888, [30, 20, 10, 255]),
            (Fourcc::ARGB8888, [30, 20, 10, 255]),
            (Fourcc::XBGR8888, [10, 20, 30, 255]),
            (Fourcc::ABGR8888, [10, 20, 30, 255]),
        ] {
            let mut out = [0; 16];
            reference(Cfa::Rggb, &raw, 2, 2, 2, &LINEAR, format, &mut out, 8);
            assert_eq!(out[..4], expected, "{format}");
        }
    }

    fn buffer(format: Fourcc, width: u32, height: u32) -> Dmabuf {
        let layout = Layout::linear(format, width, height, Alignment::default()).unwrap();
        Memfd::new().allocate(&layout, "test").unwrap()
    }

    #[test]
    fn the_cpu_works_in_place() {
        let (raw, output) = (buffer(Fourcc::R8, 33, 17), buffer(Fourcc::XRGB8888, 33, 17));
        raw.cpu_access(CpuAccess::Write).unwrap().plane_mut(0).fill(100);
        let mut isp = CpuIsp;
        isp.process(0, Cfa::Rggb, &raw, &output, &IspParams::default()).unwrap();
        let guard = output.cpu_access(CpuAccess::Read).unwrap();
        for row in guard.plane(0).chunks(output.layout().planes()[0].stride as usize) {
            for pixel in row[..33 * 4].chunks(4) {
                assert_eq!(pixel, [159, 159, 159, 255]);
            }
        }
        assert_eq!(isp.raw_end().method, Method::Native);
        assert_eq!(isp.output_end().bytes_copied, 0);
    }

    #[test]
    fn frames_that_cannot_be_made_are_errors() {
        let mut isp = CpuIsp;
        let params = IspParams::default();
        let mut process = |raw: &Dmabuf, output: &Dmabuf, params: &IspParams| {
            isp.process(0, Cfa::Rggb, raw, output, params).unwrap_err()
        };
        let (r8, xr24) = (buffer(Fourcc::R8, 4, 4), buffer(Fourcc::XRGB8888, 4, 4));
        assert!(matches!(process(&xr24, &xr24, &params), IspError::RawFormat { .. }));
        assert!(matches!(process(&r8, &r8, &params), IspError::OutputFormat { .. }));
        let other = buffer(Fourcc::XRGB8888, 4, 5);
        assert!(matches!(process(&r8, &other, &params), IspError::Size { .. }));
        let (thin, thin_output) = (buffer(Fourcc::R8, 1, 4), buffer(Fourcc::XRGB8888, 1, 4));
        assert!(matches!(process(&thin, &thin_output, &params), IspError::TooSmall { .. }));
        let bad = IspParams { gamma: 0.0, ..params };
        assert!(matches!(process(&r8, &xr24, &bad), IspError::Params(ParamsError::Gamma(_))));
        let held = xr24.cpu_access(CpuAccess::Read).unwrap();
        assert!(matches!(process(&r8, &xr24, &params), IspError::Access(_)));
        drop(held);
    }
}
