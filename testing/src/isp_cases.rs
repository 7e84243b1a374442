//! Cases for every ISP, wherever its buffers come from.

use std::time::Duration;

use vcam_allocator::{
    Alignment, ColourSpace, CpuAccess, Dmabuf, Fourcc, Heap, Layout, Range, YcbcrEncoding,
};
use vcam_isp_gpu::reference::{alike, off_by, statistics};
use vcam_isp_gpu::{
    Cfa, ColourCorrection, Crop, Defects, Demosaic, Denoise, Isp, IspParams, Job, Orientation,
    Output, RawFormat, RawImage, Shading, Tone, View,
};

const SOON: Duration = Duration::from_secs(60);

/// A buffer of this heap.
pub fn allocate(heap: &dyn Heap, format: Fourcc, (width, height): (u32, u32)) -> Dmabuf {
    let layout = Layout::linear(format, width, height, Alignment::default()).unwrap();
    heap.allocate(&layout, "test").unwrap()
}

/// A raw frame of noise, in which every value of a sample may occur.
#[derive(Debug)]
pub struct RawFrame {
    /// Its format.
    pub format: RawFormat,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// The buffer that it is in.
    pub buffer: Dmabuf,
    /// The same bytes, for the reference.
    pub bytes: Vec<u8>,
}

impl RawFrame {
    /// A frame in a buffer of this heap; another seed is other noise.
    pub fn new(heap: &dyn Heap, format: RawFormat, size: (u32, u32), seed: u32) -> Self {
        let (carrier, columns) = format.carrier(size.0);
        Self::on(allocate(heap, carrier, (columns, size.1)), format, size, seed)
    }

    /// A frame in this buffer.
    pub fn on(buffer: Dmabuf, format: RawFormat, size: (u32, u32), seed: u32) -> Self {
        let mut frame = Self { format, size, buffer, bytes: Vec::new() };
        frame.fill(seed);
        frame
    }

    /// Fills the frame with other noise.
    pub fn fill(&mut self, seed: u32) {
        let stride = self.buffer.layout().planes()[0].stride as usize;
        self.bytes.clear();
        self.bytes.resize(stride * self.size.1 as usize, 0);
        let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
        let mut samples = vec![0; self.size.0 as usize];
        for row in self.bytes.chunks_mut(stride) {
            for sample in &mut samples {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                *sample = (state >> 9) as u16 & self.format.white();
            }
            let bytes = self.format.row_bytes(self.size.0) as usize;
            self.format.pack(&samples, &mut row[..bytes]);
        }
        let mut guard = self.buffer.cpu_access(CpuAccess::Write).unwrap();
        let plane = guard.plane_mut(0);
        let length = plane.len();
        plane.copy_from_slice(&self.bytes[..length]);
        guard.end().unwrap();
    }

    /// The frame as the reference takes it.
    pub fn image(&self) -> RawImage<'_> {
        let stride = self.buffer.layout().planes()[0].stride as usize;
        RawImage { format: self.format, size: self.size, stride, bytes: &self.bytes }
    }

    /// The job to make pictures of it, and to measure it.
    pub fn job<'a>(
        &'a self,
        sequence: u64,
        outputs: &'a [Output<'a>],
        params: &'a IspParams,
    ) -> Job<'a> {
        let Self { format, size, buffer: ref raw, .. } = *self;
        Job { sequence, format, size, raw, outputs, params, measure: true }
    }

    /// Makes pictures of it, compares each with the reference, and returns the largest difference.
    pub fn make(
        &self,
        isp: &mut dyn Isp,
        sequence: u64,
        outputs: &[Output<'_>],
        params: &IspParams,
    ) -> u32 {
        finish(isp, &self.job(sequence, outputs, params));
        let off = |output: &Output<'_>| off_by(&self.image(), params, output).unwrap();
        outputs.iter().map(off).max().unwrap_or(0)
    }
}

/// Does a job and waits for its end.
fn finish(isp: &mut dyn Isp, job: &Job<'_>) {
    if let Some(fence) = isp.process(job).unwrap() {
        fence.wait(SOON).unwrap();
    }
}

const CCM: [[f32; 3]; 3] = [[1.7, -0.5, -0.2], [-0.3, 1.6, -0.3], [0.0, -0.6, 1.6]];

/// Sets of parameters that use every pass, with every demosaic.
fn all_params() -> impl Iterator<Item = IspParams> {
    Demosaic::ALL.into_iter().flat_map(|demosaic| {
        let plain = IspParams { demosaic, ..IspParams::default() };
        let linear = Tone { gamma: 1.0, contrast: 1.0 };
        [
            plain,
            IspParams { black_level: 0.0, tone: linear, ..plain },
            IspParams {
                gains: [1.9, 1.0, 1.5],
                colour: ColourCorrection { matrix: CCM, saturation: 1.3 },
                tone: Tone { gamma: 2.4, contrast: 1.4 },
                ..plain
            },
            IspParams {
                defects: Some(Defects { threshold: 0.05 }),
                shading: Shading {
                    coefficients: [[0.5, 0.2, 0.1], [0.4, 0.1, 0.1], [0.6, 0.0, 0.3]],
                },
                denoise: Some(Denoise { range: 0.2 }),
                sharpen: 0.7,
                ..plain
            },
        ]
    })
}

