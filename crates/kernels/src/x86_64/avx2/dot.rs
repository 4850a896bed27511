//! Products of weight rows with tiles of activation rows. A tile of one row runs the very operations of a wider one in
//! the same order, so a result does not depend on the rows beside it.

use super::super::memory::{load_16, load_32, load_f32, load_i8, load_i32, padded, store_f32};
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
            let rows: [_; TILE_ROWS] = std::array::from_fn(|r| x.row_f32(i + r));
            tiles::store(y, j, i, dot_f32(w.row(j), rows, widen));
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
    let x = x.map(|x| x.as_chunks::<16>());
    for (idx, chunk) in chunks.iter().enumerate() {
        accumulate(&mut totals, widen(chunk), x.map(|(x, _)| &x[idx]));
    }
    if !rest.is_empty() {
        let x = x.map(|(_, rest)| padded::<f32, 16>(rest));
        accumulate(&mut totals, widen(&padded(rest)), x.each_ref());
    }
    totals.map(|[even, odd]| sum_lanes(_mm256_add_ps(even, odd)))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn accumulate<const ROWS: usize>(totals: &mut [[__m256; 2]; ROWS], weights: [__m256; 2], x: [&[f32; 16]; ROWS]) {
    for (total, x) in totals.iter_mut().zip(x) {
        let (halves, _) = x.as_chunks::<8>();
        total[0] = _mm256_fmadd_ps(weights[0], load_f32(&halves[0]), total[0]);
        total[1] = _mm256_fmadd_ps(weights[1], load_f32(&halves[1]), total[1]);
    }
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
            let rows: [_; TILE_ROWS] = std::array::from_fn(|r| x.row_q8(i + r));
            tiles::store(y, j, i, dot_32::<N, MINS, TILE_ROWS>(blocks, rows, unpack));
        } else {
            tiles::store(y, j, i, dot_32::<N, MINS, 1>(blocks, [x.row_q8(i)], unpack));
        }
    });
}

/// Scales are multiplied for eight blocks at once; the int32 sums of a block stay in eight lanes, exact, until they are
/// scaled.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot_32<const N: usize, const MINS: bool, const ROWS: usize>(
    blocks: &[[u8; N]],
    x: [Q8Row<'_>; ROWS],
    unpack: impl Fn(&[u8; N]) -> __m256i,
) -> [f32; ROWS] {
    let mut totals = [_mm256_setzero_ps(); ROWS];
    for (idx, blocks) in blocks.chunks(8).enumerate() {
        let group = 8 * idx..8 * idx + blocks.len();
        let scale = f16_fields(blocks, 0);
        let mut scales = [[0.0; 8]; ROWS];
        for r in 0..ROWS {
            let x_scale = load_f32_up_to(&x[r].scales[group.clone()]);
            store_f32(&mut scales[r], _mm256_mul_ps(scale, x_scale));
            if MINS {
                let sums = _mm256_cvtepi32_ps(load_i32_up_to(&x[r].sums[group.clone()]));
                totals[r] = _mm256_fmadd_ps(f16_fields(blocks, 2), _mm256_mul_ps(x_scale, sums), totals[r]);
            }
        }
        let quants = x.map(|x| &x.quants.as_chunks::<32>().0[group.clone()]);
        for (idx, block) in blocks.iter().enumerate() {
            let weights = unpack(block);
            for r in 0..ROWS {
                let products = if MINS {
                    dot_u8(weights, load_i8(&quants[r][idx]))
                } else {
                    dot_u8(_mm256_abs_epi8(weights), _mm256_sign_epi8(load_i8(&quants[r][idx]), weights))
                };
                let scale = _mm256_set1_ps(scales[r][idx]);
                totals[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), scale, totals[r]);
            }
        }
    }
    totals.map(|total| sum_lanes(total))
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
            let rows: [_; TILE_ROWS] = std::array::from_fn(|r| x.row_q8(i + r));
            tiles::store(y, j, i, dot_256::<N, MINS, TILE_ROWS>(blocks, rows, unpack));
        } else {
            tiles::store(y, j, i, dot_256::<N, MINS, 1>(blocks, [x.row_q8(i)], unpack));
        }
    });
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot_256<const N: usize, const MINS: bool, const ROWS: usize>(
    blocks: &[[u8; N]],
    x: [Q8Row<'_>; ROWS],
    unpack: impl Fn(&[u8; N]) -> Unpacked,
) -> [f32; ROWS] {
    let mut totals = [_mm256_setzero_ps(); ROWS];
    for (idx, block) in blocks.iter().enumerate() {
        let weights = unpack(block);
        for r in 0..ROWS {
            let x_scale = x[r].scales[idx];
            let quants = x[r].quants.as_chunks::<256>().0[idx].as_chunks::<32>().0;
            let mut products = _mm256_setzero_si256();
            for ((quants, weights), scale) in quants.iter().zip(weights.quants).zip(weights.scales) {
                // At most 63 * 127 * 2 in a pair, so int16 holds it.
                let pairs = _mm256_maddubs_epi16(weights, load_i8(quants));
                products = _mm256_add_epi32(products, _mm256_madd_epi16(pairs, scale));
            }
            let sums = x[r].sums.as_chunks::<16>().0[idx].as_chunks::<8>().0;
            let low = _mm256_mullo_epi32(weights.mins[0], load_i32(&sums[0]));
            let minima = _mm256_add_epi32(low, _mm256_mullo_epi32(weights.mins[1], load_i32(&sums[1])));
            if MINS {
                let min = _mm256_set1_ps(weights.min * x_scale);
                totals[r] = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(minima), min, totals[r]);
            } else {
                products = _mm256_sub_epi32(products, minima);
            }
            let scale = _mm256_set1_ps(weights.scale * x_scale);
            totals[r] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products), scale, totals[r]);
        }
    }
    totals.map(|total| sum_lanes(total))
}

/// The f16 at `offset` of up to eight blocks, zeros behind.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn f16_fields<const N: usize>(blocks: &[[u8; N]], offset: usize) -> __m256 {
    let field = |idx: usize| blocks.get(idx).map_or(0, |block| i16::from_le_bytes([block[offset], block[offset + 1]]));
    _mm256_cvtph_ps(_mm_setr_epi16(field(0), field(1), field(2), field(3), field(4), field(5), field(6), field(7)))
}

#[inline]
#[target_feature(enable = "avx")]
fn load_f32_up_to(values: &[f32]) -> __m256 {
    match values.first_chunk() {
        Some(values) => load_f32(values),
        None => load_f32(&padded(values)),
    }
}

#[inline]
#[target_feature(enable = "avx")]
fn load_i32_up_to(values: &[i32]) -> __m256i {
    match values.first_chunk() {
        Some(values) => load_i32(values),
        None => load_i32(&padded(values)),
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn widen_bf16(values: __m128i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(values)))
}

/// The sum of eight lanes, in one order.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn sum_lanes(lanes: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}
