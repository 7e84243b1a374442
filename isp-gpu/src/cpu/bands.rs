//! Rows of a picture, split into one band for each thread.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::thread_pool::{MAX_THREADS, ThreadPool};

/// The rows of a thread. Bands start at even rows, so that no quad is split.
fn band(rows: usize, threads: usize, number: usize) -> Range<usize> {
    let start = |number: usize| match number == threads {
        true => rows,
        false => (rows * number / threads) & !1,
    };
    start(number)..start(number + 1)
}

/// The work on a band: the thread, its rows, and their memory.
type BandWork<'a, T> = dyn Fn(usize, Range<usize>, &mut [T]) + Sync + 'a;

/// Does the work on every band at once. In `memory` a row is `stride` items long; the last may be
/// shorter.
pub(crate) fn in_bands<T: Send>(
    pool: &mut ThreadPool,
    rows: usize,
    memory: &mut [T],
    stride: usize,
    work: &BandWork<'_, T>,
) {
    let threads = pool.size();
    let mut rest = memory;
    let bands: [_; MAX_THREADS] = std::array::from_fn(|number| {
        let rows = if number < threads { band(rows, threads, number) } else { 0..0 };
        let length = rest.len().min(rows.len().saturating_mul(stride));
        let (band, others) = std::mem::take(&mut rest).split_at_mut(length);
        rest = others;
        Mutex::new((rows, band))
    });
    pool.run(&|number| {
        let mut band = bands[number].lock().unwrap_or_else(PoisonError::into_inner);
        let (rows, memory) = &mut *band;
        if rows.start < rows.end {
            work(number, rows.clone(), memory);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_band() {
        for threads in 1..5 {
            let mut pool = ThreadPool::with_threads(threads);
            for rows in [1, 2, 3, 16, 33] {
                // The last row is short.
                let mut memory = vec![0; rows * 4 - 1];
                in_bands(&mut pool, rows, &mut memory, 4, &|_, rows, band| {
                    for (row, values) in rows.zip(band.chunks_mut(4)) {
                        values.iter_mut().for_each(|value| *value += row + 1);
                    }
                });
                let expected: Vec<_> = (0..rows * 4 - 1).map(|at| at / 4 + 1).collect();
                assert_eq!(memory, expected, "{rows} rows on {threads} threads");
            }
        }
    }
}
