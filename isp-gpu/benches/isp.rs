//! The cost of a frame: `cargo xtask bench`.
//!
//! Prints one JSON object a row: `{"name", "unit", "median", "spread", "beside", "ratio"}`. A ratio
//! is to a yardstick measured in the same run, alternating, because machines differ and are noisy.
//!
//! The GPU is whatever EGL chooses, with imported buffers where there is a heap that it takes. Its
//! yardstick is libcamera's shader, from and to textures of its own; rows in decibels say how near
//! both come to the scene before the colour filters, and their ratio is that of the squared errors.
//! The CPU's yardsticks are GStreamer's `bayer2rgb` and a copy of as many pixels of four bytes.
//! Where a yardstick is not installed, its rows are missing, and stderr says so.

use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};
use vcam_allocator::heaps::memfd::Memfd;
use vcam_allocator::{Alignment, CpuAccess, Dmabuf, Fourcc, Heap, Layout, heaps};
use vcam_isp_gpu::{
    Cfa, ColourCorrection, CpuIsp, Demosaic, GpuIsp, Isp, IspParams, Job, Output, RawFormat, Tone,
};

mod peer;
use peer::{gstreamer, libcamera::Libcamera};
use vcam_testing::demosaic_scenes::{SCENES, SIDE, Scene};

/// Each number is the median of this many frames, unless its row says otherwise.
const ROUNDS: usize = 15;

const SIZE: (u32, u32) = (1920, 1080);

/// The longest wait for one frame.
const PATIENCE: Duration = Duration::from_secs(60);

const CCM: [[f32; 3]; 3] = [[1.7, -0.5, -0.2], [-0.3, 1.6, -0.3], [0.0, -0.6, 1.6]];
const TONE: Tone = Tone { gamma: 2.2, contrast: 1.2 };

/// Black level, white balance, demosaic, matrix, contrast and gamma.
fn full() -> IspParams {
    IspParams {
        gains: [1.9, 1.0, 1.5],
        colour: ColourCorrection { matrix: CCM, saturation: 1.0 },
        tone: TONE,
        ..IspParams::default()
    }
}

/// A sample of a frame that is only looked at by the clock.
fn noise(x: u32, y: u32) -> u32 {
    x * 37 + y * 101
}

/// Times two closures, alternating; each returns its nanoseconds. Both lists are sorted.
fn measure(
    rounds: usize,
    mut subject: impl FnMut() -> f64,
    mut yardstick: impl FnMut() -> f64,
) -> [Vec<f64>; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..=rounds {
        let both = [subject(), yardstick()];
        // The first time compiles and imports.
        if round > 0 {
            times.iter_mut().zip(both).for_each(|(times, time)| times.push(time));
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times
    })
}

/// The nanoseconds that something takes.
fn timed(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_nanos() as f64
}

fn print(name: &str, [ours, theirs]: &[Vec<f64>; 2], beside: &str) {
    let median = |times: &[f64]| times[times.len() / 2];
    let row = serde_json::json!({
        "name": name,
        "unit": "ns",
        "median": median(ours),
        "spread": ours[ours.len() - 1] - ours[0],
        "beside": beside,
        "ratio": median(ours) / median(theirs),
    });
    println!("{row}");
}

struct Bench {
    format: RawFormat,
    size: (u32, u32),
    raw: Dmabuf,
    output: Dmabuf,
    /// The next frame's number.
    sequence: Cell<u64>,
}

impl Bench {
    fn new(
        heap: &dyn Heap,
        format: &str,
        size: (u32, u32),
        output: Fourcc,
        sample: impl Fn(u32, u32) -> u32,
    ) -> Self {
        let format: RawFormat = format.parse().expect("a format of this benchmark");
        let allocate = |format, width| {
            let layout = Layout::linear(format, width, size.1, Alignment::default())
                .expect("a size of this benchmark");
            heap.allocate(&layout, "bench").expect("the heap allocates")
        };
        let (carrier, columns) = format.carrier(size.0);
        let (raw, output) = (allocate(carrier, columns), allocate(output, size.0));
        let bench = Self { format, size, raw, output, sequence: Cell::new(0) };
        let stride = bench.raw.layout().planes()[0].stride as usize;
        let mut guard = bench.raw.cpu_access(CpuAccess::Write).expect("the CPU may write");
        for (y, row) in (0..size.1).zip(guard.plane_mut(0).chunks_mut(stride)) {
            let samples: Vec<u16> =
                (0..size.0).map(|x| sample(x, y) as u16 & format.white()).collect();
            let bytes = format.row_bytes(size.0) as usize;
            format.pack(&samples, &mut row[..bytes]);
        }
        drop(guard);
        bench
    }

