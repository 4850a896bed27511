//! Products of weight rows with tiles of activation rows. A tile of one row runs the very operations of a wider one in
//! the same order, so a result does not depend on the rows beside it.

use super::memory::{from_f16, load_f16_bits, load_f32, load_i8, load_i32, load_u8, padded, sdot};
use super::unpack::{self, Unpacked};
use crate::activations::Q8Row;
use crate::tiles::{self, TILE_ROWS};
use crate::{Activations, PanelMut, WeightMatrix, WeightType};
use std::arch::aarch64::*;

#[target_feature(enable = "neon,dotprod")]
pub(super) fn matmul(w: &WeightMatrix<'_>, x: &Activations, y: &mut PanelMut<'_>) {
    match w.weight_type() {
        WeightType::F32 => matmul_f32(w, x, y, |bytes: &[u8; 32]| {
            let (values, _) = bytes.as_chunks::<16>();
            [vreinterpretq_f32_u8(load_u8(&values[0])), vreinterpretq_f32_u8(load_u8(&values[1]))]
        }),
        WeightType::F16 => matmul_f32(w, x, y, |bytes: &[u8; 16]| halves(bytes, |bits| from_f16(bits))),
        WeightType::BF16 => matmul_f32(w, x, y, |bytes: &[u8; 16]| halves(bytes, |bits| from_bf16(bits))),
        WeightType::Q4_0 => matmul_32::<18, false>(w, x, y, |block| unpack::q4_0(block)),
        WeightType::Q4_1 => matmul_32::<20, true>(w, x, y, |block| unpack::q4_1(block)),
        WeightType::Q5_0 => matmul_32::<22, false>(w, x, y, |block| unpack::q5_0(block)),
        WeightType::Q5_1 => matmul_32::<24, true>(w, x, y, |block| unpack::q5_1(block)),
        WeightType::Q8_0 => matmul_32::<34, false>(w, x, y, |block| unpack::q8_0(block)),
        WeightType::Q4_K => matmul_256::<144, true>(w, x, y, |block| unpack::q4_k(block)),
        WeightType::Q5_K => matmul_256::<176, true>(w, x, y, |block| unpack::q5_k(block)),
        WeightType::Q6_K => matmul_256::<210, false>(w, x, y, |block| unpack::q6_k(block)),
    }
}

/// `widen` on both halves of eight 16-bit floats.
#[inline]
#[target_feature(enable = "neon")]
fn halves(bytes: &[u8; 16], widen: impl Fn(uint16x4_t) -> float32x4_t) -> [float32x4_t; 2] {
    let bits = vreinterpretq_u16_u8(load_u8(bytes));
    [widen(vget_low_u16(bits)), widen(vget_high_u16(bits))]
}

#[inline]
#[target_feature(enable = "neon")]
fn from_bf16(bits: uint16x4_t) -> float32x4_t {
    vreinterpretq_f32_u32(vshll_n_u16::<16>(bits))
}

/// `widen` makes f32 of the `N` bytes of 8 weights.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn matmul_f32<const N: usize>(
    w: &WeightMatrix<'_>,
    x: &Activations,
    y: &mut PanelMut<'_>,
    widen: impl Fn(&[u8; N]) -> [float32x4_t; 2] + Copy,
) {
    tiles::visit(x.n_rows(), w.n_rows(), |j, i, wide| {
        if wide {
            let rows = tiles::rows_f32(x, i);
            tiles::store(y, j, i, dot_f32::<N, TILE_ROWS>(w.row(j), rows, widen));
        } else {
            tiles::store(y, j, i, dot_f32(w.row(j), [x.row_f32(i)], widen));
        }
    });
}

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot_f32<const N: usize, const ROWS: usize>(
    weights: &[u8],
    x: [&[f32]; ROWS],
    widen: impl Fn(&[u8; N]) -> [float32x4_t; 2],
) -> [f32; ROWS] {
    let mut totals = [[vdupq_n_f32(0.0); 2]; ROWS];
    let (chunks, rest) = weights.as_chunks::<N>();
    let (x, x_rest) = tiles::chunks(x, chunks.len());
    for (idx, chunk) in chunks.iter().enumerate() {
        let weights = widen(chunk);
        for r in 0..ROWS {
            accumulate(&mut totals[r], weights, &x[r][idx]);
        }
    }
    if !rest.is_empty() {
        let weights = widen(&padded(rest));
        for r in 0..ROWS {
            accumulate(&mut totals[r], weights, &padded(x_rest[r]));
        }
    }
    let mut results = [0.0; ROWS];
    for r in 0..ROWS {
        results[r] = vaddvq_f32(vaddq_f32(totals[r][0], totals[r][1]));
    }
    results
}

#[inline]
#[target_feature(enable = "neon")]
fn accumulate(totals: &mut [float32x4_t; 2], weights: [float32x4_t; 2], x: &[f32; 8]) {
    let (halves, _) = x.as_chunks::<4>();
    totals[0] = vfmaq_f32(totals[0], weights[0], load_f32(&halves[0]));
    totals[1] = vfmaq_f32(totals[1], weights[1], load_f32(&halves[1]));
}

