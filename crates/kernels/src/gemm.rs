//! Products of plain f32 matrices: rows in tiles, columns wherever they lie.
//!
//! The second matrix is never packed: its row `k` is what begins at an offset into some values. Offsets make a
//! convolution of a product, and a product of matrices is the case of evenly spaced ones.

mod narrow;

use crate::PanelMut;
use crate::isa::Isa;
use std::ops::Range;

/// Rows of a tile of [`RowTiles`].
pub const GEMM_TILE_ROWS: usize = 8;

/// Lanes of a vector.
const LANES: usize = 16;

/// A matrix in tiles of [`GEMM_TILE_ROWS`] rows, each column by column: `[n_tiles, n_cols, GEMM_TILE_ROWS]`. Rows that
/// fill up the last tile are not looked at.
#[derive(Clone, Copy, Debug)]
pub struct RowTiles<'a> {
    values: &'a [f32],
    n_rows: usize,
    tile_cols: usize,
    first_col: usize,
    n_cols: usize,
}

impl<'a> RowTiles<'a> {
    /// A matrix over `values`, as [`RowTiles::pack`] writes them.
    ///
    /// # Panics
    /// If `values` are not as many as [`RowTiles::len_of`] says.
    #[must_use]
    pub fn new(values: &'a [f32], n_rows: usize, n_cols: usize) -> Self {
        assert!(values.len() == Self::len_of(n_rows, n_cols), "{} values for {n_rows} x {n_cols}", values.len());
        Self { values, n_rows, tile_cols: n_cols, first_col: 0, n_cols }
    }

    /// Values of a packed matrix.
    #[must_use]
    pub const fn len_of(n_rows: usize, n_cols: usize) -> usize {
        n_rows.div_ceil(GEMM_TILE_ROWS) * GEMM_TILE_ROWS * n_cols
    }

    /// Writes the matrix whose row `i` has the entries `x[i * steps[0] + k * steps[1]]` for `k` below `n_cols`.
    ///
    /// # Panics
    /// If `out` is not as long as [`RowTiles::len_of`] says, or an entry is not inside `x`.
    pub fn pack(x: &[f32], steps: [usize; 2], n_rows: usize, n_cols: usize, out: &mut [f32]) {
        assert!(out.len() == Self::len_of(n_rows, n_cols), "room for {} values of {n_rows} x {n_cols}", out.len());
        if out.is_empty() {
            return;
        }
        for (tile, out) in out.chunks_exact_mut(GEMM_TILE_ROWS * n_cols).enumerate() {
            let first = tile * GEMM_TILE_ROWS;
            let columns = out.as_chunks_mut::<GEMM_TILE_ROWS>().0;
            for lane in 0..GEMM_TILE_ROWS.min(n_rows - first) {
                let row = &x[(first + lane) * steps[0]..];
                for (k, column) in columns.iter_mut().enumerate() {
                    column[lane] = row[k * steps[1]];
                }
            }
        }
    }

    /// Rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Columns.
    #[must_use]
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// The matrix of the rows `range`, which begins at a tile.
    ///
    /// # Panics
    /// If the range is not inside the matrix or does not begin at a tile, or ends elsewhere than at a tile or the end.
    #[must_use]
    pub fn rows(&self, range: Range<usize>) -> Self {
        let is_whole = range.end.is_multiple_of(GEMM_TILE_ROWS) || range.end == self.n_rows;
        let is_inside = range.start <= range.end && range.end <= self.n_rows;
        assert!(is_inside && is_whole && range.start.is_multiple_of(GEMM_TILE_ROWS), "{range:?} of {}", self.n_rows);
        let tile_len = GEMM_TILE_ROWS * self.tile_cols;
        let tiles = range.start / GEMM_TILE_ROWS..range.end.div_ceil(GEMM_TILE_ROWS);
        Self { values: &self.values[tiles.start * tile_len..tiles.end * tile_len], n_rows: range.len(), ..*self }
    }

