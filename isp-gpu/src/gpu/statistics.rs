//! Statistics on the GPU, without waiting for them.
//!
//! Each frame's statistics go to a buffer of a ring, and are read once GL has written them: some
//! frames later on a GPU, at once where the renderer is a program. While all buffers wait to be
//! read, no frame is measured.

use super::passes::Pass;
use crate::frame::Job;
use crate::gles::{CurrentContext, GlError, GlSync, StorageBuffer, Texture};
use crate::raw::RawFormat;
use crate::stats::{BINS, COLUMNS, ROWS, Statistics, WHITE, saturation};

/// Buffers of the ring: frames that are measured at the same time.
const RING: usize = 4;

/// The most quads of a part: their sums of twice 16 bits fit into 32.
const QUADS_OF_PART: u32 = 1 << 15;

/// Words of a part: red, twice the green, blue, quads, saturated quads, differences.
const WORDS_OF_PART: usize = 6;

/// The frame whose statistics a buffer will hold.
struct Pending {
    sequence: u64,
    sync: GlSync,
    format: RawFormat,
    quads: (u32, u32),
    parts: usize,
}

/// A buffer of the ring.
struct RingBuffer {
    buffer: StorageBuffer,
    words: usize,
    pending: Option<Pending>,
}

/// The ring, and the latest statistics.
#[derive(Default)]
pub(super) struct StatisticsRing {
    buffers: Vec<RingBuffer>,
    next: usize,
    statistics: Statistics,
    /// The frame that they are of.
    measured: Option<u64>,
}

impl StatisticsRing {
    /// The latest statistics, and the number of their frame.
    pub(super) fn latest(&self) -> Option<(u64, &Statistics)> {
        self.measured.map(|sequence| (sequence, &self.statistics))
    }

    /// Measures a frame's quads, if there is room.
    pub(super) fn measure(
        &mut self,
        gl: &CurrentContext<'_>,
        pass: &Pass<2>,
        quads: &Texture,
        job: &Job<'_>,
    ) -> Result<(), GlError> {
        let Job { sequence, format, size, .. } = *job;
        let count = (size.0 / 2, size.1 / 2);
        let of_zone = |quads: u32, zones: usize| quads.div_ceil(zones as u32) + 1;
        let most = of_zone(count.0, COLUMNS).saturating_mul(of_zone(count.1, ROWS));
        let parts_down = most.div_ceil(QUADS_OF_PART);
        let parts = COLUMNS * ROWS * parts_down as usize;
        let words = BINS + WORDS_OF_PART * parts;
        if self.buffers.first().is_none_or(|slot| slot.words != words) {
            self.buffers.clear();
            for _ in 0..RING {
                let buffer = StorageBuffer::new(gl, words)?;
                self.buffers.push(RingBuffer { buffer, words, pending: None });
            }
        }
        let slot = &mut self.buffers[self.next];
        if slot.pending.is_some() {
            return Ok(());
        }
        slot.buffer.clear(gl, &[0; 4 * BINS]);
        quads.bind(gl, 0);
        let program = pass.program.activate(gl);
        let [count_at, saturation_at] = &pass.at;
        program.set_ints(count_at, &[count.0 as i32, count.1 as i32]);
        program.set_ints(saturation_at, &[saturation(job.params.black_level).into()]);
        program.dispatch([COLUMNS as u32, ROWS as u32, parts_down], &mut slot.buffer);
        gl.check("glDispatchCompute")?;
        let sync = GlSync::new(gl)?;
        slot.pending = Some(Pending { sequence, sync, format, quads: count, parts });
        self.next = (self.next + 1) % RING;
        Ok(())
    }

    /// Reads the statistics that are written by now, oldest first.
    pub(super) fn collect(&mut self, gl: &CurrentContext<'_>) {
        let ring = self.buffers.len();
        for index in 0..ring {
            let slot = &mut self.buffers[(self.next + index) % ring];
            let is_written = |pending: &mut Pending| pending.sync.is_signalled(gl);
            let Some(pending) = slot.pending.take_if(is_written) else { continue };
            let statistics = &mut self.statistics;
            match slot.buffer.map(gl) {
                Some(words) => {
                    pending.read(&words, statistics);
                    self.measured = Some(pending.sequence);
                }
                None => tracing::warn!("the GPU's statistics cannot be read"),
            }
        }
    }
}

impl Pending {
    fn read(&self, words: &[u32], statistics: &mut Statistics) {
        let (histogram, parts) = words.split_at(BINS);
        statistics.histogram.copy_from_slice(histogram);
        let (parts, _) = parts.as_chunks::<WORDS_OF_PART>();
        let mut differences = 0.0;
        for (index, zone) in statistics.zones.iter_mut().enumerate() {
            let (mut sums, mut quads, mut saturated) = ([0u64; 3], 0, 0);
            for part in parts[..self.parts].iter().skip(index).step_by(COLUMNS * ROWS) {
                let [red, twice_green, blue, counted, too_bright, part_differences] = *part;
                for (sum, light) in sums.iter_mut().zip([red, twice_green, blue]) {
                    *sum += u64::from(light);
                }
                quads += counted;
                saturated += too_bright;
                differences += f64::from(f32::from_bits(part_differences));
            }
            let white = f64::from(WHITE);
            // Without filters twice the green is half of four sites.
            let [red, green, blue] = sums.map(|sum| sum as f64 / white);
            zone.sum = [red as f32, (green / 2.0) as f32, blue as f32];
            (zone.quads, zone.saturated) = (quads, saturated);
        }
        if self.format.cfa().is_none() {
            statistics.zones.iter_mut().for_each(|zone| zone.sum = [zone.sum[1]; 3]);
        }
        let (columns, rows) = (f64::from(self.quads.0), f64::from(self.quads.1));
        let pairs = (columns - 1.0) * rows + columns * (rows - 1.0);
        statistics.focus = (differences / pairs.max(1.0)) as f32;
    }
}
