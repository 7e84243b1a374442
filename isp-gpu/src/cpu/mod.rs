//! The ISP without a GPU: the maths of the [reference](mod@crate::reference), made fast.
//!
//! Three steps, each of them on all cores, in bands of rows:
//!
//! 1. samples become 16-bit [`light`] (and [`denoise`]d light, if asked for);
//! 2. light is measured (if asked for), becomes [`rows`] in which neighbours lie side by side for
//!    vector units, is [`demosaic`]ed, and becomes [`levels`] by a table;
//! 3. levels are [`pack`]ed into the output: row by row if the only output shows the whole frame in
//!    one plane; else they become a [`level_image`] first, of which all outputs are made.
//!
//! If nothing but a bilinear demosaic of 8-bit samples is asked for, one step does it all
//! ([`bilinear8`]).

mod bands;
mod bilinear8;
mod demosaic;
mod denoise;
mod level_image;
mod levels;
mod light;
mod pack;
mod rows;
mod thread_pool;

use std::sync::{Mutex, PoisonError};

use vcam_allocator::constraints::{Constraints, CpuUse, Rule, Statement};
use vcam_allocator::{CpuAccess, CpuGuard, Dmabuf, Fence, Fourcc, Importer, LinkEnd};

use self::bands::in_bands;
use self::bilinear8::Bilinear8;
use self::demosaic::Demosaicing;
use self::level_image::{LevelImage, Resampler};
use self::levels::{Indices, Table};
use self::light::{Lighting, Padded};
use self::thread_pool::ThreadPool;
use crate::frame::{IspError, Job, Output, cpu_stride, size_of};
use crate::isp::Isp;
use crate::params::IspParams;
use crate::raw::{Cfa, RawFormat};
use crate::stats::{Meter, Statistics};
use crate::view::yuv_rows;

/// Makes pictures with the CPU, in the mapped buffers: nothing is imported and nothing copied.
pub struct CpuIsp {
    pool: ThreadPool,
    /// Each thread's own.
    scratches: Vec<Mutex<Scratch>>,
    table: Table,
    light: Vec<u16>,
    denoised: Vec<u16>,
    picture: LevelImage,
    sharpened: LevelImage,
    /// One for each output.
    resamplers: Vec<Resampler>,
    statistics: Statistics,
    /// The frame that the statistics are of.
    measured: Option<u64>,
}

/// The format and size of a frame.
type FrameKind = (RawFormat, (u32, u32));

/// Writes a row of levels into the memory of that row.
type WriteRow<'a, T> = dyn Fn([&[u16]; 3], &mut [T]) + Sync + 'a;

/// The memory that one thread works with.
#[derive(Default)]
struct Scratch {
    padded: [Padded; 3],
    demosaicing: Demosaicing,
    indices: Indices,
    levels: [Vec<u16>; 3],
    bilinear: Bilinear8,
    /// A meter, and the kind of frames that it is for.
    meter: Option<(FrameKind, Meter)>,
}

impl Default for CpuIsp {
    fn default() -> Self {
        Self::new()
    }
}

impl CpuIsp {
    /// An ISP on all cores that this process may use.
    pub fn new() -> Self {
        Self::on(ThreadPool::new())
    }

    /// An ISP on this many threads; 0 is taken for 1.
    pub fn with_threads(threads: usize) -> Self {
        Self::on(ThreadPool::with_threads(threads))
    }

    fn on(pool: ThreadPool) -> Self {
        Self {
            scratches: (0..pool.size()).map(|_| Mutex::default()).collect(),
            pool,
            table: Table::new(IspParams::default().tone),
            light: Vec::new(),
            denoised: Vec::new(),
            picture: LevelImage::default(),
            sharpened: LevelImage::default(),
            resamplers: Vec::new(),
            statistics: Statistics::default(),
            measured: None,
        }
    }

