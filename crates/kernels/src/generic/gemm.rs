//! Products of plain matrices, one result and one column after another.

use crate::gemm::GEMM_TILE_ROWS;
use crate::{Columns, PanelMut, RowTiles};

pub(super) fn gemm(rows: &RowTiles<'_>, x: &Columns<'_>, out: &mut PanelMut<'_>) {
    for i in 0..rows.n_rows() {
        let (columns, _) = rows.tile(i / GEMM_TILE_ROWS);
        for (j, out) in out.row_mut(i).iter_mut().enumerate() {
            for (a, offset) in columns.iter().zip(x.offsets) {
                *out = a[i % GEMM_TILE_ROWS].mul_add(x.values[offset + j], *out);
            }
        }
    }
}
