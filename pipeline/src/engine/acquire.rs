//! The waits of stages, and their limits: for free buffers, and for acquire fences.

use std::time::Duration;

use vcam_allocator::{Fence, Pool, PooledBuffer, TakeError};

use super::error::StageError;
use super::stop::StopHandle;

/// The time that a stage waits for a free buffer before it checks whether the run is over.
const PATIENCE: Duration = Duration::from_millis(100);

/// The number of such waits in vain after which the buffers are taken to be lost: two minutes, or
/// five seconds once the run is over. They are counted and not timed, so that a process that was
/// suspended goes on.
const STALL_LIMIT: u32 = 1200;
const STALL_LIMIT_AT_END: u32 = 50;

/// The longest wait for a buffer whose last user says that it is not done yet.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(5);

/// Takes a buffer, however slow the stages are that hold them, unless `over` says that none is
/// needed any more (`None`).
pub(crate) fn take(
    pool: &Pool,
    over: impl Fn() -> bool,
    stage: &'static str,
    sequence: u64,
) -> Result<Option<PooledBuffer>, StageError> {
    take_within(pool, || if over() { None } else { Some(STALL_LIMIT) }, stage, sequence)
}

/// Takes a buffer for a frame that is there already, and is to arrive though the run may be over.
pub(crate) fn take_to_the_end(
    pool: &Pool,
    stop: &StopHandle,
    stage: &'static str,
    sequence: u64,
) -> Result<Option<PooledBuffer>, StageError> {
    let limit = || Some(if stop.is_set() { STALL_LIMIT_AT_END } else { STALL_LIMIT });
    take_within(pool, limit, stage, sequence)
}

/// Takes a buffer within as many rounds as `limit` says; it is asked in each round.
fn take_within(
    pool: &Pool,
    limit: impl Fn() -> Option<u32>,
    stage: &'static str,
    sequence: u64,
) -> Result<Option<PooledBuffer>, StageError> {
    let mut rounds = 0;
    loop {
        match (pool.take(PATIENCE), limit()) {
            (Ok(buffer), _) => return Ok(Some(buffer)),
            (Err(TakeError::Exhausted { .. }), None) => return Ok(None),
            (Err(TakeError::Exhausted { .. }), Some(limit)) if rounds < limit => rounds += 1,
            (Err(source), _) => return Err(StageError::NoBuffer { stage, sequence, source }),
        }
    }
}

/// Waits until a buffer's last user is done with it.
pub(crate) fn acquire(
    fence: Option<Fence>,
    stage: &'static str,
    sequence: u64,
) -> Result<(), StageError> {
    fence.map_or(Ok(()), |fence| {
        let failed = |source| StageError::Acquire { stage, sequence, source };
        fence.wait(ACQUIRE_LIMIT).map_err(failed)
    })
}

/// Time since boot, as V4L2 and KMS stamp their frames.
pub(crate) fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}
