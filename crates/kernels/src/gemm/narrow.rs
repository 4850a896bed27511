//! Products with fewer columns than a vector has lanes: the lanes are rows.
//!
//! The first matrix stands in tiles column by column, so that two tiles are a vector of sixteen rows for each of their
//! columns. Every sum has the order and the roundings of the other way.

use super::{Columns, GEMM_TILE_ROWS, LANES, RowTiles};
use crate::PanelMut;
use crate::isa::Isa;

/// A tile's columns.
type Tile<'a> = &'a [[f32; GEMM_TILE_ROWS]];

/// `out += rows * x` from column `first` on.
#[inline(always)]
pub(super) fn narrow<S: Isa>(isa: S, rows: &RowTiles<'_>, x: &Columns<'_>, out: &mut PanelMut<'_>, first: usize) {
    let mut col = first;
    while col < out.n_cols() {
        // As many sums as there are registers for.
        col += match (out.n_cols() - col).min(S::ROWS) {
            8.. => columns::<S, 8, 1>(isa, rows, x, out, col),
            4..8 if S::ROWS == 8 => columns::<S, 4, 2>(isa, rows, x, out, col),
            4..8 => columns::<S, 4, 1>(isa, rows, x, out, col),
            2..4 if S::ROWS == 8 => columns::<S, 2, 4>(isa, rows, x, out, col),
            2..4 => columns::<S, 2, 2>(isa, rows, x, out, col),
            _ => columns::<S, 1, 4>(isa, rows, x, out, col),
        };
    }
}

/// `C` columns of all rows, `T` vectors of rows at a time.
#[inline(always)]
fn columns<S: Isa, const C: usize, const T: usize>(
    isa: S,
    rows: &RowTiles<'_>,
    x: &Columns<'_>,
    out: &mut PanelMut<'_>,
    col: usize,
) -> usize {
    let n_vectors = rows.n_rows().div_ceil(LANES);
    let mut vector = 0;
    while vector + T <= n_vectors {
        some_rows::<S, C, T>(isa, rows, x, out, (vector, col));
        vector += T;
    }
    while vector < n_vectors {
        some_rows::<S, C, 1>(isa, rows, x, out, (vector, col));
        vector += 1;
    }
    C
}

/// `C` columns from `col` on of `T` vectors of rows from `vector` on.
#[inline(always)]
fn some_rows<S: Isa, const C: usize, const T: usize>(
    isa: S,
    rows: &RowTiles<'_>,
    x: &Columns<'_>,
    out: &mut PanelMut<'_>,
    (vector, col): (usize, usize),
) {
    let tiles: [[Tile<'_>; 2]; T] = std::array::from_fn(|t| pair(rows, vector + t));
    let first = vector * LANES;
    let n_rows = (rows.n_rows() - first).min(T * LANES);
    let mut sums = [[isa.splat(0.0); C]; T];
    let mut lanes = [[0.0; LANES]; C];
    for (t, sums) in sums.iter_mut().enumerate() {
        for row in t * LANES..n_rows.min((t + 1) * LANES) {
            let before = &out.row_mut(first + row)[col..][..C];
            for c in 0..C {
                lanes[c][row % LANES] = before[c];
            }
        }
        for c in 0..C {
            sums[c] = isa.load(&lanes[c]);
        }
    }
    for (k, offset) in x.offsets.iter().enumerate() {
        let values: &[f32; C] = x.values[offset + col..].first_chunk().expect("the columns are there");
        for t in 0..T {
            let a = isa.load_pair(&tiles[t][0][k], &tiles[t][1][k]);
            for c in 0..C {
                sums[t][c] = isa.fma(a, isa.splat(values[c]), sums[t][c]);
            }
        }
    }
    for (t, sums) in sums.iter().enumerate() {
        for c in 0..C {
            isa.store(sums[c], &mut lanes[c]);
        }
        for row in t * LANES..n_rows.min((t + 1) * LANES) {
            let after = &mut out.row_mut(first + row)[col..][..C];
            for c in 0..C {
                after[c] = lanes[c][row % LANES];
            }
        }
    }
}

/// The two tiles of a vector of rows; the last twice, where there is no second.
#[inline(always)]
fn pair<'a>(rows: &RowTiles<'a>, vector: usize) -> [Tile<'a>; 2] {
    let (low, high) = (2 * vector, (2 * vector + 1).min(rows.n_tiles() - 1));
    [rows.tile(low).0, rows.tile(high).0]
}
