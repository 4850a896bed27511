//! Formats of 32 weights with one activation row, as when a token is decoded: weight rows pass one after another, as
//! they lie in memory. The operations and their order are those of `strip`, so the results are too.

use super::super::memory::{load_f32_up_to_8, load_i8, load_i32_up_to_8};
use super::strip::CHUNK;
use crate::activations::Q8Row;
use crate::tiles::{self, Columns32};
use crate::{Activations, PanelMut, WeightMatrix};
use std::arch::x86_64::*;

/// Blocks of `N` bytes, with quants `2^ZERO_SHIFT` too great as `unpack` leaves them, or where that is 1 with minima.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) fn matmul<const N: usize, const ZERO_SHIFT: i32>(
    w: &WeightMatrix<'_>,
    x: &Activations,
    y: &mut PanelMut<'_>,
    unpack: impl Fn(&[u8; N]) -> __m256i,
) {
    let x = x.row_q8(0);
    for (j, y) in y.row_mut(0).iter_mut().enumerate() {
        *y = 0.0;
        for (chunk, blocks) in w.row(j).as_chunks::<N>().0.chunks(CHUNK).enumerate() {
            *y += dot::<N, ZERO_SHIFT>(blocks, x, chunk * CHUNK, &unpack);
        }
    }
}

/// Blocks whose number is equal modulo eight add up in one lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn dot<const N: usize, const ZERO_SHIFT: i32>(
    blocks: &[[u8; N]],
    x: Q8Row<'_>,
    start: usize,
    unpack: impl Fn(&[u8; N]) -> __m256i,
) -> f32 {
    let x = tiles::columns_32(&[x], start..start + blocks.len());
    let mut total = _mm256_setzero_ps();
    let (groups, rest) = blocks.as_chunks::<8>();
    for (group, blocks) in groups.iter().enumerate() {
        total = add_group::<N, ZERO_SHIFT>(total, blocks, &x, 8 * group, &unpack);
    }
    if !rest.is_empty() {
        total = add_group::<N, ZERO_SHIFT>(total, rest, &x, 8 * groups.len(), &unpack);
    }
    sum_lanes(total)
}

/// Adds up to eight blocks, from block `start` of the activations on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_group<const N: usize, const ZERO_SHIFT: i32>(
    total: __m256,
    blocks: &[[u8; N]],
    x: &Columns32<'_, 1>,
    start: usize,
    unpack: impl Fn(&[u8; N]) -> __m256i,
) -> __m256 {
    let quants = &x.quants[0][start..][..blocks.len()];
    let mut products = [_mm256_setzero_si256(); 8];
    for (idx, products) in products.iter_mut().enumerate() {
        if let (Some(block), Some(quants)) = (blocks.get(idx), quants.get(idx)) {
            *products = _mm256_dpbusd_epi32(*products, unpack(block), load_i8(quants));
        }
    }
    scale_group::<ZERO_SHIFT>(total, sum_each(products), factors(blocks), fields(x, start))
}

/// Scales, offsets and sums of eight blocks of activations, zeros behind the last.
#[derive(Clone, Copy)]
struct Fields {
    scales: __m256,
    offsets: __m256,
    sums: __m256i,
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn fields(x: &Columns32<'_, 1>, start: usize) -> Fields {
    Fields {
        scales: load_f32_up_to_8(&x.scales[0][start..]),
        offsets: load_f32_up_to_8(&x.offsets[0][start..]),
        sums: load_i32_up_to_8(&x.sums[0][start..]),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512vnni")]
fn scale_group<const ZERO_SHIFT: i32>(total: __m256, products: __m256i, factors: __m256i, x: Fields) -> __m256 {
    let products =
        if ZERO_SHIFT == 0 { products } else { _mm256_sub_epi32(products, _mm256_slli_epi32::<ZERO_SHIFT>(x.sums)) };
    let scales = _mm256_cvtph_ps(_mm256_cvtepi32_epi16(factors));
    let total = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(products), scales), x.scales, total);
    if ZERO_SHIFT > 0 {
        return total;
    }
    let mins = _mm256_cvtph_ps(_mm256_cvtepi32_epi16(_mm256_srli_epi32::<16>(factors)));
    _mm256_fmadd_ps(mins, x.offsets, total)
}

/// The first four bytes of each block: its scale, and behind it its minimum where it has one.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn factors<const N: usize>(blocks: &[[u8; N]]) -> __m256i {
    let at = |idx: usize| {
        let first = blocks.get(idx).and_then(|block| block.first_chunk());
        first.map_or(0, |bytes| i32::from_le_bytes(*bytes))
    };
    _mm256_setr_epi32(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7))
}

/// The sum of each vector's lanes, in its own lane.
#[inline]
#[target_feature(enable = "avx2")]
fn sum_each(vectors: [__m256i; 8]) -> __m256i {
    let [a, b, c, d, e, f, g, h] = vectors;
    let first = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    let second = _mm256_hadd_epi32(_mm256_hadd_epi32(e, f), _mm256_hadd_epi32(g, h));
    let low = _mm256_permute2x128_si256::<0x20>(first, second);
    _mm256_add_epi32(low, _mm256_permute2x128_si256::<0x31>(first, second))
}

/// Lanes `i` and `i + 4`, then `i` and `i + 2`, then the two left.
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn sum_lanes(lanes: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}
