//! The order in which a product visits its results: panels of activation rows that stay in the first cache while all
//! weight rows pass, and within them tiles of rows that share each unpacked block of weights.

#[cfg(target_arch = "x86_64")]
use crate::WeightMatrix;
use crate::activations::Q8Row;
use crate::{Activations, PanelMut};
use std::ops::Range;

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

/// Some blocks of 32 of a tile of rows, field by field and each exactly as long, which rids loops of checks.
pub(crate) struct Columns32<'a, const ROWS: usize> {
    pub(crate) quants: [&'a [[i8; 32]]; ROWS],
    pub(crate) scales: [&'a [f32]; ROWS],
    pub(crate) offsets: [&'a [f32]; ROWS],
    #[cfg(target_arch = "x86_64")]
    pub(crate) sums: [&'a [i32]; ROWS],
}

/// The blocks `range`.
#[inline(always)]
pub(crate) fn columns_32<'a, const ROWS: usize>(x: &[Q8Row<'a>; ROWS], range: Range<usize>) -> Columns32<'a, ROWS> {
    let (start, n) = (range.start, range.len());
    Columns32 {
        quants: std::array::from_fn(|r| &x[r].quants.as_chunks().0[start..][..n]),
        scales: std::array::from_fn(|r| &x[r].scales[start..][..n]),
        offsets: std::array::from_fn(|r| &x[r].offsets[start..][..n]),
        #[cfg(target_arch = "x86_64")]
        sums: std::array::from_fn(|r| &x[r].sums[start..][..n]),
    }
}

/// Weight rows from `j` on as blocks of `N` bytes; the last row stands in for those past the end.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn strip_rows<'a, const N: usize, const LANES: usize>(
    w: &WeightMatrix<'a>,
    j: usize,
) -> [&'a [[u8; N]]; LANES] {
    let n_blocks = w.row_bytes() / N;
    std::array::from_fn(|lane| &w.row((j + lane).min(w.n_rows() - 1)).as_chunks().0[..n_blocks])
}

/// Block `idx` of each row.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn blocks_at<'a, const N: usize, const LANES: usize>(
    rows: &[&'a [[u8; N]]; LANES],
    idx: usize,
) -> [&'a [u8; N]; LANES] {
    std::array::from_fn(|lane| &rows[lane][idx])
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
