//! Statistics on the GPU, without waiting for them.
//!
//! Each frame's go to a buffer of a ring, and are read once GL has come so far: some frames later on
//! a GPU, at once where the renderer is a program. If all buffers wait to be read, a frame is not
//! measured.

use std::rc::Rc;

use super::passes::Pass;
use crate::egl::Context;
use crate::gl::{Buffer, Current, GlFault, Mark, Texture};
use crate::raw::RawFormat;
use crate::stats::{BINS, COLUMNS, ROWS, Statistics, WHITE, saturation};

/// Buffers of the ring: as many frames as are on their way.
const RING: usize = 4;

/// The most quads of a part: their sums of twice 16 bits fit into 32.
const QUADS_OF_PART: u32 = 1 << 15;

/// Words of a part: red, twice the green, blue, quads, saturated quads, differences.
const WORDS_OF_PART: usize = 6;

/// What a buffer of the ring is about to hold.
struct Pending {
    sequence: u64,
    mark: Mark,
    format: RawFormat,
    quads: (u32, u32),
    parts: usize,
}

struct Slot {
    buffer: Buffer,
    words: usize,
    pending: Option<Pending>,
}

/// The ring, and the latest statistics.
pub(super) struct Measuring {
    context: Rc<Context>,
    slots: Vec<Slot>,
    next: usize,
    statistics: Statistics,
    /// The frame that they are of.
    measured: Option<u64>,
}

impl Measuring {
    pub(super) fn new(context: &Rc<Context>) -> Self {
        Self {
            context: context.clone(),
            slots: Vec::new(),
            next: 0,
            statistics: Statistics::default(),
            measured: None,
        }
    }

    pub(super) fn latest(&self) -> Option<(u64, &Statistics)> {
        self.measured.map(|sequence| (sequence, &self.statistics))
    }

    /// Measures a frame's quads, if there is room.
    pub(super) fn begin(
        &mut self,
        gl: &Current<'_>,
        pass: &Pass<2>,
        quads: &Texture,
        (sequence, format, size): (u64, RawFormat, (u32, u32)),
        black_level: f32,
    ) -> Result<(), GlFault> {
        let count = (size.0 / 2, size.1 / 2);
        let of_zone = |quads: u32, zones: usize| quads.div_ceil(zones as u32) + 1;
        let most = of_zone(count.0, COLUMNS).saturating_mul(of_zone(count.1, ROWS));
        let parts_down = most.div_ceil(QUADS_OF_PART);
        let parts = COLUMNS * ROWS * parts_down as usize;
        let words = BINS + WORDS_OF_PART * parts;
        if self.slots.first().is_none_or(|slot| slot.words != words) {
            self.slots.clear();
            for _ in 0..RING {
                let buffer = Buffer::new(&self.context, words)?;
                self.slots.push(Slot { buffer, words, pending: None });
            }
        }
        let slot = &mut self.slots[self.next];
        if slot.pending.is_some() {
            return Ok(());
        }
        gl.clear(&slot.buffer, &[0; 4 * BINS]);
        gl.bind(0, quads);
        let program = pass.program.enter(gl);
        let [count_at, saturation_at] = &pass.at;
        program.set_whole(count_at, &[count.0 as i32, count.1 as i32]);
        program.set_whole(saturation_at, &[saturation(black_level).into()]);
        gl.compute([COLUMNS as u32, ROWS as u32, parts_down], &slot.buffer);
        gl.check("glDispatchCompute")?;
        let mark = gl.mark(&self.context)?;
        slot.pending = Some(Pending { sequence, mark, format, quads: count, parts });
        self.next = (self.next + 1) % RING;
        Ok(())
    }

    /// Reads what has come in, oldest first.
    pub(super) fn collect(&mut self, gl: &Current<'_>) {
        let ring = self.slots.len();
        for index in 0..ring {
            let slot = &mut self.slots[(self.next + index) % ring];
            let Some(pending) = slot.pending.take_if(|pending| gl.has_passed(&pending.mark)) else {
                continue;
            };
            let statistics = &mut self.statistics;
            match gl.look_at(&slot.buffer, |words| pending.read(words, statistics)) {
                Some(()) => self.measured = Some(pending.sequence),
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