    /// The matrix of the columns `range`.
    ///
    /// # Panics
    /// If the range is not inside the matrix.
    #[must_use]
    pub fn cols(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.n_cols, "{range:?} of {}", self.n_cols);
        Self { first_col: self.first_col + range.start, n_cols: range.len(), ..*self }
    }

    /// The columns of tile `idx`, and how many of its rows count.
    #[inline(always)]
    pub(crate) fn tile(&self, idx: usize) -> (&'a [[f32; GEMM_TILE_ROWS]], usize) {
        let tile_len = GEMM_TILE_ROWS * self.tile_cols;
        let columns = self.values[idx * tile_len..][..tile_len].as_chunks().0;
        let n_rows = (self.n_rows - idx * GEMM_TILE_ROWS).min(GEMM_TILE_ROWS);
        (&columns[self.first_col..][..self.n_cols], n_rows)
    }

    fn n_tiles(&self) -> usize {
        self.n_rows.div_ceil(GEMM_TILE_ROWS)
    }
}

/// Columns of the second matrix: row `k` of it begins at `offsets[k]` in `values`.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// Where the entries are.
    pub values: &'a [f32],
    /// Where each row begins.
    pub offsets: &'a [usize],
}

/// `out += rows * x`; shapes were checked.
#[inline(always)]
pub(crate) fn gemm<S: Isa>(isa: S, rows: &RowTiles<'_>, x: &Columns<'_>, out: &mut PanelMut<'_>) {
    let (n_rows, n_cols) = (out.n_rows(), out.n_cols());
    let n_narrow = n_cols % LANES;
    // A vector of columns takes as long however few there are, one of rows likewise: whichever are fewer vectors.
    if n_narrow * n_rows.div_ceil(LANES) >= n_rows {
        return wide(isa, rows, x, out, n_cols);
    }
    wide(isa, rows, x, out, n_cols - n_narrow);
    narrow::narrow(isa, rows, x, out, n_cols - n_narrow);
}

/// The columns before `to`, a vector of them at a time.
#[inline(always)]
fn wide<S: Isa>(isa: S, rows: &RowTiles<'_>, x: &Columns<'_>, out: &mut PanelMut<'_>, to: usize) {
    if to == 0 {
        return;
    }
    for tile in 0..rows.n_tiles() {
        let (columns, n_rows) = rows.tile(tile);
        let mut row = 0;
        while row < n_rows {
            let from = (row, tile * GEMM_TILE_ROWS + row);
            // As many sums as there are registers for.
            row += match (n_rows - row).min(S::ROWS) {
                8.. => some_rows::<S, 8, 3>(isa, columns, x, out, (from, to)),
                4..8 if S::ROWS == 8 => some_rows::<S, 4, 4>(isa, columns, x, out, (from, to)),
                4..8 => some_rows::<S, 4, 1>(isa, columns, x, out, (from, to)),
                2..4 if S::ROWS == 8 => some_rows::<S, 2, 6>(isa, columns, x, out, (from, to)),
                2..4 => some_rows::<S, 2, 2>(isa, columns, x, out, (from, to)),
                _ if S::ROWS == 8 => some_rows::<S, 1, 12>(isa, columns, x, out, (from, to)),
                _ => some_rows::<S, 1, 4>(isa, columns, x, out, (from, to)),
            };
        }
    }
}

/// `R` rows, from the first of `from` in the tile and the second in `out` on, `V` vectors at a time up to column `to`.
#[inline(always)]
fn some_rows<S: Isa, const R: usize, const V: usize>(
    isa: S,
    a: &[[f32; GEMM_TILE_ROWS]],
    x: &Columns<'_>,
    out: &mut PanelMut<'_>,
    (from, to): ((usize, usize), usize),
) -> usize {
    let mut col = 0;
    while col + V * LANES <= to {
        block::<S, R, V>(isa, a, x, out, (from, col));
        col += V * LANES;
    }
    while V > 3 && col + 3 * LANES <= to {
        block::<S, R, 3>(isa, a, x, out, (from, col));
        col += 3 * LANES;
    }
    while V > 1 && col + LANES <= to {
        block::<S, R, 1>(isa, a, x, out, (from, col));
        col += LANES;
    }
    if col < to {
        rest::<S, R>(isa, a, x, out, (from, col));
    }
    R
}