    /// Makes light of samples.
    fn lighten(&mut self, job: &Job<'_>, raw: &[u8], stride: usize) {
        let (width, height) = (job.size.0 as usize, job.size.1 as usize);
        let lighting =
            Lighting { format: job.format, size: (width, height), raw, stride, params: job.params };
        let Self { pool, scratches, light, denoised, .. } = self;
        light.resize(width * height, 0);
        in_bands(pool, height, light, width, &|thread, rows, band| {
            let scratch = &mut *scratches[thread].lock().unwrap_or_else(PoisonError::into_inner);
            for (y, row) in rows.zip(band.chunks_exact_mut(width)) {
                lighting.row(y, &mut scratch.padded, row);
            }
        });
        if let Some(denoise) = job.params.denoise {
            let period = if job.format.cfa().is_some() { 2 } else { 1 };
            denoised.resize(width * height, 0);
            in_bands(pool, height, denoised, width, &|thread, rows, band| {
                let scratch =
                    &mut *scratches[thread].lock().unwrap_or_else(PoisonError::into_inner);
                let padded = &mut scratch.padded;
                for (y, row) in rows.zip(band.chunks_exact_mut(width)) {
                    denoise::row(light, (width, height), y, period, denoise.range, padded, row);
                }
            });
        }
    }

    /// Measures light, if it is to be measured, and makes rows of levels of it, each of which is
    /// written into the memory of its row.
    fn develop<T: Send>(
        &mut self,
        job: &Job<'_>,
        memory: &mut [T],
        stride: usize,
        write_row: &WriteRow<'_, T>,
    ) {
        let (width, height) = (job.size.0 as usize, job.size.1 as usize);
        let cfa = job.format.cfa();
        let Self { pool, scratches, table, light, denoised, .. } = self;
        table.update(job.params.tone);
        let (table, light) = (&*table, &*light);
        let source = if job.params.denoise.is_some() { &*denoised } else { light };
        in_bands(pool, height, memory, stride, &|thread, rows, band| {
            let scratch = &mut *scratches[thread].lock().unwrap_or_else(PoisonError::into_inner);
            scratch.fit(job);
            if let Some(meter) = begin(&mut scratch.meter, job) {
                let quads = |row: usize| light[2 * row * width..][..2 * width].split_at(width);
                if let Some(above) = (rows.start / 2).checked_sub(1) {
                    let (upper, lower) = quads(above);
                    meter.look(above, upper, lower);
                }
                for row in rows.start / 2..rows.end / 2 {
                    let (upper, lower) = quads(row);
                    meter.add(row, upper, lower);
                }
            }
            for (y, out) in rows.zip(band.chunks_mut(stride)) {
                scratch.demosaicing.row(y, source, (width, height), cfa, job.params);
                let pixels = &scratch.demosaicing.pixels;
                let levels = scratch.levels.each_mut().map(Vec::as_mut_slice);
                let colours = cfa.is_some();
                levels::row(pixels, colours, job.params, table, &mut scratch.indices, levels);
                write_row(scratch.levels.each_ref().map(Vec::as_slice), out);
            }
        });
        self.measure(job);
    }

    /// Makes pixels of 8-bit samples in one step, and measures them on the way.
    fn demosaic(&mut self, job: &Job<'_>, cfa: Cfa, output: &Dmabuf) -> Result<(), IspError> {
        let (width, height) = (job.size.0 as usize, job.size.1 as usize);
        let (raw_stride, stride) = (cpu_stride(job.raw, 0)?, cpu_stride(output, 0)?);
        let row_bytes = output.layout().row_bytes(0) as usize;
        let format = output.format();
        let from = job.raw.cpu_access(CpuAccess::Read)?;
        let mut to = output.cpu_access(CpuAccess::Write)?;
        let raw = from.plane(0);
        let samples = |y: usize| &raw[y * raw_stride..][..width];
        let Self { pool, scratches, .. } = self;
        in_bands(pool, height, to.plane_mut(0), stride, &|thread, rows, band| {
            let scratch = &mut *scratches[thread].lock().unwrap_or_else(PoisonError::into_inner);
            scratch.bilinear.clear();
            let mut meter = begin(&mut scratch.meter, job);
            if let (Some(meter), Some(above)) = (&mut meter, (rows.start / 2).checked_sub(1)) {
                meter.look_at_bytes(above, samples(2 * above), samples(2 * above + 1));
            }
            for (y, out) in rows.zip(band.chunks_mut(stride)) {
                scratch.bilinear.row((y, height), samples, cfa, format, &mut out[..row_bytes]);
                if let (Some(meter), 1) = (&mut meter, y % 2) {
                    meter.add_bytes(y / 2, samples(y - 1), samples(y));
                }
            }
            if let Some(meter) = meter {
                meter.settle();
            }
        });
        to.end()?;
        from.end()?;
        self.measure(job);
        Ok(())
    }

