//! What a heap's memory costs the CPU, measured on this machine.
//!
//! Two heaps may both serve every device and still differ tenfold in what a frame costs: memory that
//! the CPU does not cache is slow to read, and some exporters walk the caches at every
//! `DMA_BUF_IOCTL_SYNC`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::access::{AccessError, CpuAccess};
use crate::constraints::CpuUse;
use crate::format::Fourcc;
use crate::heap::{AllocError, Heap};
use crate::layout::{Alignment, Layout, LayoutError};

/// Each number is the median of this many measurements; one before them warms up.
const ROUNDS: usize = 5;

/// Bytes of a row of the buffer that is measured with.
const ROW: u32 = 4096;

/// The smallest buffer that is measured with.
const SMALLEST: u64 = 64 << 10;

/// The largest buffer that is measured with: larger than any cache, and small beside the memory of
/// any machine with a camera.
const LARGEST: u64 = 16 << 20;

/// What the CPU pays for a buffer of a given size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapCost {
    /// Bytes of the buffer that was measured.
    pub bytes: u64,
    /// Nanoseconds to allocate it, when some were allocated before.
    pub alloc_ns: u64,
    /// Nanoseconds of one CPU access that touches nothing: `DMA_BUF_IOCTL_SYNC`, START and END.
    pub sync_ns: u64,
    /// Nanoseconds to copy ordinary memory into all of it.
    pub write_ns: u64,
    /// Nanoseconds to copy all of it into ordinary memory.
    pub read_ns: u64,
    /// Nanoseconds to copy as much from ordinary memory to ordinary memory, in the same run.
    pub memory_ns: u64,
}

/// Why a heap's cost is not known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CostError {
    /// There is no layout of that size.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// There is no buffer to measure with.
    #[error(transparent)]
    Alloc(#[from] AllocError),
    /// The CPU cannot touch it.
    #[error(transparent)]
    Access(#[from] AccessError),
}

impl HeapCost {
    /// The size that stands for buffers of this many bytes, so that one measurement serves many:
    /// the next power of two, from 64 KiB to 16 MiB.
    pub fn class(bytes: u64) -> u64 {
        bytes.clamp(SMALLEST, LARGEST).next_power_of_two()
    }

    /// Measures a heap with buffers of the size that stands for this many bytes.
    ///
    /// It allocates one after the other, and takes some milliseconds for each megabyte.
    pub fn measure(heap: &dyn Heap, bytes: u64) -> Result<Self, CostError> {
        let bytes = Self::class(bytes);
        let rows = u32::try_from(bytes / u64::from(ROW)).unwrap_or(u32::MAX);
        let layout = Layout::linear(Fourcc::R8, ROW, rows, Alignment::default())?;
        let mut allocations = Vec::with_capacity(ROUNDS);
        let mut buffer = heap.allocate(&layout, "cost")?;
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            let another = heap.allocate(&layout, "cost")?;
            allocations.push(begun.elapsed());
            buffer = another;
        }
        let plane = buffer.cpu_access(CpuAccess::Write)?.plane(0).len();
        let mut memory = vec![1u8; plane];
        let from = vec![2u8; plane];
        let [mut syncs, mut writes, mut reads, mut copies] = [const { Vec::new() }; 4];
        // Turn about, so that a busy moment hits all of them. The first turn warms up.
        for round in 0..=ROUNDS {
            let sync = timed(|| buffer.cpu_access(CpuAccess::ReadWrite)?.end())?;
            let mut guard = buffer.cpu_access(CpuAccess::ReadWrite)?;
            let write = timed(|| {
                guard.plane_mut(0).copy_from_slice(black_box(&from));
                Ok(())
            })?;
            let read = timed(|| {
                black_box(&mut memory).copy_from_slice(guard.plane(0));
                Ok(())
            })?;
            guard.end()?;
            let copy = timed(|| {
                black_box(&mut memory).copy_from_slice(black_box(&from));
                Ok(())
            })?;
            if round > 0 {
                syncs.push(sync);
                writes.push(write);
                reads.push(read);
                copies.push(copy);
            }
        }
        Ok(Self {
            bytes,
            alloc_ns: median(allocations),
            sync_ns: median(syncs),
            write_ns: median(writes),
            read_ns: median(reads),
            memory_ns: median(copies),
        })
    }

    /// Microseconds of CPU that a frame of this many bytes costs where it is used like this: an
    /// access, and a pass over the bytes, for each of writing and reading.
    pub fn frame_us(&self, bytes: u64, cpu: CpuUse) -> u64 {
        let pass = |wanted: bool, whole: u64| {
            let share = u128::from(whole) * u128::from(bytes) / u128::from(self.bytes.max(1));
            if wanted { share.saturating_add(self.sync_ns.into()) } else { 0 }
        };
        let nanoseconds = pass(cpu.write, self.write_ns) + pass(cpu.read, self.read_ns);
        u64::try_from(nanoseconds / 1000).unwrap_or(u64::MAX)
    }

    /// Whether the CPU reads it about as fast as ordinary memory.
    pub fn reads_are_cached(&self) -> bool {
        self.read_ns < self.memory_ns.saturating_mul(4)
    }
}

