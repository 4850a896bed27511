//! The order in which a product visits its results: panels of activation rows that stay in the first cache while all
//! weight rows pass, and within them tiles of rows that share each unpacked block of weights.

use crate::activations::Q8Row;
use crate::{Activations, PanelMut};

/// Activation rows of a wide tile.
pub(crate) const TILE_ROWS: usize = 4;
/// Activation rows of a panel.
const PANEL_ROWS: usize = 16;

/// Calls `visit(j, i, wide)` for every weight row `j` and tile of activation rows: `i..i + TILE_ROWS` where `wide`, else
/// `i` alone.
#[inline(always)]
pub(crate) fn visit(n_rows: usize, n_weight_rows: usize, mut visit: impl FnMut(usize, usize, bool)) {
    for start in (0..n_rows).step_by(PANEL_ROWS) {
        let end = (start + PANEL_ROWS).min(n_rows);
        let wide_end = end - (end - start) % TILE_ROWS;
        for j in 0..n_weight_rows {
            for i in (start..wide_end).step_by(TILE_ROWS) {
                visit(j, i, true);
            }
            for i in wide_end..end {
                visit(j, i, false);
            }
        }
    }
}

/// Writes the results of weight row `j` with the activation rows from `i` on.
#[inline(always)]
pub(crate) fn store<const ROWS: usize>(y: &mut PanelMut<'_>, j: usize, i: usize, results: [f32; ROWS]) {
    for (r, result) in results.into_iter().enumerate() {
        y.row_mut(i + r)[j] = result;
    }
}

/// Activation rows `i..i + ROWS` as f32. Closures of functions with target features cannot be inlined into `from_fn`,
/// so what makes arrays of rows is here.
#[inline(always)]
pub(crate) fn rows_f32<const ROWS: usize>(x: &Activations, i: usize) -> [&[f32]; ROWS] {
    std::array::from_fn(|r| x.row_f32(i + r))
}

/// Activation rows `i..i + ROWS`, quantised.
#[inline(always)]
pub(crate) fn rows_q8<const ROWS: usize>(x: &Activations, i: usize) -> [Q8Row<'_>; ROWS] {
    std::array::from_fn(|r| x.row_q8(i + r))
}

/// A tile of rows in blocks of 32, field by field and each exactly `n` long, which rids loops to `n` of checks.
pub(crate) struct Columns32<'a, const ROWS: usize> {
    pub(crate) quants: [&'a [[i8; 32]]; ROWS],
    pub(crate) scales: [&'a [f32]; ROWS],
    pub(crate) offsets: [&'a [f32]; ROWS],
}

/// The first `n` blocks of 32.
#[inline(always)]
pub(crate) fn columns_32<'a, const ROWS: usize>(x: &[Q8Row<'a>; ROWS], n: usize) -> Columns32<'a, ROWS> {
    Columns32 {
        quants: std::array::from_fn(|r| &x[r].quants.as_chunks().0[..n]),
        scales: std::array::from_fn(|r| &x[r].scales[..n]),
        offsets: std::array::from_fn(|r| &x[r].offsets[..n]),
    }
}

/// As [`Columns32`], two blocks together.
#[cfg(target_arch = "x86_64")]
pub(crate) struct Columns64<'a, const ROWS: usize> {
    pub(crate) quants: [&'a [[i8; 64]]; ROWS],
    pub(crate) scales: [&'a [[f32; 2]]; ROWS],
    pub(crate) offsets: [&'a [[f32; 2]]; ROWS],
}

/// The first `n` pairs of blocks of 32.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn columns_64<'a, const ROWS: usize>(x: &[Q8Row<'a>; ROWS], n: usize) -> Columns64<'a, ROWS> {
    Columns64 {
        quants: std::array::from_fn(|r| &x[r].quants.as_chunks().0[..n]),
        scales: std::array::from_fn(|r| &x[r].scales.as_chunks().0[..n]),
        offsets: std::array::from_fn(|r| &x[r].offsets.as_chunks().0[..n]),
    }
}

/// As [`Columns32`] in blocks of 256.
pub(crate) struct Columns256<'a, const ROWS: usize> {
    pub(crate) quants: [&'a [[i8; 256]]; ROWS],
    pub(crate) scales: [&'a [f32]; ROWS],
    pub(crate) sums: [&'a [[i32; 16]]; ROWS],
}

/// The first `n` blocks of 256.
#[inline(always)]
pub(crate) fn columns_256<'a, const ROWS: usize>(x: &[Q8Row<'a>; ROWS], n: usize) -> Columns256<'a, ROWS> {
    Columns256 {
        quants: std::array::from_fn(|r| &x[r].quants.as_chunks().0[..n]),
        scales: std::array::from_fn(|r| &x[r].scales[..n]),
        sums: std::array::from_fn(|r| &x[r].sums.as_chunks().0[..n]),
    }
}

/// The whole chunks of `LEN` of each row, exactly `n`, and what is left of it.
#[inline(always)]
pub(crate) fn chunks<const LEN: usize, const ROWS: usize>(
    x: [&[f32]; ROWS],
    n: usize,
) -> ([&[[f32; LEN]]; ROWS], [&[f32]; ROWS]) {
    (std::array::from_fn(|r| &x[r].as_chunks().0[..n]), std::array::from_fn(|r| x[r].as_chunks::<LEN>().1))
}