    /// Adds up what the threads measured, if they did. A thread that had no rows of this frame is
    /// left out.
    fn measure(&mut self, job: &Job<'_>) {
        if !job.measure {
            return;
        }
        let mut meters = self.scratches.iter_mut().filter_map(|scratch| {
            let scratch = scratch.get_mut().unwrap_or_else(PoisonError::into_inner);
            let (of, meter) = scratch.meter.as_mut()?;
            (*of == (job.format, job.size)).then_some(meter)
        });
        let Some(all) = meters.next() else { return };
        for other in meters {
            all.merge(other);
            other.clear(0.0);
        }
        all.read(&mut self.statistics);
        all.clear(0.0);
        self.measured = Some(job.sequence);
    }
}

impl Scratch {
    /// Begins a frame: makes room for its rows.
    fn fit(&mut self, job: &Job<'_>) {
        let width = job.size.0 as usize;
        self.demosaicing.fit(width);
        self.indices.fit(width);
        self.levels.iter_mut().for_each(|row| row.resize(width, 0));
    }
}

/// Returns the meter, cleared for a frame that begins, if that is to be measured.
fn begin<'a>(meter: &'a mut Option<(FrameKind, Meter)>, job: &Job<'_>) -> Option<&'a mut Meter> {
    if !job.measure {
        return None;
    }
    let key = (job.format, job.size);
    let black = job.params.black_level;
    let kept = meter.take().filter(|(of, _)| *of == key).map(|(_, mut meter)| {
        meter.clear(black);
        meter
    });
    let new = || Meter::new(job.format, job.size.0, job.size.1, black);
    let (_, meter) = meter.insert((key, kept.unwrap_or_else(new)));
    Some(meter)
}

fn says(cpu: CpuUse) -> Constraints {
    [Statement::new("isp:cpu", "it is a program", Rule::Cpu(cpu))].into_iter().collect()
}

const IN_PLACE: &str = "the CPU uses the mapped buffer in place";

impl Isp for CpuIsp {
    fn name(&self) -> String {
        "cpu".into()
    }

    fn describe(&self) -> String {
        match self.pool.size() {
            1 => "the CPU, on one thread".into(),
            threads => format!("the CPU, on {threads} threads"),
        }
    }

    fn raw_constraints(&self, _: &[Fourcc]) -> Constraints {
        says(CpuUse { read: true, cached: true, ..CpuUse::default() })
    }

    fn output_constraints(&self, _: &[Fourcc]) -> Constraints {
        says(CpuUse { write: true, ..CpuUse::default() })
    }

    fn raw_importer(&mut self) -> Option<&mut dyn Importer> {
        None
    }

    fn output_importer(&mut self) -> Option<&mut dyn Importer> {
        None
    }

    fn prepare(&mut self, _: &[Dmabuf], _: &[Dmabuf]) {}

