//! The order in which a product visits its results: panels of activation rows that stay in the first cache while all
//! weight rows pass, and within them tiles of rows that share each unpacked block of weights.

use crate::PanelMut;

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
