//! Quantised weights: a slice of 32 columns of a strip at a time.
//!
//! Each slice is unpacked in registers and used by as many rows as there are registers for their sums; the next rows
//! unpack it again, from the first cache. Keeping it unpacked costs more loads and stores than that saves.

use super::formats::{Factors, Format, Vectors};
use super::{PANEL_TILES, store};
use crate::activations::{Block, TILE_ROWS};
use crate::isa::Isa;
use crate::packed::STRIP_ROWS;
use crate::{Activations, PackedMatrix, PanelMut};

#[inline(always)]
pub(super) fn matmul<S: Isa, F: Format>(isa: S, w: &PackedMatrix<'_>, x: &Activations, y: &mut PanelMut<'_>) {
    let n_tiles = x.n_rows().div_ceil(TILE_ROWS);
    for panel in (0..n_tiles).step_by(PANEL_TILES) {
        for strip in 0..w.n_strips() {
            for tile in panel..n_tiles.min(panel + PANEL_TILES) {
                all_rows::<S, F>(isa, w.strip(strip), x, y, (strip, tile));
            }
        }
    }
}

/// All rows of a tile with one strip.
#[inline(always)]
fn all_rows<S: Isa, F: Format>(
    isa: S,
    weights: &[u8],
    x: &Activations,
    y: &mut PanelMut<'_>,
    (strip, tile): (usize, usize),
) {
    let (n_rows, blocks) = (x.tile_rows(tile), x.tile_blocks(tile));
    let mut row = 0;
    while row < n_rows {
        let at = (tile * TILE_ROWS + row, strip * STRIP_ROWS);
        let rows = (&blocks[row..], n_rows);
        match (n_rows - row).min(S::ROWS) {
            8.. => row += some_rows::<S, F, 8>(isa, weights, rows, y, at),
            7 => row += some_rows::<S, F, 7>(isa, weights, rows, y, at),
            6 => row += some_rows::<S, F, 6>(isa, weights, rows, y, at),
            5 => row += some_rows::<S, F, 5>(isa, weights, rows, y, at),
            4 => row += some_rows::<S, F, 4>(isa, weights, rows, y, at),
            3 => row += some_rows::<S, F, 3>(isa, weights, rows, y, at),
            2 => row += some_rows::<S, F, 2>(isa, weights, rows, y, at),
            _ => row += some_rows::<S, F, 1>(isa, weights, rows, y, at),
        }
    }
}

/// `R` rows, whose blocks of a slice are the first of each `stride` of `blocks`, with one strip; writes their results
/// from `(i, j)` on and returns `R`.
#[inline(always)]
fn some_rows<S: Isa, F: Format, const R: usize>(
    isa: S,
    weights: &[u8],
    (blocks, stride): (&[Block], usize),
    y: &mut PanelMut<'_>,
    (i, j): (usize, usize),
) -> usize {
    let mut sums = [isa.splat(0.0); R];
    let mut first = 0;
    for group in weights.chunks_exact(F::GROUP) {
        for idx in 0..F::SLICES {
            let x = blocks[first..].first_chunk().expect("the tile has a block of these rows");
            add_slice::<S, F, R>(isa, &F::load(isa, group, idx), x, &mut sums);
            first += stride;
        }
    }
    for (r, sum) in sums.iter().enumerate() {
        store(isa, y, i + r, j, *sum);
    }
    R
}

/// Adds the products of one slice with a block of each row.
#[inline(always)]
fn add_slice<S: Isa, F: Format, const R: usize>(isa: S, w: &Vectors<S>, x: &[Block; R], sums: &mut [S::F; R]) {
    for r in 0..R {
        let block = &x[r];
        let products = if F::HALVES {
            let [w0, w1, w2, w3, w4, w5, w6, w7] = w.quants;
            let [x0, x1, x2, x3, x4, x5, x6, x7] = block.quants;
            let first = dot::<S, F, 4>(isa, &[w0, w1, w2, w3], &[x0, x1, x2, x3], block.neg_sums[0]);
            [first, dot::<S, F, 4>(isa, &[w4, w5, w6, w7], &[x4, x5, x6, x7], block.neg_sums[1])]
        } else {
            [dot::<S, F, 8>(isa, &w.quants, &block.quants, block.neg_sum); 2]
        };
        sums[r] = add::<S, F>(isa, &w.factors, block, products, sums[r]);
    }
}

/// Adds the integer products of one slice and a block, times what they count, to `sum`. Without halves the first are
/// the slice's; with them each half has its own.
#[inline(always)]
pub(super) fn add<S: Isa, F: Format>(
    isa: S,
    w: &Factors<S>,
    block: &Block,
    products: [S::I; 2],
    mut sum: S::F,
) -> S::F {
    // Formats differ in constants only, so what is not theirs falls away.
    let scale = isa.splat(block.scale);
    sum = isa.fma(isa.mul(isa.to_f32(products[0]), scale), w.scales[0], sum);
    if F::HALVES {
        sum = isa.fma(isa.mul(isa.to_f32(products[1]), scale), w.scales[1], sum);
    }
    if F::MINS {
        sum = isa.fma(isa.splat(block.offset), w.mins, sum);
    }
    sum
}

#[inline(always)]
fn dot<S: Isa, F: Format, const N: usize>(isa: S, w: &[S::B; N], x: &[i32; N], neg_sum: i32) -> S::I {
    match F::ZERO {
        0 => isa.dot::<0, N>(w, x, neg_sum),
        8 => isa.dot::<8, N>(w, x, neg_sum),
        16 => isa.dot::<16, N>(w, x, neg_sum),
        32 => isa.dot::<32, N>(w, x, neg_sum),
        _ => isa.dot::<128, N>(w, x, neg_sum),
    }
}
