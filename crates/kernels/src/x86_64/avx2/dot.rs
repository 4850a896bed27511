//! Products of weight rows with tiles of activation rows. A tile of one row runs the very operations of a wider one in
//! the same order, so a result does not depend on the rows beside it.

use super::super::memory::{load_16, load_32, load_f32, load_i8, load_i32, padded};
use super::super::unpack::{self, Unpacked};
use crate::activations::Q8Row;
use crate::tiles::{self, TILE_ROWS};
use crate::{Activations, PanelMut, WeightMatrix, WeightType};
use std::arch::x86_64::*;

#[target_feature(enable = "avx2,fma,f16c")]
pub(super) fn matmul(w: &WeightMatrix<'_>, x: &Activations, y: &mut PanelMut<'_>) {
    match w.weight_type() {
        WeightType::F32 => matmul_f32(w, x, y, |bytes: &[u8; 64]| {
            let (values, _) = bytes.as_chunks::<32>();
            [_mm256_castsi256_ps(load_32(&values[0])), _mm256_castsi256_ps(load_32(&values[1]))]
        }),
        WeightType::F16 => matmul_f32(w, x, y, |bytes: &[u8; 32]| {
            let (values, _) = bytes.as_chunks::<16>();
            [_mm256_cvtph_ps(load_16(&values[0])), _mm256_cvtph_ps(load_16(&values[1]))]
        }),
        WeightType::BF16 => matmul_f32(w, x, y, |bytes: &[u8; 32]| {
            let (values, _) = bytes.as_chunks::<16>();
            [widen_bf16(load_16(&values[0])), widen_bf16(load_16(&values[1]))]
        }),
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

/// `widen` makes f32 of the `N` bytes of 16 weights.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn matmul_f32<const N: usize>(
    w: &WeightMatrix<'_>,
    x: &Activations,
    y: &mut PanelMut<'_>,
    widen: impl Fn(&[u8; N]) -> [__m256; 2] + Copy,
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
#[target_feature(enable = "avx2,fma,f16c")]
fn dot_f32<const N: usize, const ROWS: usize>(
    weights: &[u8],
    x: [&[f32]; ROWS],
    widen: impl Fn(&[u8; N]) -> [__m256; 2],
) -> [f32; ROWS] {
    let mut totals = [[_mm256_setzero_ps(); 2]; ROWS];
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
    let mut sums = [_mm256_setzero_ps(); ROWS];
    for r in 0..ROWS {
        sums[r] = _mm256_add_ps(totals[r][0], totals[r][1]);
    }
    sum_all(sums)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn accumulate(totals: &mut [__m256; 2], weights: [__m256; 2], x: &[f32; 16]) {
    let (halves, _) = x.as_chunks::<8>();
    totals[0] = _mm256_fmadd_ps(weights[0], load_f32(&halves[0]), totals[0]);
    totals[1] = _mm256_fmadd_ps(weights[1], load_f32(&halves[1]), totals[1]);
}

/// Formats of 32 weights in `N` bytes: with a minimum and unsigned quants where `MINS`, else signed.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn matmul_32<const N: usize, const MINS: bool>(
    w: &WeightMatrix<'_>,
    x: &Activations,
    y: &mut PanelMut<'_>,
    unpack: impl Fn(&[u8; N]) -> __m256i + Copy,
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

/// The int32 sums of a block stay in eight lanes, exact, until they are scaled.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot_32<const N: usize, const MINS: bool, const ROWS: usize>(
    blocks: &[[u8; N]],
    x: &[Q8Row<'_>; ROWS],
    unpack: impl Fn(&[u8; N]) -> __m256i,
) -> [f32; ROWS] {
    let x = tiles::columns_32(x, 0..blocks.len());
    let mut totals = [_mm256_setzero_ps(); ROWS];
    let mut minima = [_mm_setzero_ps(); ROWS];
    for (idx, block) in blocks.iter().enumerate() {
        let weights = unpack(block);
        let magnitudes = if MINS { weights } else { _mm256_abs_epi8(weights) };
        let scale = _mm256_cvtph_ps(_mm_set1_epi16(i16::from_le_bytes([block[0], block[1]])));
        let min = if MINS { _mm_cvtph_ps(_mm_set1_epi16(i16::from_le_bytes([block[2], block[3]]))) } else { minima[0] };
        for r in 0..ROWS {
            let quants = load_i8(&x.quants[r][idx]);
            let products = dot_u8(magnitudes, if MINS { quants } else { _mm256_sign_epi8(quants, weights) });
            let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(products), scale);
            totals[r] = _mm256_fmadd_ps(scaled, _mm256_set1_ps(x.scales[r][idx]), totals[r]);
            if MINS {
                minima[r] = _mm_fmadd_ss(min, _mm_set_ss(x.offsets[r][idx]), minima[r]);
            }
        }
    }
    let mut results = [0.0; ROWS];
    for r in 0..ROWS {
        results[r] = sum_lanes(totals[r]) + _mm_cvtss_f32(minima[r]);
    }
    results
}

/// Sums of four products. Exact: no format's unsigned side exceeds 128 and activations are in -127..=127, so that a
/// pair stays inside int16.
#[inline]
#[target_feature(enable = "avx2")]
fn dot_u8(unsigned: __m256i, signed: __m256i) -> __m256i {
    _mm256_madd_epi16(_mm256_maddubs_epi16(unsigned, signed), _mm256_set1_epi16(1))
}

/// Formats of 256 weights in `N` bytes: with minima of their own where `MINS`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
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
#[target_feature(enable = "avx2,fma,f16c")]
fn dot_256<const N: usize, const MINS: bool, const ROWS: usize>(
    blocks: &[[u8; N]],
    x: &[Q8Row<'_>; ROWS],
    unpack: impl Fn(&[u8; N]) -> Unpacked,
) -> [f32; ROWS] {
    let x = tiles::columns_256(x, blocks.len());
    let mut totals = [_mm256_setzero_ps(); ROWS];
    for (idx, block) in blocks.iter().enumerate() {
        let weights = unpack(block);
        for (r, total) in totals.iter_mut().enumerate() {
            let x_scale = x.scales[r][idx];
            let mut products = _mm256_setzero_si256();
            for ((quants, weights), scale) in
                x.quants[r][idx].as_chunks::<32>().0.iter().zip(weights.quants).zip(weights.scales)
            {
                // At most 63 * 127 * 2 in a pair, so int16 holds it.
                let pairs = _mm256_maddubs_epi16(weights, load_i8(quants));
                products = _mm256_add_epi32(products, _mm256_madd_epi16(pairs, scale));
            }
            let sums = x.sums[r][idx].as_chunks::<8>().0;
            let low = _mm256_mullo_epi32(weights.mins[0], load_i32(&sums[0]));
            let minima = _mm256_add_epi32(low, _mm256_mullo_epi32(weights.mins[1], load_i32(&sums[1])));
            if MINS {
                let min = _mm256_set1_ps(weights.min * x_scale);
                *total = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(minima), min, *total);
            } else {
                products = _mm256_sub_epi32(products, minima);
            }
            let scale = _mm256_set1_ps(weights.scale * x_scale);
            *total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), scale, *total);
        }
    }
    sum_all(totals)
}

#[inline]
#[target_feature(enable = "avx2")]
fn widen_bf16(values: __m128i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(values)))
}

#[inline]
#[target_feature(enable = "avx")]
fn sum_all<const ROWS: usize>(totals: [__m256; ROWS]) -> [f32; ROWS] {
    let mut results = [0.0; ROWS];
    for (result, total) in results.iter_mut().zip(totals) {
        *result = sum_lanes(total);
    }
    results
}

/// The sum of eight lanes, in one order.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn sum_lanes(lanes: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}
