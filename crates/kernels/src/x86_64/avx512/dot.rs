//! Products of weight rows with tiles of activation rows, two blocks of 32 at once. A tile of one row runs the very
//! operations of a wider one in the same order, so a result does not depend on the rows beside it.

use super::super::memory::{load_32, load_64, load_f32_16, load_i8, load_i8_64, load_i32_16, padded};
use super::super::unpack::{self, Unpacked};
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

/// Formats of 32 weights in `N` bytes: with a minimum and unsigned quants where `MINS`, else signed.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
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

/// Two blocks side by side: magnitudes and signs of the quants, and each block's scale in all lanes of its half.
#[derive(Clone, Copy)]
struct Pair<const MINS: bool> {
    magnitudes: __m512i,
    negative: __mmask64,
    scales: __m512,
    /// In the two lowest lanes.
    mins: __m128,
}

impl<const MINS: bool> Pair<MINS> {
    /// A block that is not there counts as zeros.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn new<const N: usize>(quants: [__m256i; 2], blocks: [&[u8; N]; 2]) -> Self {
        let [first, second] = blocks;
        let field = |block: &[u8; N], offset: usize| i16::from_le_bytes([block[offset], block[offset + 1]]);
        let quants = join(quants[0], quants[1]);
        let scales = _mm256_set_m128i(_mm_set1_epi16(field(second, 0)), _mm_set1_epi16(field(first, 0)));
        let mins = if MINS { [field(first, 2), field(second, 2)] } else { [0; 2] };
        Self {
            magnitudes: if MINS { quants } else { _mm512_abs_epi8(quants) },
            negative: if MINS { 0 } else { _mm512_movepi8_mask(quants) },
            scales: _mm512_cvtph_ps(scales),
            mins: _mm_cvtph_ps(_mm_setr_epi16(mins[0], mins[1], 0, 0, 0, 0, 0, 0)),
        }
    }

    /// Adds the product with two blocks of activations. The int32 sums stay exact until they are scaled.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn accumulate(&self, total: &mut __m512, quants: __m512i, scales: [f32; 2]) {
        let zero = _mm512_setzero_si512();
        let quants = if MINS { quants } else { _mm512_mask_sub_epi8(quants, self.negative, zero, quants) };
        let products = _mm512_dpbusd_epi32(zero, self.magnitudes, quants);
        let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(products), self.scales);
        let halves = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
        let scales = _mm512_castps128_ps512(_mm_setr_ps(scales[0], scales[1], 0.0, 0.0));
        *total = _mm512_fmadd_ps(scaled, _mm512_permutexvar_ps(halves, scales), *total);
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vl")]
    fn accumulate_mins(&self, total: &mut __m128, offsets: [f32; 2]) {
        if MINS {
            *total = _mm_fmadd_ps(self.mins, _mm_setr_ps(offsets[0], offsets[1], 0.0, 0.0), *total);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn dot_32<const N: usize, const MINS: bool, const ROWS: usize>(
    blocks: &[[u8; N]],
    x: &[Q8Row<'_>; ROWS],
    unpack: impl Fn(&[u8; N]) -> __m256i,
) -> [f32; ROWS] {
    let (pairs, rest) = blocks.as_chunks::<2>();
    let x_pairs = tiles::columns_64(x, pairs.len());
    let mut totals = [_mm512_setzero_ps(); ROWS];
    let mut minima = [_mm_setzero_ps(); ROWS];
    for (idx, [first, second]) in pairs.iter().enumerate() {
        let pair = Pair::<MINS>::new([unpack(first), unpack(second)], [first, second]);
        for r in 0..ROWS {
            pair.accumulate(&mut totals[r], load_i8_64(&x_pairs.quants[r][idx]), x_pairs.scales[r][idx]);
            pair.accumulate_mins(&mut minima[r], x_pairs.offsets[r][idx]);
        }
    }
    if let [block] = rest {
        let pair = Pair::<MINS>::new([unpack(block), _mm256_setzero_si256()], [block, &[0; N]]);
        let (x, idx) = (tiles::columns_32(x, blocks.len()), blocks.len() - 1);
        for r in 0..ROWS {
            let quants = _mm512_zextsi256_si512(load_i8(&x.quants[r][idx]));
            pair.accumulate(&mut totals[r], quants, [x.scales[r][idx], 0.0]);
            pair.accumulate_mins(&mut minima[r], [x.offsets[r][idx], 0.0]);
        }
    }
    let mut results = [0.0; ROWS];
    for r in 0..ROWS {
        let minima = _mm_add_ss(minima[r], _mm_movehdup_ps(minima[r]));
        results[r] = sum_lanes(totals[r]) + _mm_cvtss_f32(minima);
    }
    results
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
    let mut totals = [_mm512_setzero_ps(); ROWS];
    for (idx, block) in blocks.iter().enumerate() {
        let Unpacked { quants, scales, mins, scale, min } = unpack(block);
        let (quants, scales) = (join_pairs(quants), join_pairs(scales));
        for (r, total) in totals.iter_mut().enumerate() {
            let x_scale = x.scales[r][idx];
            let mut products = _mm512_setzero_si512();
            for ((x, quants), scales) in x.quants[r][idx].as_chunks::<64>().0.iter().zip(quants).zip(scales) {
                // At most 63 * 127 * 2 in a pair, so int16 holds it.
                products = _mm512_dpwssd_epi32(products, _mm512_maddubs_epi16(quants, load_i8_64(x)), scales);
            }
            let minima = _mm512_mullo_epi32(join(mins[0], mins[1]), load_i32_16(&x.sums[r][idx]));
            if MINS {
                let min = _mm512_set1_ps(min * x_scale);
                *total = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(minima), min, *total);
            } else {
                products = _mm512_sub_epi32(products, minima);
            }
            *total = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), _mm512_set1_ps(scale * x_scale), *total);
        }
    }
    let mut results = [0.0; ROWS];
    for (result, total) in results.iter_mut().zip(totals) {
        *result = sum_lanes(total);
    }
    results
}

#[inline]
#[target_feature(enable = "avx512f")]
fn join(low: __m256i, high: __m256i) -> __m512i {
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn join_pairs(parts: [__m256i; 8]) -> [__m512i; 4] {
    let [a, b, c, d, e, f, g, h] = parts;
    [join(a, b), join(c, d), join(e, f), join(g, h)]
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