    fn process(&mut self, job: &Job<'_>) -> Result<Option<Fence>, IspError> {
        job.check()?;
        if let ([only], Some(cfa)) = (job.outputs, job.format.cfa())
            && bilinear8::suits(job, only)
        {
            self.demosaic(job, cfa, only.buffer)?;
            return Ok(None);
        }
        let stride = cpu_stride(job.raw, 0)?;
        let from = job.raw.cpu_access(CpuAccess::Read)?;
        self.lighten(job, from.plane(0), stride);
        from.end()?;
        match job.outputs {
            // A list of nothings takes no memory.
            [] => self.develop(job, &mut vec![(); job.size.1 as usize], 1, &|_, _| {}),
            [only] if is_direct(job, only) => {
                let stride = cpu_stride(only.buffer, 0)?;
                let (format, space) = (only.buffer.format(), only.colour_space());
                let mut to = only.buffer.cpu_access(CpuAccess::Write)?;
                let row_bytes = only.buffer.layout().row_bytes(0) as usize;
                self.develop(job, to.plane_mut(0), stride, &|levels, out: &mut [u8]| {
                    pack::row(format, space, levels, &mut out[..row_bytes]);
                });
                to.end()?;
            }
            outputs => {
                let (width, height) = (job.size.0 as usize, job.size.1 as usize);
                let mut picture = std::mem::take(&mut self.picture);
                picture.fit(width, height);
                self.develop(job, &mut picture.codes, 3 * width, &|levels, out| {
                    for (out, levels) in out.chunks_exact_mut(width).zip(levels) {
                        out.copy_from_slice(levels);
                    }
                });
                self.picture = picture;
                if job.params.sharpen > 0.0 {
                    self.sharpened.sharpen(&self.picture, job.params.sharpen, &mut self.pool);
                }
                let sharp = job.params.sharpen > 0.0;
                let picture = if sharp { &self.sharpened } else { &self.picture };
                let count = outputs.len().max(self.resamplers.len());
                self.resamplers.resize_with(count, Resampler::default);
                for (output, resampler) in outputs.iter().zip(&mut self.resamplers) {
                    let size = size_of(output.buffer);
                    let shown = resampler.show(picture, &output.view, size, &mut self.pool);
                    let mut to = output.buffer.cpu_access(CpuAccess::Write)?;
                    write(shown, output, &mut to, &mut self.pool)?;
                    to.end()?;
                }
            }
        }
        Ok(None)
    }

    fn statistics(&self) -> Option<(u64, &Statistics)> {
        self.measured.map(|sequence| (sequence, &self.statistics))
    }

    fn raw_end(&self) -> LinkEnd {
        LinkEnd::native(IN_PLACE)
    }

    fn output_end(&self) -> LinkEnd {
        LinkEnd::native(IN_PLACE)
    }
}

/// Whether each row of levels is a row of the output.
fn is_direct(job: &Job<'_>, output: &Output<'_>) -> bool {
    pack::is_single(output.buffer.format())
        && job.params.sharpen == 0.0
        && output.view.is_whole(job.size, size_of(output.buffer))
}

/// Packs a picture of the output's size into its planes.
fn write(
    picture: &LevelImage,
    output: &Output<'_>,
    to: &mut CpuGuard<'_>,
    pool: &mut ThreadPool,
) -> Result<(), IspError> {
    let (format, space) = (output.buffer.format(), output.colour_space());
    let [luma, blue_difference, red_difference] = &yuv_rows(space);
    let layout = output.buffer.layout();
    for plane in 0..layout.planes().len() {
        let stride = cpu_stride(output.buffer, plane)?;
        let row_bytes = layout.row_bytes(plane) as usize;
        let rows = layout.rows(plane) as usize;
        in_bands(pool, rows, to.plane_mut(plane), stride, &|_, rows, band| {
            for (y, out) in rows.zip(band.chunks_mut(stride)) {
                let out = &mut out[..row_bytes];
                if pack::is_single(format) {
                    pack::row(format, space, picture.row(y), out);
                    continue;
                }
                if plane == 0 {
                    let [r, g, b] = picture.row(y);
                    pack::luma(luma, r, g, b, out);
                    continue;
                }
                let upper = picture.row(2 * y);
                let lower = picture.row((2 * y + 1).min(picture.height - 1));
                let [r, g, b] = [0, 1, 2].map(|channel| [upper[channel], lower[channel]]);
                match (format, plane) {
                    (Fourcc::NV12, _) => {
                        pack::chroma([blue_difference, red_difference], r, g, b, out);
                    }
                    (Fourcc::NV21, _) => {
                        pack::chroma([red_difference, blue_difference], r, g, b, out);
                    }
                    (_, 1) => pack::chroma([blue_difference], r, g, b, out),
                    _ => pack::chroma([red_difference], r, g, b, out),
                }
            }
        });
    }
    Ok(())
}
