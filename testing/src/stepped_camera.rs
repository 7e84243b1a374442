//! A camera's parts stepped by hand: one frame at a time, each compared with the reference.

use std::time::Duration;

use vcam_allocator::{
    Alignment, ColourSpace, CpuAccess, Fourcc, Heap, Layout, Method, Pool, heaps,
};
use vcam_isp_gpu::{
    Cfa, GpuIsp, Isp, IspParams, Job, Output, RawFormat, RawImage, View, reference,
};
use vcam_pipeline::sensor::{BLACK_LEVEL, Sensor, frame_counter};
use vcam_sinks::{Frame, KmsOptions, KmsSink, Sink};

const SOON: Duration = Duration::from_secs(5);
const FORMAT: Fourcc = Fourcc::XRGB8888;

/// A sensor, a GPU ISP and a display.
pub struct SteppedCamera {
    size: (u32, u32),
    sensor: Sensor,
    raw: Pool,
    output: Pool,
    /// The ISP.
    pub isp: GpuIsp,
    /// The display.
    pub sink: KmsSink,
}

impl SteppedCamera {
    /// With buffers of this heap, on a display of this card, in this size.
    pub fn new(heap: &str, card: &str, size: (u32, u32)) -> Self {
        let heap = heaps::open(heap).expect("the lab has the heap");
        let pool = |format, name| {
            let layout = Layout::linear(format, size.0, size.1, Alignment::default()).unwrap();
            Pool::new(&*heap as &dyn Heap, &layout, name, 3).expect("the heap allocates")
        };
        let options = KmsOptions { card: Some(card.to_owned()), ..KmsOptions::new(size, FORMAT) };
        // The display first: while EGL looks for a GPU it may become the master of a card.
        let sink = KmsSink::open(&options).expect("the lab has the display");
        Self {
            size,
            sensor: Sensor::new(size.0, size.1, Cfa::Rggb).unwrap(),
            raw: pool(Fourcc::R8, "test-raw"),
            output: pool(FORMAT, "test-output"),
            isp: GpuIsp::new(None).expect("the lab has EGL"),
            sink,
        }
    }

    /// The inodes of the buffers between ISP and display.
    pub fn output_inodes(&self) -> Vec<u64> {
        self.output
            .buffers()
            .iter()
            .flat_map(|buffer| buffer.inodes().collect::<Vec<_>>())
            .collect()
    }

    /// Sends one frame through, up to the display.
    pub fn show(&mut self, sequence: u64) {
        let raw = self.raw.take(SOON).expect("a raw buffer is free");
        let stride = raw.layout().planes()[0].stride as usize;
        let mut pixels = raw.cpu_access(CpuAccess::Write).unwrap();
        self.sensor.fill(sequence, pixels.plane_mut(0), stride);
        pixels.end().unwrap();
        let output = self.output.take(SOON).expect("an output buffer is free");
        let job = Job {
            sequence,
            format: RawFormat::SRGGB8,
            size: self.size,
            raw: &raw,
            outputs: &[Output::new(&output)],
            params: &params(),
            measure: true,
        };
        let ready = self.isp.process(&job).unwrap();
        let timestamp = Duration::from_millis(sequence);
        let (buffer, colour_space, taken) = (output, ColourSpace::SRGB, None);
        let frame = Frame { sequence, timestamp, buffer, colour_space, ready, taken };
        self.sink.present(frame).unwrap();
    }

    /// Shows these frames and compares each with what the display scanned out, which `scanned_out`
    /// gives as red, green and blue of each pixel.
    pub fn compare(
        &mut self,
        frames: std::ops::Range<u64>,
        mut scanned_out: impl FnMut(&mut KmsSink) -> Vec<u8>,
    ) {
        let width = self.size.0 as usize;
        for sequence in frames {
            self.show(sequence);
            let expected = expected(self.size, sequence);
            let shown = scanned_out(&mut self.sink);
            assert_eq!(
                frame_counter::read(width, |x| shown[(width + x) * 3 + 1]),
                Some(sequence as u32),
                "the display shows another frame than {sequence}"
            );
            assert_equal(&shown, &expected, width, sequence);
        }
    }

    /// Asserts that both the ISP and the display imported every buffer, and copied none.
    pub fn assert_imported(&self) {
        for end in [self.isp.raw_end(), self.isp.output_end(), self.sink.link_end()] {
            assert_eq!((end.method, end.bytes_copied), (Method::Import, 0), "{end:?}");
            assert_eq!(end.imports, 3, "each buffer once: {end:?}");
        }
    }
}

fn params() -> IspParams {
    IspParams { black_level: f32::from(BLACK_LEVEL) / 255.0, ..IspParams::default() }
}

/// The expected picture of a frame: red, green and blue of each pixel.
pub fn expected((width, height): (u32, u32), sequence: u64) -> Vec<u8> {
    let (stride, rows) = (width as usize, height as usize);
    let mut raw = vec![0; stride * rows];
    Sensor::new(width, height, Cfa::Rggb).unwrap().fill(sequence, &mut raw, stride);
    let raw = RawImage { format: RawFormat::SRGGB8, size: (width, height), stride, bytes: &raw };
    let size = (width, height);
    let rendered = &reference(&raw, &params(), &View::default(), Fourcc::XBGR8888, size)[0];
    rendered.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
}

/// Asserts that no channel of any pixel differs by more than one level.
pub fn assert_equal(shown: &[u8], expected: &[u8], width: usize, sequence: u64) {
    assert_eq!(shown.len(), expected.len(), "frame {sequence} has another size");
    let worst = shown
        .iter()
        .zip(expected)
        .enumerate()
        .max_by_key(|(_, (shown, expected))| shown.abs_diff(**expected));
    let Some((at, (shown, expected))) = worst else { panic!("frame {sequence} is empty") };
    assert!(
        shown.abs_diff(*expected) <= 1,
        "frame {sequence}, pixel {},{} channel {}: {shown} is shown where {expected} should be",
        at / 3 % width,
        at / 3 / width,
        at % 3
    );
}
