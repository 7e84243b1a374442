//! A frame of few different rows, ready to be written out.

use super::workers::Workers;

/// Below this many bytes, waking another thread costs more than it saves.
const PARALLEL: usize = 1 << 20;

/// The bytes of the different rows, and which of them each row of the frame is.
#[derive(Debug, Default)]
pub(super) struct RowCache {
    row_bytes: usize,
    rows: Vec<u8>,
    index: Vec<u32>,
}

impl RowCache {
    /// Rows of this many bytes; `index` has one of them for each row of the frame.
    pub(super) fn new(row_bytes: usize, index: Vec<u32>) -> Self {
        let count = index.iter().max().map_or(0, |last| *last as usize + 1);
        Self { row_bytes, rows: vec![0; count * row_bytes], index }
    }

    /// The different rows, in order, to be written.
    pub(super) fn rows_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.rows.chunks_exact_mut(self.row_bytes.max(1))
    }

    /// Writes the frame: whole rows, in order, and nothing is read back.
    pub(super) fn write(&self, plane: &mut [u8], stride: usize, workers: &Workers) {
        let make = |y: usize, row: &mut [u8], _: &mut ()| {
            let source = &self.rows[self.index[y] as usize * self.row_bytes..][..self.row_bytes];
            if let Some(row) = row.get_mut(..self.row_bytes) {
                row.copy_from_slice(source);
            }
        };
        let height = self.index.len();
        if self.row_bytes * height < PARALLEL {
            for (y, row) in plane.chunks_mut(stride.max(1)).take(height).enumerate() {
                make(y, row, &mut ());
            }
        } else {
            let mut benches = [(); 64];
            let bands = workers.bands().min(benches.len());
            workers.rows(plane, stride, height, &mut benches[..bands], make);
        }
    }
}