/// `R` rows and `V` vectors.
#[inline(always)]
fn block<S: Isa, const R: usize, const V: usize>(
    isa: S,
    a: &[[f32; GEMM_TILE_ROWS]],
    x: &Columns<'_>,
    out: &mut PanelMut<'_>,
    ((row, out_row), col): ((usize, usize), usize),
) {
    let mut sums = [[isa.splat(0.0); V]; R];
    for (r, sums) in sums.iter_mut().enumerate() {
        let before = &out.row_mut(out_row + r)[col..][..V * LANES];
        for (sum, before) in sums.iter_mut().zip(before.as_chunks().0) {
            *sum = isa.load(before);
        }
    }
    for (a, offset) in a.iter().zip(x.offsets) {
        let a: &[f32; R] = a[row..].first_chunk().expect("the tile has these rows");
        let values = x.values[offset + col..][..V * LANES].as_chunks::<LANES>().0;
        let mut b = [isa.splat(0.0); V];
        for v in 0..V {
            b[v] = isa.load(&values[v]);
        }
        for r in 0..R {
            let factor = isa.splat(a[r]);
            for v in 0..V {
                sums[r][v] = isa.fma(factor, b[v], sums[r][v]);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        let after = &mut out.row_mut(out_row + r)[col..][..V * LANES];
        for (sum, after) in sums.iter().zip(after.as_chunks_mut().0) {
            isa.store(*sum, after);
        }
    }
}

/// `R` rows and the columns that are left, fewer than a vector has lanes. Lanes beyond them take what comes.
#[inline(always)]
fn rest<S: Isa, const R: usize>(
    isa: S,
    a: &[[f32; GEMM_TILE_ROWS]],
    x: &Columns<'_>,
    out: &mut PanelMut<'_>,
    ((row, out_row), col): ((usize, usize), usize),
) {
    let mut sums = [isa.splat(0.0); R];
    for (r, sum) in sums.iter_mut().enumerate() {
        *sum = isa.load(&padded(&out.row_mut(out_row + r)[col..]));
    }
    for (a, offset) in a.iter().zip(x.offsets) {
        let a: &[f32; R] = a[row..].first_chunk().expect("the tile has these rows");
        let values = &x.values[offset + col..];
        let b = match values.first_chunk() {
            Some(values) => isa.load(values),
            None => isa.load(&padded(values)),
        };
        for r in 0..R {
            sums[r] = isa.fma(isa.splat(a[r]), b, sums[r]);
        }
    }
    for (r, sum) in sums.iter().enumerate() {
        let (after, mut lanes) = (&mut out.row_mut(out_row + r)[col..], [0.0; LANES]);
        isa.store(*sum, &mut lanes);
        after.copy_from_slice(&lanes[..after.len()]);
    }
}

/// Values and zeros up to a vector.
#[inline(always)]
fn padded(values: &[f32]) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    for (lane, value) in lanes.iter_mut().zip(values) {
        *lane = *value;
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::RowTiles;

    #[test]
    fn packs_rows_in_tiles_column_by_column() {
        let x: Vec<f32> = (0..27).map(|value| value as f32).collect();
        let mut packed = vec![-1.0; RowTiles::len_of(9, 3)];
        RowTiles::pack(&x, [3, 1], 9, 3, &mut packed);
        let tiles = RowTiles::new(&packed, 9, 3);
        assert_eq!(
            tiles.tile(0),
            (
                &[
                    [0, 1, 2, 3, 4, 5, 6, 7].map(|row| (3 * row) as f32),
                    [1, 4, 7, 10, 13, 16, 19, 22].map(|x| x as f32),
                    [2, 5, 8, 11, 14, 17, 20, 23].map(|x| x as f32)
                ][..],
                8
            )
        );
        assert_eq!(tiles.rows(8..9).cols(1..2).tile(0), (&[[25.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0]][..], 1));
        let mut transposed = vec![0.0; RowTiles::len_of(3, 9)];
        RowTiles::pack(&x, [1, 3], 3, 9, &mut transposed);
        assert_eq!(RowTiles::new(&transposed, 3, 9).tile(0).0[2][..3], [6.0, 7.0, 8.0]);
    }

    #[test]
    #[should_panic(expected = "4..8 of 9")]
    fn rows_begin_at_a_tile() {
        let packed = vec![0.0; RowTiles::len_of(9, 1)];
        let _rows = RowTiles::new(&packed, 9, 1).rows(4..8);
    }
}
