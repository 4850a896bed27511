//! Products of weight rows with tiles of activation rows. A tile of one row runs the very
//! operations of a wider one in the same order, so a result does not depend on the rows beside it.

use super::super::memory::{load_32, load_64, load_f32_16, load_i8, load_i32, padded};
use super::super::unpack::{self, Unpacked};
use super::{row, strip};
use crate::activations::Q8Row;
use crate::tiles::{self, TILE_ROWS};
use crate::{Activations, PanelMut, WeightMatrix, WeightType};
use std::arch::x86_64::*;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul(w: &WeightMatrix<'_>, x: &Activations, y: &mut PanelMut<'_>) {
    match w.weight_type() {
        WeightType::F32 => matmul_f32(w, x, y, |bytes: &[u8; 128]| {
            let (values, _) = bytes.as_chunks::<64>();
            [_mm512_castsi512_ps(load_64(&values[0])), _mm512_castsi512_ps(load_64(&values[1]))]
        }),
        WeightType::F16 => matmul_f32(w, x, y, |bytes: &[u8; 64]| {
            let (values, _) = bytes.as_chunks::<32>();
            [_mm512_cvtph_ps(load_32(&values[0])), _mm512_cvtph_ps(load_32(&values[1]))]
        }),
        WeightType::BF16 => matmul_f32(w, x, y, |bytes: &[u8; 64]| {
            let (values, _) = bytes.as_chunks::<32>();
            [widen_bf16(load_32(&values[0])), widen_bf16(load_32(&values[1]))]
        }),
        WeightType::Q4_0 | WeightType::Q4_1 | WeightType::Q5_0 | WeightType::Q5_1 | WeightType::Q8_0 => {
            if x.n_rows() == 1 {
                matmul_row(w, x, y);
            } else {
                matmul_strips(w, x, y);
            }
        }
        WeightType::Q4_K => matmul_256::<144, true>(w, x, y, |block| unpack::q4_k(block)),
        WeightType::Q5_K => matmul_256::<176, true>(w, x, y, |block| unpack::q5_k(block)),
        WeightType::Q6_K => matmul_256::<210, false>(w, x, y, |block| unpack::q6_k(block)),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn matmul_strips(w: &WeightMatrix<'_>, x: &Activations, y: &mut PanelMut<'_>) {
    match w.weight_type() {
        WeightType::Q4_0 => strip::matmul::<18, 3>(w, x, y, |blocks| strip::q4_0(blocks)),
        WeightType::Q4_1 => strip::matmul::<20, 0>(w, x, y, |blocks| strip::q4_1(blocks)),
        WeightType::Q5_0 => strip::matmul::<22, 4>(w, x, y, |blocks| strip::q5_0(blocks)),
        WeightType::Q5_1 => strip::matmul::<24, 0>(w, x, y, |blocks| strip::q5_1(blocks)),
        WeightType::Q8_0 => strip::matmul::<34, 7>(w, x, y, |blocks| strip::q8_0(blocks)),
        WeightType::F32
        | WeightType::F16
        | WeightType::BF16
        | WeightType::Q4_K
        | WeightType::Q5_K
        | WeightType::Q6_K => unreachable!("blocks of 32"),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn matmul_row(w: &WeightMatrix<'_>, x: &Activations, y: &mut PanelMut<'_>) {
    // Signed quants become unsigned, too great by the power of two that follows the block's size.
    match w.weight_type() {
        WeightType::Q4_0 => {
            row::matmul::<18, 3>(w, x, y, |block| _mm256_add_epi8(unpack::q4_0(block), _mm256_set1_epi8(8)));
        }
        WeightType::Q4_1 => row::matmul::<20, 0>(w, x, y, |block| unpack::q4_1(block)),
        WeightType::Q5_0 => {
            row::matmul::<22, 4>(w, x, y, |block| _mm256_add_epi8(unpack::q5_0(block), _mm256_set1_epi8(16)));
        }
        WeightType::Q5_1 => row::matmul::<24, 0>(w, x, y, |block| unpack::q5_1(block)),
        WeightType::Q8_0 => {
            row::matmul::<34, 7>(w, x, y, |block| _mm256_add_epi8(unpack::q8_0(block), _mm256_set1_epi8(-128)));
        }
        WeightType::F32
        | WeightType::F16
        | WeightType::BF16
        | WeightType::Q4_K
        | WeightType::Q5_K
        | WeightType::Q6_K => unreachable!("blocks of 32"),
    }
}

/// `widen` makes f32 of the `N` bytes of 32 weights.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn matmul_f32<const N: usize>(
    w: &WeightMatrix<'_>,
    x: &Activations,
    y: &mut PanelMut<'_>,
    widen: impl Fn(&[u8; N]) -> [__m512; 2] + Copy,
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn dot_f32<const N: usize, const ROWS: usize>(
    weights: &[u8],
    x: [&[f32]; ROWS],
    widen: impl Fn(&[u8; N]) -> [__m512; 2],
) -> [f32; ROWS] {
    let mut totals = [[_mm512_setzero_ps(); 2]; ROWS];
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
        results[r] = sum_lanes(_mm512_add_ps(totals[r][0], totals[r][1]));
    }
    results
}

#[inline]
#[target_feature(enable = "avx512f")]
fn accumulate(totals: &mut [__m512; 2], weights: [__m512; 2], x: &[f32; 32]) {
    let (halves, _) = x.as_chunks::<16>();
    totals[0] = _mm512_fmadd_ps(weights[0], load_f32_16(&halves[0]), totals[0]);
    totals[1] = _mm512_fmadd_ps(weights[1], load_f32_16(&halves[1]), totals[1]);
}

/// Formats of 256 weights in `N` bytes: with minima of their own where `MINS`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn dot_256<const N: usize, const MINS: bool, const ROWS: usize>(
    blocks: &[[u8; N]],
    x: &[Q8Row<'_>; ROWS],
    unpack: impl Fn(&[u8; N]) -> Unpacked,
) -> [f32; ROWS] {
    let x = tiles::columns_256(x, blocks.len());
    let mut totals = [_mm256_setzero_ps(); ROWS];
    for (idx, block) in blocks.iter().enumerate() {
        let Unpacked { quants, scales, mins, scale, min } = unpack(block);
        for (r, total) in totals.iter_mut().enumerate() {
            let x_scale = x.scales[r][idx];
            let mut products = _mm256_setzero_si256();
            for ((x, quants), scales) in x.quants[r][idx].as_chunks::<32>().0.iter().zip(quants).zip(scales) {
                // At most 63 * 127 * 2 in a pair, so int16 holds it.
                products = _mm256_dpwssd_epi32(products, _mm256_maddubs_epi16(quants, load_i8(x)), scales);
            }
            let sums = x.sums[r][idx].as_chunks::<8>().0;
            let low = _mm256_mullo_epi32(mins[0], load_i32(&sums[0]));
            let minima = _mm256_add_epi32(low, _mm256_mullo_epi32(mins[1], load_i32(&sums[1])));
            if MINS {
                let min = _mm256_set1_ps(min * x_scale);
                *total = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(minima), min, *total);
            } else {
                products = _mm256_sub_epi32(products, minima);
            }
            *total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), _mm256_set1_ps(scale * x_scale), *total);
        }
    }
    let mut results = [0.0; ROWS];
    for (result, total) in results.iter_mut().zip(totals) {
        *result = row::sum_lanes(total);
    }
    results
}

#[inline]
#[target_feature(enable = "avx512f")]
fn widen_bf16(values: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(values)))
}

/// The sum of 16 lanes, in one order.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn sum_lanes(lanes: __m512) -> f32 {
    let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(lanes)));
    let eight = _mm256_add_ps(_mm512_castps512_ps256(lanes), high);
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}
