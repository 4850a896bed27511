//! Cuts results into pieces that threads write side by side. Which pieces there are depends on shapes and on the number
//! of threads; what is in them does not.

use ballast_kernels::{GEMM_TILE_ROWS, Kernels, PanelMut, Pointwise, RowTiles};

/// Pieces of work for each thread, so that one that is held up is helped out.
pub(crate) const PIECES_PER_THREAD: usize = 4;

/// Columns of the first matrix that are taken at once: they and as many rows of a block stay in the second cache.
pub(crate) const INNER: usize = 384;

/// So many products of numbers up to 255 in magnitude add up to less than 2^24: whole numbers that f32 has.
pub(crate) const EXACT_TERMS: usize = 256;

/// Adds sums of at most [`EXACT_TERMS`] such products to integers, which wrap.
#[expect(clippy::cast_possible_truncation, reason = "sums are whole numbers below 2^24")]
pub(crate) fn add_exact(to: &mut [i32], sums: &[f32]) {
    to.iter_mut().zip(sums).for_each(|(to, sum)| *to = to.wrapping_add(*sum as i32));
}

/// A matrix in tiles of rows, owned.
#[derive(Clone, Debug)]
pub(crate) struct Tiles {
    values: Vec<f32>,
    n_rows: usize,
    n_cols: usize,
}

impl Tiles {
    /// Packs the matrix whose row `i` has the entries `x[i * steps[0] + k * steps[1]]`.
    pub(crate) fn pack(x: &[f32], steps: [usize; 2], n_rows: usize, n_cols: usize) -> Self {
        let mut values = vec![0.0; RowTiles::len_of(n_rows, n_cols)];
        RowTiles::pack(x, steps, n_rows, n_cols, &mut values);
        Self { values, n_rows, n_cols }
    }

    pub(crate) fn view(&self) -> RowTiles<'_> {
        RowTiles::new(&self.values, self.n_rows, self.n_cols)
    }
}

/// What follows a product before it leaves the cache.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Epilogue(pub(crate) Vec<Pointwise>);

impl Epilogue {
    pub(crate) fn apply(&self, kernels: &dyn Kernels, values: &mut [f32]) {
        for f in &self.0 {
            kernels.pointwise(*f, values);
        }
    }

    /// For every row of a panel.
    pub(crate) fn apply_rows(&self, kernels: &dyn Kernels, panel: &mut PanelMut<'_>) {
        if !self.0.is_empty() {
            for row in 0..panel.n_rows() {
                self.apply(kernels, panel.row_mut(row));
            }
        }
    }
}

/// Where rows are cut so that there are about `n_pieces`, at tiles and not too short to be worth it.
pub(crate) fn row_cuts(n_rows: usize, n_pieces: usize, rows_min: usize) -> Vec<usize> {
    let len = n_rows.div_ceil(n_pieces.max(1)).max(rows_min).next_multiple_of(GEMM_TILE_ROWS);
    (0..n_rows).step_by(len).skip(1).chain([n_rows]).collect()
}

#[cfg(test)]
mod tests {
    use super::row_cuts;

    #[test]
    fn rows_are_cut_at_tiles() {
        assert_eq!(row_cuts(100, 3, 8), [40, 80, 100]);
        assert_eq!(row_cuts(100, 50, 32), [32, 64, 96, 100]);
        assert_eq!(row_cuts(5, 8, 8), [5]);
    }
}
