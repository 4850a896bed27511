//! Quantised weights: a slice of 32 columns of a strip at a time.
//!
//! Few rows, as when tokens are decoded: each slice is unpacked in registers and used at once, so weights pass as a
//! stream. Many rows: some slices are unpacked to the first cache and used by all rows of a panel.

use super::formats::{Format, Vectors, bytes};
use super::{PANEL_TILES, load, store};
use crate::activations::{Block, TILE_ROWS};
use crate::isa::Isa;
use crate::packed::{STRIP_ROWS, Slice};
use crate::{Activations, PackedMatrix, PanelMut};
use std::ops::Range;

/// Slices of a strip that are unpacked at once.
const CHUNK: usize = 16;

#[inline(always)]
pub(super) fn matmul<S: Isa, F: Format>(isa: S, w: &PackedMatrix<'_>, x: &Activations, y: &mut PanelMut<'_>) {
    match x.n_rows() {
        0 => {}
        1 => stream::<S, F, 1>(isa, w, x, y),
        2 => stream::<S, F, 2>(isa, w, x, y),
        3 => stream::<S, F, 3>(isa, w, x, y),
        4 => stream::<S, F, 4>(isa, w, x, y),
        5 if S::ROWS >= 8 => stream::<S, F, 5>(isa, w, x, y),
        6 if S::ROWS >= 8 => stream::<S, F, 6>(isa, w, x, y),
        7 if S::ROWS >= 8 => stream::<S, F, 7>(isa, w, x, y),
        8 if S::ROWS >= 8 => stream::<S, F, 8>(isa, w, x, y),
        _ => panels::<S, F>(isa, w, x, y),
    }
}

/// `R` rows, all there are.
#[inline(always)]
fn stream<S: Isa, F: Format, const R: usize>(isa: S, w: &PackedMatrix<'_>, x: &Activations, y: &mut PanelMut<'_>) {
    let blocks = x.tile_blocks(0).as_chunks::<R>().0;
    for strip in 0..w.n_strips() {
        let mut sums = [isa.splat(0.0); R];
        let groups = w.strip(strip).chunks_exact(F::GROUP);
        for (group, blocks) in groups.zip(blocks.chunks_exact(F::SLICES)) {
            for (idx, x) in blocks.iter().enumerate() {
                add_slice::<S, F, R>(isa, &F::load(isa, group, idx), x, &mut sums);
            }
        }
        for r in 0..R {
            store(isa, y, r, strip * STRIP_ROWS, sums[r]);
        }
    }
}

#[inline(always)]
fn panels<S: Isa, F: Format>(isa: S, w: &PackedMatrix<'_>, x: &Activations, y: &mut PanelMut<'_>) {
    let (n_tiles, n_slices) = (x.n_rows().div_ceil(TILE_ROWS), w.n_cols() / 32);
    let mut slices = [Slice::ZERO; CHUNK];
    for panel in (0..n_tiles).step_by(PANEL_TILES) {
        for strip in 0..w.n_strips() {
            for start in (0..n_slices).step_by(CHUNK) {
                let chunk = start..n_slices.min(start + CHUNK);
                for (slice, idx) in slices.iter_mut().zip(chunk.clone()) {
                    let group = &w.strip(strip)[idx / F::SLICES * F::GROUP..][..F::GROUP];
                    write_slice(isa, &F::load(isa, group, idx % F::SLICES), slice);
                }
                for tile in panel..n_tiles.min(panel + PANEL_TILES) {
                    add_chunk::<S, F>(isa, &slices[..chunk.len()], chunk.clone(), x, y, (tile, strip));
                }
            }
        }
    }
}

#[inline(always)]
fn write_slice<S: Isa>(isa: S, vectors: &Vectors<S>, slice: &mut Slice) {
    for (quants, out) in vectors.quants.iter().zip(&mut slice.quants) {
        isa.store_bytes(*quants, out);
    }
    isa.store(vectors.scales[0], &mut slice.scales[0]);
    isa.store(vectors.scales[1], &mut slice.scales[1]);
    isa.store(vectors.mins, &mut slice.mins);
}

