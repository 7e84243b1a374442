//! Buffers that go round: taken, filled, shown, and back.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, never, select};

use crate::accounting;
use crate::dmabuf::Dmabuf;
use crate::fence::{Fence, FenceError};
use crate::free::{self, BudgetOf, Free};
use crate::heap::{AllocError, Heap};
use crate::layout::Layout;

/// How long a device may take over a buffer that every holder has let go of.
const FENCE_LIMIT: Duration = Duration::from_secs(5);

/// A fixed number of equal buffers.
///
/// A buffer is handed out again only when every holder has dropped it *and* every fence that a
/// holder left on it is signalled. Taking and returning one makes no system call, allocates
/// nothing, and may be done from any thread.
///
/// Fences come in two kinds. *Explicit* ones are descriptors, which a holder leaves with
/// [`PooledBuffer::release_after`]; who has none leaves none, and the pool has nothing to ask.
/// *Implicit* ones stand in the kernel's own books, where drivers put them unseen: a display or
/// another process that the buffer was lent to may have left one. Only who lent the buffer knows,
/// and says so with [`PooledBuffer::release_implicit`]; then, and only then, the pool waits on the
/// dma-buf itself, for one system call. In a chain of explicit fences nobody ever pays for that.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    buffers: Vec<Dmabuf>,
}

/// What the pool and every buffer taken from it hold together.
#[derive(Debug)]
struct Shared {
    slots: Vec<Slot>,
    /// Indices of the slots that nobody holds.
    free: (Sender<usize>, Receiver<usize>),
}

struct Slot {
    buffer: Dmabuf,
    holders: AtomicUsize,
    /// Whether the kernel's own books may hold a fence for the buffer.
    implicit: AtomicBool,
    fences: Mutex<Vec<Fence>>,
}

/// Why there is no buffer to take.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TakeError {
    /// All buffers are still held by somebody.
    #[error("all {count} buffers are still in use after {limit:?}")]
    Exhausted {
        /// Buffers in the pool.
        count: usize,
        /// How long was waited.
        limit: Duration,
    },
    /// A device does not finish with a buffer that all its holders let go of.
    #[error("a device does not let go of buffer '{name}'")]
    Fence {
        /// The buffer's name.
        name: String,
        /// What became of the wait.
        source: FenceError,
    },
}

/// How much a pool may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of all buffers together.
    pub bytes: u64,
    /// What the bytes are a part of, for whoever wants more.
    pub of: BudgetOf,
    /// Descriptors of all buffers together.
    pub descriptors: u64,
}

impl Budget {
    /// As much as the machine and the process have.
    pub const ANY: Self = Self { bytes: u64::MAX, of: BudgetOf::Caller, descriptors: u64::MAX };

    /// Three quarters of the memory that is free now: of the machine's, or of what the process's
    /// control group has left, whichever is less.
    ///
    /// Pages are taken when they are pinned or first written, and whoever takes more than there are
    /// is killed rather than told: so it has to be asked before. Since Linux 7.3 udmabuf has no
    /// limit of its own that would.
    pub fn of_free_memory() -> Self {
        let Free { bytes, of } = free::now();
        Self { bytes: bytes / 4 * 3, of, ..Self::ANY }
    }
}

/// Descriptors that are left to the rest of the process: a pool that takes the last ones makes the
/// next `open` fail somewhere else, where nobody expects it.
const SPARE_DESCRIPTORS: u64 = 16;

impl Pool {
    /// Allocates `count` buffers, named `name-0` and so on.
    ///
    /// When one allocation fails, those before it are given back.
    pub fn new(
        heap: &dyn Heap,
        layout: &Layout,
        name: &str,
        count: usize,
    ) -> Result<Self, AllocError> {
        Self::with_budget(heap, layout, name, count, Budget::ANY)
    }

    /// The same within a budget.
    ///
    /// What can be known beforehand is checked before the first allocation, the process's own
    /// limit of descriptors included; where the driver decides on sizes, the first buffer tells,
    /// and the rest is not allocated if that is too much.
    pub fn with_budget(
        heap: &dyn Heap,
        layout: &Layout,
        name: &str,
        count: usize,
        budget: Budget,
    ) -> Result<Self, AllocError> {
        let afford = |bytes: u64, descriptors: u64, held: u64| {
            afford(heap.name(), count, bytes, descriptors, held, budget)
        };
        afford(layout.size(), 1, 0)?;
        let mut buffers: Vec<Dmabuf> = Vec::with_capacity(count.min(MAX_RESERVED));
        for index in 0..count {
            let buffer = heap.allocate(layout, &format!("{name}-{index}"))?;
            if index == 0 {
                let descriptors = buffer.inodes().count() as u64;
                afford(buffer.bytes(), descriptors, descriptors)?;
            }
            buffers.push(buffer);
        }
        Ok(Self::of(buffers))
    }

