//! Rows on several cores.

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// More threads than this do not write faster: memory is the limit.
const MOST: usize = 8;

/// Bands of rows for each thread, so that none waits long for another.
const BANDS: usize = 4;

/// Threads that make the rows of a frame.
#[derive(Debug)]
pub struct Workers {
    /// `None` on one core, and where the kernel gives no threads.
    pool: Option<ThreadPool>,
}

impl Workers {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST));
        let build = || {
            let named = |index| format!("sensor-{index}");
            ThreadPoolBuilder::new().num_threads(cores).thread_name(named).build()
        };
        let pool = (cores > 1).then(build).and_then(|built| {
            built.inspect_err(|error| tracing::warn!("the sensor uses one thread: {error}")).ok()
        });
        Self { pool }
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.pool.as_ref().map_or(1, ThreadPool::current_num_threads)
    }

    /// How many bands a frame is made in: each needs a scratch to work at.
    pub(super) fn bands(&self) -> usize {
        self.pool.as_ref().map_or(1, |pool| BANDS * pool.current_num_threads())
    }

    /// Runs something that makes frames on one of the threads.
    ///
    /// From there, handing rows to the others allocates nothing; from elsewhere, it does now and
    /// then.
    pub fn run<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        match &self.pool {
            Some(pool) => pool.install(task),
            None => task(),
        }
    }

    /// Makes `height` rows, `stride` bytes apart, each band at a scratch of its own. Rows that
    /// `plane` is too short for are left out.
    pub(super) fn rows<B: Send>(
        &self,
        plane: &mut [u8],
        stride: usize,
        height: usize,
        benches: &mut [B],
        make: impl Fn(usize, &mut [u8], &mut B) + Sync,
    ) {
        // Even, so that a band begins where the colour filters and chroma do.
        let band = height.div_ceil(benches.len().max(1)).next_multiple_of(2);
        let end = plane.len().min(stride.saturating_mul(height));
        let work = |(index, (rows, scratch)): (usize, (&mut [u8], &mut B))| {
            for (y, row) in rows.chunks_mut(stride).enumerate() {
                make(index * band + y, row, scratch);
            }
        };
        let bytes = band.saturating_mul(stride).max(1);
        let plane = &mut plane[..end];
        match &self.pool {
            Some(pool) => pool.install(|| {
                plane.par_chunks_mut(bytes).zip(benches).enumerate().for_each(work);
            }),
            None => plane.chunks_mut(bytes).zip(benches).enumerate().for_each(work),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_made_once() {
        let workers = Workers::new();
        for height in [1, 2, 7, 97, 1080] {
            let mut plane = vec![0; 16 * height];
            let mut benches = vec![(); workers.bands()];
            workers.rows(&mut plane, 16, height, &mut benches, |y, row, ()| {
                row[0] += 1;
                row[1] = y as u8;
            });
            for (y, row) in plane.chunks(16).enumerate() {
                assert_eq!(row[..2], [1, y as u8], "{height}");
            }
        }
    }

    #[test]
    fn a_short_plane_is_no_harm() {
        let workers = Workers::new();
        let mut benches = vec![(); workers.bands()];
        let mut plane = vec![0; 16 * 10 + 3];
        workers.rows(&mut plane, 16, 100, &mut benches, |_, row, ()| row[0] = 1);
        assert_eq!(plane.iter().filter(|byte| **byte == 1).count(), 11);
    }
}