/// Formats of 32 weights in `N` bytes, with a minimum where `MINS`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn matmul_32<const N: usize, const MINS: bool>(
    w: &WeightMatrix<'_>,
    x: &Activations,
    y: &mut PanelMut<'_>,
    unpack: impl Fn(&[u8; N]) -> [int8x16_t; 2] + Copy,
) {
    tiles::visit(x.n_rows(), w.n_rows(), |j, i, wide| {
        let (blocks, _) = w.row(j).as_chunks();
        if wide {
            let rows = tiles::rows_q8(x, i);
            tiles::store(y, j, i, dot_32::<N, MINS, TILE_ROWS>(blocks, &rows, unpack));
        } else {
            tiles::store(y, j, i, dot_32::<N, MINS, 1>(blocks, &[x.row_q8(i)], unpack));
        }
    });
}

/// The int32 sums of a block stay in four lanes, exact, until they are scaled.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot_32<const N: usize, const MINS: bool, const ROWS: usize>(
    blocks: &[[u8; N]],
    x: &[Q8Row<'_>; ROWS],
    unpack: impl Fn(&[u8; N]) -> [int8x16_t; 2],
) -> [f32; ROWS] {
    let x = tiles::columns_32(x, 0..blocks.len());
    let mut totals = [vdupq_n_f32(0.0); ROWS];
    let mut minima = [0.0; ROWS];
    for (idx, block) in blocks.iter().enumerate() {
        let weights = unpack(block);
        let factors = from_f16(load_f16_bits(&[field(block, 0), field(block, 2), 0, 0]));
        let (scale, min) = (vgetq_lane_f32::<0>(factors), vgetq_lane_f32::<1>(factors));
        for r in 0..ROWS {
            let (halves, _) = x.quants[r][idx].as_chunks::<16>();
            let low = sdot(vdupq_n_s32(0), weights[0], load_i8(&halves[0]));
            let products = sdot(low, weights[1], load_i8(&halves[1]));
            totals[r] = vfmaq_n_f32(totals[r], vcvtq_f32_s32(products), scale * x.scales[r][idx]);
            if MINS {
                minima[r] = min.mul_add(x.offsets[r][idx], minima[r]);
            }
        }
    }
    let mut results = [0.0; ROWS];
    for r in 0..ROWS {
        results[r] = vaddvq_f32(totals[r]) + minima[r];
    }
    results
}

#[inline(always)]
fn field<const N: usize>(block: &[u8; N], offset: usize) -> u16 {
    u16::from_le_bytes([block[offset], block[offset + 1]])
}

/// Formats of 256 weights in `N` bytes, with minima where `MINS`.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn matmul_256<const N: usize, const MINS: bool>(
    w: &WeightMatrix<'_>,
    x: &Activations,
    y: &mut PanelMut<'_>,
    unpack: impl Fn(&[u8; N]) -> Unpacked + Copy,
) {
    tiles::visit(x.n_rows(), w.n_rows(), |j, i, wide| {
        let (blocks, _) = w.row(j).as_chunks();
        if wide {
            let rows = tiles::rows_q8(x, i);
            tiles::store(y, j, i, dot_256::<N, MINS, TILE_ROWS>(blocks, &rows, unpack));
        } else {
            tiles::store(y, j, i, dot_256::<N, MINS, 1>(blocks, &[x.row_q8(i)], unpack));
        }
    });
}

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot_256<const N: usize, const MINS: bool, const ROWS: usize>(
    blocks: &[[u8; N]],
    x: &[Q8Row<'_>; ROWS],
    unpack: impl Fn(&[u8; N]) -> Unpacked,
) -> [f32; ROWS] {
    let x = tiles::columns_256(x, blocks.len());
    let mut totals = [vdupq_n_f32(0.0); ROWS];
    for (idx, block) in blocks.iter().enumerate() {
        let weights = unpack(block);
        for (r, total) in totals.iter_mut().enumerate() {
            let x_scale = x.scales[r][idx];
            let (groups, _) = x.quants[r][idx].as_chunks::<16>();
            let mut products = vdupq_n_s32(0);
            for ((x, weights), scale) in groups.iter().zip(weights.quants).zip(weights.scales) {
                products = vmlaq_n_s32(products, sdot(vdupq_n_s32(0), weights, load_i8(x)), scale);
            }
            *total = vfmaq_n_f32(*total, vcvtq_f32_s32(products), weights.scale * x_scale);
            if MINS {
                let mut minima = vdupq_n_s32(0);
                let (sums, _) = x.sums[r][idx].as_chunks::<4>();
                for (sums, mins) in sums.iter().zip(weights.mins.as_chunks::<4>().0) {
                    minima = vmlaq_s32(minima, load_i32(sums), load_i32(mins));
                }
                *total = vfmsq_n_f32(*total, vcvtq_f32_s32(minima), weights.min * x_scale);
            }
        }
    }
    let mut results = [0.0; ROWS];
    for (result, total) in results.iter_mut().zip(totals) {
        *result = vaddvq_f32(total);
    }
    results
}