/// Every raw format, in small and odd sizes, with every pass: within a level.
pub fn every_raw_format(isp: &mut dyn Isp, heap: &dyn Heap) {
    let mut sequence = 0;
    for format in RawFormat::all() {
        for size in [(2, 2), (3, 2), (2, 3), (5, 4), (33, 17), (66, 10)] {
            let mut frame = RawFrame::new(heap, format, size, 0);
            let output = allocate(heap, Fourcc::XRGB8888, size);
            for params in all_params() {
                sequence += 1;
                frame.fill(sequence);
                let outputs = [Output::new(&output)];
                let off = frame.make(isp, sequence.into(), &outputs, &params);
                assert!(off <= 1, "{format} {size:?} {params:?}: off by {off}");
            }
        }
    }
}

/// Statistics are those of the reference, once they are there.
pub fn measures(isp: &mut dyn Isp, heap: &dyn Heap) {
    for cfa in Cfa::ALL.into_iter().map(Some).chain([None]) {
        let format: RawFormat = "SRGGB10".parse().unwrap();
        let format = format.with_cfa(cfa);
        for size in [(2, 2), (7, 5), (64, 48), (131, 77)] {
            let frame = RawFrame::new(heap, format, size, 5);
            let output = allocate(heap, Fourcc::XRGB8888, size);
            let params = IspParams {
                defects: Some(Defects { threshold: 0.3 }),
                shading: Shading { coefficients: [[0.1, 0.1, 0.0]; 3] },
                ..IspParams::default()
            };
            let should = statistics(&frame.image(), &params);
            // A GPU is some frames late.
            for sequence in 0..8 {
                frame.make(isp, sequence, &[Output::new(&output)], &params);
            }
            let (_, is) = isp.statistics().expect("the ISP measures");
            alike(is, &should).unwrap_or_else(|how| panic!("{format} {size:?}: {how}"));
        }
    }
}

/// Statistics are those of frames that are to be measured, and other frames do not change them;
/// also where a bilinear demosaic is the only pass.
pub fn measures_what_it_is_told_to(isp: &mut dyn Isp, heap: &dyn Heap) {
    let frames = [1, 2].map(|seed| RawFrame::new(heap, RawFormat::SRGGB8, (64, 48), seed));
    let output = allocate(heap, Fourcc::XRGB8888, (64, 48));
    let outputs = [Output::new(&output)];
    let linear = Tone { gamma: 1.0, contrast: 1.0 };
    let demosaic = Demosaic::Bilinear;
    let bilinear = IspParams { black_level: 0.0, tone: linear, demosaic, ..IspParams::default() };
    let (mut sequence, mut last) = (0, 0);
    for params in [IspParams::default(), bilinear] {
        // The frame sent, whether it is measured, and the frame whose statistics follow.
        for (sent, measure, of) in [(0, true, 0), (1, false, 0), (1, true, 1)] {
            // A GPU is some frames late.
            for _ in 0..8 {
                sequence += 1;
                finish(isp, &Job { measure, ..frames[sent].job(sequence, &outputs, &params) });
                last = if measure { sequence } else { last };
            }
            let (number, is) = isp.statistics().expect("the ISP measures");
            assert!(number <= last, "frame {number} was not to be measured, but {last} was");
            alike(is, &statistics(&frames[of].image(), &params)).unwrap();
        }
    }
}

/// Every colour space that a format can have.
fn colour_spaces(format: Fourcc) -> Vec<ColourSpace> {
    use YcbcrEncoding::{Rec601, Rec709, Rec2020};
    if !format.is_yuv() {
        return vec![ColourSpace::SRGB];
    }
    let all = [Rec601, Rec709, Rec2020].into_iter().flat_map(|encoding| {
        [Range::Limited, Range::Full].map(|range| ColourSpace {
            encoding,
            range,
            ..ColourSpace::SRGB
        })
    });
    all.collect()
}

/// Every output format and colour space: within a level.
pub fn every_output_format(isp: &mut dyn Isp, heap: &dyn Heap) {
    let params = IspParams { gains: [1.3, 1.0, 1.6], ..IspParams::default() };
    let mut sequence = 0;
    for cfa in Cfa::ALL {
        let format: RawFormat = "SRGGB10".parse().unwrap();
        let format = format.with_cfa(Some(cfa));
        for size in [(2, 2), (64, 18), (33, 17)] {
            let frame = RawFrame::new(heap, format, size, 1);
            for output_format in Fourcc::pictures() {
                for colour_space in colour_spaces(output_format) {
                    let to = allocate(heap, output_format, size);
                    let view = View { colour_space: Some(colour_space), ..View::default() };
                    let outputs = [Output { buffer: &to, view }];
                    let off = frame.make(isp, sequence, &outputs, &params);
                    let case = format!("{format} {size:?} {output_format} {colour_space}");
                    assert!(off <= 1, "{case}: off by {off}");
                    sequence += 1;
                }
            }
        }
    }
}

/// Two outputs of different formats and sizes, turned, cropped and scaled: within two levels.
pub fn two_views(isp: &mut dyn Isp, heap: &dyn Heap) {
    let frame = RawFrame::new(heap, RawFormat::SRGGB8, (48, 32), 1);
    let params = IspParams::default();
    let crop = Crop { x: 5, y: 3, width: 30, height: 21 };
    let mut sequence = 0;
    for orientation in Orientation::all() {
        for size in [(48, 32), (32, 48), (30, 21), (16, 12), (100, 40)] {
            let one = allocate(heap, Fourcc::XRGB8888, size);
            let two = allocate(heap, Fourcc::NV12, (size.1, size.0));
            for crop in [None, Some(crop)] {
                let view = View { crop, orientation, ..View::default() };
                let outputs = [Output { buffer: &one, view }, Output { buffer: &two, view }];
                let off = frame.make(isp, sequence, &outputs, &params);
                assert!(off <= 2, "{orientation:?} {size:?} {crop:?}: off by {off}");
                sequence += 1;
            }
        }
    }
}
