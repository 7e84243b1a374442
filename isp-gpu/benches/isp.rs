//! What a frame costs: `cargo xtask bench`.
//!
//! Prints one JSON object a row: `{"name", "unit", "median", "spread", "beside", "ratio"}`. A ratio
//! is to a yardstick measured in the same run, turn about, because machines differ and are noisy.
//!
//! The GPU is whatever EGL chooses, with imported buffers where there is a heap that it takes. Its
//! yardstick is a shader that does the same in the obvious way (`peer.frag`), from and to textures
//! of its own. The CPU's yardstick is a copy of as many pixels of four bytes.

use std::hint::black_box;
use std::time::{Duration, Instant};
use vcam_allocator::{Alignment, CpuAccess, Dmabuf, Fourcc, Heap, Layout, heaps};
use vcam_isp_gpu::{
    Colour, CpuIsp, Demosaic, GpuIsp, Isp, IspParams, Job, Output, RawFormat, Tone,
};

mod peer;

/// Each number is the median of this many frames.
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
        colour: Colour { matrix: CCM, saturation: 1.0 },
        tone: TONE,
        ..IspParams::default()
    }
}

/// Times two things turn about; the nanoseconds of each, sorted.
fn measure(mut subject: impl FnMut(), mut yardstick: impl FnMut()) -> [Vec<f64>; 2] {
    let time = |work: &mut dyn FnMut()| {
        let begun = Instant::now();
        work();
        begun.elapsed().as_nanos() as f64
    };
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        let both = [time(&mut subject), time(&mut yardstick)];
        // The first frame compiles and imports.
        if round > 0 {
            times.iter_mut().zip(both).for_each(|(times, time)| times.push(time));
        }
    }
    times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times
    })
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
    raw: Dmabuf,
    output: Dmabuf,
}

impl Bench {
    fn new(heap: &dyn Heap, format: &str, output: Fourcc) -> Self {
        let format: RawFormat = format.parse().expect("a format of this benchmark");
        let allocate = |format, width| {
            let layout = Layout::linear(format, width, SIZE.1, Alignment::default())
                .expect("a size of this benchmark");
            heap.allocate(&layout, "bench").expect("the heap allocates")
        };
        let (carrier, columns) = format.carrier(SIZE.0);
        let bench =
            Self { format, raw: allocate(carrier, columns), output: allocate(output, SIZE.0) };
        let stride = bench.raw.layout().planes()[0].stride as usize;
        let mut guard = bench.raw.cpu_access(CpuAccess::Write).expect("the CPU may write");
        for (y, row) in guard.plane_mut(0).chunks_mut(stride).enumerate() {
            let samples: Vec<u16> =
                (0..SIZE.0 as usize).map(|x| (x * 37 + y * 101) as u16 & format.white()).collect();
            let bytes = format.row_bytes(SIZE.0) as usize;
            format.pack(&samples, &mut row[..bytes]);
        }
        drop(guard);
        bench
    }

    fn frame(&self, isp: &mut dyn Isp, params: &IspParams) {
        let Self { format, raw, output, .. } = self;
        let outputs = [Output::new(output)];
        let job = Job { sequence: 0, format: *format, size: SIZE, raw, outputs: &outputs, params };
        if let Some(fence) = isp.process(&job).expect("the ISP works") {
            fence.wait(PATIENCE).expect("the frame gets done");
        }
    }
}

fn gpu(heap: &dyn Heap) {
    let mut isp = match GpuIsp::new(None) {
        Ok(isp) => isp,
        Err(error) => return eprintln!("no GPU ISP: {error}"),
    };
    let name = isp.name();
    for (format, wide) in [("SRGGB8", false), ("SRGGB10", true)] {
        let peer = match peer::Peer::new(SIZE, wide) {
            Ok(peer) => peer,
            Err(error) => return eprintln!("no yardstick: {error}"),
        };
        let bench = Bench::new(heap, format, Fourcc::XRGB8888);
        let both = measure(|| bench.frame(&mut isp, &full()), || peer.render());
        print(
            &format!("{name}: {format} to XR24, full chain"),
            &both,
            "per-pixel fetches and powers",
        );
        let bench = Bench::new(heap, format, Fourcc::NV12);
        let both = measure(|| bench.frame(&mut isp, &full()), || peer.render());
        print(
            &format!("{name}: {format} to NV12, full chain"),
            &both,
            "per-pixel fetches and powers",
        );
    }
    eprintln!("raw: {:?}; output: {:?}", isp.raw_end().method, isp.output_end().method);
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
        let bench = Bench::new(heap, format, Fourcc::XRGB8888);
        let both = measure(
            || bench.frame(&mut isp, &params),
            || {
                black_box(&mut copied).copy_from_slice(black_box(&pixels));
            },
        );
        print(&format!("cpu, 1 thread: {format} to XR24, {what}"), &both, "a copy of the picture");
    }
}

fn main() {
    // `cargo test --benches` asks for a list of tests; there are none here.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let heap = heaps::open("udmabuf").or_else(|_| heaps::open("memfd")).expect("a heap");
    cpu(&*heap);
    gpu(&*heap);
}