    /// A pool of buffers that were allocated already.
    pub fn of(buffers: Vec<Dmabuf>) -> Self {
        let free = bounded(buffers.len().max(1));
        let slots: Vec<_> = buffers
            .iter()
            .map(|buffer| Slot {
                buffer: buffer.clone(),
                holders: AtomicUsize::new(0),
                implicit: AtomicBool::new(false),
                fences: Mutex::new(Vec::with_capacity(4)),
            })
            .collect();
        for index in 0..slots.len() {
            // There is room for all of them.
            let _ = free.0.try_send(index);
        }
        Self { shared: Arc::new(Shared { slots, free }), buffers }
    }

    /// All buffers of the pool, whoever holds them: what an importer may prepare in advance.
    pub fn buffers(&self) -> &[Dmabuf] {
        &self.buffers
    }

    /// Takes a free buffer, waiting for one for no longer than `limit`.
    pub fn take(&self, limit: Duration) -> Result<PooledBuffer, TakeError> {
        let exhausted = || TakeError::Exhausted { count: self.buffers.len(), limit };
        // Looked at first, the common case makes no system call. Of one channel, `select!` would
        // make a `recv_timeout`, which gives up the processor four times before it sleeps.
        let (free, nothing) = (&self.shared.free.1, never::<()>());
        let index = free.try_recv().or_else(|_| {
            select! {
                recv(free) -> index => index.map_err(|_| exhausted()),
                recv(nothing) -> _ => Err(exhausted()),
                default(limit) => Err(exhausted()),
            }
        })?;
        // From here on a failure gives the buffer back, by dropping this.
        let taken = PooledBuffer { shared: self.shared.clone(), index };
        let slot = taken.slot();
        slot.holders.store(1, Ordering::Relaxed);
        let mut fences = slot.fences.lock().unwrap_or_else(PoisonError::into_inner);
        for fence in fences.iter() {
            fence.wait(FENCE_LIMIT).map_err(|source| TakeError::Fence {
                name: slot.buffer.name().to_owned(),
                source,
            })?;
        }
        fences.clear();
        drop(fences);
        // A load in the common case. The flag was set by a holder before it let go of the buffer,
        // and is lowered only when the wait succeeded.
        if slot.implicit.load(Ordering::Relaxed) {
            slot.buffer.wait_implicit(FENCE_LIMIT).map_err(|source| TakeError::Fence {
                name: slot.buffer.name().to_owned(),
                source,
            })?;
            slot.implicit.store(false, Ordering::Relaxed);
        }
        Ok(taken)
    }
}

/// No more room than this is reserved before the first buffer exists.
const MAX_RESERVED: usize = 64;

/// Whether `count` buffers of so many bytes and descriptors each can be had; `held` descriptors are
/// open for them already.
fn afford(
    heap: &str,
    count: usize,
    bytes: u64,
    descriptors: u64,
    held: u64,
    budget: Budget,
) -> Result<(), AllocError> {
    let times = count as u64;
    let needed = bytes.saturating_mul(times);
    if needed > budget.bytes {
        let (heap, Budget { bytes: budget, of, .. }) = (heap.to_owned(), budget);
        return Err(AllocError::OverBudget { heap, count, needed, budget, of });
    }
    let needed = descriptors.saturating_mul(times);
    let over = |left, of_process| AllocError::Descriptors {
        heap: heap.to_owned(),
        count,
        needed,
        left,
        of_process,
    };
    if needed > budget.descriptors {
        return Err(over(budget.descriptors, false));
    }
    let (open, limit) = accounting::descriptors();
    let left = limit.saturating_sub(open).saturating_add(held).saturating_sub(SPARE_DESCRIPTORS);
    if needed > left { Err(over(left, true)) } else { Ok(()) }
}

/// A buffer taken from a [`Pool`]; a clone is one more holder.
///
/// It is back in the pool when the last holder is dropped. It may outlive the pool, whose memory
/// then stays until it is dropped as well.
pub struct PooledBuffer {
    shared: Arc<Shared>,
    index: usize,
}

impl PooledBuffer {
    /// Leaves a fence on the buffer: it is not handed out again before the fence is signalled.
    pub fn release_after(&self, fence: Fence) {
        self.slot().fences.lock().unwrap_or_else(PoisonError::into_inner).push(fence);
    }