    /// Makes a picture of the frame, and measures it if that is asked for.
    fn frame(&self, isp: &mut dyn Isp, params: &IspParams, measure: bool) {
        let Self { format, size, raw, output, sequence } = self;
        let sequence = sequence.replace(sequence.get() + 1);
        let outputs = [Output::new(output)];
        let (format, size, outputs) = (*format, *size, &outputs);
        let job = Job { sequence, format, size, raw, outputs, params, measure };
        if let Some(fence) = isp.process(&job).expect("the ISP works") {
            fence.wait(PATIENCE).expect("the frame gets done");
        }
    }

    /// libcamera's shader with the same frame.
    fn libcamera(&self, params: &IspParams) -> Result<Libcamera, Box<dyn std::error::Error>> {
        let raw = rows(&self.raw, self.format.row_bytes(self.size.0) as usize);
        Libcamera::new(self.size, self.format.bits() > 8, &raw, params)
    }
}

/// The rows of a buffer, without what lies between them.
fn rows(buffer: &Dmabuf, bytes: usize) -> Vec<u8> {
    let stride = buffer.layout().planes()[0].stride as usize;
    let guard = buffer.cpu_access(CpuAccess::Read).expect("the CPU may read");
    guard.plane(0).chunks(stride).flat_map(|row| &row[..bytes]).copied().collect()
}

/// Beside what makes no statistics, ours makes none; then it does, which shows what they add.
const STATISTICS: [(bool, &str); 2] = [(false, ""), (true, ", with statistics")];

const SHADER: &str = "libcamera's shader";

fn gpu(heap: &dyn Heap) -> Result<(), Box<dyn std::error::Error>> {
    let mut isp = GpuIsp::new(None)?;
    let name = isp.name();
    for format in ["SRGGB8", "SRGGB10"] {
        for (output, beside) in
            [(Fourcc::XRGB8888, SHADER.to_owned()), (Fourcc::NV12, format!("{SHADER}, to XR24"))]
        {
            let bench = Bench::new(heap, format, SIZE, output, noise);
            let peer = bench.libcamera(&full())?;
            for (measured, also) in STATISTICS {
                let frame = || timed(|| bench.frame(&mut isp, &full(), measured));
                let both = measure(ROUNDS, frame, || timed(|| peer.render()));
                print(&format!("{name}: {format} to {output}, full chain{also}"), &both, &beside);
            }
        }
    }
    eprintln!("raw: {:?}; output: {:?}", isp.raw_end().method, isp.output_end().method);
    for format in ["SRGGB8", "SRGGB10"] {
        let errors = SCENES.iter().map(|scene| errors(&mut isp, heap, format, scene));
        let errors = errors.collect::<Result<Vec<_>, _>>()?;
        let decibels = |whose: usize| {
            let all = errors.iter().map(|of_scene| -10.0 * of_scene[whose].log10());
            all.sum::<f64>() / errors.len() as f64
        };
        let (ours, theirs) = (decibels(0), decibels(1));
        let row = serde_json::json!({
            "name": format!("{name}: {format} to XR24, full chain, PSNR"),
            "unit": "dB",
            "median": ours,
            "spread": 0.0,
            "beside": format!("{SHADER}: {theirs:.2} dB"),
            "ratio": 10f64.powf((theirs - ours) / 10.0),
        });
        println!("{row}");
    }
    Ok(())
}

