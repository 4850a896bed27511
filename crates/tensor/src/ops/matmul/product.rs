//! Products of matrices of f32, by all threads.

use crate::pieces::{Epilogue, INNER, PIECES_PER_THREAD, row_cuts};
use crate::run::Context;
use ballast_kernels::{Columns, Kernels, PanelMut, RowTiles};
use ballast_threads::part_range;

/// Columns that are taken at once, and that stand together where a matrix is packed.
const PANEL_COLS: usize = 48;

/// Rows of the left that are packed at once.
const PACKED_ROWS: usize = 64;

/// The right side of a product, in panels of [`PANEL_COLS`] columns.
#[derive(Clone, Copy, Debug)]
pub(in crate::ops) struct Right<'a> {
    values: &'a [f32],
    n_rows: usize,
    n_cols: usize,
    row_step: usize,
    panel_step: usize,
}

impl<'a> Right<'a> {
    /// A matrix as it is, row by row.
    pub(in crate::ops) fn direct(values: &'a [f32], n_rows: usize, n_cols: usize) -> Self {
        Self { values, n_rows, n_cols, row_step: n_cols, panel_step: PANEL_COLS }
    }
}

/// A matrix whose panels stand one behind the other.
#[derive(Clone, Debug)]
pub(in crate::ops) struct Packed {
    values: Vec<f32>,
    n_rows: usize,
    n_cols: usize,
}

impl Packed {
    /// Packs the matrix whose row `k` has the entries `x[k * steps[0] + j * steps[1]]`.
    pub(in crate::ops) fn new(x: &[f32], steps: [usize; 2], n_rows: usize, n_cols: usize) -> Self {
        let mut values = vec![0.0; n_rows * n_cols.next_multiple_of(PANEL_COLS)];
        if n_rows > 0 {
            for (panel, out) in values.chunks_exact_mut(n_rows * PANEL_COLS).enumerate() {
                let cols = panel * PANEL_COLS..n_cols.min((panel + 1) * PANEL_COLS);
                for (row, out) in out.chunks_exact_mut(PANEL_COLS).enumerate() {
                    for (out, col) in out.iter_mut().zip(cols.clone()) {
                        *out = x[row * steps[0] + col * steps[1]];
                    }
                }
            }
        }
        Self { values, n_rows, n_cols }
    }

    pub(in crate::ops) fn n_rows(&self) -> usize {
        self.n_rows
    }

    pub(in crate::ops) fn n_cols(&self) -> usize {
        self.n_cols
    }

    pub(in crate::ops) fn view(&self) -> Right<'_> {
        let panel_step = self.n_rows * PANEL_COLS;
        Right { values: &self.values, n_rows: self.n_rows, n_cols: self.n_cols, row_step: PANEL_COLS, panel_step }
    }
}

/// Adds the product of the matrix whose row `i` has the entries `a[i * steps[0] + k * steps[1]]` and `right` to `out`,
/// `[rows, columns of right]`, and applies what follows.
pub(in crate::ops) fn multiply(
    a: &[f32],
    steps: [usize; 2],
    right: &Right<'_>,
    out: &mut [f32],
    (then, context): (&Epilogue, &mut Context<'_>),
) {
    if out.is_empty() || right.n_rows == 0 {
        return then.apply(context.kernels, out);
    }
    let (kernels, n_pieces) = (context.kernels, PIECES_PER_THREAD * context.pool.n_threads());
    let n_rows = out.len() / right.n_cols;
    let mut rest = PanelMut::new(out, right.n_cols);
    let mut parts = Vec::new();
    if n_rows >= 8 * context.pool.n_threads() {
        let mut first = 0;
        let cuts = if context.pool.n_threads() == 1 { vec![n_rows] } else { row_cuts(n_rows, n_pieces, 8) };
        for cut in cuts {
            let (panel, below) = rest.split_at_row(cut - first);
            parts.push((&a[first * steps[0]..], *right, panel));
            (rest, first) = (below, cut);
        }
    } else {
        let n_parts = if context.pool.n_threads() == 1 { 1 } else { n_pieces.min(right.n_cols.div_ceil(PANEL_COLS)) };
        for part in 0..n_parts {
            let cols = part_range(right.n_cols, PANEL_COLS, n_parts, part);
            let (panel, behind) = rest.split_at_col(cols.len());
            let values = &right.values[(cols.start / PANEL_COLS * right.panel_step).min(right.values.len())..];
            parts.push((a, Right { values, n_cols: cols.len(), ..*right }, panel));
            rest = behind;
        }
    }
    context.pool.run(&mut parts, |(a, right, panel)| some_rows(kernels, (a, steps), right, panel, then));
}

/// What one thread does of a product.
pub(in crate::ops) fn some_rows(
    kernels: &dyn Kernels,
    (a, steps): (&[f32], [usize; 2]),
    right: &Right<'_>,
    out: &mut PanelMut<'_>,
    then: &Epilogue,
) {
    if right.n_rows == 0 {
        return then.apply_rows(kernels, out);
    }
    let offsets: Vec<usize> = (0..right.n_rows.min(INNER)).map(|k| k * right.row_step).collect();
    let n_rows = out.n_rows();
    let mut packed = vec![0.0; RowTiles::len_of(n_rows.min(PACKED_ROWS), right.n_rows)];
    let mut rest = out.borrowed();
    for first in (0..n_rows).step_by(PACKED_ROWS) {
        let n = (n_rows - first).min(PACKED_ROWS);
        let (mut panel, below) = rest.split_at_row(n);
        rest = below;
        let packed = &mut packed[..RowTiles::len_of(n, right.n_rows)];
        RowTiles::pack(&a[first * steps[0]..], steps, n, right.n_rows, packed);
        let rows = RowTiles::new(packed, n, right.n_rows);
        let mut columns = panel.borrowed();
        for idx in 0..right.n_cols.div_ceil(PANEL_COLS) {
            let (mut panel, behind) = columns.split_at_col(PANEL_COLS.min(right.n_cols - idx * PANEL_COLS));
            columns = behind;
            for first in (0..right.n_rows).step_by(INNER) {
                let inner = first..right.n_rows.min(first + INNER);
                let values = &right.values[idx * right.panel_step + first * right.row_step..];
                let x = Columns { values, offsets: &offsets[..inner.len()] };
                kernels.gemm(&rows.cols(inner), &x, &mut panel);
            }
        }
        then.apply_rows(kernels, &mut panel);
    }
}