    /// Says that a driver or another process may have left fences on the buffer that only the
    /// kernel knows: it is not handed out again before those are signalled.
    ///
    /// For whoever gave the buffer to a device that synchronises implicitly, without an out-fence.
    pub fn release_implicit(&self) {
        self.slot().implicit.store(true, Ordering::Relaxed);
    }

    fn slot(&self) -> &Slot {
        &self.shared.slots[self.index]
    }
}

impl Deref for PooledBuffer {
    type Target = Dmabuf;

    fn deref(&self) -> &Dmabuf {
        &self.slot().buffer
    }
}

impl Clone for PooledBuffer {
    fn clone(&self) -> Self {
        self.slot().holders.fetch_add(1, Ordering::Relaxed);
        Self { shared: self.shared.clone(), index: self.index }
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        // As in `Arc`: all that the other holders did with the buffer happens before its reuse.
        if self.slot().holders.fetch_sub(1, Ordering::AcqRel) == 1 {
            // There is room for every buffer of the pool.
            let _ = self.shared.free.0.try_send(self.index);
        }
    }
}

impl fmt::Debug for PooledBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pooled {:?}", self.name())
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.buffer.name())
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;
    use crate::heaps::memfd::Memfd;
    use crate::{Alignment, Fourcc};

    const SOON: Duration = Duration::from_millis(1);

    fn pool(count: usize) -> Pool {
        let layout = Layout::linear(Fourcc::R8, 16, 16, Alignment::default()).unwrap();
        Pool::new(&Memfd::new(), &layout, "test", count).unwrap()
    }

    #[test]
    fn a_buffer_is_back_when_its_last_holder_is_gone() {
        let pool = pool(1);
        let first = pool.take(SOON).unwrap();
        let second = first.clone();
        drop(first);
        assert!(matches!(pool.take(SOON), Err(TakeError::Exhausted { count: 1, .. })));
        drop(second);
        assert!(pool.take(SOON).is_ok());
    }

    #[test]
    fn a_buffer_is_not_handed_out_before_its_fence_is_signalled() {
        let pool = pool(1);
        let fake = eventfd(0, EventfdFlags::empty()).unwrap();
        let buffer = pool.take(SOON).unwrap();
        buffer.release_after(Fence::from(fake.try_clone().unwrap()));
        drop(buffer);
        std::thread::scope(|scope| {
            let taker = scope.spawn(|| pool.take(SOON).map(|_| ()));
            std::thread::sleep(Duration::from_millis(20));
            assert!(!taker.is_finished());
            rustix::io::write(&fake, &1u64.to_ne_bytes()).unwrap();
            taker.join().unwrap().unwrap();
        });
    }

    #[test]
    fn free_memory_is_a_budget() {
        let Budget { bytes, .. } = Budget::of_free_memory();
        assert!((1 << 20..1 << 60).contains(&bytes), "{bytes}");
    }

    #[test]
    fn a_pool_stays_within_its_budget() {
        let layout = Layout::linear(Fourcc::R8, 16, 16, Alignment::default()).unwrap();
        let pool = |count, budget| Pool::with_budget(&Memfd::new(), &layout, "test", count, budget);
        let bytes = Budget { bytes: 2 * layout.size(), ..Budget::ANY };
        assert!(pool(2, bytes).is_ok());
        assert!(matches!(pool(3, bytes), Err(AllocError::OverBudget { count: 3, .. })));
        let descriptors = Budget { descriptors: 2, ..Budget::ANY };
        assert!(pool(2, descriptors).is_ok());
        assert!(matches!(
            pool(3, descriptors),
            Err(AllocError::Descriptors { needed: 3, left: 2, of_process: false, .. })
        ));
        // More than any process may open: an error up front, and nothing was allocated.
        for count in [1 << 40, usize::MAX] {
            assert!(pool(count, Budget::ANY).is_err());
        }
    }

    #[test]
    fn memory_without_fences_is_not_waited_for() {
        let pool = pool(1);
        pool.take(SOON).unwrap().release_implicit();
        assert!(pool.take(SOON).is_ok());
    }

    #[test]
    fn a_buffer_may_outlive_its_pool_and_nothing_outlives_both() {
        let pool = pool(2);
        let weak: Vec<_> = pool.buffers().iter().map(Dmabuf::downgrade).collect();
        let buffer = pool.take(SOON).unwrap();
        drop(pool);
        assert_eq!(buffer.layout().width(), 16);
        drop(buffer);
        assert!(weak.iter().all(|weak| weak.is_gone()));
    }
}