/// The mean squared errors of our picture of a scene and of libcamera's, four pixels from the
/// border. Contrast changes nothing here: libcamera's comes before gamma, and ours after it.
fn errors(
    isp: &mut dyn Isp,
    heap: &dyn Heap,
    format: &str,
    scene: &Scene,
) -> Result<[f64; 2], Box<dyn std::error::Error>> {
    let tone = Tone { contrast: 1.0, ..TONE };
    let params = IspParams { tone, ..full() };
    let white = f32::from(format.parse::<RawFormat>()?.white());
    let light = |x: u32, y: u32| (scene.light)(x as f32, y as f32);
    let size = (SIDE as u32, SIDE as u32);
    let bench = Bench::new(heap, format, size, Fourcc::XRGB8888, |x, y| {
        let colour = Cfa::Rggb.colour_at(x, y);
        let above = light(x, y)[colour] / params.gains[colour];
        let level = params.black_level + (1.0 - params.black_level) * above;
        (level * white).round() as u32
    });
    bench.frame(isp, &params, false);
    let ours = rows(&bench.output, 4 * SIDE);
    let theirs = bench.libcamera(&params)?.pixels();
    let error = |pixels: &[u8], places: [usize; 3]| {
        let (mut sum, mut count) = (0.0, 0.0);
        for (at, pixel) in (0..).zip(pixels.as_chunks::<4>().0) {
            let (x, y) = (at % size.0, at / size.0);
            if x.min(y) < 4 || x.max(y) >= size.0 - 4 {
                continue;
            }
            for (row, place) in CCM.iter().zip(places) {
                let of = light(x, y);
                let should = tone.level(row[0] * of[0] + row[1] * of[1] + row[2] * of[2]);
                sum += f64::from(f32::from(pixel[place]) / 255.0 - should).powi(2);
                count += 1.0;
            }
        }
        sum / count
    };
    let errors = [error(&ours, [2, 1, 0]), error(&theirs, [0, 1, 2])];
    let [ours, theirs] = errors.map(|error| -10.0 * error.log10());
    eprintln!("{format}, {}: {ours:.2} dB, {SHADER} {theirs:.2} dB", scene.name);
    Ok(errors)
}

fn cpu(heap: &dyn Heap) {
    let pixels = vec![0x55u8; 4 * SIZE.0 as usize * SIZE.1 as usize];
    let mut copied = vec![0u8; pixels.len()];
    let plain = IspParams {
        demosaic: Demosaic::Bilinear,
        black_level: 0.0,
        tone: Tone { gamma: 1.0, contrast: 1.0 },
        ..IspParams::default()
    };
    let directional = IspParams { demosaic: Demosaic::Directional, ..full() };
    for (format, params, what) in [
        ("SRGGB8", plain, "bilinear alone"),
        ("SRGGB8", full(), "full chain"),
        ("SRGGB10", full(), "full chain"),
        ("SRGGB10P", full(), "full chain"),
        ("SRGGB10", directional, "full chain, directional"),
    ] {
        let mut isp = CpuIsp::with_threads(1);
        let bench = Bench::new(heap, format, SIZE, Fourcc::XRGB8888, noise);
        let frame = || timed(|| bench.frame(&mut isp, &params, true));
        let copy = || timed(|| black_box(&mut copied).copy_from_slice(black_box(&pixels)));
        let both = measure(ROUNDS, frame, copy);
        let name = format!("cpu, 1 thread: {format} to XR24, {what}, with statistics");
        print(&name, &both, "a copy of the picture");
    }
    bayer2rgb(&plain);
}

/// Bilinear alone beside GStreamer's, from and to plain memory as there: the means of many frames.
fn bayer2rgb(params: &IspParams) {
    const FRAMES: u32 = 400;
    if let Err(error) = gstreamer::frame(SIZE, 1) {
        return eprintln!("no bayer2rgb: {error}");
    }
    let mut isp = CpuIsp::with_threads(1);
    let bench = Bench::new(&Memfd::new(), "SRGGB8", SIZE, Fourcc::XRGB8888, noise);
    for (measured, also) in STATISTICS {
        let frames = || {
            let all = || (0..FRAMES).for_each(|_| bench.frame(&mut isp, params, measured));
            timed(all) / f64::from(FRAMES)
        };
        let theirs = || gstreamer::frame(SIZE, FRAMES).expect("it worked just now");
        let both = measure(5, frames, theirs);
        let name = format!("cpu, 1 thread: SRGGB8 to XR24, bilinear alone, mean of 400{also}");
        print(&name, &both, "GStreamer's bayer2rgb");
    }
}

fn main() {
    // `cargo test --benches` asks for a list of tests; there are none here.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let heap = heaps::open("udmabuf").or_else(|_| heaps::open("memfd")).expect("a heap");
    cpu(&*heap);
    if let Err(error) = gpu(&*heap) {
        eprintln!("no GPU beside {SHADER}: {error}");
    }
}
