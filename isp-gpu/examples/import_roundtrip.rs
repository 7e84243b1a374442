//! Does the GPU read from and render into the buffers of a heap, and is the picture right?
//!
//! `import_roundtrip [HEAP [WIDTHxHEIGHT [FRAMES [NODE]]]]`, as in
//! `import_roundtrip udmabuf 640x480 1000`.
//!
//! Every frame's raw pixels are new. The picture is compared with the CPU's reference, and the run
//! fails if any byte is off by more than one level. At the end it prints how frames crossed both
//! links, and fails if descriptors were lost on the way.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use vcam_allocator::{
    Alignment, CpuAccess, Dmabuf, Fourcc, Heap, Layout, Pool, heaps, sync_counts,
};
use vcam_isp_gpu::reference::off_by;
use vcam_isp_gpu::{Cfa, GpuIsp, Isp, IspParams, Job, Output, RawFormat, RawImage};

/// Every so many frames the picture is compared.
const COMPARED: u64 = 10;
const SOON: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("error: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprint!(": {cause}");
                source = cause.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let heap = args.next().unwrap_or_else(|| "udmabuf".into());
    let size = args.next().unwrap_or_else(|| "640x480".into());
    let (width, height) = size.split_once('x').ok_or("the size is WIDTHxHEIGHT")?;
    let (width, height) = (width.parse()?, height.parse()?);
    let frames: u64 = args.next().map_or(Ok(30), |frames| frames.parse())?;
    let node = args.next().map(PathBuf::from);

    let heap = heaps::open(&heap)?;
    let wish = Alignment::default();
    let mut first = Run::new(&*heap, width, height, wish, node.clone())?;
    println!("{}: {}", first.isp.name(), first.isp.describe());
    first.frames(frames)?;
    println!("raw end:    {:?}", first.isp.raw_end());
    println!("output end: {:?}", first.isp.output_end());
    drop(first);

    // Rows of 36 and 132 bytes: software renderers crash on such a target, so it must be copied.
    let tight = Alignment { stride: 4, ..wish };
    let mut odd = Run::new(&*heap, 33, 17, tight, node.clone())?;
    odd.frames(12)?;
    println!("tight rows: {:?}", odd.isp.output_end());
    drop(odd);

    // Drivers keep some descriptors for good; those of further runs must all come back.
    let before = descriptors()?;
    for _ in 0..5 {
        Run::new(&*heap, width, height, wish, node.clone())?.frames(3)?;
    }
    let (after, (starts, ends)) = (descriptors()?, sync_counts());
    println!("descriptors: {before} before, {after} after five more runs; sync {starts}/{ends}");
    if after != before || starts != ends {
        return Err("something was not given back".into());
    }
    Ok(())
}

struct Run {
    raw: Pool,
    output: Pool,
    isp: GpuIsp,
}

impl Run {
    fn new(
        heap: &dyn Heap,
        width: u32,
        height: u32,
        alignment: Alignment,
        node: Option<PathBuf>,
    ) -> Result<Self, Box<dyn Error>> {
        let layout = |format| Layout::linear(format, width, height, alignment);
        let raw = Pool::new(heap, &layout(Fourcc::R8)?, "raw", 3)?;
        let output = Pool::new(heap, &layout(Fourcc::XRGB8888)?, "output", 3)?;
        let mut isp = GpuIsp::new(node.as_deref())?;
        isp.prepare(raw.buffers(), output.buffers());
        Ok(Self { raw, output, isp })
    }

    fn frames(&mut self, count: u64) -> Result<(), Box<dyn Error>> {
        let params = IspParams { gains: [1.6, 1.0, 1.3], ..IspParams::default() };
        let mut times = Vec::new();
        let mut fences = 0;
        let before = descriptors()?;
        for sequence in 0..count {
            let (raw, output) = (self.raw.take(SOON)?, self.output.take(SOON)?);
            let cfa = Cfa::ALL[sequence as usize % 4];
            if sequence % COMPARED < 3 {
                fill(&raw, sequence)?;
            }
            let start = Instant::now();
            let format = RawFormat::SRGGB8.with_cfa(Some(cfa));
            let size = (raw.layout().width(), raw.layout().height());
            let (raw, outputs, params) = (&raw, &[Output::new(&output)], &params);
            let job = Job { sequence, format, size, raw, outputs, params, measure: true };
            let fence = self.isp.process(&job)?;
            if let Some(fence) = fence {
                fences += 1;
                fence.wait(SOON)?;
            }
            times.push(start.elapsed());
            if sequence % COMPARED == 0 {
                let off = difference(&job)?;
                if off > 1 {
                    return Err(format!("frame {sequence} ({cfa}) is off by {off} levels").into());
                }
            }
        }
        if descriptors()? != before {
            return Err("streaming does not give its descriptors back".into());
        }
        times.sort();
        if count > 3 {
            let p50 = times[times.len() / 2];
            println!("{count} frames, {fences} with a fence: median {p50:?} a frame");
        }
        Ok(())
    }
}

fn descriptors() -> std::io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/fd")?.count())
}

fn stride(buffer: &Dmabuf) -> usize {
    buffer.layout().planes()[0].stride as usize
}

fn fill(raw: &Dmabuf, seed: u64) -> Result<(), Box<dyn Error>> {
    let mut guard = raw.cpu_access(CpuAccess::Write)?;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for byte in guard.plane_mut(0) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = (state >> 32) as u8;
    }
    Ok(guard.end()?)
}

fn difference(job: &Job<'_>) -> Result<u32, Box<dyn Error>> {
    let from = job.raw.cpu_access(CpuAccess::Read)?;
    let Job { format, size, .. } = *job;
    let image = RawImage { format, size, stride: stride(job.raw), bytes: from.plane(0) };
    Ok(off_by(&image, job.params, &job.outputs[0])?)
}