/// What a frame costs a device that could import the buffer and could have a copy instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkCost {
    /// Microseconds of a frame by import.
    pub import_us: u64,
    /// Microseconds of a frame by copy, turn about with the others.
    pub copy_us: u64,
}

impl LinkCost {
    /// Whether a copy is cheaper, beyond what noise would explain.
    pub fn copy_is_cheaper(&self) -> bool {
        clearly_less(self.copy_us, self.import_us)
    }
}

/// What a frame costs on a renderer, and in a program of our own that does the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderCost {
    /// Microseconds of a frame on the renderer.
    pub renderer_us: u64,
    /// Microseconds of a frame on the CPU, turn about with the others.
    pub cpu_us: u64,
}

/// Whether one cost is less than the other by more than a quarter: measurements are noisy, and a
/// choice that they make should not be.
pub(crate) fn clearly_less(one: u64, other: u64) -> bool {
    u128::from(one) * 4 < u128::from(other) * 3
}

fn timed(step: impl FnOnce() -> Result<(), AccessError>) -> Result<Duration, AccessError> {
    let begun = Instant::now();
    step()?;
    Ok(begun.elapsed())
}

fn median(mut times: Vec<Duration>) -> u64 {
    times.sort();
    times.get(times.len() / 2).map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heaps::memfd::Memfd;

    const COST: HeapCost = HeapCost {
        bytes: 1 << 20,
        alloc_ns: 1,
        sync_ns: 2_000,
        write_ns: 100_000,
        read_ns: 400_000,
        memory_ns: 100_000,
    };

    #[test]
    fn a_frame_costs_what_is_done_to_it() {
        let cpu = |read, write| CpuUse { read, write, cached: false };
        assert_eq!(COST.frame_us(1 << 20, cpu(false, false)), 0);
        assert_eq!(COST.frame_us(1 << 20, cpu(false, true)), 102);
        assert_eq!(COST.frame_us(1 << 19, cpu(true, true)), 52 + 202);
        assert_eq!(COST.frame_us(u64::MAX, cpu(true, true)), u64::MAX / (1 << 20) * 500 + 503);
    }

    #[test]
    fn memory_that_reads_slowly_is_not_cached() {
        assert!(!COST.reads_are_cached());
        assert!(HeapCost { read_ns: 150_000, ..COST }.reads_are_cached());
    }

    #[test]
    fn noise_decides_nothing() {
        assert!(!LinkCost { import_us: 100, copy_us: 76 }.copy_is_cheaper());
        assert!(LinkCost { import_us: 100, copy_us: 74 }.copy_is_cheaper());
        assert!(!LinkCost { import_us: 0, copy_us: 0 }.copy_is_cheaper());
    }

    #[test]
    fn sizes_are_in_classes() {
        assert_eq!(HeapCost::class(0), 64 << 10);
        assert_eq!(HeapCost::class(640 * 480), 1 << 19);
        assert_eq!(HeapCost::class(u64::MAX), 16 << 20);
    }

    #[test]
    fn ordinary_memory_can_be_measured() {
        let cost = HeapCost::measure(&Memfd::new(), 100_000).unwrap();
        assert_eq!(cost.bytes, 1 << 17);
        assert!(cost.write_ns > 0 && cost.read_ns > 0 && cost.memory_ns > 0, "{cost:?}");
    }
}
