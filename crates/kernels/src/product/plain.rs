//! Weights without blocks: a column of a strip at a time.

use super::{PANEL_TILES, store};
use crate::activations::TILE_ROWS;
use crate::isa::Isa;
use crate::packed::STRIP_ROWS;
use crate::{Activations, PackedMatrix, PanelMut};

/// Weights of which a column of a strip is `B` bytes.
pub(super) trait Column<const B: usize> {
    /// The column as f32.
    fn widen<S: Isa>(isa: S, column: &[u8; B]) -> S::F;
}

pub(super) enum F32 {}
pub(super) enum F16 {}
pub(super) enum BF16 {}

impl Column<64> for F32 {
    #[inline(always)]
    fn widen<S: Isa>(isa: S, column: &[u8; 64]) -> S::F {
        isa.load_f32(column)
    }
}

impl Column<32> for F16 {
    #[inline(always)]
    fn widen<S: Isa>(isa: S, column: &[u8; 32]) -> S::F {
        isa.load_f16(column)
    }
}

impl Column<32> for BF16 {
    #[inline(always)]
    fn widen<S: Isa>(isa: S, column: &[u8; 32]) -> S::F {
        isa.load_bf16(column)
    }
}

/// Strips that are taken at once for few rows, so that there are enough sums to add to at once.
const STRIPS: usize = 4;

#[inline(always)]
pub(super) fn matmul<S: Isa, C: Column<B>, const B: usize>(
    isa: S,
    w: &PackedMatrix<'_>,
    x: &Activations,
    y: &mut PanelMut<'_>,
) {
    let n_tiles = x.n_rows().div_ceil(TILE_ROWS);
    let many_end = w.n_strips() - w.n_strips() % STRIPS;
    for panel in (0..n_tiles).step_by(PANEL_TILES) {
        let tiles = panel..n_tiles.min(panel + PANEL_TILES);
        for strip in (0..many_end).step_by(STRIPS) {
            for tile in tiles.clone() {
                strips::<S, C, B, STRIPS>(isa, w, x, y, (strip, tile));
            }
        }
        for strip in many_end..w.n_strips() {
            for tile in tiles.clone() {
                strips::<S, C, B, 1>(isa, w, x, y, (strip, tile));
            }
        }
    }
}

/// All rows of a tile with `N` strips.
#[inline(always)]
fn strips<S: Isa, C: Column<B>, const B: usize, const N: usize>(
    isa: S,
    w: &PackedMatrix<'_>,
    x: &Activations,
    y: &mut PanelMut<'_>,
    (strip, tile): (usize, usize),
) {
    let n_rows = x.tile_rows(tile);
    let mut row = 0;
    while row < n_rows {
        let left = (n_rows - row).min(S::ROWS);
        // As many sums as there are registers for.
        match left {
            8.. => {
                for n in 0..N {
                    some_rows::<S, C, B, 1, 8>(isa, w, x, y, (strip + n, tile, row));
                }
                row += 8;
            }
            4..8 => {
                for n in 0..N {
                    some_rows::<S, C, B, 1, 4>(isa, w, x, y, (strip + n, tile, row));
                }
                row += 4;
            }
            2..4 => {
                some_rows::<S, C, B, N, 2>(isa, w, x, y, (strip, tile, row));
                row += 2;
            }
            _ => {
                some_rows::<S, C, B, N, 1>(isa, w, x, y, (strip, tile, row));
                row += 1;
            }
        }
    }
}

/// `R` rows of a tile, from `row` on, with `N` strips.
#[inline(always)]
fn some_rows<S: Isa, C: Column<B>, const B: usize, const N: usize, const R: usize>(
    isa: S,
    w: &PackedMatrix<'_>,
    x: &Activations,
    y: &mut PanelMut<'_>,
    (strip, tile, row): (usize, usize, usize),
) {
    let n_cols = w.n_cols();
    let mut columns: [&[[u8; B]]; N] = [&[]; N];
    for (n, columns) in columns.iter_mut().enumerate() {
        *columns = &w.strip(strip + n).as_chunks().0[..n_cols];
    }
    let mut sums = [[isa.splat(0.0); R]; N];
    for (col, x) in x.tile_f32(tile).chunks_exact(x.tile_rows(tile)).enumerate() {
        let x: &[f32; R] = x[row..].first_chunk().expect("the tile has these rows");
        for n in 0..N {
            let weights = C::widen(isa, &columns[n][col]);
            for r in 0..R {
                sums[n][r] = isa.fma(isa.splat(x[r]), weights, sums[n][r]);
            }
        }
    }
    for (n, sums) in sums.iter().enumerate() {
        for (r, sum) in sums.iter().enumerate() {
            store(isa, y, tile * TILE_ROWS + row + r, (strip + n) * STRIP_ROWS, *sum);
        }
    }
}
