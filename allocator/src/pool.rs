//! Buffers that go round: taken, filled, shown, and back.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::dmabuf::Dmabuf;
use crate::fence::{Fence, FenceError};
use crate::heap::{AllocError, Heap};
use crate::layout::Layout;

/// How long a device may take over a buffer that every holder has let go of.
const FENCE_LIMIT: Duration = Duration::from_secs(5);

/// A fixed number of equal buffers.
///
/// A buffer is handed out again only when every holder has dropped it *and* every fence that a
/// holder left on it is signalled. Taking and returning one makes no system call, allocates
/// nothing, and may be done from any thread.
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
    fences: Mutex<Vec<Fence>>,
}

/// Why there is no buffer to take.
#[derive(Debug, thiserror::Error)]
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
        let buffers = (0..count)
            .map(|index| heap.allocate(layout, &format!("{name}-{index}")))
            .collect::<Result<Vec<_>, _>>()?;
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
        // Without a wait first: that way the common case makes no system call.
        let free = &self.shared.free.1;
        let index = match free.try_recv() {
            Ok(index) => index,
            Err(_) => free
                .recv_timeout(limit)
                .map_err(|_| TakeError::Exhausted { count: self.buffers.len(), limit })?,
        };
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
        Ok(taken)
    }
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