#[inline(always)]
fn read_slice<S: Isa>(isa: S, slice: &Slice) -> Vectors<S> {
    Vectors {
        quants: bytes(isa, &slice.quants),
        scales: [isa.load(&slice.scales[0]), isa.load(&slice.scales[1])],
        mins: isa.load(&slice.mins),
    }
}

/// Adds the products of the slices `chunk` to the results of a tile.
#[inline(always)]
fn add_chunk<S: Isa, F: Format>(
    isa: S,
    slices: &[Slice],
    chunk: Range<usize>,
    x: &Activations,
    y: &mut PanelMut<'_>,
    (tile, strip): (usize, usize),
) {
    let n_rows = x.tile_rows(tile);
    let blocks = &x.tile_blocks(tile)[chunk.start * n_rows..chunk.end * n_rows];
    let mut row = 0;
    while row < n_rows {
        let at = (tile * TILE_ROWS + row, strip * STRIP_ROWS, chunk.start == 0);
        match (n_rows - row).min(S::ROWS) {
            8.. => row += add_rows::<S, F, 8>(isa, slices, (blocks, n_rows, row), y, at),
            4..8 => row += add_rows::<S, F, 4>(isa, slices, (blocks, n_rows, row), y, at),
            2..4 => row += add_rows::<S, F, 2>(isa, slices, (blocks, n_rows, row), y, at),
            _ => row += add_rows::<S, F, 1>(isa, slices, (blocks, n_rows, row), y, at),
        }
    }
}

/// Adds the products with `R` rows of a tile's `blocks`, from `row` on, to the results from `(i, j)` on, or starts them
/// where `first`; returns `R`.
#[inline(always)]
fn add_rows<S: Isa, F: Format, const R: usize>(
    isa: S,
    slices: &[Slice],
    (blocks, n_rows, row): (&[Block], usize, usize),
    y: &mut PanelMut<'_>,
    (i, j, first): (usize, usize, bool),
) -> usize {
    let mut sums = [isa.splat(0.0); R];
    if !first {
        for r in 0..R {
            sums[r] = load(isa, y, i + r, j);
        }
    }
    for (slice, blocks) in slices.iter().zip(blocks.chunks_exact(n_rows)) {
        let x = blocks[row..].first_chunk().expect("the tile has these rows");
        add_slice::<S, F, R>(isa, &read_slice(isa, slice), x, &mut sums);
    }
    for r in 0..R {
        store(isa, y, i + r, j, sums[r]);
    }
    R
}

/// Adds the products of one slice with a block of each row.
#[inline(always)]
fn add_slice<S: Isa, F: Format, const R: usize>(isa: S, w: &Vectors<S>, x: &[Block; R], sums: &mut [S::F; R]) {
    // Formats differ in constants only, so what is not theirs falls away.
    for r in 0..R {
        let (block, scale) = (&x[r], isa.splat(x[r].scale));
        if F::HALVES {
            let [w0, w1, w2, w3, w4, w5, w6, w7] = w.quants;
            let [x0, x1, x2, x3, x4, x5, x6, x7] = block.quants;
            let first = dot::<S, F, 4>(isa, &[w0, w1, w2, w3], &[x0, x1, x2, x3], block.neg_sums[0]);
            sums[r] = isa.fma(isa.mul(isa.to_f32(first), scale), w.scales[0], sums[r]);
            let second = dot::<S, F, 4>(isa, &[w4, w5, w6, w7], &[x4, x5, x6, x7], block.neg_sums[1]);
            sums[r] = isa.fma(isa.mul(isa.to_f32(second), scale), w.scales[1], sums[r]);
        } else {
            let products = dot::<S, F, 8>(isa, &w.quants, &block.quants, block.neg_sum);
            sums[r] = isa.fma(isa.mul(isa.to_f32(products), scale), w.scales[0], sums[r]);
        }
        if F::MINS {
            sums[r] = isa.fma(isa.splat(block.offset), w.mins, sums[r]);
        }
    }
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
